//! ADD of local archives.

use std::io::Write as _;

use super::{Machine, whole};
use crate::plan::tests::{Build, build};

/// An archive; the paths are written as they are, whatever they say.
fn archive(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = tar::Header::new_ustar();
        let (kind, link, content) = match (path.ends_with('/'), content.split_once("> ")) {
            (true, _) => (tar::EntryType::Directory, "", ""),
            (_, Some(("-", target))) => (tar::EntryType::Symlink, target, ""),
            (_, Some(("=", target))) => (tar::EntryType::Link, target, ""),
            (_, Some(("c", _))) => (tar::EntryType::Char, "", ""),
            _ => (tar::EntryType::Regular, "", *content),
        };
        let fields = header.as_ustar_mut().unwrap();
        fields.name[..path.len()].copy_from_slice(path.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o750 } else { 0o640 });
        header.set_uid(3);
        header.set_gid(4);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        if kind == tar::EntryType::Char {
            header.set_device_major(1).unwrap();
            header.set_device_minor(3).unwrap();
        }
        header.set_cksum();
        archive.append(&header, content.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn adding(machine: &Machine, text: &str, bytes: &[u8]) -> Build {
    let layer =
        machine.layer(&[("bin", "-> usr/bin"), ("d/", ""), ("d/old", "o"), ("usr/bin/", "")]);
    let build = build(&format!("FROM base\n{text}")).layered("base", &[layer]).file("f", "F");
    fs_err::write(build.context.path().join("a.tar"), bytes).unwrap();
    build
}

/// A name, the instruction, the archive's entries, the layer's.
type Case = (&'static str, &'static str, Vec<(&'static str, &'static str)>, Vec<&'static str>);

async fn check_all(cases: Vec<Case>) {
    let machine = Machine::new();
    for (what, text, entries, expected) in cases {
        let build = adding(&machine, text, &archive(&entries));
        let top = machine.top(&build).await.map_err(whole);
        assert_eq!(top, Ok(expected.into_iter().map(str::to_owned).collect()), "{what}");
    }
}

#[tokio::test]
async fn archives_are_unpacked_as_docker_does() {
    check_all(vec![
        (
            "implied directories, files, links",
            "ADD a.tar /x",
            vec![("./", ""), ("n/f", "F"), ("l", "-> n/f")],
            vec!["x/ 755 0:0", "x/l 640 3:4 -> n/f", "x/n/ 755 0:0", "x/n/f 640 3:4 F"],
        ),
        (
            "the directories of the archive itself",
            "ADD a.tar /",
            vec![("n/", ""), ("n/f", "F")],
            vec!["n/ 750 3:4", "n/f 640 3:4 F"],
        ),
        (
            "hard links, the later name first in order",
            "ADD a.tar /x/",
            vec![("z", "Z"), ("a", "=> z"), ("m", "=> a")],
            vec!["x/ 755 0:0", "x/a 640 3:4 Z", "x/m 640 3:4 => x/a", "x/z 640 3:4 => x/a"],
        ),
        (
            "a name that is replaced keeps its link's content",
            "ADD a.tar /",
            vec![("z", "Z"), ("a", "=> z"), ("z", "other")],
            vec!["a 640 3:4 Z", "z 640 3:4 other"],
        ),
        (
            "a later entry replaces a directory with all below it",
            "ADD a.tar /",
            vec![("n/", ""), ("n/f", "F"), ("n", "file")],
            vec!["n 640 3:4 file"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn archives_meet_what_the_image_has() {
    check_all(vec![
        (
            "a directory of the image is replaced by a file",
            "ADD a.tar /",
            vec![("d", "file")],
            vec!["d 640 3:4 file"],
        ),
        (
            "a link of the image is replaced by a directory, but followed on the way",
            "ADD a.tar /",
            vec![("bin/x", "X")],
            vec!["usr/bin/x 640 3:4 X"],
        ),
        (
            "links that lead out stay inside of the image",
            "ADD a.tar /x",
            vec![("up", "-> ../../../d"), ("up/f", "F")],
            vec!["d/f 640 3:4 F", "x/ 755 0:0", "x/up 640 3:4 -> ../../../d"],
        ),
        (
            "absolute names lie below the destination",
            "ADD a.tar /x",
            vec![("/f", "F")],
            vec!["x/ 755 0:0", "x/f 640 3:4 F"],
        ),
        (
            "devices",
            "ADD a.tar /x",
            vec![("null", "c> ")],
            vec!["x/ 755 0:0", "x/null 640 3:4 CharDevice { major: 1, minor: 3 }"],
        ),
        (
            "owner",
            "ADD --chown=1:2 a.tar /x",
            vec![("n/f", "F")],
            vec!["x/ 755 1:2", "x/n/ 755 1:2", "x/n/f 640 1:2 F"],
        ),
        (
            "beside a plain file",
            "ADD a.tar f /x/",
            vec![("g", "G")],
            vec!["x/ 755 0:0", "x/f 644 0:0 F", "x/g 640 3:4 G"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn what_cannot_be_unpacked_is_refused() {
    let machine = Machine::new();
    for (entries, message) in [
        (vec![("../f", "F")], ".."),
        (vec![("n/../../f", "F")], ".."),
        (vec![("l", "=> absent")], "absent"),
        (vec![("f", "F"), ("f/g", "G")], "/f is a file"),
        (vec![("l", "-> l"), ("l/g", "G")], "symbolic links"),
    ] {
        let build = adding(&machine, "ADD a.tar /", &archive(&entries));
        let error = whole(machine.top(&build).await.unwrap_err());
        assert!(error.contains(message), "{entries:?}: {error}");
    }
}

#[tokio::test]
async fn only_archives_are_unpacked_and_only_by_add() {
    let machine = Machine::new();
    let tar = archive(&[("f", "F")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let mut text = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    text.write_all(b"no archive").unwrap();
    for (what, instruction, bytes, unpacked) in [
        ("tar", "ADD", tar.clone(), true),
        ("gzip", "ADD", gzip.finish().unwrap(), true),
        ("copied", "COPY", tar, false),
        ("compressed text", "ADD", text.finish().unwrap(), false),
        ("empty", "ADD", Vec::new(), false),
        ("nought bytes", "ADD", vec![0; 4096], false),
    ] {
        let build = adding(&machine, &format!("{instruction} a.tar /x/"), &bytes);
        let site = machine.site(build.plan().unwrap(), None);
        let built = site.engine.layers_of(site.engine.plan().images[0].top).await.unwrap();
        let crate::storage::Origin::File(path) = &built.layers.last().unwrap().origin else {
            panic!()
        };
        let mut names = Vec::new();
        let mut sink = |entry: &longshore_runtime::entry::Entry, _: &mut dyn std::io::Read| {
            names.push(String::from_utf8_lossy(&entry.path).into_owned());
            Ok(())
        };
        crate::layer::read_layer(path, None, &mut sink).unwrap();
        assert_eq!(names, ["x", if unpacked { "x/f" } else { "x/a.tar" }], "{what}");
    }
}

#[tokio::test]
async fn times_of_an_archive_end_at_the_epoch() {
    let machine = Machine::new();
    let mut build = adding(&machine, "ADD a.tar /x", &archive(&[("f", "F")]));
    build.times.epoch = Some(900_000_000);
    let site = machine.site(build.plan().unwrap(), None);
    let built = site.engine.layers_of(site.engine.plan().images[0].top).await.unwrap();
    let crate::storage::Origin::File(path) = &built.layers.last().unwrap().origin else { panic!() };
    let mut times = Vec::new();
    let mut sink = |entry: &longshore_runtime::entry::Entry, _: &mut dyn std::io::Read| {
        times.push(entry.mtime);
        Ok(())
    };
    crate::layer::read_layer(path, None, &mut sink).unwrap();
    assert_eq!(times, [900_000_000, 900_000_000]);
}
