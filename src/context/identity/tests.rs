use super::*;
use crate::context::entry::Content;

fn entry(path: &str, kind: EntryKind, mode: u32) -> ContextEntry {
    let object = match kind {
        EntryKind::Directory => ObjectId::default(),
        _ => ObjectId::of_blob(b"hello\n"),
    };
    let path = path.as_bytes().to_vec();
    ContextEntry {
        path,
        kind,
        mode,
        size: 6,
        object,
        mtime: None,
        inode: None,
        content: Content::None,
    }
}

fn file(path: &str) -> ContextEntry {
    entry(path, EntryKind::File, 0o644)
}

fn directory(path: &str) -> ContextEntry {
    entry(path, EntryKind::Directory, 0o755)
}

#[test]
fn trees_have_gits_ids() {
    // `git mktree` of nothing, and of what is listed here.
    let root = |entries: &[ContextEntry]| of_entries(b"", entries).object.to_string();
    assert_eq!(root(&[]), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
    let entries = [
        directory("a"),
        file("a/x"),
        file("a-b"),
        file("a.txt"),
        entry("b", EntryKind::File, 0o755),
        entry("l", EntryKind::Symlink { target: b"hello\n".to_vec() }, 0o777),
    ];
    assert_eq!(root(&entries), "42850b208040572031af750eb6cde3b7c71306af");
    let below = of_entries(b"a", &entries[..2]);
    assert_eq!(below.object.to_string(), "e31a96220fbfbe7601ecc086a36b96dc27a8867e");
    assert_eq!(below.mode, TREE_MODE);
}

#[test]
fn a_file_is_its_blob() {
    let only = entry("d/run.sh", EntryKind::File, 0o755);
    let identity = of_entries(b"d/run.sh", std::slice::from_ref(&only));
    assert_eq!((identity.mode, identity.object), (EXECUTABLE_MODE, only.object));
    let private = entry("key", EntryKind::File, 0o600);
    assert_eq!(of_entries(b"key", &[private]).mode, 0o100_600);
}

#[test]
fn names_modes_and_kinds_count() {
    let plain = [directory("d"), file("d/a")];
    let link = EntryKind::Symlink { target: b"hello\n".to_vec() };
    let sum = |entries: &[ContextEntry]| of_entries(b"", entries);
    for others in [
        vec![],
        vec![directory("d"), file("d/b")],
        vec![directory("d"), entry("d/a", EntryKind::File, 0o755)],
        vec![directory("d"), entry("d/a", EntryKind::File, 0o600)],
        vec![directory("d"), entry("d/a", link, 0o777)],
        vec![entry("d", EntryKind::Directory, 0o700), file("d/a")],
        vec![directory("c"), directory("d"), file("d/a")],
        vec![directory("d"), directory("d/a")],
    ] {
        assert_ne!(sum(&others), sum(&plain), "{others:?}");
    }
}

#[test]
fn names_of_one_file_count_and_a_single_name_does_not() {
    let named = |path: &str, number: Option<u64>| {
        let inode = number.map(|number| Inode { device: 1, number });
        ContextEntry { inode, ..file(path) }
    };
    let sum = |a, b| of_entries(b"", &[named("a", a), named("b", b)]);
    let apart = sum(None, None);
    assert_eq!(sum(Some(5), Some(6)), apart);
    assert_ne!(sum(Some(5), Some(5)), apart);
    assert_eq!(sum(Some(5), Some(5)), sum(Some(7), Some(7)), "numbers mean nothing");
}

#[test]
fn a_submodule_without_files_is_named() {
    let entries = [directory("d"), entry("d/m", EntryKind::Submodule, 0o755)];
    assert_eq!(of_entries(b"d", &entries).submodule, Some(b"d/m".to_vec()));
}
