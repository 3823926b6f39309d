//! The stored form, the merge of layers, and paths through links.

mod stacks;

use std::io::{self, Read};
use std::sync::atomic::AtomicBool;

use longshore_runtime::entry::{Entry, EntrySink, Kind};
use proptest::prelude::*;

use super::*;
use crate::hashing::sha256;
use crate::layer::path::is_clean;
use crate::layer::{Compression, path_order, read_layer, write_layer};
use crate::model::DiffId;

/// The bytes before the first list: the version and the diff id.
const HEAD: usize = 24 + 32;

fn layer_id() -> DiffId {
    DiffId(sha256(b"layer"))
}

fn directory(path: &str) -> (Entry, &'static str) {
    (Entry::new(path, Kind::Directory, 0o755, 0), "")
}

fn file(path: &str, content: &'static str) -> (Entry, &'static str) {
    (Entry::new(path, Kind::File { size: content.len() as u64 }, 0o644, 0), content)
}

fn link(path: &str, target: &str) -> (Entry, &'static str) {
    (Entry::new(path, Kind::Symlink { target: target.into() }, 0o777, 0), "")
}

fn hard_link(path: &str, target: &str) -> (Entry, &'static str) {
    (Entry::new(path, Kind::HardLink { target: target.into() }, 0o644, 0), "")
}

fn gone(path: &str) -> (Entry, &'static str) {
    (Entry::new(path, Kind::Whiteout, 0, 0), "")
}

fn opaque(path: &str) -> (Entry, &'static str) {
    (Entry::new(path, Kind::Opaque, 0, 0), "")
}

fn index(entries: &[(Entry, &str)]) -> LayerIndex {
    let mut sink = IndexSink::new();
    for (entry, content) in entries {
        sink.entry(entry, &mut content.as_bytes()).unwrap();
    }
    sink.finish()
}

fn merged(layers: &[&[(Entry, &str)]]) -> MergedIndex {
    let mut merged = MergedIndex::new();
    layers.iter().for_each(|layer| merged.push_layer(index(layer)));
    merged
}

/// Every path with its layer and a letter for its kind.
fn tree(merged: &MergedIndex) -> Vec<String> {
    fn walk(merged: &MergedIndex, directory: &str, into: &mut Vec<String>) {
        for (name, found) in merged.list(directory.as_bytes()) {
            let path = format!("{directory}/{}", String::from_utf8_lossy(name));
            let letter = match found.entry.kind {
                IndexKind::Directory => 'd',
                IndexKind::File => 'f',
                IndexKind::Symlink { .. } => 'l',
                IndexKind::HardLink { .. } => 'h',
                IndexKind::Other => 'o',
            };
            into.push(format!("{}{letter} {}", found.layer, &path[1..]));
            walk(merged, &path, into);
        }
    }
    let mut all = Vec::new();
    walk(merged, "", &mut all);
    all
}

#[test]
fn layers_merge_as_they_are_unpacked() {
    let base: &[(Entry, &str)] =
        &[directory("d"), file("d/a", "1"), directory("d/s"), file("d/s/b", "2"), link("l", "d")];
    for (what, top, expected) in [
        ("nothing", vec![], vec!["0d d", "0f d/a", "0d d/s", "0f d/s/b", "0l l"]),
        ("a file", vec![gone("d/a")], vec!["0d d", "0d d/s", "0f d/s/b", "0l l"]),
        ("a directory", vec![gone("d")], vec!["0l l"]),
        (
            "what is not there",
            vec![gone("x/y"), opaque("z")],
            vec!["0d d", "0f d/a", "0d d/s", "0f d/s/b", "0l l"],
        ),
        (
            "opaque",
            vec![directory("d"), opaque("d"), file("d/c", "")],
            vec!["1d d", "1f d/c", "0l l"],
        ),
        (
            "opaque after its children",
            vec![directory("d"), file("d/c", ""), opaque("d")],
            vec!["1d d", "1f d/c", "0l l"],
        ),
        (
            "a whiteout of what the same layer has",
            vec![directory("d"), gone("d")],
            vec!["1d d", "0l l"],
        ),
        (
            "directory on directory",
            vec![directory("d")],
            vec!["1d d", "0f d/a", "0d d/s", "0f d/s/b", "0l l"],
        ),
        ("file on directory", vec![file("d", "")], vec!["1f d", "0l l"]),
        (
            "directory on file",
            vec![directory("d/a"), file("d/a/x", "")],
            vec!["0d d", "1d d/a", "1f d/a/x", "0d d/s", "0f d/s/b", "0l l"],
        ),
        (
            "below a link",
            vec![file("l/x", "")],
            vec!["0d d", "0f d/a", "0d d/s", "0f d/s/b", "1d l", "1f l/x"],
        ),
        (
            "no parents",
            vec![file("n/m/x", "")],
            vec!["0d d", "0f d/a", "0d d/s", "0f d/s/b", "0l l", "1d n", "1d n/m", "1f n/m/x"],
        ),
        ("root opaque", vec![opaque(""), file("x", "")], vec!["1f x"]),
    ] {
        assert_eq!(tree(&merged(&[base, &top])), expected, "{what}");
    }
}

#[test]
fn metadata_is_that_of_the_topmost_layer() {
    let mut root = directory("");
    (root.0.mode, root.0.uid, root.0.gid) = (0o1777, 5, 6);
    let merged = merged(&[&[directory("d")], &[root, file("d/x", "123")]]);
    let found = merged.lookup(b"").unwrap();
    assert_eq!(
        (found.layer, found.entry.mode, found.entry.uid, found.entry.gid),
        (1, 0o1777, 5, 6)
    );
    let found = merged.lookup(b"/d/./x").unwrap();
    assert_eq!((found.layer, &found.entry.kind), (1, &IndexKind::File));
    assert_eq!(merged.lookup(b"d/y"), None);
    assert_eq!(merged.layers().len(), 2);
}

#[test]
fn links_are_followed_inside_the_root() {
    let merged = merged(&[&[
        directory("usr"),
        directory("usr/bin"),
        file("usr/bin/sh", ""),
        link("bin", "usr/bin"),
        link("abs", "/usr/../usr/./bin/"),
        link("up", "../../../usr"),
        link("chain", "abs/sh"),
        link("loop", "loop/x"),
        link("ping", "pong"),
        link("pong", "ping"),
        link("dangling", "usr/none/x"),
        hard_link("second", "bin"),
    ]]);
    for (path, resolved, parent) in [
        ("", "", ""),
        ("bin/sh", "usr/bin/sh", "usr/bin/sh"),
        ("/bin", "usr/bin", "bin"),
        ("bin/../x", "usr/x", "usr/x"),
        ("../../bin/sh", "usr/bin/sh", "usr/bin/sh"),
        ("abs/sh", "usr/bin/sh", "usr/bin/sh"),
        ("up/bin", "usr/bin", "usr/bin"),
        ("chain", "usr/bin/sh", "chain"),
        ("dangling", "usr/none/x", "dangling"),
        ("none/../bin/x", "usr/bin/x", "usr/bin/x"),
        ("new/dir/x", "new/dir/x", "new/dir/x"),
        ("usr/bin/sh/x", "usr/bin/sh/x", "usr/bin/sh/x"),
        ("second/sh", "usr/bin/sh", "usr/bin/sh"),
        ("bin/..", "usr", "usr"),
    ] {
        assert_eq!(merged.resolve(path.as_bytes()).unwrap(), resolved.as_bytes(), "{path}");
        assert_eq!(merged.resolve_parent(path.as_bytes()).unwrap(), parent.as_bytes(), "{path}");
    }
    for path in ["loop", "loop/y", "ping", "pong/x"] {
        let error = merged.resolve(path.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), format!("too many levels of symbolic links in {path}"));
    }
    assert_eq!(merged.resolve_parent(b"ping").unwrap(), b"ping");
}

#[test]
fn accounts_are_those_a_process_would_read() {
    let base = [directory("etc"), file("etc/passwd", "old"), file("etc/group", "groups")];
    for (top, passwd) in [
        (vec![], AccountsFile::Known(b"old".as_slice())),
        (vec![file("etc/passwd", "new")], AccountsFile::Known(b"new")),
        (vec![gone("etc/passwd")], AccountsFile::Absent),
        (vec![gone("etc/passwd"), file("etc/passwd", "new")], AccountsFile::Known(b"new")),
        (vec![directory("etc/passwd")], AccountsFile::Absent),
        (
            vec![link("etc/passwd", "/usr/passwd"), file("usr/passwd", "x")],
            AccountsFile::Elsewhere(b"usr/passwd".to_vec()),
        ),
        (vec![link("etc/passwd", "/usr/passwd")], AccountsFile::Absent),
        (
            vec![link("etc", "/other"), file("other/passwd", "x")],
            AccountsFile::Elsewhere(b"other/passwd".to_vec()),
        ),
    ] {
        let merged = merged(&[&base, &top]);
        assert_eq!(merged.passwd().unwrap(), passwd, "{top:?}");
    }
    assert_eq!(merged(&[&base]).group().unwrap(), AccountsFile::Known(b"groups"));
    assert!(merged(&[&[link("etc/passwd", "passwd")]]).passwd().is_err());
}

#[test]
fn the_index_is_made_while_entries_pass() {
    let mut seen = Vec::new();
    let mut next = |entry: &Entry, content: &mut dyn Read| {
        let mut text = String::new();
        content.read_to_string(&mut text)?;
        seen.push((entry.path.clone(), text));
        Ok(())
    };
    let mut sink = IndexTee::new(&mut next);
    for (entry, content) in [file("a", "1"), file("etc/passwd", "2"), gone("b")] {
        sink.entry(&entry, &mut content.as_bytes()).unwrap();
    }
    let made = sink.finish().unwrap();
    assert_eq!(made, index(&[file("a", "1"), file("etc/passwd", "2"), gone("b")]));
    assert_eq!(made.passwd.as_deref(), Some(b"2".as_slice()));
    let texts: Vec<&str> = seen.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["1", "2", ""]);
}

#[test]
fn the_index_of_a_huge_layer_is_given_up_while_it_is_written() {
    let mut passed = 0;
    let mut next = |_: &Entry, _: &mut dyn Read| {
        passed += 1;
        Ok(())
    };
    let mut tee = IndexTee::new(&mut next);
    for at in 0..=super::layer_index::TEE_LIMIT {
        let entry = Entry::new(at.to_string(), Kind::Directory, 0o755, 0);
        tee.entry(&entry, &mut io::empty()).unwrap();
    }
    assert_eq!(tee.finish(), None);
    assert_eq!(passed, super::layer_index::TEE_LIMIT + 1, "the layer itself is written whole");
}

#[test]
fn huge_accounts_files_are_not_kept() {
    let mut sink = IndexSink::new();
    let size = (1 << 20) + 1;
    let entry = Entry::new("etc/passwd", Kind::File { size }, 0o644, 0);
    sink.entry(&entry, &mut io::repeat(b'x').take(size)).unwrap();
    let index = sink.finish();
    assert_eq!(index.passwd, None);
    let mut merged = MergedIndex::new();
    merged.push_layer(index);
    assert_eq!(merged.passwd().unwrap(), AccountsFile::Elsewhere(b"etc/passwd".to_vec()));
}

#[test]
fn nesting_of_any_depth_needs_no_deep_stack() {
    let deep = "a/".repeat(30_000) + "x";
    let merged = merged(&[&[file(&deep, "")]]);
    assert!(merged.lookup(deep.as_bytes()).is_some());
    drop(merged.clone());
}

fn sample() -> LayerIndex {
    let mut device =
        (Entry::new("dev/null", Kind::CharDevice { major: 1, minor: 3 }, 0o666, 0), "");
    (device.0.uid, device.0.gid) = (70_000, u32::MAX);
    index(&[
        directory(""),
        directory("d"),
        opaque("d"),
        file("d/file", "content"),
        file("d/file2", ""),
        link("d/link", "../x"),
        hard_link("d/second", "d/file"),
        device,
        file("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
        gone("gone"),
        gone("gone2"),
    ])
}

#[test]
fn the_stored_form_has_its_golden_bytes() {
    let bytes = sample().to_bytes(layer_id());
    let raw = zstd::stream::decode_all(bytes.as_slice()).unwrap();
    assert_eq!(
        sha256(&raw).hex(),
        "4f9e41ee6da1fd36004e4358878985fa022111f04bc1173b15f7d0f2a8035649"
    );
    assert_eq!(LayerIndex::from_bytes(&bytes, layer_id()).unwrap(), sample());
    assert_eq!(sample().to_bytes(layer_id()), bytes);
}

#[test]
fn stored_indexes_are_checked() {
    let bytes = sample().to_bytes(layer_id());
    let other = DiffId(sha256(b"other"));
    assert!(matches!(LayerIndex::from_bytes(&bytes, other), Err(IndexError::Layer { .. })));
    assert!(matches!(
        LayerIndex::from_bytes(b"garbage", layer_id()),
        Err(IndexError::Compression(_))
    ));
    let raw = zstd::stream::decode_all(bytes.as_slice()).unwrap();
    let refused = |raw: &[u8]| {
        let bytes = zstd::bulk::compress(raw, 3).unwrap();
        LayerIndex::from_bytes(&bytes, layer_id()).unwrap_err().to_string()
    };
    assert_eq!(refused(&raw[1..]), "not a layer index of version 1");
    assert_eq!(refused(&[&raw[..], b"x"].concat()), "malformed layer index: bytes left over");
    assert_eq!(refused(&raw[..raw.len() - 3]), "malformed layer index: truncated");
    let unclean = LayerIndex { whiteouts: [b"a/../b".to_vec()].into(), ..LayerIndex::default() };
    let error = LayerIndex::from_bytes(&unclean.to_bytes(layer_id()), layer_id()).unwrap_err();
    assert_eq!(error.to_string(), "malformed layer index: a path is not clean");
    let with = |kind, mode| {
        let entry = IndexEntry { kind, mode, uid: 0, gid: 0 };
        let entries = [(b"a".to_vec(), entry)].into();
        let index = LayerIndex { entries, ..LayerIndex::default() };
        LayerIndex::from_bytes(&index.to_bytes(layer_id()), layer_id()).unwrap_err().to_string()
    };
    let problem = "malformed layer index: a link's target is not allowed";
    assert_eq!(with(IndexKind::HardLink { target: b"../b".to_vec() }, 0), problem);
    assert_eq!(with(IndexKind::Symlink { target: b"b\0".to_vec() }, 0), problem);
    let problem = "malformed layer index: a mode has more than permissions";
    assert_eq!(with(IndexKind::Directory, 0o10_000), problem);
}

#[test]
fn a_frame_that_needs_much_memory_is_refused() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    io::Write::write_all(&mut encoder, &[0; 100]).unwrap();
    let bytes = encoder.finish().unwrap();
    let error = LayerIndex::from_bytes(&bytes, layer_id()).unwrap_err();
    assert!(matches!(error, IndexError::Compression(_)), "{error}");
}

#[test]
fn a_bomb_is_refused_before_it_is_whole() {
    let zeros = vec![0; 1 << 20];
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    for _ in 0..=INDEX_LIMIT >> 20 {
        io::Write::write_all(&mut encoder, &zeros).unwrap();
    }
    let error = LayerIndex::from_bytes(&encoder.finish().unwrap(), layer_id()).unwrap_err();
    assert_eq!(error.to_string(), "malformed layer index: too large");
}

pub(super) fn any_index() -> impl Strategy<Value = LayerIndex> {
    let path = || "[a-c]{1,2}(/[a-c\u{e9}]{1,3}){0,3}".prop_map(String::into_bytes);
    let target = prop::collection::vec(1..=u8::MAX, 0..20);
    let kind = prop_oneof![
        Just(IndexKind::Directory),
        Just(IndexKind::File),
        target.prop_map(|target| IndexKind::Symlink { target }),
        path().prop_map(|target| IndexKind::HardLink { target }),
        Just(IndexKind::Other),
    ];
    let entry = (kind, 0..=0o7777_u32, any::<u32>(), any::<u32>())
        .prop_map(|(kind, mode, uid, gid)| IndexEntry { kind, mode, uid, gid });
    let paths = || prop::collection::btree_set(path(), 0..4);
    let accounts = || prop::option::of(prop::collection::vec(any::<u8>(), 0..50));
    (prop::collection::btree_map(path(), entry, 0..20), paths(), paths(), accounts(), accounts())
        .prop_map(|(entries, whiteouts, opaque, passwd, group)| LayerIndex {
            entries,
            whiteouts,
            opaque,
            passwd,
            group,
        })
}

/// Bytes changed, inserted or removed.
#[derive(Clone, Debug)]
enum Damage {
    Change(u8),
    Insert(Vec<u8>),
    Remove(usize),
}

fn any_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<u8>().prop_map(Damage::Change),
        prop::collection::vec(any::<u8>(), 1..12).prop_map(Damage::Insert),
        (1_usize..30).prop_map(Damage::Remove),
    ]
}

/// Whether an index obeys the rules that layers obey.
fn is_valid(index: &LayerIndex) -> bool {
    let LayerIndex { entries, whiteouts, opaque, .. } = index;
    let entry = |entry: &IndexEntry| match &entry.kind {
        IndexKind::Symlink { target } => !target.contains(&0),
        IndexKind::HardLink { target } => is_clean(target),
        _ => true,
    };
    let mode = |entry: &IndexEntry| entry.mode <= 0o7777;
    let mut paths = entries.keys().chain(whiteouts).chain(opaque);
    paths.all(|path| is_clean(path)) && entries.values().all(|it| entry(it) && mode(it))
}

/// A layer as it may be written: sorted, with links to files before them.
fn any_layer() -> impl Strategy<Value = Vec<(Entry, Vec<u8>)>> {
    let content = prop::collection::vec(any::<u8>(), 0..40);
    let member = (0..8_u8, content, 0..=0o7777_u32, any::<u32>(), any::<u32>());
    let path = prop_oneof![
        Just("etc/passwd".to_owned()),
        Just("etc/group".to_owned()),
        "[a-c]{1,2}(/[a-c]{1,2}){0,2}",
    ];
    prop::collection::btree_map(path, member, 0..15).prop_map(|members| {
        let mut first_file: Option<Vec<u8>> = None;
        let mut layer: Vec<(Entry, Vec<u8>)> = Vec::new();
        let mut sorted: Vec<_> = members.into_iter().collect();
        sorted.sort_by(|(a, _), (b, _)| path_order(a.as_bytes(), b.as_bytes()));
        for (path, (kind, content, mode, uid, gid)) in sorted {
            let kind = match (kind, &first_file) {
                (0, _) => Kind::Directory,
                (1, _) => Kind::Symlink { target: b"../x".to_vec() },
                (2, Some(target)) => Kind::HardLink { target: target.clone() },
                (3, _) => Kind::Whiteout,
                (4, _) => Kind::Opaque,
                (5, _) => Kind::CharDevice { major: 1, minor: 3 },
                _ => Kind::File { size: content.len() as u64 },
            };
            let content = if matches!(kind, Kind::File { .. }) { content } else { Vec::new() };
            let mut entry = Entry::new(path, kind, mode, 0);
            (entry.uid, entry.gid) = (uid, gid);
            if matches!(entry.kind, Kind::File { .. }) {
                first_file.get_or_insert_with(|| entry.path.clone());
            }
            layer.push((entry, content));
        }
        layer
    })
}

proptest! {
    #[test]
    fn the_index_of_a_written_layer_is_that_of_the_layer_that_is_read(layer in any_layer()) {
        let directory = tempfile::tempdir().unwrap();
        let mut made = None;
        let never = AtomicBool::new(false);
        let blob = write_layer(directory.path(), Compression::default(), 1, &never, &mut |sink| {
            let mut tee = IndexTee::new(sink);
            for (entry, content) in &layer {
                tee.entry(entry, &mut content.as_slice())?;
            }
            made = tee.finish();
            Ok(())
        });
        let blob = blob.unwrap();
        let mut read = IndexSink::new();
        read_layer(blob.path.as_ref().unwrap(), Some(blob.diff_id), &mut read).unwrap();
        prop_assert_eq!(made.unwrap(), read.finish());
    }

    #[test]
    fn indexes_are_read_as_written(index in any_index()) {
        let bytes = index.to_bytes(layer_id());
        prop_assert_eq!(LayerIndex::from_bytes(&bytes, layer_id()).unwrap(), index);
    }

    #[test]
    fn damaged_indexes_are_refused_or_valid(
        index in any_index(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any_damage()), 1..5),
    ) {
        let mut raw = zstd::stream::decode_all(index.to_bytes(layer_id()).as_slice()).unwrap();
        for (at, damage) in damage {
            let at = at.index(raw.len() + 1).max(HEAD.min(raw.len()));
            match damage {
                Damage::Change(byte) => raw.iter_mut().skip(at).take(1).for_each(|it| *it = byte),
                Damage::Insert(bytes) => drop(raw.splice(at..at, bytes)),
                Damage::Remove(count) => drop(raw.drain(at..(at + count).min(raw.len()))),
            }
        }
        let bytes = zstd::bulk::compress(&raw, 1).unwrap();
        if let Ok(read) = LayerIndex::from_bytes(&bytes, layer_id()) {
            prop_assert!(is_valid(&read));
            let again = LayerIndex::from_bytes(&read.to_bytes(layer_id()), layer_id());
            prop_assert_eq!(again.unwrap(), read);
        }
    }

    #[test]
    fn damaged_frames_never_panic(
        index in any_index(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = index.to_bytes(layer_id());
        changes.iter().for_each(|(at, byte)| *at.get_mut(&mut bytes) = *byte);
        if let Ok(read) = LayerIndex::from_bytes(&bytes, layer_id()) {
            prop_assert!(is_valid(&read));
        }
    }

    #[test]
    fn any_stack_of_layers_can_be_merged_and_walked(layers in prop::collection::vec(any_index(), 1..4)) {
        let mut merged = MergedIndex::new();
        let paths: Vec<Vec<u8>> =
            layers.iter().flat_map(|layer| layer.entries.keys().cloned()).collect();
        layers.into_iter().for_each(|layer| merged.push_layer(layer));
        for path in paths {
            if let Ok(resolved) = merged.resolve(&path) {
                prop_assert!(resolved.split(|&byte| byte == b'/').all(|part| part != b".."));
                let links = matches!(
                    merged.lookup(&resolved).map(|found| &found.entry.kind),
                    Some(IndexKind::Symlink { .. })
                );
                prop_assert!(!links);
            }
        }
    }
}
