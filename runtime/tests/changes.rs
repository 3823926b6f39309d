//! What is read back of a step's changes.

use std::io::{self, Read};
use std::slice::from_ref;

use longshore_runtime::entry::{Entry, EntrySink, Kind};
use longshore_runtime::{Error, Rung, Sandbox};

use crate::bench::{Bench, Taken, dir, file, hard_link, link};

#[test]
fn each_kind_of_change_is_emitted() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let below = bench.layer(
        from_ref(&root),
        &[
            dir("d", 0o755),
            file("d/gone", ""),
            file("d/kept", ""),
            file("d/also", ""),
            dir("replaced", 0o755),
            file("replaced/low", ""),
            dir("emptied", 0o755),
            file("emptied/low", ""),
            dir("removed", 0o755),
            file("removed/low", ""),
            file("touched", "old"),
            file("became", ""),
            dir("wasdir", 0o755),
            file("wasdir/x", ""),
        ],
    );
    let script = "rm d/gone d/also; rm -r replaced; mkdir -m 700 replaced; echo n >replaced/new; \
                  rm emptied/low; rm -r removed; echo new >touched; rm became; mkdir became; \
                  rm -r wasdir; echo f >wasdir; mkfifo -m 640 p; ln -s t l; \
                  echo s >suid; chmod 4755 suid; mkdir -m 2770 g; chown 5:6 g; chown 1000 suid; \
                  chmod 4755 suid; touch -h -d @77 l";
    let ran = bench.sh(&[root, below], script);
    ran.ok();
    let (changes, stats) = bench.changes(&ran);
    let lines: Vec<String> = changes.iter().map(line).collect();
    assert_eq!(
        lines,
        [
            "became Directory 755 0:0",
            "d Directory 755 0:0",
            "d/also Whiteout",
            "d/gone Whiteout",
            "emptied Directory 755 0:0",
            "emptied/low Whiteout",
            "g Directory 2770 5:6",
            "l -> t 777 0:0",
            "p Fifo 640 0:0",
            "removed Whiteout",
            "replaced Directory 700 0:0",
            "replaced/low Whiteout",
            "replaced/new n 644 0:0",
            "suid s 4755 1000:0",
            "touched new 644 0:0",
            "wasdir f 644 0:0",
        ]
    );
    assert_eq!(changes["l"].0.mtime, 77);
    assert_eq!(stats.entries, changes.len() as u64);
    assert!(stats.reusable);
}

/// One change, but for its time.
fn line((path, (entry, content)): (&String, &Taken)) -> String {
    let what = match &entry.kind {
        Kind::File { .. } => String::from_utf8_lossy(content).trim().to_owned(),
        Kind::Symlink { target } => format!("-> {}", String::from_utf8_lossy(target)),
        Kind::Whiteout | Kind::Opaque => return format!("{path} {:?}", entry.kind),
        kind => format!("{kind:?}"),
    };
    format!("{path} {what} {:o} {}:{}", entry.mode, entry.uid, entry.gid)
}

#[test]
fn a_new_directory_is_its_own_entry_and_nothing_more() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let script = "mkdir /new /tmp/made; mv /tmp/made /moved; rm -r /new; mkdir /new";
    assert_eq!(bench.changed_paths(&root, script), ["moved", "new", "tmp"]);
}

#[test]
fn a_step_that_changes_nothing_has_no_changes() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    for script in ["true", "cat /etc/passwd >/dev/null", "echo x >/dev/shm/x; echo >>/etc/hosts"] {
        assert!(bench.changed_paths(&root, script).is_empty(), "{script}");
    }
}

#[test]
fn hard_links_are_found_inside_the_changes_only() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let below = bench.layer(from_ref(&root), &[file("low1", "x"), hard_link("low2", "low1")]);
    let ran = bench
        .sh(&[root, below], "echo y >m; ln m a; ln m z; echo w >>low2; rm /etc/passwd /etc/group");
    ran.ok();
    let (changes, _) = bench.changes(&ran);
    let kind = |path: &str| changes[path].0.kind.clone();
    assert_eq!(kind("a"), Kind::File { size: 2 });
    for path in ["m", "z"] {
        assert_eq!(kind(path), Kind::HardLink { target: b"a".to_vec() });
    }
    // An overlay breaks the link when one name is written to; a tree has one file of two names.
    if bench.sandbox.rung() == Rung::Chroot {
        assert_eq!(changes["low1"].1, b"xw\n");
        assert_eq!(kind("low2"), Kind::HardLink { target: b"low1".to_vec() });
    } else {
        assert_eq!(changes["low2"].1, b"xw\n");
        assert!(!changes.contains_key("low1"));
    }
    // The kernel links its deletions together; they are no hard links of the layer.
    assert_eq!((kind("etc/passwd"), kind("etc/group")), (Kind::Whiteout, Kind::Whiteout));
}

#[test]
fn times_are_clamped_in_the_layer_and_for_later_steps() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let argv = ["/bin/sh", "-c", "mkdir d; echo x >d/f; touch -d @500 d/old; ln -s x d/l"];
    let ran =
        bench.step(from_ref(&root), &argv, |step| step.clamp_mtime = Some(1_000_000)).unwrap();
    ran.ok();
    let (changes, _) = bench.changes(&ran);
    let times: Vec<i64> = changes.values().map(|(entry, _)| entry.mtime).collect();
    assert_eq!(times, [1_000_000, 1_000_000, 1_000_000, 500]);
    let kept = bench.root.path().join("work/kept");
    bench.sandbox.keep(&ran.step, &kept).unwrap();
    let seen = bench.sh(&[root, kept], "stat -c %y d d/f d/l | sort -u; stat -c %Y d/old");
    assert_eq!(seen.ok(), "1970-01-12 13:46:40.000000000 +0000\n500");
}

#[test]
fn kept_changes_equal_the_unpacked_layer() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let below = bench.layer(from_ref(&root), &[dir("d", 0o750), file("d/x", ""), link("l", "d")]);
    let lowers = [root, below];
    let ran = bench.sh(
        &lowers,
        "rm -r d; mkdir -m 711 d; echo 1 >d/y; chown 3:4 d/y; rm l; mkfifo q; ln d/y h; mkdir e",
    );
    let (changes, stats) = bench.changes(&ran);
    assert!(stats.reusable);
    let kept = bench.root.path().join("work/kept");
    bench.sandbox.keep(&ran.step, &kept).unwrap();
    let entries: Vec<_> = changes.into_values().collect();
    let unpacked = bench.layer(&lowers, &entries);
    let views: Vec<String> = [kept, unpacked]
        .into_iter()
        .map(|top| {
            let mut layers = lowers.to_vec();
            layers.push(top);
            let script =
                "for f in . d d/* e h l q; do stat -c '%n %F %a %u:%g %h %y' $f; done 2>&1";
            bench.sh(&layers, script).stdout
        })
        .collect();
    assert_eq!(views[0], views[1]);
}

#[test]
fn a_capability_set_by_a_step_has_no_root_of_a_namespace() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let layer = bench.layer(
        from_ref(&root),
        &[crate::bench::with_xattr(file("f", "x"), "security.capability", capability)],
    );
    // Copying the file up is the kernel's own way to set it again.
    let ran = bench.sh(&[root, layer], "touch f");
    let (changes, _) = bench.changes(&ran);
    assert_eq!(changes["f"].0.xattrs[b"security.capability".as_slice()], capability);
}

#[test]
fn a_sink_that_fails_is_the_error() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let ran = bench.sh(&root, "dd if=/dev/zero of=/big bs=1M count=20 2>/dev/null; touch /a /z");
    ran.ok();
    let mut seen = 0;
    let mut sink = |_: &Entry, content: &mut dyn Read| {
        seen += 1;
        let mut some = [0; 100];
        let _ = content.read(&mut some)?;
        if seen == 2 { Err(io::Error::other("the disk is full")) } else { Ok(()) }
    };
    let error = bench.sandbox.changes(&ran.step, &mut sink as &mut dyn EntrySink).unwrap_err();
    let Error::Entries(source) = error else { panic!("{error:?}") };
    assert_eq!(source.to_string(), "the disk is full");
    // What a sink leaves unread is skipped.
    let mut paths = Vec::new();
    let mut sink = |entry: &Entry, _: &mut dyn Read| {
        paths.push(String::from_utf8(entry.path.clone()).unwrap());
        Ok(())
    };
    bench.sandbox.changes(&ran.step, &mut sink as &mut dyn EntrySink).unwrap();
    assert_eq!(paths, ["a", "big", "z"]);
    assert!(Sandbox::upper(&ran.step).join("big").exists());
}

#[test]
fn a_layer_that_its_owner_may_not_write_can_be_renamed() {
    let Some(bench) = Bench::new() else { return };
    let layer = bench.layer(&[], &[dir("", 0o555), file("f", "")]);
    let to = bench.root.path().join("work/other/layer");
    std::fs::create_dir(to.parent().unwrap()).unwrap();
    bench.sandbox.rename(&layer, &to).unwrap();
    assert!(to.join("f").exists() && !layer.exists());
}

#[test]
fn deep_trees_and_closed_directories_are_read_and_removed() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let script = "i=0; while [ $i -lt 1200 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done; \
                  echo end >f; chmod 0 .; mkdir -m 0 /closed; chown 1234:99 /closed";
    let ran = bench.sh(&root, script);
    ran.ok();
    let mut longest = 0;
    let mut sink = |entry: &Entry, _: &mut dyn Read| {
        longest = longest.max(entry.path.len());
        Ok(())
    };
    let stats = bench.sandbox.changes(&ran.step, &mut sink as &mut dyn EntrySink).unwrap();
    assert_eq!((stats.entries, longest), (1202, 2401));
    bench.sandbox.remove(&ran.step.scratch).unwrap();
    assert!(!ran.step.scratch.exists());
}
