//! The rung without namespaces and mounts: the whole suite once more as a pod's root, and what
//! only this rung has.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice::from_ref;

use longshore_runtime::entry::{Entry, Kind};
use longshore_runtime::{Choice, Rung, Sandbox};

use crate::bench::{
    Bench, RUNG, Ran, Taken, dir, file, file_of, hard_link, link, opaque, owned, whiteout,
    with_xattr,
};

/// What container engines leave to root: all that this rung may need.
const POD_CAPABILITIES: &str = "-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,\
     +setgid,+setuid,+setfcap,+setpcap,+net_bind_service,+sys_chroot,+kill,+audit_write";

#[test]
fn everything_works_in_a_tree_with_the_capabilities_of_a_pod() {
    if !rustix::process::geteuid().is_root() || std::env::var_os(RUNG).is_some() {
        return eprintln!("not again: this is another run of the suite, or nobody can start one");
    }
    if !Path::new("/usr/bin/setpriv").exists() {
        return eprintln!("skipped: there is no /usr/bin/setpriv");
    }
    let volume = tempfile::tempdir().unwrap();
    // As a volume with an `fsGroup` is.
    chown(volume.path(), None, Some(4711)).unwrap();
    fs::set_permissions(volume.path(), fs::Permissions::from_mode(0o2777)).unwrap();
    let output = Command::new("setpriv")
        .args(["--bounding-set", POD_CAPABILITIES, "--inh-caps", "-all"])
        .arg(std::env::current_exe().unwrap())
        .arg("--nocapture")
        .env(RUNG, "chroot")
        .env("TMPDIR", volume.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(!errors.contains("skipped"), "{errors}");
}

/// A bench on this rung, where the machine has it.
fn bench() -> Option<Bench> {
    if rustix::process::geteuid().is_root() {
        return Bench::on(Choice::Chroot);
    }
    eprintln!("not here: only root can change its root");
    None
}

#[test]
fn a_step_has_fewer_capabilities_than_the_pod() {
    let Some(bench) = bench() else { return };
    let root = [bench.busybox()];
    let status = bench.proc_of_step(&root, "", "status");
    // The default fourteen without CAP_SYS_CHROOT and CAP_MKNOD.
    for name in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(status.contains(&format!("{name}:\t00000000a00025fb\n")), "{status}");
    }
    for line in ["CapInh:\t0000000000000000\n", "CapAmb:\t0000000000000000\n", "Seccomp:\t2\n"] {
        assert!(status.contains(line), "{status}");
    }
    let status = bench.proc_of_step(&root, "app", "status");
    assert!(status.contains("CapEff:\t0000000000000000\n"), "{status}");
    let own: i32 = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    let of_step = bench.proc_of_step(&root, "", "oom_score_adj");
    assert_eq!(of_step.trim(), (own + 100).min(1000).to_string());
}

#[test]
fn what_leads_out_of_the_root_is_refused() {
    let Some(bench) = bench() else { return };
    let root = [bench.busybox()];
    let outside = bench.root.path().display().to_string();
    for script in [
        "mkdir x; chroot x true",
        "mknod /disk b 8 0",
        "mount -t tmpfs none /tmp",
        "unshare -Ur true",
        &format!("ls {outside}"),
        &format!("ls ../../../../../../../../{outside}"),
        &format!("ls /proc/{}", std::process::id()),
        "ls /proc/1",
    ] {
        let ran = bench.sh(&root, script);
        assert_ne!(ran.exit.code, 0, "{script}: {}{}", ran.stdout, ran.stderr);
    }
    if bench.sandbox.capabilities().landlock_abi >= Some(6) {
        let script = format!("kill -0 {}", std::process::id());
        assert_ne!(bench.sh(&root, &script).exit.code, 0);
    }
    let ran = bench.sh(&root, "sleep 0.01 & kill -0 $!");
    ran.ok();
}

#[test]
fn devices_are_there_and_never_in_the_layer() {
    let Some(bench) = bench() else { return };
    let root = bench.busybox();
    let script = "echo $(ls /dev); echo >/dev/null; echo x >/dev/made; echo x >/proc/made; \
                  head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; \
                  stat -c '%a' /dev/shm; rm /dev/zero; echo x >/dev/shm/x; mkdir /sys/made";
    let ran = bench.sh(from_ref(&root), script);
    let expected = "fd full mqueue null pts random shm stderr stdin stdout tty urandom zero\n\
                    4\n4\n1777";
    assert_eq!(ran.ok(), expected);
    assert!(bench.changes(&ran).0.is_empty());
    // What the image has there comes back.
    let own = bench.layer(from_ref(&root), &[dir("dev", 0o700), file("dev/own", "x")]);
    let ran = bench.sh(&[root, own], "ls /dev/own; rm -r /dev");
    assert_eq!(ran.exit.code, 0, "{}", ran.stderr);
    assert!(bench.changes(&ran).0.is_empty());
}

#[test]
fn files_of_etc_survive_whatever_a_step_does_with_them() {
    let Some(bench) = bench() else { return };
    let root = bench.busybox();
    let own = bench.layer(
        from_ref(&root),
        &[dir("etc", 0o755), file("etc/hosts", "image"), link("etc/resolv.conf", "nowhere")],
    );
    let layers = [root.clone(), own];
    let paths = |layers: &[PathBuf], script: &str| bench.changed_paths(layers, script);
    // The time of the directory changes, as it would by any other deletion in it.
    assert_eq!(paths(&layers, "rm /etc/hosts /etc/resolv.conf; mkdir /etc/hosts"), ["etc"]);
    assert_eq!(
        paths(&layers, "mv /etc /old; mkdir /etc; echo x >/etc/x"),
        ["etc", "etc/group", "etc/passwd", "etc/x", "old", "old/group", "old/passwd"]
    );
    assert_eq!(paths(&layers, "rm -r /etc"), ["etc"]);
    // An image without the directory gets none, unless the step makes use of it.
    let bare = bench.layer(&[], &[whiteout("etc")]);
    let layers = [root, bare];
    assert!(paths(&layers, "cat /etc/hosts >/dev/null; echo >>/etc/hosts").is_empty());
    assert_eq!(paths(&layers, "echo >/etc/x"), ["etc", "etc/x"]);
}

/// Capability set on one file of [`many_kinds`].
const CAPABILITY: &[u8; 20] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Layers with every kind of entry, and every way to hide one.
fn many_kinds(bench: &Bench) -> [PathBuf; 3] {
    let root = bench.busybox();
    let device = (Entry::new("null", Kind::CharDevice { major: 1, minor: 3 }, 0o666, 5), vec![]);
    let fifo = (Entry::new("fifo", Kind::Fifo, 0o640, 9), Vec::new());
    let below = bench.layer(
        from_ref(&root),
        &[
            with_xattr(owned(dir("d", 0o2770), 5, 6), "user.kind", b"below"),
            with_xattr(file("d/capable", "x"), "security.capability", CAPABILITY),
            owned(file_of("d/suid", 0o6711, b"x"), 7, 8),
            file("one", "1"),
            hard_link("two", "one"),
            owned(link("link", "/etc/passwd"), 9, 10),
            fifo,
            device,
            dir("opaque", 0o755),
            file("opaque/low", ""),
            dir("was-dir", 0o755),
            file("was-dir/x", ""),
            file("was-file", ""),
            file("gone", ""),
        ],
    );
    let above = bench.layer(
        &[root.clone(), below.clone()],
        &[
            dir("d", 0o1750),
            whiteout("gone"),
            dir("opaque", 0o711),
            opaque("opaque"),
            file("opaque/high", ""),
            file("was-dir", "now a file"),
            dir("was-file", 0o700),
        ],
    );
    [root, below, above]
}

#[test]
fn a_tree_is_the_merged_view_of_its_layers() {
    let Some(bench) = bench() else { return };
    let layers = many_kinds(&bench);
    let ran = bench.sh(&layers, "true");
    let tree = ran.step.scratch.join("tree/root");
    let described = |name: &str| {
        let stat = fs::symlink_metadata(tree.join(name)).unwrap();
        format!("{:o} {}:{} {}", stat.mode(), stat.uid(), stat.gid(), stat.mtime())
    };
    for (name, expected) in [
        ("d", "41750 0:0 100"),
        ("d/suid", "106711 7:8 200"),
        ("one", "100644 0:0 200"),
        ("link", "120777 9:10 300"),
        ("fifo", "10640 0:0 9"),
        ("null", "100666 0:0 5"),
        ("opaque", "40711 0:0 100"),
        ("was-dir", "100644 0:0 200"),
        ("was-file", "40700 0:0 100"),
    ] {
        assert_eq!(described(name), expected, "{name}");
    }
    for name in ["gone", "opaque/low"] {
        assert!(!tree.join(name).exists(), "{name}");
    }
    let linked = fs::metadata(tree.join("one")).unwrap();
    assert_eq!((linked.nlink(), linked.ino()), (2, fs::metadata(tree.join("two")).unwrap().ino()));
    let attributes = |name: &str| crate::apart::attributes(&tree.join(name));
    assert!(attributes("d").is_empty(), "the upper directory has none");
    assert_eq!(attributes("d/capable").values().next().unwrap(), CAPABILITY);
    assert_eq!(attributes("null").values().next().unwrap(), b"c 1 3");
    let ran = bench.sh(&layers, "rm /two; chmod 600 /null");
    let (changes, _) = bench.changes(&ran);
    assert_eq!(changes["null"].0.kind, Kind::CharDevice { major: 1, minor: 3 });
}

/// The inode of a file tells whether a tree was taken over or copied.
fn inode(ran: &Ran) -> u64 {
    fs::metadata(ran.step.scratch.join("tree/root/bin/busybox")).unwrap().ino()
}

#[test]
fn a_tree_is_handed_on_to_the_next_step() {
    let Some(bench) = bench() else { return };
    let root = bench.busybox();
    let mut layers = vec![root];
    let first = bench.sh(&layers, "echo 1 >one; mkdir d; echo old >d/x");
    let tree = inode(&first);
    let (changes, stats) = bench.changes(&first);
    assert_eq!(changes.keys().collect::<Vec<_>>(), ["d", "d/x", "one"]);
    assert!(stats.reusable);
    layers.push(bench.fresh("kept"));
    bench.sandbox.keep(&first.step, &layers[1]).unwrap();

    // A layer comes between.
    layers.push(bench.layer(&layers, &[file("copied", "c"), whiteout("d/x"), file("one", "2")]));
    let second = bench.sh(&layers, "cat one copied; ls d /sys | grep -v :");
    assert_eq!((second.ok(), inode(&second)), ("2c", tree));
    assert!(bench.changes(&second).0.is_empty());
    bench.sandbox.keep_unchanged(&second.step).unwrap();

    let third = bench.sh(&layers, "cat one copied; rm one");
    assert_eq!((third.ok(), inode(&third)), ("2c", tree));
    // While it has the tree nobody else does; and those who want less of it get a copy.
    let fourth = bench.sh(&layers, "cat one copied");
    assert_ne!((fourth.ok(), inode(&fourth)), ("2c", tree));
    let less = bench.sh(&layers[..2], "cat one");
    assert_eq!(less.ok(), "1");
}

#[test]
fn a_tree_of_a_failed_step_is_not_handed_on() {
    let Some(bench) = bench() else { return };
    let root = [bench.busybox()];
    let ran = bench.sh(&root, "echo half >/tmp/x; exit 1");
    bench.sandbox.remove(&ran.step.scratch).unwrap();
    assert_eq!(bench.sh(&root, "ls /tmp").ok(), "");
}

#[test]
fn a_volume_with_a_group_leaks_it_into_no_layer_and_no_tree() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("not here: only root can change its root");
    }
    let volume = tempfile::tempdir().unwrap();
    chown(volume.path(), None, Some(4711)).unwrap();
    fs::set_permissions(volume.path(), fs::Permissions::from_mode(0o2777)).unwrap();
    let work = volume.path().join("work");
    let sandbox = Sandbox::open(&work, Choice::Chroot).unwrap();
    assert_eq!(sandbox.rung(), Rung::Chroot);
    // What others make in the volume has its mode and group.
    let layers = volume.path().join("layers");
    fs::create_dir(&layers).unwrap();
    assert_eq!(fs::metadata(&layers).unwrap().mode() & 0o7777, 0o2755);
    let program = fs::read("/bin/busybox").unwrap();
    let entries: [Taken; 3] =
        [dir("bin", 0o755), file_of("bin/sh", 0o755, &program), file("a/b/implied", "")];
    let layer = layers.join("base");
    let unpacked = sandbox.unpack(&layer, &[], &mut |sink| {
        entries.iter().try_for_each(|(entry, content)| sink.entry(entry, &mut content.as_slice()))
    });
    unpacked.unwrap();
    let Some(bench) = bench() else { return };
    let scratch = sandbox.scratch().unwrap();
    let mut step = bench.sh(&[], "true").step;
    step.lowers = vec![layer.clone()];
    step.scratch = scratch.path().to_owned();
    step.cwd = "/made/for/it".into();
    step.argv = ["/bin/sh", "-c", "mkdir /new; echo x >/new/x"].iter().map(Into::into).collect();
    let interrupt = std::sync::atomic::AtomicBool::new(false);
    assert_eq!(sandbox.run(&step, &mut |_, _| {}, &interrupt).unwrap().code, 0);
    let mut seen = Vec::new();
    let mut sink = |entry: &Entry, _: &mut dyn io::Read| {
        seen.push(format!(
            "{} {:o} {}",
            String::from_utf8_lossy(&entry.path),
            entry.mode,
            entry.gid
        ));
        Ok(())
    };
    sandbox.changes(&step, &mut sink).unwrap();
    let expected =
        ["made 755 0", "made/for 755 0", "made/for/it 755 0", "new 755 0", "new/x 644 0"];
    assert_eq!(seen, expected);
    for tree in [layer, step.scratch.join("tree"), step.scratch.join("upper")] {
        check_groups(&tree);
    }
    sandbox.remove(&work).unwrap();
}

fn check_groups(path: &Path) {
    let stat = fs::symlink_metadata(path).unwrap();
    assert_eq!((stat.gid(), stat.mode() & 0o2000), (0, 0), "{}", path.display());
    if stat.is_dir() {
        fs::read_dir(path).unwrap().for_each(|item| check_groups(&item.unwrap().path()));
    }
}

#[test]
fn files_of_the_kernel_are_there_for_the_step_only() {
    let Some(bench) = bench() else { return };
    let root = [bench.busybox()];
    for (script, expected) in [
        ("cat /proc/self/comm; echo hello | cat /dev/stdin", "cat\nhello"),
        ("readlink /proc/self/exe; cat /proc/sys/kernel/ostype", "/bin/busybox\nLinux"),
        ("cat /proc/mounts | wc -l; grep -c MemTotal /proc/meminfo", "2\n1"),
        ("cat /proc/$PPID/status /proc/$PPID/environ /proc/1/status 2>/dev/null | wc -c", "0"),
        ("exec 3</etc/passwd; cat /dev/fd/3 | head -n 1 | wc -l", "1"),
        ("(setsid sleep 100 &); cat /proc/self/comm", "cat"),
    ] {
        for user in ["", "app"] {
            let ran = bench.step(&root, &["/bin/sh", "-c", script], |step| step.user = user.into());
            let ran = ran.unwrap();
            assert_eq!(ran.ok(), expected, "{script} as {user:?}");
            assert!(bench.changes(&ran).0.is_empty(), "{script}");
        }
    }
    // An image may lead there by a link.
    let link = bench.layer(&root, &[link("etc/mtab", "../proc/self/mounts")]);
    let ran = bench.sh(&[root[0].clone(), link], "cat /etc/mtab");
    assert!(ran.ok().contains("overlay / overlay"), "{}", ran.stdout);
}
