//! Layers as other programs read them: GNU tar, Python's tarfile, bsdtar, umoci, skopeo.

mod listing;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ::longshore::layer::{Compression, TarWriter, path_order, write_layer};
use longshore_runtime::entry::{Entry, EntrySink, Kind};
use serde_json::json;

use crate::support::git::COMMIT_TIME;
use crate::support::random::Random;
use crate::support::tarball::{Meta, Tarball};
use crate::support::{Git, Image, Sandbox, is_root, layout, longshore};
use listing::{Deletions, Entries, Listing, assert_same, of_archive, of_directory, of_entries};

const TIME: i64 = 1_700_000_000;

fn directory(path: &str) -> Entry {
    Entry::new(path, Kind::Directory, 0o755, TIME)
}

fn symlink(path: &str, target: impl Into<Vec<u8>>) -> Entry {
    Entry::new(path, Kind::Symlink { target: target.into() }, 0o777, TIME)
}

fn file(path: impl Into<Vec<u8>>, size: u64) -> Entry {
    Entry::new(path, Kind::File { size }, 0o644, TIME)
}

/// One entry of every kind, and of everything that a field has no room for.
fn every_kind() -> Entries {
    // 155 bytes are the most that a prefix holds; 255 the most that a name has.
    let (long, deep) = ("l".repeat(220), format!("{}/{}", "p".repeat(120), "q".repeat(34)));
    let mut attributes = file("attributes", 5);
    attributes.xattrs.insert(b"user.a".to_vec(), b"1\n20 path=smuggled\n".to_vec());
    // Version 2: cap_net_raw, permitted and effective.
    let mut capability = vec![1, 0, 0, 2, 0, 0x20, 0, 0];
    capability.resize(20, 0);
    attributes.xattrs.insert(b"security.capability".to_vec(), capability);
    let mut entries = vec![
        directory(""),
        Entry::new("tmp", Kind::Directory, 0o1777, TIME),
        Entry::new("dev", Kind::Directory, 0o2755, TIME),
        Entry::new("dev/null", Kind::CharDevice { major: 1, minor: 3 }, 0o666, TIME),
        Entry::new("dev/disk", Kind::BlockDevice { major: 259, minor: 70_000 }, 0o660, TIME),
        Entry::new("dev/pipe", Kind::Fifo, 0o600, TIME),
        file("empty", 0),
        file("block", 512),
        file("more", 513),
        Entry::new("setuid", Kind::File { size: 3 }, 0o4755, TIME),
        attributes,
        symlink("link", "../outside"),
        symlink("link-long", "t".repeat(150)),
        symlink("link-not-utf-8", b"caf\xe9".as_slice()),
        file(b"not-utf-8-\xff\xfe".as_slice(), 1),
        file([b"not-utf-8-".as_slice(), &[0xe9; 120]].concat(), 2),
        file("caf\u{e9}", 3),
        file(format!("caf\u{e9}-{}", "\u{e9}".repeat(60)), 4),
        file(" -leading and trailing \n", 1),
        file("n".repeat(100), 1),
        file("n".repeat(101), 1),
        directory(&"p".repeat(120)),
        directory(&deep),
        file(format!("{deep}/{}", "n".repeat(100)), 10),
        directory(&long),
        file(format!("{long}/{}", "m".repeat(255)), 20),
        Entry::new(
            "second-name",
            Kind::HardLink { target: format!("{long}/{}", "m".repeat(255)).into() },
            0o644,
            TIME,
        ),
        Entry { uid: 2_097_151, gid: 2_097_151, ..file("ids-octal", 0) },
        Entry { uid: 2_097_152, gid: 4_000_000_000, ..file("ids-large", 0) },
        Entry { mtime: -5, ..file("before-1970", 0) },
        Entry { mtime: 8_589_934_591, ..file("octal-time", 0) },
        Entry { mtime: 9_000_000_000, ..file("far-time", 0) },
        directory("lower"),
        Entry::new("lower/gone", Kind::Whiteout, 0, 0),
        directory("emptied"),
        Entry::new("emptied", Kind::Opaque, 0, 0),
        file("emptied/new", 1),
    ];
    let order = |entry: &Entry| entry.kind == Kind::Opaque;
    entries.sort_by(|a, b| path_order(&a.path, &b.path).then(order(a).cmp(&order(b))));
    let content = |entry: &Entry| match entry.kind {
        Kind::File { size } => (0..size).map(|at| (at % 251).to_le_bytes()[0]).collect(),
        _ => Vec::new(),
    };
    entries.into_iter().map(|entry| (content(&entry), entry)).map(|(c, e)| (e, c)).collect()
}

fn tar_of(entries: &Entries) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    for (entry, content) in entries {
        tar.entry(entry, &mut content.as_slice()).expect("the sample is in order");
    }
    tar.finish().expect("memory takes everything")
}

/// Devices, owners and capabilities are root's.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn may_unpack() -> bool {
    let may = is_root();
    if !may {
        println!("skipped: only root can unpack devices and owners");
    }
    may
}

fn sample(sandbox: &Sandbox) -> (Entries, PathBuf) {
    let entries = every_kind();
    let path = sandbox.write("sample.tar", tar_of(&entries));
    (entries, path)
}

fn unpacked(sandbox: &Sandbox, words: &[&str], archive: &Path) -> Listing {
    fs_err::create_dir(sandbox.path("unpacked")).expect("it is new");
    let (program, words) = words.split_first().expect("a program");
    let run = sandbox.tool(program).args(words).arg(archive).arg("-C");
    let outcome = run.arg(sandbox.path("unpacked")).outcome().success();
    // GNU tar does not know the record that says that names are bytes, but takes the names.
    let unknown = "tar: Ignoring unknown extended header keyword 'hdrcharset'\n";
    assert_eq!(outcome.stderr.replace(unknown, ""), "", "no warnings");
    of_directory(&sandbox.path("unpacked"))
}

#[test]
fn python_finds_what_was_written() {
    let sandbox = Sandbox::new();
    let (entries, path) = sample(&sandbox);
    assert_same(&of_archive(&path), &of_entries(&entries, Deletions::Files), "tarfile");
}

#[test]
fn gnu_tar_unpacks_what_was_written() {
    if !may_unpack() {
        return;
    }
    let sandbox = Sandbox::new();
    let (entries, path) = sample(&sandbox);
    let words = [
        "tar",
        "--numeric-owner",
        "--warning=no-timestamp",
        "--xattrs",
        "--xattrs-include=*",
        "-xpf",
    ];
    let found = unpacked(&sandbox, &words, &path);
    assert_same(&found, &of_entries(&entries, Deletions::Files), "GNU tar");
}

#[test]
fn bsdtar_unpacks_what_was_written() {
    if !may_unpack() {
        return;
    }
    let sandbox = Sandbox::new();
    let (entries, path) = sample(&sandbox);
    let found = unpacked(&sandbox, &["bsdtar", "--numeric-owner", "-xpf"], &path);
    assert_same(&found, &of_entries(&entries, Deletions::Files), "bsdtar");
}

#[test]
fn umoci_unpacks_what_was_written() {
    if !may_unpack() {
        return;
    }
    let sandbox = Sandbox::new();
    let (entries, _) = sample(&sandbox);
    let mut below = Tarball::new();
    below.directory("lower", Meta::mode(0o700));
    below.file("lower/gone", Meta::mode(0o644), "from below\n");
    below.directory("emptied", Meta::mode(0o700));
    below.file("emptied/old", Meta::mode(0o644), "from below\n");
    let layer = |tar| layout::Layer { tar, created_by: "a test" };
    let layers = [layer(below.finish()), layer(tar_of(&entries))];
    let image = sandbox.path("image");
    fs_err::create_dir(&image).expect("it is new");
    layout::write(&image, &layers, &json!({}));
    let source = format!("{}:{}", image.display(), layout::TAG);
    let bundle = sandbox.path("bundle");
    sandbox.tool("umoci").args(["unpack", "--image", &source]).arg(&bundle).succeed();
    let found = of_directory(&bundle.join("rootfs"));
    assert_same(&found, &of_entries(&entries, Deletions::Done), "umoci");
}

#[test]
fn skopeo_takes_layers_of_every_compression() {
    let sandbox = Sandbox::new();
    let entries = every_kind();
    for (name, compression) in
        [("gzip", Compression::GZIP), ("zstd", Compression::ZSTD), ("none", Compression::None)]
    {
        let place = sandbox.path(name);
        let image = image_of(&place, &entries, compression);
        // With --dest-decompress skopeo reads what it copies, instead of passing it on.
        let copy = sandbox.tool("skopeo").args(["--insecure-policy", "copy", "--dest-decompress"]);
        let copied = place.join("copied");
        copy.arg(&image).arg(format!("dir:{}", copied.display())).succeed();
        let layers = Image::read(&copied).layers;
        assert_eq!(layers.len(), 1, "{name}");
        let (found, expected) =
            (of_archive(&layers[0].path), of_entries(&entries, Deletions::Files));
        assert_same(&found, &expected, &format!("skopeo, from {name},"));
    }
}

/// An OCI layout at `place` with one layer; returns its name for skopeo.
fn image_of(place: &Path, entries: &Entries, compression: Compression) -> String {
    let blobs = place.join("blobs");
    let produce = &mut |sink: &mut dyn EntrySink| {
        entries.iter().try_for_each(|(entry, content)| sink.entry(entry, &mut content.as_slice()))
    };
    let layer = write_layer(&blobs, compression, 2, &AtomicBool::new(false), produce);
    let layer = layer.expect("the sample is in order");
    let put = |bytes: &[u8], media_type: &str| {
        let digest = ::longshore::hashing::sha256(bytes);
        fs_err::write(blobs.join("sha256").join(digest.hex()), bytes).expect("writable");
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    };
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id.to_string()]},
    });
    let config = put(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": config,
        "layers": [{
            "mediaType": layer.media_type, "digest": layer.digest.to_string(), "size": layer.size,
        }],
    });
    let mut manifest = put(manifest.to_string().as_bytes(), media_type);
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs_err::write(place.join("index.json"), index.to_string()).expect("writable");
    fs_err::write(place.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("writable");
    format!("oci:{}:v1", place.display())
}

#[test]
fn a_committed_tree_comes_out_of_gnu_tar_as_it_was_committed() {
    for seed in 0..8 {
        check_committed(seed);
    }
}

/// Random tree → git → layer → GNU tar → the same tree.
fn check_committed(seed: u64) {
    let sandbox = Sandbox::new();
    let project = sandbox.path("project");
    let entries = random_tree(&mut Random::new(seed));
    for (entry, content) in &entries {
        make(&project.join("tree").join(OsStr::from_bytes(&entry.path)), entry, content);
    }
    sandbox.write("project/Dockerfile", "FROM scratch\nCOPY tree /\n");
    Git::init(&project).commit("a tree");
    longshore(&sandbox).args(["build", "project", "--project", "p", "--tag", "v1"]).succeed();
    let image = sandbox.path("state/layouts/p");
    let image = Image::local(&sandbox, &format!("oci:{}:v1", image.display()));
    assert_eq!(image.layers.len(), 1, "seed {seed}");
    let mut words = vec!["tar", "--numeric-owner", "-xpzf"];
    if !is_root() {
        words.insert(1, "--no-same-owner");
    }
    let mut found = unpacked(&sandbox, &words, &image.layers[0].path);
    let mut expected = of_entries(&entries, Deletions::Done);
    if !is_root() {
        for row in found.values_mut().chain(expected.values_mut()) {
            *row = without_owner(row);
        }
    }
    assert_same(&found, &expected, &format!("GNU tar, of seed {seed},"));
}

fn without_owner(row: &str) -> String {
    row.split(' ').filter(|word| !word.contains(':')).collect::<Vec<_>>().join(" ")
}

fn make(path: &Path, entry: &Entry, content: &[u8]) {
    use fs_err::os::unix::fs::symlink;
    match &entry.kind {
        Kind::Directory => fs_err::create_dir_all(path).expect("the tree is consistent"),
        Kind::Symlink { target } => {
            symlink(OsStr::from_bytes(target), path).expect("the tree is consistent");
        }
        _ => {
            crate::support::sandbox::write(path, content);
            crate::support::sandbox::set_mode(path, entry.mode);
        }
    }
}

/// Files, links and the directories above them, as git can have them.
fn random_tree(random: &mut Random) -> Entries {
    let mut tree = BTreeMap::new();
    for _ in 0..1 + random.below(40) {
        let mut path = Vec::new();
        for _ in 0..random.below(4) {
            path.extend(random_name(random));
            // What is a file or link already stays one.
            let parent = tree.get(&path).map(|(entry, _): &(Entry, Vec<u8>)| &entry.kind);
            if parent.is_some_and(|kind| *kind != Kind::Directory) {
                break;
            }
            tree.insert(
                path.clone(),
                (Entry::new(path.clone(), Kind::Directory, 0o755, 0), vec![]),
            );
            path.push(b'/');
        }
        if !path.is_empty() && path.last() != Some(&b'/') {
            continue;
        }
        path.extend(random_name(random));
        let made = random_leaf(random, &path);
        tree.entry(path).or_insert(made);
    }
    drop_empty(&mut tree);
    let commit = i64::try_from(COMMIT_TIME).expect("a time of this century");
    let dated = |(entry, content)| (Entry { mtime: commit, ..entry }, content);
    tree.into_values().map(dated).collect()
}

/// git has no empty directories.
fn drop_empty(tree: &mut BTreeMap<Vec<u8>, (Entry, Vec<u8>)>) {
    let leaves: Vec<Vec<u8>> = tree
        .values()
        .filter(|(entry, _)| entry.kind != Kind::Directory)
        .map(|(entry, _)| entry.path.clone())
        .collect();
    let holds = |directory: &[u8]| {
        let start = [directory, b"/"].concat();
        leaves.iter().any(|leaf| leaf.starts_with(&start))
    };
    tree.retain(|path, (entry, _)| entry.kind != Kind::Directory || holds(path));
}

fn random_leaf(random: &mut Random, path: &[u8]) -> (Entry, Vec<u8>) {
    if random.once_in(5) {
        let target = [random_name(random), b"/../".to_vec(), random_name(random)].concat();
        return (Entry::new(path, Kind::Symlink { target }, 0o777, 0), Vec::new());
    }
    let size = if random.once_in(6) { 0 } else { random.below(3000) };
    let content: Vec<u8> = (0..size).map(|_| random.next().to_le_bytes()[0]).collect();
    let mode = if random.once_in(3) { 0o755 } else { 0o644 };
    (Entry::new(path, Kind::File { size: size as u64 }, mode, 0), content)
}

fn random_name(random: &mut Random) -> Vec<u8> {
    const NAMES: &[&[u8]] =
        &[b"a", b"a.b", b"a b", b"-x", b"caf\xc3\xa9", b"\xff\xfe", b"new\nline", b"*", b"z'\"\\"];
    if random.once_in(8) {
        let letter = *random.pick(b"lmn");
        return vec![letter; 60 + random.below(190)];
    }
    random.pick(NAMES).to_vec()
}
