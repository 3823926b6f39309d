//! Layers that want out of their directory, or to be in the way: nothing outside is ever touched.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::time::Instant;

use longshore_runtime::Error;
use longshore_runtime::entry::{Entry, Kind};

use crate::apart::attributes;
use crate::bench::{
    Bench, Taken, dir, file, file_of, hard_link, link, opaque, owned, whiteout, with_xattr,
};

/// A directory beside the work directory that every case tries to reach.
struct Canary {
    path: PathBuf,
    before: BTreeMap<PathBuf, Vec<i64>>,
}

impl Canary {
    fn new(bench: &Bench) -> Self {
        let path = bench.root.path().join("canary");
        fs::create_dir_all(path.join("sub")).unwrap();
        fs::write(path.join("file"), "alive").unwrap();
        fs::write(path.join("sub/file"), "alive").unwrap();
        let before = facts(&path);
        Self { path, before }
    }

    fn text(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// The path as it is below a layer's root.
    fn inside(&self) -> String {
        self.text().trim_start_matches('/').to_owned()
    }
}

/// What changes when anything is done to a file: the times of change are the kernel's own.
fn facts(root: &Path) -> BTreeMap<PathBuf, Vec<i64>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|item| item.unwrap().path()));
        }
        let whole = [stat.ino(), stat.nlink(), stat.size(), stat.mode().into()];
        let mut numbers: Vec<i64> = whole.iter().map(|number| *number as i64).collect();
        numbers.extend([stat.ctime(), stat.ctime_nsec(), stat.mtime(), stat.mtime_nsec()]);
        found.insert(path, numbers);
    }
    found
}

fn device(path: &str, kind: Kind) -> Taken {
    (Entry::new(path, kind, 0o666, 5), Vec::new())
}

type Case = (&'static str, Vec<Taken>, Result<(), &'static str>);

/// Links that lead to the canary, and what can be tried through them.
fn escapes(canary: &Canary) -> Vec<Case> {
    let out = canary.text();
    let up = format!("{}{}", "../".repeat(40), canary.inside());
    let file_link = link("l", &format!("{out}/file"));
    let no_file = Err("No such file or directory");
    vec![
        ("write through a link", vec![link("d", out), file("d/file", "dead")], Ok(())),
        ("write through ..", vec![link("d", &up), file("d/file", "dead")], Ok(())),
        ("write through two", vec![link("a", "b"), link("b", out), file("a/x", "")], Ok(())),
        ("write over a link", vec![file_link.clone(), file("l", "dead")], Ok(())),
        ("mkdir over a link", vec![link("d", out), dir("d", 0o777)], Ok(())),
        ("mkdir below a link", vec![link("d", out), dir("d/sub", 0o777)], Ok(())),
        (
            "a directory that becomes a link",
            vec![dir("d", 0o755), file("d/x", ""), link("d", out), file("d/file", "dead")],
            Ok(()),
        ),
        (
            "a link that becomes a directory",
            vec![link("d", out), file("d/a", ""), dir("d", 0o700), file("d/file", "dead")],
            Ok(()),
        ),
        ("link to a link", vec![file_link, hard_link("h", "l"), file("h", "dead")], Ok(())),
        ("link through a link", vec![link("d", out), hard_link("h", "d/file")], no_file),
        ("link to the absolute name", vec![hard_link("h", &canary.inside())], no_file),
        ("link over a link", vec![file("f", ""), link("d", out), hard_link("d/file", "f")], Ok(())),
        ("delete through a link", vec![link("d", out), whiteout("d/file")], Ok(())),
        ("hide through a link", vec![link("d", out), opaque("d")], Ok(())),
        ("hide through a link below", vec![link("d", out), opaque("d/sub")], Ok(())),
        ("own through a link", vec![link("d", out), owned(dir("d/sub", 0o4777), 1, 1)], Ok(())),
        ("a device through a link", vec![link("d", out), device("d/x", Kind::Fifo)], Ok(())),
        ("links in a circle", vec![link("a", "a"), file("a/x", "")], Err("Too many levels")),
    ]
}

/// Entries that are only odd.
fn oddities(canary: &Canary) -> Vec<Case> {
    let not_utf8 = (Entry::new(*b"\xff\xfe\n", Kind::File { size: 0 }, 0o644, 0), Vec::new());
    let redirect = canary.text().as_bytes();
    let traps = ["trusted.overlay.redirect", "user.overlay.redirect", "user.longshore.implied"];
    let trap = traps.iter().fold(dir("t", 0o755), |entry, name| with_xattr(entry, name, redirect));
    let deep = ["deeeeeep"; 600].join("/");
    let (block, char) =
        (Kind::BlockDevice { major: 8, minor: 0 }, Kind::CharDevice { major: 1, minor: 1 });
    vec![
        ("names", vec![not_utf8, file("new\nline", ""), file("-rf", ""), file("*", "")], Ok(())),
        ("set user id", vec![file_of("s", 0o6755, b"#!"), dir("t", 0o3777)], Ok(())),
        ("attributes of the overlay", vec![trap], Ok(())),
        ("devices", vec![device("disk", block), device("mem", char)], Ok(())),
        (
            "closed directories",
            vec![dir("p", 0), dir("p/q", 0), file_of("p/q/x", 0, b"x"), hard_link("p/y", "p/q/x")],
            Ok(()),
        ),
        (
            "over and over",
            vec![
                file("x", "1"),
                dir("x", 0),
                file("x/y", ""),
                dir("x/z", 0),
                file("x", "2"),
                link("x", "x"),
                device("x", Kind::Fifo),
                dir("x", 0o755),
                file("x/y", ""),
                whiteout("x"),
                whiteout("x"),
                hard_link("x/w", "x/y"),
                hard_link("x/y", "x/w"),
            ],
            Ok(()),
        ),
        ("a directory linked", vec![dir("d", 0o755), hard_link("h", "d")], Err("not permitted")),
        ("a file as a parent", vec![file("f", ""), file("f/x", "")], Err("Not a directory")),
        ("longer than a path may be", vec![dir("deeeeeep", 0o755), file(&deep, "")], Ok(())),
        ("a long name", vec![file(&"n".repeat(256), "")], Err("File name too long")),
    ]
}

#[test]
fn nothing_outside_is_ever_touched() {
    let Some(bench) = Bench::new() else { return };
    let canary = Canary::new(&bench);
    let below = bench.layer(&[], &[dir("d", 0o755), file("x", "")]);
    for (what, entries, expected) in [escapes(&canary), oddities(&canary)].concat() {
        let upon = bench.try_layer(from_ref(&below), &entries).map(|_| ());
        let apart = bench.apart(from_ref(&below), &entries).map(|_| ());
        for outcome in [upon, apart] {
            match (expected, outcome) {
                (Ok(()), Ok(())) => {}
                (Err(part), Err(Error::Sandbox { source, .. })) => {
                    assert!(source.to_string().contains(part), "{what}: {source}");
                }
                (_, outcome) => panic!("{what}: {outcome:?}"),
            }
            assert_eq!(facts(&canary.path), canary.before, "{what}");
        }
    }
}

#[test]
fn overlay_attributes_of_an_archive_do_not_get_into_the_layer() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let secret = bench.layer(&[], &[dir("secret", 0o755), file("secret/file", "")]);
    let names = ["trusted.overlay.redirect", "user.overlay.redirect", "trusted.overlay.opaque"];
    let trap =
        names.iter().fold(dir("t", 0o755), |entry, name| with_xattr(entry, name, b"/secret"));
    let layers = [secret.clone(), root];
    let layer = bench.apart(&layers, &[trap]).unwrap();
    assert_eq!(attributes(&layer.join("t")), BTreeMap::new());
    let layers = [&layers[..], &[layer]].concat();
    assert_eq!(bench.sh(&layers, "ls /t; ls /secret").ok(), "file");
}

#[test]
fn a_hundred_thousand_entries_in_one_directory() {
    let Some(bench) = Bench::new() else { return };
    let dest = bench.fresh("many");
    let start = Instant::now();
    let stats = bench.sandbox.unpack_apart(&dest, &mut |sink| {
        sink.entry(&dir("d", 0o755).0, &mut std::io::empty())?;
        (0..100_000).try_for_each(|number| {
            let entry = match number % 3 {
                0 => file(&format!("d/file{number}"), ""),
                1 => link(&format!("d/link{number}"), "x"),
                _ => hard_link(&format!("d/hard{number}"), &format!("d/file{}", number - 2)),
            };
            sink.entry(&entry.0, &mut std::io::empty())
        })
    });
    assert_eq!(stats.unwrap().entries, 100_001);
    // Two seconds where it was written; what must not happen is time that grows with the square.
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
