//! Mounts of a step in a root tree, where nothing can be mounted: what they leave in the layer, and
//! what becomes of them when something goes wrong.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::slice::from_ref;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use longshore_runtime::{
    Choice, Error, Mount, MountKind, Owner, Rung, Sandbox, Secret, Tree, clean_leftovers,
};

use crate::bench::{Bench, RUNG, dir, file, hard_link, link, owned, whiteout};

const ROOT: Owner = Owner { uid: 0, gid: 0, mode: 0o755 };

/// A bench on this rung, where the machine has it.
fn bench() -> Option<Bench> {
    if rustix::process::geteuid().is_root() {
        return Bench::on(Choice::Chroot);
    }
    eprintln!("not here: only root can change its root");
    None
}

fn mount(target: &str, kind: MountKind) -> Mount {
    Mount { target: target.into(), kind }
}

fn cache(dir: &Path) -> MountKind {
    MountKind::Cache { dir: dir.to_owned(), owner: ROOT, initial: None, readonly: false }
}

fn bind(layers: &[PathBuf], subpath: &str) -> MountKind {
    let tree = Tree { layers: layers.to_vec(), subpath: subpath.into() };
    MountKind::Bind { tree, readwrite: true }
}

fn tmpfs() -> MountKind {
    MountKind::Tmpfs { size: None }
}

/// A directory for caches in the work directory.
fn caches(bench: &Bench) -> PathBuf {
    let caches = bench.root.path().join("work/caches");
    fs::create_dir_all(&caches).unwrap();
    caches
}

/// What a step prints, and what it changes in words.
type Did = (String, Vec<String>);

fn did(bench: &Bench, root: &[PathBuf], mounts: Vec<Mount>, script: &str) -> Did {
    let ran = bench
        .step(root, &["/bin/sh", "-c", script], |step| {
            step.mounts = mounts;
            step.clamp_mtime = Some(1000);
        })
        .unwrap();
    let said = ran.ok().to_owned();
    let (changes, _) = bench.changes(&ran);
    let words = changes.values().map(|(entry, content)| format!("{entry:?} {content:?}"));
    (said, words.collect())
}

/// Steps that write everywhere, in what is mounted and beside it.
const SCRIPTS: [&str; 9] = [
    "true",
    "touch /c/x /b/x /t/x /opt/in/x; ls /c /b",
    "echo kept > /opt/kept; echo made > /new/way/made; mkdir /new/other; touch /etc/x",
    "chmod 700 /new; rm -f /opt/file /new/way/made",
    "cp /c/x /b/data /; chown -R 5:6 /b /t /srv; echo x > /srv/x",
    "touch -d @77 /opt /etc /srv; ls -A /srv",
    "mkdir /new/way/t; rmdir /new/way/t; echo over > /etc/hostname",
    "chmod 711 /new/way; touch -d @99 /new/way",
    "ln -s /run/secrets/s /link; cat /run/secrets/s; rm -r /opt/dir; touch /etc/passwd",
];

#[test]
fn steps_with_mounts_make_the_same_layers_on_every_rung() {
    let mut found: Vec<(Rung, Vec<Did>)> = Vec::new();
    for choice in [Choice::Overlay, Choice::Chroot] {
        if choice == Choice::Chroot && !rustix::process::geteuid().is_root() {
            continue;
        }
        let Some(bench) = Bench::on(choice) else { continue };
        found.push((bench.sandbox.rung(), SCRIPTS.map(|script| upon(&bench, script)).to_vec()));
    }
    for pair in found.windows(2) {
        for (number, script) in SCRIPTS.iter().enumerate() {
            let [one, other] = [&pair[0], &pair[1]].map(|(_, steps)| &steps[number]);
            assert_eq!(one, other, "{} and {}: {script}", pair[0].0, pair[1].0);
        }
    }
}

/// Runs a script with mounts of all kinds, upon an image that has something in some of the places.
fn upon(bench: &Bench, script: &str) -> Did {
    let base = bench.busybox();
    let entries = [
        owned(dir("opt", 0o750), 3, 4),
        file("opt/file", "1"),
        dir("opt/dir", 0o755),
        dir("opt/in", 0o700),
        file("opt/in/own", "hidden"),
        dir("srv", 0o755),
        file("srv/own", "shown again"),
        hard_link("srv/two", "opt/file"),
        whiteout("tmp"),
    ];
    let top = bench.layer(from_ref(&base), &entries);
    let source = [bench.layer(&[], &[dir("d", 0o755), file("d/data", "data")])];
    let mounts = vec![
        mount("/opt/in", tmpfs()),
        mount("/b", bind(&source, "d")),
        mount("/c", cache(&caches(bench).join("c"))),
        mount("/c/deep", tmpfs()),
        mount("/t", tmpfs()),
        mount("/new/way/deep/er", tmpfs()),
        mount("/srv", cache(&caches(bench).join("d"))),
        mount("/opt/new", bind(&source, "d/data")),
        mount("/etc/passwd", bind(&source, "d/data")),
        mount("/dev/shm", tmpfs()),
        mount("/run/secrets/s", MountKind::Secret { content: Secret::new("s3"), owner: ROOT }),
        mount("/dev/pipes/EOF", MountKind::Script { content: b"#!/bin/sh\n".to_vec() }),
    ];
    did(bench, &[base, top], mounts, script)
}

#[test]
fn nothing_of_a_mount_is_handed_on_with_the_tree() {
    let Some(bench) = bench() else { return };
    let mut layers = vec![bench.busybox()];
    let mounts = || {
        vec![
            mount("/c/d", cache(&caches(&bench).join("c"))),
            mount("/b", bind(&[layers[0].clone()], "etc")),
            mount("/etc/group", tmpfs_file(&bench)),
        ]
    };
    let argv = ["/bin/sh", "-c", "echo in > /c/d/in; echo b > /b/b; echo out > /out"];
    let ran = bench.step(&layers, &argv, |step| step.mounts = mounts()).unwrap();
    ran.ok();
    assert_eq!(bench.changes(&ran).0.into_keys().collect::<Vec<_>>(), ["out"]);
    let place = bench.fresh("kept");
    bench.sandbox.keep(&ran.step, &place).unwrap();
    layers.push(place);
    let said = bench.sh(&layers, "cat /out; ls -d /c /b 2>/dev/null; head -n 1 /etc/group");
    assert_eq!(said.stdout, "out\nroot:x:0:\n");
    assert!(bench.changes(&said).0.is_empty());
}

fn tmpfs_file(bench: &Bench) -> MountKind {
    bind(&[bench.layer(&[], &[file("f", "covers")])], "f")
}

#[test]
fn a_step_may_do_to_mounts_what_it_likes_and_the_image_is_as_it_was() {
    let Some(bench) = bench() else { return };
    let base = bench.busybox();
    let entries =
        [dir("opt", 0o755), dir("opt/own", 0o711), file("opt/own/f", "f"), file("g", "g")];
    let root = [base.clone(), bench.layer(from_ref(&base), &entries)];
    let source = [bench.layer(&[], &[dir("d", 0o755), file("d/data", "data")])];
    let c = caches(&bench).join("c");
    let mounts = || {
        vec![
            mount("/opt/own", cache(&c)),
            mount("/b", bind(&source, "d")),
            mount("/g", bind(&source, "d/data")),
            mount("/new/t", tmpfs()),
        ]
    };
    let paths = |script: &str| {
        let ran =
            bench.step(&root, &["/bin/sh", "-c", script], |step| step.mounts = mounts()).unwrap();
        ran.ok();
        let changed: Vec<String> = bench.changes(&ran).0.into_keys().collect();
        if changed.is_empty() {
            bench.sandbox.keep_unchanged(&ran.step).unwrap();
        }
        changed
    };
    assert!(paths("echo 1 > /opt/own/x").is_empty());
    assert!(paths("rm -rf /b /new /g; echo 2 > /b; echo 3 > /g; mkdir /g2; rmdir /g2").is_empty());
    assert!(paths("mv /b /new/t/b; ln -s /etc /b; mv /g /g1; ln -s /etc/passwd /g").is_empty());
    assert_eq!(paths("mv /opt/own /moved; mkdir -p /opt/own/y"), ["opt"], "its time is another");
    assert_eq!(fs::read_to_string(c.join("x")).unwrap(), "1\n", "a cache is found where it went");
    assert!(!c.join("y").exists());
    let ran = bench.sh(&root, "cat /opt/own/f /g; stat -c ' %a %Y' /opt/own; ls /new /b 2>&1");
    assert!(ran.stdout.starts_with("fg 711 100\n"), "{}", ran.stdout);
    assert_eq!(ran.exit.code, 1);
    assert_eq!(paths("mv /opt /other"), ["opt", "other", "other/own", "other/own/f"]);
    assert!(c.join("x").exists());
    assert!(paths("rm -r /opt/own; touch /opt").iter().all(|path| path == "opt"));
    assert!(!c.exists(), "a cache that is removed is made again");
}

#[test]
fn a_cache_shares_no_file_with_the_image() {
    let Some(bench) = bench() else { return };
    let base = bench.busybox();
    let root = [base.clone(), bench.layer(from_ref(&base), &[file("own", "own")])];
    let c = caches(&bench).join("c");
    let mounts = vec![mount("/c", cache(&c))];
    let long = "0".repeat(250);
    let script = format!(
        "mkdir /c/d; echo 1 > /c/a; chmod 640 /c/a; chown 7:8 /c/a; touch -d @99 /c/a; \
         ln /c/a /c/d/b; ln /c/a /out; echo 2 > /c/alone; ln /c/alone /c/d/alone; \
         ln /own /c/own; ln /own /c/{long}; ln /own /c/.longshore-fresh; \
         mkfifo /pipe; ln /pipe /c/pipe"
    );
    let ran = bench.step(&root, &["/bin/sh", "-c", &script], |step| step.mounts = mounts).unwrap();
    ran.ok();
    let at = |path: &str| fs::symlink_metadata(c.join(path)).unwrap();
    let tree = ran.step.scratch.join("tree/root");
    let out = fs::symlink_metadata(tree.join("out")).unwrap();
    assert_eq!((out.nlink(), at("a").nlink()), (1, 2));
    assert_eq!(at("own").ino(), at(&long).ino());
    assert_eq!(fs::symlink_metadata(tree.join("own")).unwrap().nlink(), 1);
    assert!(!c.join("pipe").exists(), "what cannot be copied is lost");
    assert_ne!(out.ino(), at("a").ino());
    assert_eq!(at("a").ino(), at("d/b").ino());
    assert_eq!(at("alone").ino(), at("d/alone").ino());
    let kept = (at("a").mode() & 0o7777, at("a").uid(), at("a").gid(), at("a").mtime());
    assert_eq!(kept, (0o640, 7, 8, 99));
    fs::write(c.join("own"), "changed in the cache").unwrap();
    fs::write(c.join("a"), "changed in the cache").unwrap();
    let changes = bench.changes(&ran).0;
    assert_eq!(changes.keys().collect::<Vec<_>>(), ["out", "pipe"]);
    assert_eq!(changes["out"].1, b"1\n");
}

#[test]
fn a_cache_is_in_one_place_of_a_step() {
    let Some(bench) = bench() else { return };
    let c = caches(&bench).join("c");
    let mounts = vec![mount("/one", cache(&c)), mount("/other", cache(&c))];
    let ran = bench.step(&[bench.busybox()], &["/bin/sh", "-c", ":"], |step| step.mounts = mounts);
    let error = ran.map(|_| ()).unwrap_err();
    let expected = "cannot mount /other: without mounts, a cache is in one place only, here /one";
    assert_eq!(error.to_string(), expected);
    assert!(c.exists() && matches!(error, Error::Mount { .. }));
}

#[test]
fn a_secret_has_a_name_but_no_content_for_who_is_not_answered() {
    let Some(bench) = bench() else { return };
    let base = bench.busybox();
    let links = [dir("var", 0o755), link("var/run", "/run"), link("alias", "/run/secrets")];
    let root = [base.clone(), bench.layer(from_ref(&base), &links)];
    let kind = || MountKind::Secret {
        content: Secret::new("s3cret"),
        owner: Owner { mode: 0o400, ..ROOT },
    };
    let mounts = vec![mount("/var/run/secrets/s", kind()), mount("/etc/key", kind())];
    let script = "cat /var/run/secrets/s /run/secrets/s; echo; cd /alias; cat s; echo; \
                  ls /run/secrets; [ -f /run/secrets/s ] && stat -c '%F %s %a' /etc/key; \
                  cat /alias/s 2>/dev/null || echo error";
    let (said, changed) = did(&bench, &root, mounts, script);
    assert_eq!(said, "s3crets3cret\ns3cret\ns\nregular file 6 400\nerror");
    assert!(changed.is_empty(), "{changed:?}");
}

#[test]
fn a_step_that_loses_its_supervisor_loses_no_cache() {
    let Some(bench) = bench() else { return };
    let c = caches(&bench).join("c");
    let source = [bench.layer(&[], &[dir("d", 0o755)])];
    let mut step = bench.sh(&[bench.busybox()], "true").step;
    let scratch = bench.sandbox.scratch().unwrap();
    step.scratch = scratch.path().to_owned();
    let script = "echo kept > /c/kept; echo $PPID; exec sleep 1000";
    step.argv = ["/bin/sh", "-c", script].iter().map(Into::into).collect();
    step.mounts = vec![mount("/c", cache(&c)), mount("/c/in", bind(&source, "d"))];
    let mut kill = |_, chunk: &[u8]| {
        assert!(!c.exists(), "it is in the tree");
        let init: i32 = String::from_utf8_lossy(chunk).trim().parse().unwrap();
        let init = rustix::process::Pid::from_raw(init).unwrap();
        rustix::process::kill_process(init, rustix::process::Signal::KILL).unwrap();
    };
    let error = bench.sandbox.run(&step, &mut kill, &AtomicBool::new(false)).unwrap_err();
    assert!(matches!(error, Error::Died { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(c.join("kept")).unwrap(), "kept\n");
    assert!(!c.join("in").exists(), "but for what was mounted in it");
}

/// Where the work directory of a victim is.
const VICTIM: &str = "RUNTIME_TEST_GRAFTING_VICTIM";

#[test]
fn a_killed_builder_loses_no_cache() {
    if let Some(work) = std::env::var_os(VICTIM) {
        return be_killed(Path::new(&work));
    }
    let Some(bench) = bench() else { return };
    let work = bench.root.path().join("work");
    let c = caches(&bench).join("c");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "grafting::a_killed_builder_loses_no_cache"])
        .env(VICTIM, &work)
        .env(RUNG, "chroot")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let scratch = || {
        let listing = fs::read_dir(work.join("scratch")).into_iter().flatten();
        let mut paths = listing.map(|item| item.unwrap().path());
        paths.find(|path| path.join("tree/root/c/started").exists())
    };
    wait_until(|| scratch().is_some());
    let scratch = scratch().unwrap();
    assert!(!c.exists());
    victim.kill().unwrap();
    victim.wait().unwrap();
    // A step of a dead builder might leave a way out of its root where the cache was.
    let outside = bench.root.path().join("outside");
    fs::create_dir_all(outside.join("d")).unwrap();
    wait_until(|| fs::rename(scratch.join("tree/root/e"), scratch.join("e")).is_ok());
    symlink(&outside, scratch.join("tree/root/e")).unwrap();
    wait_until(|| clean_leftovers(&work).unwrap() == 1);
    assert!(!scratch.exists());
    assert_eq!(fs::read_to_string(c.join("started")).unwrap(), "1\n");
    assert!(outside.join("d").exists() && !work.join("caches/d").exists());
    let mode = fs::metadata(&c).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
    assert_eq!(fs::read_dir(work.join("roots")).into_iter().flatten().count(), 0);
}

fn be_killed(work: &Path) {
    let sandbox = Sandbox::open(work, Choice::Chroot).unwrap();
    let bench = Bench::upon(sandbox, work.parent().unwrap());
    let caches = work.join("caches");
    let mounts =
        vec![mount("/c", cache(&caches.join("c"))), mount("/e/d", cache(&caches.join("d")))];
    let script = "echo 1 > /c/started; exec sleep 1000";
    let root = [bench.busybox()];
    let _ = bench.step(&root, &["/bin/sh", "-c", script], |step| step.mounts = mounts);
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited in vain");
        std::thread::yield_now();
    }
}
