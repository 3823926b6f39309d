//! One kind of change a row, upon an overlay and in a plain tree.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{XattrFlags, fremovexattr, fsetxattr};

use super::ground::{Emitted, Ground, in_own_mounts};
use super::script::Content;
use crate::entry::Kind;
use crate::init::changes::Ignored;

/// A row: what is there before, what the step does, what is emitted. Everything there before has
/// the time 100.
struct Row(&'static str, &'static str, &'static [&'static str]);

/// Rows that hold for both readers.
const BOTH: &[Row] = &[
    Row("echo one >f; mkdir d", "true", &[]),
    // Same size, old time.
    Row("echo one >f", "echo two >f; touch -d @100 f", &["f file two 644 0:0 @100"]),
    Row("echo one >f", "touch -d @300 f", &["f file one 644 0:0 @300"]),
    Row("echo one >f", "chmod 600 f", &["f file one 600 0:0 @100"]),
    Row("echo one >f", "chmod 4755 f", &["f file one 4755 0:0 @100"]),
    Row("echo one >f", "chown 5:6 f", &["f file one 644 5:6 @100"]),
    Row("mkdir d", "chown 5:6 d; chmod 2711 d", &["d directory 2711 5:6 @100"]),
    Row("echo one >a; echo two >b", "mv a b", &["a gone", "b file one 644 0:0 @100"]),
    Row("ln -s aa l", "ln -sfn bb l; touch -h -d @100 l", &["l link bb 777 0:0 @100"]),
    // Another file, most likely with the same inode.
    Row(
        "echo one >f",
        "i=$(stat -c %i f); for n in 1 2 3 4 5 6 7 8 9; do rm f; echo two >f; touch -d @100 f; \
         [ $(stat -c %i f) = $i ] && break; done; true",
        &["f file two 644 0:0 @100"],
    ),
    Row(
        "mkdir d; echo x >d/f",
        "cp -a d e; rm -r d",
        &["d gone", "e directory 755 0:0 @100", "e/f file x 644 0:0 @100"],
    ),
    Row("mkdir d; echo x >d/f", "rm -r d; ln -s x d", &["d link x 777 0:0 @1000"]),
    Row(
        "ln -s x d",
        "rm d; mkdir d; echo y >d/f",
        &["d directory 755 0:0 @1000", "d/f file y 644 0:0 @1000"],
    ),
    Row("mkdir d; echo x >d/f", "rm -r d; echo x >d", &["d file x 644 0:0 @1000"]),
    Row("echo x >d", "rm d; mkdir d; touch -d @100 d", &["d directory 755 0:0 @100"]),
    Row("true", "truncate -s 1M s; touch -d @9 s", &["s file 1048576 bytes 644 0:0 @9"]),
    Row("truncate -s 1M s", "truncate -s 0 s; truncate -s 1M s; touch -d @100 s", &[]),
    Row("true", "echo x >\"$(printf 'n\\377')\"", &["n\u{fffd} file x 644 0:0 @1000"]),
    Row(
        "mkdir z; echo x >z/f; chmod 0 z z/f",
        "echo y >z/f",
        &["z directory 0 0:0 @100", "z/f file y 0 0:0 @1000"],
    ),
    Row(
        "true",
        "mknod c c 1 3; mknod b b 8 1; mkfifo p; chmod 640 p; touch -d @7 b c p",
        &[
            "b BlockDevice { major: 8, minor: 1 } 644 0:0 @7",
            "c CharDevice { major: 1, minor: 3 } 644 0:0 @7",
            "p Fifo 640 0:0 @7",
        ],
    ),
    Row(
        "mknod c c 1 3; mkfifo p",
        "rm c p; mknod c c 1 5; mkfifo p; touch -d @100 c p",
        &["c CharDevice { major: 1, minor: 5 } 644 0:0 @100"],
    ),
    // The same again is no change.
    Row("echo one >f", "rm f; echo one >f; touch -d @100 f", &[]),
    Row("echo one >f", "touch f; touch -d @100 f", &[]),
    Row("echo one >f", "touch -d @100.5 f", &[]),
    Row("echo one >f; mkdir d", "chmod 600 f d; chmod 644 f; chmod 755 d", &[]),
    Row("echo one >f; mkdir d; echo x >d/f; ln -s x d/l", "chown -hR 0:0 .", &[]),
    Row("echo one >f", ": >>f", &[]),
    Row("echo one >f", "cp -p f g; mv g f", &[]),
    Row("ln -s x l; mkfifo p", "rm l p; ln -s x l; mkfifo p; touch -h -d @100 l p", &[]),
    Row("mkdir d", "mkdir d/x; rmdir d/x", &["d directory 755 0:0 @1000"]),
    Row("mkdir d", "mkdir d/x; rmdir d/x; touch -d @100 d", &[]),
    Row("mkdir d; echo x >d/f", "rm -r d; mkdir d; echo x >d/f; touch -d @100 d/f d", &[]),
    // What clamping makes the same is no change either.
    Row("echo one >f; touch -d @5000 f", "touch -d @6000 f", &[]),
    Row("echo one >f; touch -d @5000 f", "touch -d @900 f", &["f file one 644 0:0 @900"]),
    // Directories on the way come along.
    Row(
        "mkdir -p a/b; echo one >a/b/f; chown 7:8 a; chmod 2750 a; touch -d @9 a",
        "echo two >>a/b/f",
        &[
            "a directory 2750 7:8 @9",
            "a/b directory 755 0:0 @100",
            "a/b/f file one\ntwo 644 0:0 @1000",
        ],
    ),
    Row(
        "mkdir -p d/e d/k; echo x >d/f; echo x >d/e/g; echo x >d/k/h",
        "rm -r d; mkdir d; mkdir d/k; echo n >d/n; touch -d @100 d d/k",
        &[
            "d directory 755 0:0 @100",
            "d/e gone",
            "d/f gone",
            "d/k directory 755 0:0 @100",
            "d/k/h gone",
            "d/n file n 644 0:0 @1000",
        ],
    ),
    Row("mkdir d; echo x >d/f", "rm -r d; mkdir d; rmdir d", &["d gone"]),
    // A volume whose directories pass on their group and the bit that does so.
    Row(
        "mkdir g; chmod 2755 g; chgrp 7 g",
        "mkdir d; echo x >d/f; mkdir g/h; touch -d @1 g",
        &[
            "d directory 755 0:0 @1000",
            "d/f file x 644 0:0 @1000",
            "g directory 2755 0:7 @1",
            "g/h directory 2755 0:7 @1000",
        ],
    ),
    // Links.
    Row("echo one >f", "ln f g", &["f file one 644 0:0 @100", "g = f"]),
    Row("echo one >f", "ln f a; rm f", &["a file one 644 0:0 @100", "f gone"]),
    Row("echo x >a; echo x >b", "ln -f a b", &["a file x 644 0:0 @100", "b = a"]),
    Row("ln -s x l", "ln l k", &["k link x 777 0:0 @100", "l = k"]),
    Row("echo x >a; ln a b", "rm b", &["b gone"]),
    Row("echo x >a; ln a b", "rm a b; echo x >a; touch -d @100 a; ln a b", &[]),
    Row("echo x >a; ln a b", "cp -p b c; mv c b", &[]),
];

/// Rows for files of the layers below that have several names: an overlay copies one of them.
const LINKED: &[Row] = &[
    Row("echo x >a; ln a b", "echo y >b", &["a file y 644 0:0 @1000", "b = a"]),
    Row("echo x >a; ln a b", "mv b c", &["a file x 644 0:0 @100", "b gone", "c = a"]),
    Row("echo x >a; ln a b", "ln b c", &["a file x 644 0:0 @100", "b = a", "c = a"]),
    Row("echo x >a; ln a b", "chmod 600 b; chmod 644 b", &[]),
];

#[test]
fn each_kind_of_change_is_found_by_both_readers() {
    in_own_mounts(|| {
        for Row(before, step, expected) in BOTH {
            let of_overlay = upon_overlay(before, |root| sh(root, step));
            assert_eq!(lines(&of_overlay.entries), *expected, "overlay: {before} | {step}");
            let of_tree = in_tree(before, |root| sh(root, step));
            assert_eq!(lines(&of_tree.entries), *expected, "tree: {before} | {step}");
        }
    });
}

#[test]
fn a_change_of_a_file_is_one_of_all_its_names() {
    in_own_mounts(|| {
        for Row(before, step, expected) in LINKED {
            let emitted = in_tree(before, |root| sh(root, step));
            assert_eq!(lines(&emitted.entries), *expected, "{before} | {step}");
            assert!(emitted.stats.reusable, "{before} | {step}");
        }
    });
}

#[test]
fn a_tree_whose_links_are_not_the_layer_s_is_not_reusable() {
    in_own_mounts(|| {
        let emitted = in_tree("echo x >a; ln a b", |root| sh(root, "cp -p b c; mv c b"));
        assert!(emitted.entries.is_empty() && !emitted.stats.reusable);
    });
}

#[test]
fn a_socket_is_nothing() {
    let step = |root: &Path| {
        for name in ["new", "f", "d"] {
            sh(root, &format!("rm -rf {name}"));
            drop(UnixListener::bind(root.join(name)).unwrap());
        }
    };
    in_own_mounts(|| {
        for emitted in [
            upon_overlay("echo x >f; mkdir d; echo x >d/f", step),
            in_tree("echo x >f; mkdir d; echo x >d/f", step),
        ] {
            assert_eq!(lines(&emitted.entries), ["d gone", "f gone"]);
            assert_eq!(lines(&emitted.again), ["d gone", "f gone"]);
            assert_eq!((emitted.stats.skipped_sockets, emitted.stats.reusable), (3, true));
        }
    });
}

#[test]
fn attributes_alone_are_a_change() {
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".as_slice();
    let set = |root: &Path, name: &str, value: &[u8]| {
        let file = File::open(root.join("f")).unwrap();
        fsetxattr(&file, name, value, XattrFlags::empty()).unwrap();
        file
    };
    in_own_mounts(|| {
        for (name, value) in
            [("security.capability", capability), ("user.k", b"v".as_slice()), ("user.k", b"")]
        {
            let step = |root: &Path| drop(set(root, name, value));
            for emitted in [upon_overlay("echo x >f", step), in_tree("echo x >f", step)] {
                let (entry, _) = &emitted.entries[0];
                assert_eq!((entry.path.as_slice(), emitted.entries.len()), (b"f".as_slice(), 1));
                assert_eq!(entry.xattrs, [(name.into(), value.to_vec())].into(), "{name}");
            }
        }
        let back = |root: &Path| fremovexattr(set(root, "user.k", b"v"), "user.k").unwrap();
        for emitted in [upon_overlay("echo x >f", back), in_tree("echo x >f", back)] {
            assert_eq!(lines(&emitted.entries), [""; 0]);
        }
    });
}

#[test]
fn what_is_ignored_is_not_looked_at() {
    in_own_mounts(|| {
        let paths = ["dev", "etc/hosts", "new"].map(|path| path.as_bytes().to_vec());
        let ignored = Ignored::new(paths);
        // It does not matter whether that was known before the step.
        for before in [ignored.clone(), Ignored::default()] {
            let mut ground = Ground::new();
            ground.ignored = (before, ignored.clone());
            let lowers = lower(&ground, "mkdir dev etc; echo x >dev/x; echo x >etc/hosts");
            let step = "rm -r dev; rm etc/hosts; mkdir new; echo y >new/y; touch -d @100 etc";
            let emitted = ground.tree(&lowers, true, |root| sh(root, step));
            assert_eq!(lines(&emitted.entries), [""; 0]);
        }
    });
}

fn upon_overlay(before: &str, step: impl FnOnce(&Path)) -> Emitted {
    let ground = Ground::new();
    let lowers = lower(&ground, before);
    ground.overlay(&lowers, step)
}

fn in_tree(before: &str, step: impl FnOnce(&Path)) -> Emitted {
    let ground = Ground::new();
    // As a volume with a group of its own.
    fs::set_permissions(ground.at(""), fs::Permissions::from_mode(0o2777)).unwrap();
    let lowers = lower(&ground, before);
    ground.tree(&lowers, true, step)
}

/// Makes a layer with a script.
fn lower(ground: &Ground, script: &str) -> Vec<PathBuf> {
    let place = ground.at("lower");
    fs::create_dir(&place).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    sh(&place, script);
    sh(&place, "find . -newermt @10000 -exec touch -h -d @100 {} +");
    vec![ground.at("empty"), place]
}

fn sh(root: &Path, script: &str) {
    let ran = Command::new("sh").args(["-ec", script]).current_dir(root).output().unwrap();
    assert!(ran.status.success(), "{script}: {}", String::from_utf8_lossy(&ran.stderr));
}

fn lines(entries: &[Content]) -> Vec<String> {
    entries.iter().map(line).collect()
}

fn line((entry, content): &Content) -> String {
    let path = String::from_utf8_lossy(&entry.path);
    let what = match &entry.kind {
        Kind::Whiteout => return format!("{path} gone"),
        Kind::HardLink { target } => {
            return format!("{path} = {}", String::from_utf8_lossy(target));
        }
        Kind::File { size } if *size > 100 => format!("file {size} bytes"),
        Kind::File { .. } => format!("file {}", String::from_utf8_lossy(content).trim_end()),
        Kind::Symlink { target } => format!("link {}", String::from_utf8_lossy(target)),
        Kind::Directory => "directory".to_owned(),
        other => format!("{other:?}"),
    };
    format!("{path} {what} {:o} {}:{} @{}", entry.mode, entry.uid, entry.gid, entry.mtime)
}
