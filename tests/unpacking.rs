//! Base images as directories for RUN: hostile archives, broken downloads, killed builders, and
//! builders that share a work directory.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tar::{EntryType, Header};

use crate::support::command::Run;
use crate::support::layout::{self, Layer};
use crate::support::random::Random;
use crate::support::registry::Request;
use crate::support::slow_proxy::SlowProxy;
use crate::support::tarball::{Meta, Tarball};
use crate::support::{Access, Registry, Sandbox, base, busybox, longshore};

/// How long anything here may take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn build(sandbox: &Sandbox, registry: &str) -> Run {
    let run = longshore(sandbox).arg("build").arg(sandbox.path("context"));
    run.args(["--insecure-registry", registry])
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into()).collect()
}

/// What a builder that has ended must not leave in its work directory.
fn leftovers(sandbox: &Sandbox) -> Vec<String> {
    let work = sandbox.path("work");
    let unfinished = |name: &String| name.ends_with(".part") || name.ends_with(".lock");
    let blobs = names(&work.join("blobs/sha256")).into_iter().filter(unfinished);
    let layers = names(&work.join("layers")).into_iter().filter(unfinished);
    let builds = [names(&work.join("builds")), names(&work.join("scratch"))].concat();
    blobs.chain(layers).chain(builds).collect()
}

/// An entry with any name, link and records, which no decent library writes.
fn raw(name: &str, kind: EntryType, link: &str, records: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = Vec::new();
    if !records.is_empty() {
        let record = |(key, value): &(&str, &str)| {
            let mut length = key.len() + value.len() + 3;
            length += (length + 3).to_string().len();
            let text = format!("{length} {key}={value}\n");
            assert_eq!(text.len(), length, "the records here have two or three digits");
            text
        };
        let text: String = records.iter().map(record).collect();
        archive.extend(block("pax", EntryType::XHeader, "", text.len()));
        archive.extend(text.as_bytes());
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    let content: &[u8] = if kind == EntryType::Regular { b"dead" } else { b"" };
    archive.extend(block(name, kind, link, content.len()));
    archive.extend(content);
    archive.resize(archive.len().next_multiple_of(512), 0);
    archive
}

fn block(name: &str, kind: EntryType, link: &str, size: usize) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o4777);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// Everything that changes when something is done to a file.
fn facts(root: &Path) -> BTreeMap<PathBuf, (u64, u64, u32, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let stat = fs_err::symlink_metadata(&path).expect("stat");
        if stat.is_dir() {
            let entries = fs_err::read_dir(&path).expect("list");
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
        let times = (stat.ctime(), stat.ctime_nsec());
        found.insert(path, (stat.ino(), stat.nlink(), stat.mode(), times.0, times.1));
    }
    found
}

/// What is tried, the archive, and what of the refusal is expected, if any.
type Case = (&'static str, Vec<Vec<u8>>, Option<&'static str>);

/// An entry whose name and target are in records, where they may be of any length.
fn recorded(name: &str, kind: EntryType, link: &str) -> Vec<u8> {
    let mut records = vec![("path", name), ("linkpath", link)];
    records.retain(|(_, value)| !value.is_empty());
    raw("x", kind, "", &records)
}

/// Archives that try to get at the directory `out`.
fn escapes(out: &str) -> Vec<Case> {
    use EntryType::{Directory, Link, Regular, Symlink};
    let file = format!("{out}/file");
    let up = format!("{}{file}", "../".repeat(20));
    let parent = Some("`..` component");
    let to_canary = recorded("out", Symlink, out);
    let through =
        |name: &str, kind, link: &str| vec![to_canary.clone(), raw(name, kind, link, &[])];
    vec![
        ("..", vec![raw("../c/file", Regular, "", &[])], parent),
        (".. inside", vec![raw("a/../../c/file", Regular, "", &[])], parent),
        (".. by record", vec![recorded(&up, Regular, "")], parent),
        ("absolute", vec![recorded(&file, Regular, "")], None),
        ("through a link", through("out/file", Regular, ""), None),
        ("over a link", through("out", Directory, ""), None),
        ("hard link with ..", vec![recorded("h", Link, &up)], parent),
        ("absolute hard link", vec![recorded("h", Link, &file)], Some("\"h\"")),
        ("hard link through a link", through("h", Link, "out/file"), Some("\"h\"")),
        ("whiteout through a link", through("out/.wh.file", Regular, ""), None),
        ("opaque through a link", through("out/.wh..wh..opq", Regular, ""), None),
    ]
}

/// Archives with names and attributes that mean something to overlays.
fn tricks() -> Vec<Case> {
    use EntryType::{Directory, Fifo, Regular};
    let file = |name: &str| vec![raw(name, Regular, "", &[])];
    let trap = ("SCHILY.xattr.trusted.overlay.redirect", "/etc");
    let refused = Some("whiteout");
    vec![
        ("whiteout of ..", file(".wh..."), refused),
        ("whiteout of .", file("a/.wh.."), refused),
        ("whiteout of nothing", file(".wh."), refused),
        ("whiteout above", file("out/../.wh.c"), Some("`..` component")),
        ("whiteout as a directory", file(".wh.a/b"), refused),
        ("opaque root", file(".wh..wh..opq"), None),
        ("overlay attributes", vec![raw("t", Directory, "", &[trap])], None),
        ("the root as a pipe", vec![raw("./", Fifo, "", &[])], Some("root")),
    ]
}

#[test]
fn nothing_outside_of_a_base_is_touched_whatever_its_archives_say() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, Access::Plain);
    sandbox.write("c/file", "alive");
    let canary = sandbox.path("c");
    let before = facts(&canary);
    let cases = [escapes(canary.to_str().expect("text")), tricks()].concat();
    for (at, (what, entries, refusal)) in cases.into_iter().enumerate() {
        let mut below = Tarball::new();
        below.directory("etc", Meta::mode(0o755));
        let hostile = [entries.concat(), vec![0; 1024]].concat();
        let layers = [
            Layer { tar: below.finish(), created_by: "below" },
            Layer { tar: hostile, created_by: "hostile" },
            busybox::layer(),
        ];
        let place = sandbox.path(format!("layout{at}"));
        fs_err::create_dir(&place).expect("mkdir");
        layout::write(&place, &layers, &json!({"Env": ["PATH=/bin"]}));
        let reference = registry.push(&sandbox, &place, &format!("hostile{at}:1"));
        sandbox.write("context/Dockerfile", format!("FROM {reference}\nRUN echo done\n"));
        let outcome = build(&sandbox, registry.address()).outcome();
        match refusal {
            None => drop(outcome.success()),
            Some(part) => {
                assert!(outcome.code != 0, "{what}\n{}", outcome.report());
                assert!(outcome.stderr.contains(part), "{what}\n{}", outcome.report());
            }
        }
        assert_eq!(facts(&canary), before, "{what}");
        assert_eq!(leftovers(&sandbox), Vec::<String>::new(), "{what}");
    }
}

#[test]
fn builders_on_one_work_directory_fetch_and_unpack_a_layer_once() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, Access::Plain);
    let base = registry.push(&sandbox, &base::crafted(), "crafted:1");
    sandbox.write("context/Dockerfile", format!("FROM {base}\nRUN cat /op/new\n"));
    let position = registry.position(&sandbox);
    // Storages of their own, so that every builder has to run the step.
    let start = |number| {
        let home = sandbox.path(format!("state{number}"));
        build(&sandbox, registry.address()).env("LONGSHORE_HOME", home).start()
    };
    let builders: Vec<_> = (0..3).map(start).collect();
    for builder in builders {
        builder.outcome().success();
    }
    let requests = registry.requests_since(&sandbox, position);
    for layer in layers_of(&base::crafted()) {
        let gets = |request: &&Request| request.method == "GET" && request.path.ends_with(&layer);
        assert_eq!(requests.iter().filter(gets).count(), 1, "{layer} {requests:?}");
    }
    assert_eq!(leftovers(&sandbox), Vec::<String>::new());
    // The base's three, and what the step has changed: nothing, so it is not kept.
    assert_eq!(names(&sandbox.path("work/layers")).len(), 3);
}

#[test]
fn a_killed_download_is_gone_on_with_and_nothing_of_it_is_trusted() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, Access::Plain);
    let (place, noise) = noise(&sandbox);
    registry.push(&sandbox, &place, "noise:1");
    for tampered in [false, true] {
        let proxy = SlowProxy::start(registry.address(), 4 << 20);
        let base = format!("{}/noise:1", proxy.address());
        let text = format!("FROM {base}\nRUN sha256sum /noise\n");
        sandbox.write("context/Dockerfile", text);
        let killed = build(&sandbox, proxy.address()).start();
        let part = until_partial(&sandbox);
        killed.signal("KILL");
        killed.outcome().exits(137);
        assert!(!names(&sandbox.path("work/scratch")).is_empty(), "it was being unpacked");
        if tampered {
            let mut bytes = fs_err::read(&part).expect("read");
            bytes[1000] ^= 1;
            fs_err::write(&part, bytes).expect("write");
        }
        proxy.release();
        let position = registry.position(&sandbox);
        let outcome = build(&sandbox, proxy.address()).outcome().success();
        let sum = sandbox.write("noise", &noise);
        let sum = Run::new("sha256sum").arg(sum).succeed();
        let sum = sum.split(' ').next().expect("a sum");
        assert!(outcome.stderr.contains(sum), "{}", outcome.report());
        let requests = registry.requests_since(&sandbox, position);
        let ranges = requests.iter().filter(|request| request.status == 206).count();
        assert_eq!(ranges, 1, "{requests:?}");
        assert_eq!(leftovers(&sandbox), Vec::<String>::new());
        for name in ["work", "state"] {
            fs_err::remove_dir_all(sandbox.path(name)).expect("remove");
            fs_err::create_dir(sandbox.path(name)).expect("mkdir");
        }
    }
}

/// The digests of the layers of an image layout's only image.
fn layers_of(layout: &Path) -> Vec<String> {
    let read = |path: PathBuf| -> Value {
        let text = fs_err::read(path).expect("read");
        serde_json::from_slice(&text).expect("JSON")
    };
    let index = read(layout.join("index.json"));
    let digest = index["manifests"][0]["digest"].as_str().expect("a digest").to_owned();
    let manifest = read(layout.join("blobs").join(digest.replace(':', "/")));
    let layers = manifest["layers"].as_array().expect("layers");
    layers.iter().map(|layer| layer["digest"].as_str().expect("a digest").to_owned()).collect()
}

#[test]
fn a_build_that_waits_for_a_layer_ends_when_it_is_told_to() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, Access::Plain);
    registry.push(&sandbox, &noise(&sandbox).0, "noise:1");
    let proxy = SlowProxy::start(registry.address(), 4 << 20);
    let text = format!("FROM {}/noise:1\nRUN true\n", proxy.address());
    sandbox.write("context/Dockerfile", text);
    let told = build(&sandbox, proxy.address()).start();
    until_partial(&sandbox);
    let since = Instant::now();
    told.signal("TERM");
    told.outcome().exits(143);
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
    assert_eq!(names(&sandbox.path("work/scratch")), Vec::<String>::new());
    assert_eq!(names(&sandbox.path("work/layers")), Vec::<String>::new());
}

/// An image with a layer that no compression makes smaller, and the bytes of its file.
fn noise(sandbox: &Sandbox) -> (PathBuf, Vec<u8>) {
    let mut random = Random::new(6);
    let noise: Vec<u8> = (0..6 << 17).flat_map(|_| random.next().to_le_bytes()).collect();
    let mut tar = Tarball::new();
    tar.file("noise", Meta::mode(0o644), &noise);
    let layers = [busybox::layer(), Layer { tar: tar.finish(), created_by: "noise" }];
    let place = sandbox.path("layout");
    fs_err::create_dir(&place).expect("mkdir");
    layout::write(&place, &layers, &json!({"Env": ["PATH=/bin"]}));
    (place, noise)
}

/// Waits until a builder has put a part of a large layer into its file.
fn until_partial(sandbox: &Sandbox) -> PathBuf {
    let directory = sandbox.path("work/blobs/sha256");
    let since = Instant::now();
    loop {
        let partial = names(&directory).into_iter().filter(|name| name.ends_with(".part"));
        let size = |path: &PathBuf| fs_err::metadata(path).map_or(0, |meta| meta.len());
        // A smaller layer may be on its way too.
        let large = partial.map(|name| directory.join(name)).find(|path| size(path) > 2 << 20);
        if let Some(path) = large {
            return path;
        }
        assert!(since.elapsed() < PATIENCE, "nothing is downloaded");
        std::thread::yield_now();
    }
}
