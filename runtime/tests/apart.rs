//! Layers that were unpacked apart are the layers that are unpacked one upon the other.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use longshore_runtime::Error;
use longshore_runtime::entry::Kind;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::fs::{lgetxattr, llistxattr};

use crate::bench::{Bench, Taken, dir, file, hard_link, link, opaque, owned, whiteout, with_xattr};

/// Everything about an object that a layer or an overlay can tell.
type Facts = (Vec<u64>, BTreeMap<Vec<u8>, Vec<u8>>, Vec<u8>);

/// All objects of a tree; only root can read every tree.
fn tree(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|item| item.unwrap().path()));
        }
        let content = match stat.file_type() {
            kind if kind.is_file() => fs::read(&path).unwrap(),
            kind if kind.is_symlink() => {
                fs::read_link(&path).unwrap().as_os_str().as_bytes().into()
            }
            _ => Vec::new(),
        };
        let mut numbers = vec![stat.mode().into(), stat.uid().into(), stat.gid().into()];
        numbers.extend([stat.nlink(), stat.rdev()]);
        // A whiteout has the time at which it was made, which nobody ever sees.
        if stat.mode() & 0o170_000 != 0o020_000 {
            numbers.extend([stat.mtime() as u64, stat.mtime_nsec() as u64]);
        }
        let name = path.strip_prefix(root).unwrap().to_owned();
        found.insert(name, (numbers, attributes(&path), content));
    }
    found
}

pub(crate) fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 4096];
    let length = llistxattr(path, names.as_mut_slice()).unwrap();
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 4096];
        let length = lgetxattr(path, name, value.as_mut_slice()).unwrap();
        value[..length].to_vec()
    };
    names.map(|name| (name.to_vec(), value(name))).collect()
}

fn path() -> impl Strategy<Value = String> {
    vec(prop::sample::select(vec!["a", "b", "c"]), 1..5).prop_map(|names| names.join("/"))
}

fn entry() -> impl Strategy<Value = Taken> {
    let mode = prop::sample::select(vec![0o755_u32, 0o700, 0o2770, 0o1777, 0]);
    prop_oneof![
        3 => (path(), mode, 0_u32..3, 0_i64..4).prop_map(|(path, mode, id, time)| {
            let mut taken = owned(dir(&path, mode), id, id + 1);
            taken.0.mtime = time;
            taken
        }),
        1 => (path(), any::<u8>()).prop_map(|(path, value)| {
            with_xattr(dir(&path, 0o711), "user.note", &[value])
        }),
        6 => path().prop_map(|path| file(&path, &path)),
        1 => (path(), path()).prop_map(|(path, target)| hard_link(&path, &target)),
        1 => (path(), path()).prop_map(|(path, target)| link(&path, &format!("/{target}"))),
        1 => path().prop_map(|path| link(&path, "..")),
        2 => path().prop_map(|path| whiteout(&path)),
        2 => path().prop_map(|path| opaque(&path)),
        1 => Just(opaque("")),
        1 => (0_i64..4).prop_map(|time| {
            let mut root = dir("", 0o750);
            root.0.mtime = time;
            root
        }),
    ]
}

impl Bench {
    /// Unpacks a layer apart and settles it.
    pub(crate) fn apart(&self, lowers: &[PathBuf], entries: &[Taken]) -> Result<PathBuf, Error> {
        let (from, to) = (self.fresh("apart"), self.fresh("settled"));
        self.sandbox.unpack_apart(&from, &mut |sink| {
            entries
                .iter()
                .try_for_each(|(entry, content)| sink.entry(entry, &mut content.as_slice()))
        })?;
        self.sandbox.settle(&from, lowers, &to)?;
        Ok(to)
    }

    fn compare(&self, chain: &[Vec<Taken>]) {
        let (mut upon, mut apart) = (Vec::new(), Vec::new());
        for entries in chain {
            let (one, other) = (self.try_layer(&upon, entries), self.apart(&apart, entries));
            let (one, other) = match (one, other) {
                (Ok((one, _)), Ok(other)) => (one, other),
                (Err(one), Err(other)) => {
                    let text = |error: Error| {
                        let text = error.to_string();
                        text.split(" into ").next().map(str::to_owned)
                    };
                    return assert_eq!(text(one), text(other), "{entries:?}");
                }
                (one, other) => panic!("one failed: {one:?} {other:?} {entries:?}"),
            };
            assert_eq!(tree(&one), tree(&other), "{chain:?}");
            upon.push(one);
            apart.push(other);
        }
    }
}

fn root_bench() -> Option<Bench> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not again: only root can look into every tree");
        return None;
    }
    Bench::new()
}

#[test]
fn random_chains_come_out_the_same() {
    let Some(bench) = root_bench() else { return };
    let chains = vec(vec(entry(), 0..10), 1..4);
    // Every layer starts three processes.
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(60) });
    runner
        .run(&chains, |chain| {
            bench.compare(&chain);
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_chains_have_got_wrong_comes_out_the_same() {
    let Some(bench) = root_bench() else { return };
    let mut var = owned(dir("var", 0o2751), 11, 12);
    var.0.mtime = 777;
    let below = vec![
        owned(dir("", 0o711), 5, 6),
        with_xattr(var, "user.kind", b"below"),
        dir("var/lib", 0o700),
        file("etc", "a file below"),
        dir("gone", 0o700),
        dir("gone/deep", 0o700),
    ];
    for above in [
        vec![file("var/lib/new/file", ""), file("etc/x", ""), file("gone/deep/x", "")],
        vec![file("var/x", ""), dir("var", 0o700)],
        vec![file("var/x", ""), file("var", "now a file"), file("var/y", "")],
        vec![file("var/x", ""), whiteout("var"), file("var/y", "")],
        vec![whiteout("var"), file("var/lib/x", "")],
        vec![dir("var", 0o700), opaque("var"), file("var/lib/x", "")],
        vec![file("var/lib/x", ""), opaque("var")],
        vec![opaque(""), file("var/lib/x", "")],
        vec![file("var/lib/x", ""), opaque(""), file("gone/x", "")],
        vec![link("l", "var/lib"), file("l/x", ""), file("l/deep/y", "")],
        vec![whiteout("gone"), whiteout("etc"), file("etc/x", "")],
        vec![],
    ] {
        bench.compare(&[below.clone(), above.clone(), vec![file("var/lib/z", "")]]);
        bench.compare(&[below.clone(), vec![whiteout("var")], above]);
    }
}

#[test]
fn a_directory_that_is_listed_after_all_is_what_the_list_says() {
    let Some(bench) = root_bench() else { return };
    let below = bench.layer(&[], &[with_xattr(dir("d", 0o700), "user.note", b"below")]);
    let entries = [file("d/x", ""), dir("d", 0o711)];
    let layer = bench.apart(std::slice::from_ref(&below), &entries).unwrap();
    assert_eq!(tree(&layer)[Path::new("d")].1, BTreeMap::new());
    assert_eq!(entries[1].0.kind, Kind::Directory);
    assert_eq!(tree(&layer)[Path::new("d")].0[0], 0o40711);
}

#[test]
fn nothing_of_the_way_is_left_behind() {
    let Some(bench) = root_bench() else { return };
    let below = bench.layer(&[], &[dir("a", 0o700)]);
    let layer = bench.apart(&[below], &[file("a/b/c", ""), file("d/e", "")]).unwrap();
    let marks = tree(&layer).into_iter().filter(|(_, facts)| !facts.1.is_empty());
    assert_eq!(marks.count(), 0);
    let names =
        fs::read_dir(layer.parent().unwrap()).unwrap().map(|item| item.unwrap().file_name());
    let journals = names.filter(|name| name.to_string_lossy().ends_with(".implied"));
    assert_eq!(journals.count(), 0);
}
