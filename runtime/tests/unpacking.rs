//! What unpacking makes of a layer, seen by steps that run over it.

use std::io;
use std::path::PathBuf;
use std::slice::from_ref;

use longshore_runtime::Error;
use longshore_runtime::entry::{Entry, EntrySink, Kind};

use crate::bench::{
    Bench, Taken, dir, file, file_of, hard_link, link, opaque, owned, whiteout, with_xattr,
};

/// What `stat -c FORMAT PATHS` prints over the layers.
fn stat(bench: &Bench, layers: &[PathBuf], format: &str, paths: &str) -> String {
    bench.sh(layers, &format!("stat -c '{format}' {paths}")).ok().to_owned()
}

#[test]
fn modes_owners_and_times_are_exact() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let mut late = dir("d", 0o2770);
    late.0.mtime = 1_234_567_890;
    let fifo = (Entry::new("d/fifo", Kind::Fifo, 0o640, 9), Vec::new());
    let layer = bench.layer(
        from_ref(&root),
        &[
            owned(late, 3, 4),
            owned(file_of("d/suid", 0o4711, b"x"), 5, 6),
            owned(file_of("d/none", 0, b"x"), 1000, 1001),
            owned(link("d/link", "nowhere"), 7, 8),
            owned(fifo, 9, 10),
            file("d/old", "x"),
        ],
    );
    let layers = [root, layer];
    let paths = "/d /d/suid /d/none /d/link /d/fifo /d/old";
    let expected = "2770 3:4 1234567890 directory\n4711 5:6 200 regular file\n\
                    0 1000:1001 200 regular file\n777 7:8 300 symbolic link\n640 9:10 9 fifo\n\
                    644 0:0 200 regular file";
    assert_eq!(stat(&bench, &layers, "%a %u:%g %Y %F", paths), expected);
}

#[test]
fn whiteouts_and_opaque_directories_hide_what_is_below() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let below = bench.layer(
        from_ref(&root),
        &[dir("a", 0o755), file("a/x", "x"), dir("b", 0o755), file("b/y", "y"), file("c", "c")],
    );
    let above = bench.layer(
        &[root.clone(), below.clone()],
        &[dir("a", 0o755), opaque("a"), file("a/new", "n"), whiteout("b/y"), whiteout("c")],
    );
    let layers = [root, below, above];
    assert_eq!(
        bench.sh(&layers, "ls a b; ls c 2>&1").stdout,
        "a:\nnew\n\nb:\nls: c: No such file or directory\n"
    );
}

#[test]
fn marks_leave_the_metadata_of_their_directory_alone() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let below = bench.layer(
        from_ref(&root),
        &[dir("a", 0o755), file("a/x", ""), dir("b", 0o755), file("b/y", ""), file("b/z", "")],
    );
    let lowers = [root, below];
    let directory = |path: &str, mtime| {
        let mut directory = owned(dir(path, 0o2711), 3, 4);
        directory.0.mtime = mtime;
        with_xattr(directory, "user.kind", b"above")
    };
    let fifo = (Entry::new("a/p", Kind::Fifo, 0o600, 9), Vec::new());
    let device = Kind::CharDevice { major: 1, minor: 3 };
    let device = (Entry::new("b/null", device, 0o666, 8), Vec::new());
    let above = bench.layer(
        &lowers,
        &[directory("a", 777), opaque("a"), fifo, directory("b", 888), whiteout("b/y"), device],
    );
    let layers = [&lowers[..], &[above]].concat();
    assert_eq!(
        stat(&bench, &layers, "%n %a %u:%g %Y", "/a /a/p /b /b/null"),
        "/a 2711 3:4 777\n/a/p 600 0:0 9\n/b 2711 3:4 888\n/b/null 666 0:0 8"
    );
    // What is copied up has the attributes, and nothing else has changed by then.
    let ran = bench.sh(&layers, "ls /a /b; chmod 711 /a /b");
    assert_eq!(ran.ok(), "/a:\np\n\n/b:\nnull\nz");
    let (changes, _) = bench.changes(&ran);
    assert_eq!(changes.keys().collect::<Vec<_>>(), ["a", "b"]);
    for path in ["a", "b"] {
        let (entry, _) = &changes[path];
        assert_eq!(entry.xattrs[b"user.kind".as_slice()], b"above");
        assert_eq!((entry.mode, entry.uid), (0o711, 3));
    }
}

#[test]
fn a_whiteout_does_not_hit_its_own_layer() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let below = bench.layer(
        from_ref(&root),
        &["d", "e", "f"]
            .map(|name| dir(name, 0o755))
            .into_iter()
            .chain([file("d/low", ""), file("e/low", ""), file("f/low", ""), file("g", "old")])
            .collect::<Vec<Taken>>(),
    );
    let above = bench.layer(
        &[root.clone(), below.clone()],
        &[
            whiteout("d"),
            dir("d", 0o700),
            file("d/high", ""),
            dir("e", 0o711),
            file("e/high", ""),
            whiteout("e"),
            whiteout("f"),
            file("f/high", ""),
            file("g", "new"),
            whiteout("g"),
        ],
    );
    let layers = [root, below, above];
    let ran = bench.sh(&layers, "echo d/* e/* f/*; cat g; stat -c ' %a' d e f");
    assert_eq!(ran.ok(), "d/high e/high f/high\nnew 700\n 711\n 755");
}

#[test]
fn an_opaque_root_hides_everything_below() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let below =
        bench.layer(from_ref(&root), &[file("low", ""), dir("dir", 0o755), file("dir/low", "")]);
    let program = std::fs::read("/bin/busybox").unwrap();
    let above = bench.layer(
        &[root.clone(), below.clone()],
        &[opaque(""), dir("dir", 0o755), file("dir/high", ""), file_of("busybox", 0o755, &program)],
    );
    let argv = ["/busybox", "ls", "/", "/dir"];
    let ran = bench.step(&[root, below, above], &argv, |_| {}).unwrap();
    assert_eq!(ran.ok(), "/:\nbusybox\ndev\ndir\netc\nproc\nsys\n\n/dir:\nhigh");
}

#[test]
fn later_entries_replace_earlier_ones() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let layer = bench.layer(
        from_ref(&root),
        &[
            dir("x", 0o755),
            dir("x/deep", 0o755),
            file("x/deep/f", ""),
            file("x", "now a file"),
            file("y", "was a file"),
            dir("y", 0o700),
            file("y/f", ""),
            file("z", "one"),
            file("z", "two"),
            link("l", "x"),
            file("l", "not through the link"),
            dir("k", 0o700),
            dir("k", 0o711),
        ],
    );
    let ran = bench.sh(&[root, layer], "cat x; echo; ls y; cat z; echo; cat x l; stat -c ' %a' k");
    assert_eq!(ran.ok(), "now a file\nf\ntwo\nnow a filenot through the link 711");
}

#[test]
fn implicit_parents_look_as_they_did_below() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let mut var = owned(dir("var", 0o1751), 11, 12);
    var.0.mtime = 777;
    let below = bench.layer(
        from_ref(&root),
        &[
            with_xattr(var, "user.kind", b"below"),
            owned(dir("var/lib", 0o2750), 13, 14),
            dir("hidden", 0o700),
            dir("hidden/sub", 0o700),
        ],
    );
    let middle = bench.layer(&[root.clone(), below.clone()], &[whiteout("hidden")]);
    let lowers = [root, below, middle];
    let above = bench.layer(
        &lowers,
        &[file("var/lib/new/file", ""), file("hidden/sub/file", ""), file("fresh/file", "")],
    );
    let mut layers = lowers.to_vec();
    layers.push(above);
    assert_eq!(
        stat(&bench, &layers, "%a %u:%g %Y", "/var /var/lib /var/lib/new /hidden/sub /fresh"),
        "1751 11:12 777\n2750 13:14 100\n755 0:0 0\n755 0:0 0\n755 0:0 0"
    );
    // The attributes came along: they are in the copy that a change of the directory makes.
    let ran = bench.sh(&layers, "chmod 700 /var");
    let (changes, _) = bench.changes(&ran);
    assert_eq!(changes["var"].0.xattrs[b"user.kind".as_slice()], b"below");
}

#[test]
fn links_on_the_way_are_followed_inside_the_layer_only() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let outside = bench.root.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let layer = bench.layer(
        from_ref(&root),
        &[
            dir("usr", 0o755),
            dir("usr/lib", 0o755),
            link("lib", "usr/lib"),
            file("lib/one", ""),
            link("abs", "/usr/lib"),
            file("abs/two", ""),
            link("up", "../../../../usr/lib"),
            file("up/three", ""),
            link("out", outside.to_str().unwrap()),
            file("out/four", ""),
            link("usr/lib/again", "../../lib"),
            file("usr/lib/again/five", ""),
        ],
    );
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    let inside = format!("/usr/lib {}", outside.display());
    let ran =
        bench.sh(&[root.clone(), layer], &format!("for d in {inside}; do echo $(ls $d); done"));
    assert_eq!(ran.ok(), "again five one three two\nfour");
    let turning = [link("a", "b"), link("b", "a"), file("a/x", "")];
    let error = bench.try_layer(&[root], &turning).unwrap_err();
    assert!(error.to_string().contains("\"a/x\""), "{error}");
}

#[test]
fn paths_that_leave_the_root_are_refused() {
    let Some(bench) = Bench::new() else { return };
    for path in ["/etc/x", "../x", "a/../../x", "a//b", "a/./b", "a/", "."] {
        let error = bench.try_layer(&[], &[file(path, "")]).unwrap_err();
        assert!(matches!(error, Error::Entries(_)), "{path}: {error:?}");
    }
    let error = bench.try_layer(&[], &[hard_link("x", "../../etc/passwd")]).unwrap_err();
    assert!(matches!(error, Error::Entries(_)), "{error:?}");
}

#[test]
fn hard_links_stay_inside_the_layer() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let layer = bench.layer(
        from_ref(&root),
        &[
            file("one", "text"),
            hard_link("two", "one"),
            hard_link("sub/three", "two"),
            link("d", "sub"),
            hard_link("four", "d/three"),
            hard_link("one", "one"),
        ],
    );
    assert_eq!(stat(&bench, &[root.clone(), layer], "%h", "one two sub/three four"), "4\n4\n4\n4");
    for entries in [
        vec![hard_link("x", "bin/busybox")],
        vec![link("etc", "/etc"), hard_link("x", "etc/passwd")],
        vec![whiteout("gone"), hard_link("x", "gone")],
    ] {
        let error = bench.try_layer(from_ref(&root), &entries).unwrap_err();
        assert!(matches!(error, Error::Sandbox { .. }), "{error:?}");
    }
}

#[test]
fn attributes_are_kept_or_left_out_by_their_namespace() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut entry = with_xattr(file("f", "x"), "security.capability", capability);
    for (name, value) in [
        ("user.mine", b"1".as_slice()),
        ("user.overlay.redirect", b"/etc"),
        ("system.posix_acl_access", b"junk"),
        ("security.selinux", b"label"),
    ] {
        entry = with_xattr(entry, name, value);
    }
    let trap = with_xattr(dir("d", 0o755), "user.overlay.opaque", b"y");
    let below = bench.layer(from_ref(&root), &[dir("d", 0o755), file("d/low", "")]);
    let lowers = [root, below];
    let (layer, stats) = bench.try_layer(&lowers, &[entry, trap]).unwrap();
    assert_eq!(stats.skipped_xattrs, 2);
    let mut layers = lowers.to_vec();
    layers.push(layer);
    let ran = bench.sh(&layers, "ls d; chmod 600 f");
    assert_eq!(ran.ok(), "low");
    let (changes, _) = bench.changes(&ran);
    let xattrs = &changes["f"].0.xattrs;
    let names: Vec<_> = xattrs.keys().map(|name| String::from_utf8_lossy(name)).collect();
    assert_eq!(names, ["security.capability", "user.mine"]);
    assert_eq!(xattrs[b"security.capability".as_slice()], capability, "version 2, as given");
}

#[test]
fn devices_have_stand_ins_that_become_devices_again() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let device = |path: &str, kind| (Entry::new(path, kind, 0o666, 5), Vec::new());
    let entries = [
        device("null", Kind::CharDevice { major: 1, minor: 3 }),
        device("disk", Kind::BlockDevice { major: 8, minor: 1 }),
        device("zero", Kind::CharDevice { major: 0, minor: 0 }),
    ];
    let (layer, stats) = bench.try_layer(from_ref(&root), &entries).unwrap();
    assert_eq!(stats.stand_in_devices, 3, "a user namespace cannot make devices");
    let ran = bench.sh(&[root, layer], "chmod 600 /null /disk /zero");
    ran.ok();
    let (changes, _) = bench.changes(&ran);
    for (name, kind) in [
        ("null", Kind::CharDevice { major: 1, minor: 3 }),
        ("disk", Kind::BlockDevice { major: 8, minor: 1 }),
        ("zero", Kind::CharDevice { major: 0, minor: 0 }),
    ] {
        assert_eq!((&changes[name].0.kind, changes[name].0.mode), (&kind, 0o600));
    }
}

#[test]
fn a_source_that_fails_is_the_error() {
    let Some(bench) = Bench::new() else { return };
    let dest = bench.root.path().join("work/broken");
    let error = bench
        .sandbox
        .unpack(&dest, &[], &mut |sink| {
            sink.entry(&file("x", "").0, &mut io::empty())?;
            Err(io::Error::other("the archive is damaged"))
        })
        .unwrap_err();
    let Error::Entries(source) = error else { panic!("{error:?}") };
    assert_eq!(source.to_string(), "the archive is damaged");
    bench.sandbox.remove(&dest).unwrap();

    let error = bench
        .sandbox
        .unpack(&dest, &[], &mut |sink| {
            let short = Entry::new("f", Kind::File { size: 10 }, 0o644, 0);
            sink.entry(&short, &mut b"12345".as_slice())
        })
        .unwrap_err();
    assert!(matches!(error, Error::Entries(_)), "{error:?}");
}

#[test]
fn an_early_failure_inside_is_reported_over_the_broken_stream() {
    let Some(bench) = Bench::new() else { return };
    let dest = bench.root.path().join("work/full");
    let big = vec![7; 1 << 20];
    let error = bench
        .sandbox
        .unpack(&dest, &[], &mut |sink| {
            sink.entry(&hard_link("x", "nothing").0, &mut io::empty())?;
            (0..200).try_for_each(|number| {
                let (entry, content) = file_of(&format!("f{number}"), 0o644, &big);
                sink.entry(&entry, &mut content.as_slice())
            })
        })
        .unwrap_err();
    assert!(error.to_string().starts_with("cannot unpack \"x\" into"), "{error}");
}

/// Void marks in a directory that no other layer has would be seen by who lists it, and make it
/// impossible to remove.
#[test]
fn marks_that_hide_nothing_are_left_out() {
    let Some(bench) = Bench::new() else { return };
    let below = bench.layer(&[], &[dir("keep", 0o755), file("keep/low", "")]);
    let lowers = [bench.busybox(), below];
    let marked = |place: &str, marks: Vec<Taken>| {
        let mut entries = vec![dir(place, 0o755), file(&format!("{place}/x"), "")];
        entries.extend(marks);
        entries
    };
    for (what, place, entries) in [
        ("own", "own", marked("own", vec![whiteout("own/gone")])),
        ("implied", "own", vec![file("own/x", ""), whiteout("own/gone")]),
        ("by a link", "own", marked("own", vec![link("way", "own"), whiteout("way/gone")])),
        ("absent below", "keep", marked("keep", vec![whiteout("keep/low"), whiteout("keep/no")])),
        ("opaque", "keep", marked("keep", vec![opaque("keep"), whiteout("keep/low")])),
        ("opaque later", "keep", marked("keep", vec![whiteout("keep/low"), opaque("keep")])),
        ("replaced", "keep", marked("keep", vec![whiteout("keep/low"), whiteout("keep")])),
        ("alone", "keep", marked("keep", vec![whiteout("keep/low"), opaque("")])),
        ("opaque only", "own", marked("own", vec![opaque("own")])),
    ] {
        let apart = bench.fresh("apart");
        let mut feed = |sink: &mut dyn EntrySink| {
            let mut entries = entries.iter();
            entries.try_for_each(|(entry, content)| sink.entry(entry, &mut content.as_slice()))
        };
        bench.sandbox.unpack_apart(&apart, &mut feed).unwrap();
        let settled = bench.fresh("settled");
        bench.sandbox.settle(&apart, &lowers, &settled).unwrap();
        for layer in [bench.layer(&lowers, &entries), settled] {
            let mut layers = lowers.to_vec();
            let time = if what == "implied" { 0 } else { 100 };
            layers.push(layer);
            // Where everything is hidden, the commands come again.
            if what == "alone" {
                layers.push(bench.busybox());
            }
            let script = format!("stat -c %Y /{place}; ls /{place}; rm -r /{place}");
            let ran = bench.sh(&layers, &script);
            assert_eq!((ran.exit.code, ran.stderr.as_str()), (0, ""), "{what}");
            assert_eq!(ran.stdout, format!("{time}\nx\n"), "{what}");
        }
    }
}
