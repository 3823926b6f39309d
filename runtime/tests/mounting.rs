//! Mounts of a step: what it sees, what it may write, what is left of it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::slice::from_ref;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use longshore_runtime::{Error, Mount, MountKind, Owner, Rung, Secret, Tree};

use crate::bench::{Bench, Ran, Taken, dir, file, file_of, link, owned, whiteout};

const ROOT: Owner = Owner { uid: 0, gid: 0, mode: 0o755 };

fn mount(target: &str, kind: MountKind) -> Mount {
    Mount { target: target.into(), kind }
}

fn bind(layers: &[PathBuf], subpath: &str, readwrite: bool) -> MountKind {
    MountKind::Bind { tree: Tree { layers: layers.to_vec(), subpath: subpath.into() }, readwrite }
}

fn cache(dir: PathBuf, owner: Owner) -> MountKind {
    MountKind::Cache { dir, owner, initial: None, readonly: false }
}

fn tmpfs(size: Option<u64>) -> MountKind {
    MountKind::Tmpfs { size }
}

fn secret(content: &str, owner: Owner) -> MountKind {
    MountKind::Secret { content: Secret::new(content), owner }
}

fn run(bench: &Bench, root: &[PathBuf], mounts: Vec<Mount>, script: &str) -> Result<Ran, Error> {
    bench.step(root, &["/bin/sh", "-c", script], |step| step.mounts = mounts)
}

/// What a step that must succeed prints, and the paths that it changes.
fn did(bench: &Bench, root: &[PathBuf], mounts: Vec<Mount>, script: &str) -> (String, Vec<String>) {
    let ran = run(bench, root, mounts, script).unwrap();
    let said = ran.ok().to_owned();
    (said, bench.changes(&ran).0.into_keys().collect())
}

fn none() -> Vec<String> {
    Vec::new()
}

/// What a step says that is told "refused" when it writes where it may only read. Where nothing can
/// be mounted root can write, and what it writes is thrown away.
fn told(bench: &Bench, said: &str) -> String {
    match bench.sandbox.rung() {
        Rung::Chroot => said.strip_suffix("refused").unwrap().trim_end().to_owned(),
        _ => said.to_owned(),
    }
}

#[test]
fn layers_are_bound_read_only_or_with_writes_thrown_away() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let below = bench.layer(
        &[],
        &[dir("data", 0o755), file("data/a", "old"), file("data/gone", ""), link("to", "data")],
    );
    let above = bench.layer(from_ref(&below), &[whiteout("data/gone"), file("data/b", "new")]);
    let source = [below, above];
    let said = did(
        &bench,
        &root,
        vec![mount("/mnt/x", bind(&source, "to", false))],
        "cat /mnt/x/a /mnt/x/b; ls /mnt/x; echo no 2>/dev/null > /mnt/x/c || echo refused",
    );
    assert_eq!(said, (told(&bench, "oldnewa\nb\nrefused"), none()));
    let script = "echo changed > /mnt/x/a; rm /mnt/x/b; echo c > /mnt/x/c; cat /mnt/x/*; \
                  echo kept > /kept";
    let mounts = vec![mount("/mnt/x", bind(&source, "data", true))];
    assert_eq!(did(&bench, &root, mounts, script), ("changed\nc".into(), vec!["kept".into()]));
    let mounts = vec![mount("/mnt/x", bind(&source, "data", false))];
    assert_eq!(did(&bench, &root, mounts, "cat /mnt/x/a; ls /mnt/x").0, "olda\nb");
    assert_eq!(fs::read_to_string(source[0].join("data/a")).unwrap(), "old");
}

#[test]
fn a_file_is_bound_on_a_file_that_need_not_be_there() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let source = [bench.layer(&[], &[dir("d", 0o755), owned(file("d/f", "content"), 7, 8)])];
    for target in ["/new/place/f", "/etc/passwd", "/etc/hostname"] {
        let mounts = vec![mount(target, bind(&source, "d/f", false))];
        let script = format!(
            "cat {target}; stat -c ' %u:%g' {target}; echo x 2>/dev/null > {target} || echo refused"
        );
        let said = did(&bench, &root, mounts, &script);
        assert_eq!(said, (told(&bench, "content 7:8\nrefused"), none()), "{target}");
    }
    let mounts = vec![mount("/new/f", bind(&source, "d/f", true))];
    let said = did(&bench, &root, mounts, "echo more >> /new/f; cat /new/f");
    assert_eq!(said, ("contentmore".into(), none()));
}

#[test]
fn an_image_without_layers_has_mounts_too() {
    let Some(bench) = Bench::new() else { return };
    let busybox = [bench.busybox()];
    let mounts = || {
        vec![
            mount("/bin", bind(&busybox, "bin", false)),
            mount("/nothing", bind(&[], "", true)),
            mount("/less", bind(&[], "", false)),
        ]
    };
    let script =
        "ls -A /nothing /less; touch /nothing/x; touch /less/x 2>/dev/null || echo refused";
    let said = did(&bench, &[], mounts(), script);
    assert_eq!(said, (told(&bench, "/less:\n\n/nothing:\nrefused"), none()));
    assert_eq!(did(&bench, &[], mounts(), "echo x > /made").1, ["made"]);
}

#[test]
fn mount_points_never_enter_the_layer() {
    let Some(bench) = Bench::new() else { return };
    let base = bench.busybox();
    let top = bench.layer(
        from_ref(&base),
        &[dir("opt", 0o750), dir("srv", 0o755), whiteout("tmp"), link("var", "dangling/run")],
    );
    let root = [base, top];
    let points = ["/a/b/c", "/opt/x/y", "/srv", "/tmp", "/var/lib", "/etc/new"];
    let mounts = || points.iter().map(|target| mount(target, tmpfs(None))).collect::<Vec<_>>();
    assert_eq!(did(&bench, &root, mounts(), "touch /srv/f /a/b/c/f /var/lib/f").1, none());
    let said = did(&bench, &root, mounts(), "stat -c '%a %Y' /opt /opt/x; ls -d /dangling/run/lib");
    assert_eq!(said.0, "750 100\n755 0\n/dangling/run/lib", "as in the image, or plain");
    let said = did(&bench, &root, mounts(), "touch /a/b/beside /opt/beside");
    assert_eq!(
        said.1,
        ["a", "a/b", "a/b/beside", "opt", "opt/beside"],
        "but what lies beside does"
    );
}

#[test]
fn targets_that_cannot_be_are_refused_with_a_reason() {
    let Some(bench) = Bench::new() else { return };
    let base = bench.busybox();
    let odd = [
        file("file", ""),
        dir("dir", 0o755),
        link("loop", "loop"),
        link("root", "../../.."),
        link("sys2", "/sys/x"),
    ];
    let top = bench.layer(from_ref(&base), &odd);
    let source = [top.clone()];
    let root = [base, top];
    for (target, kind, reason) in [
        ("/file", tmpfs(None), "it is a file of the image, but a directory is to be mounted there"),
        ("/dir", secret("", ROOT), "it is a directory of the image, but a file is to be mounted"),
        ("/file/below", tmpfs(None), "a file is on the way"),
        ("/loop", tmpfs(None), "its links never end"),
        ("/root", tmpfs(None), "it leads to the root of the image"),
        ("/", tmpfs(None), "it leads to the root of the image"),
        ("/proc/self", tmpfs(None), "nothing can be mounted in /proc"),
        ("/sys2/y", tmpfs(None), "nothing can be mounted in /sys"),
        ("/dev", tmpfs(None), "nothing can be mounted over /dev"),
        ("/x", bind(&source, "nothere", false), "its source nothere does not exist"),
        ("/x", bind(&source, "loop", false), "its source loop cannot be found"),
    ] {
        let error = run(&bench, &root, vec![mount(target, kind)], "true").map(|_| ()).unwrap_err();
        let expected = format!("cannot mount {target}: {reason}");
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(matches!(error, Error::Mount { .. }), "{error:?}");
    }
    let twice = vec![mount("/dir", tmpfs(None)), mount("/root/dir", tmpfs(None))];
    let error = run(&bench, &root, twice, "true").map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "cannot mount /root/dir: it is the same place as /dir");
}

#[test]
fn links_of_the_image_lead_no_mount_out_of_it() {
    let Some(bench) = Bench::new() else { return };
    let base = bench.busybox();
    let outside = bench.root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let absolute = outside.to_str().unwrap();
    let up = format!("../../../../../../../../../..{absolute}");
    let links = [link("abs", absolute), link("up", &up)];
    let root = [base.clone(), bench.layer(from_ref(&base), &links)];
    for way in ["abs", "up"] {
        let mounts = vec![mount(&format!("/{way}/in"), secret("s", ROOT))];
        let said = did(&bench, &root, mounts, &format!("cat /{way}/in; ls {absolute}"));
        assert_eq!(said, ("sin".into(), none()));
    }
    let source = [bench.layer(&[], &[link("out", "/etc/shadow"), link("up", "../../../etc")])];
    for way in ["out", "up"] {
        let mounts = vec![mount("/x", bind(&source, way, false))];
        let error = run(&bench, &root, mounts, "true").map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("does not exist"), "{error}");
    }
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

#[test]
fn mounts_nest_in_whatever_order_they_are_given() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let source = [bench.layer(&[], &[dir("src", 0o755), file("src/main", "code")])];
    let caches = bench.root.path().join("work/caches");
    fs::create_dir(&caches).unwrap();
    let mounts = vec![
        mount("/app/modules/deep", tmpfs(None)),
        mount("/app/key", secret("s3", ROOT)),
        mount("/app/modules", cache(caches.join("m"), ROOT)),
        mount("/app", bind(&source, "src", false)),
    ];
    let script = "cat /app/main /app/key; touch /app/modules/kept /app/modules/deep/lost; \
                  touch /app/new 2>/dev/null || echo refused";
    let said = did(&bench, &root, mounts.clone(), script);
    assert_eq!(said, (told(&bench, "codes3refused"), none()));
    assert!(caches.join("m/kept").exists() && !caches.join("m/deep/lost").exists());
    let in_file = vec![mount("/app/key", secret("", ROOT)), mount("/app/key/x", tmpfs(None))];
    let error = run(&bench, &root, in_file, "true").map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot mount /app/key/x: it cannot be made in the mount at /app/key: a file is on the way"
    );
    let devices = vec![mount("/dev/shm", tmpfs(Some(1 << 20))), mount("/dev/my/x", tmpfs(None))];
    assert_eq!(did(&bench, &root, devices, "ls -d /dev/my/x; touch /dev/shm/x").1, none());
}

#[test]
fn caches_outlive_steps_and_are_made_once() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let caches = bench.root.path().join("work/caches");
    fs::create_dir(&caches).unwrap();
    // As a volume with an fsGroup has it.
    fs::set_permissions(&caches, fs::Permissions::from_mode(0o2775)).unwrap();
    let owner = Owner { uid: 1000, gid: 1001, mode: 0o750 };
    let one = || vec![mount("/c", cache(caches.join("one"), owner))];
    let said = did(&bench, &root, one(), "stat -c '%a %u:%g' /c; echo 1 > /c/f");
    assert_eq!(said, ("750 1000:1001".into(), none()));
    let said = did(&bench, &root, one(), "cat /c/f; chmod 700 /c");
    assert_eq!(said, ("1".into(), none()));
    assert_eq!(did(&bench, &root, one(), "stat -c %a /c").0, "700", "it is never set again");
    let readonly =
        MountKind::Cache { dir: caches.join("one"), owner, initial: None, readonly: true };
    let script = "cat /c/f; echo 2 2>/dev/null > /c/f || echo refused";
    let said = did(&bench, &root, vec![mount("/c", readonly)], script).0;
    assert_eq!(said, told(&bench, "1\nrefused"));
    assert_eq!(did(&bench, &root, one(), "cat /c/f").0, "1");
    let names: Vec<_> =
        fs::read_dir(&caches).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["one"]);
}

#[test]
fn a_new_cache_takes_its_content_from_layers() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let caches = bench.root.path().join("work/caches");
    fs::create_dir(&caches).unwrap();
    let below = bench.layer(&[], &[dir("d", 0o755), file("d/gone", "")]);
    let entries = [
        whiteout("d/gone"),
        owned(dir("d/sub", 0o711), 5, 6),
        owned(file_of("d/sub/f", 0o4755, b"x"), 3, 4),
        crate::bench::hard_link("d/sub/g", "d/sub/f"),
        link("d/l", "sub/f"),
    ];
    let above = bench.layer(from_ref(&below), &entries);
    let tree = |subpath: &str| Tree {
        layers: vec![below.clone(), above.clone()],
        subpath: subpath.into(),
    };
    let kind = |name: &str, subpath: &str| MountKind::Cache {
        dir: caches.join(name),
        owner: ROOT,
        initial: Some(tree(subpath)),
        readonly: false,
    };
    let script = "cd /c; ls; stat -c '%n %a %u:%g %h %Y' sub sub/f; readlink l; echo y > sub/new";
    let said = did(&bench, &root, vec![mount("/c", kind("a", "d"))], script);
    let expected = "l\nsub\nsub 711 5:6 2 100\nsub/f 4755 3:4 2 200\nsub/f";
    assert_eq!(said, (expected.into(), none()));
    let again = did(&bench, &root, vec![mount("/c", kind("a", "d"))], "cat /c/sub/new");
    assert_eq!(again.0, "y");
    let error = run(&bench, &root, vec![mount("/c", kind("b", "d/l"))], "true").map(|_| ());
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "cannot mount /c: its source d/l is not a directory");
    assert!(!caches.join("b").exists());
}

#[test]
fn a_tmpfs_is_empty_and_as_large_as_it_says() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let script = "ls -A /tmp; stat -c '%a %u' /tmp; dd if=/dev/zero of=/tmp/f bs=64k count=32 2>&1";
    let mounts = vec![mount("/tmp", tmpfs(Some(1 << 20)))];
    let ran = run(&bench, &root, mounts, script).unwrap();
    assert!(ran.stdout.starts_with("1777 0\n"), "{}", ran.stdout);
    // Without a file system of its own nothing keeps it to its size.
    let is_full = bench.sandbox.rung() != Rung::Chroot;
    assert_eq!(ran.exit.code != 0, is_full);
    assert_eq!(ran.stdout.contains("No space left on device"), is_full, "{}", ran.stdout);
    assert!(bench.changes(&ran).0.is_empty());
}

#[test]
fn secrets_are_read_by_whom_they_are_for_and_never_written() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let word = format!("never-on-disk-{}", std::process::id());
    let owner = Owner { uid: 1000, gid: 1001, mode: 0o440 };
    let ran = bench
        .step(
            &root,
            &[
                "/bin/sh",
                "-c",
                "cat /run/secrets/a; stat -c ' %a %u:%g' /run/secrets/a; \
              echo $TOKEN; echo x 2>/dev/null > /run/secrets/a || echo refused",
            ],
            |step| {
                step.user = "app".into();
                step.mounts = vec![mount("/run/secrets/a", secret(&word, owner))];
                step.env.push(("TOKEN".into(), "from the image".into()));
                step.secret_env = vec![("TOKEN".into(), Secret::new("from the secret"))];
            },
        )
        .unwrap();
    assert_eq!(ran.ok(), format!("{word} 440 1000:1001\nfrom the secret\nrefused"));
    assert!(bench.changes(&ran).0.is_empty());
    assert!(!format!("{:?}", ran.step).contains("from the secret"));
    assert_eq!(files_with(bench.root.path(), &word), Vec::<PathBuf>::new());
}

/// All files below `root` that hold `word`.
fn files_with(root: &std::path::Path, word: &str) -> Vec<PathBuf> {
    let (mut found, mut ahead) = (Vec::new(), vec![root.to_owned()]);
    while let Some(path) = ahead.pop() {
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            // A work directory of an overlay is closed even to its owner.
            let Ok(listing) = fs::read_dir(&path) else { continue };
            ahead.extend(listing.map(|entry| entry.unwrap().path()));
        } else if kind.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            if bytes.windows(word.len()).any(|window| window == word.as_bytes()) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn an_agent_answers_a_step_of_any_user_but_keeps_its_keys() {
    let Some(bench) = Bench::new() else { return };
    let Some(tools) = machine_program("/usr/bin/ssh-add") else { return };
    let base = bench.busybox();
    let root = [base.clone(), bench.layer(from_ref(&base), &tools)];
    let socket = bench.root.path().join("agent.sock");
    let asked = agent_without_keys(&UnixListener::bind(&socket).unwrap());
    let owner = Owner { uid: 1000, gid: 0, mode: 0o600 };
    let target = "/run/buildkit/ssh_agent.0";
    let script = format!(
        "stat -c '%F %a %u:%g' {target}; export SSH_AUTH_SOCK={target}; \
         /usr/bin/ssh-add -l; /usr/bin/ssh-add -D; echo $?"
    );
    let ran = bench
        .step(&root, &["/bin/sh", "-c", &script], |step| {
            step.user = "app".into();
            step.mounts = vec![mount(target, MountKind::SshAgent { socket, owner })];
        })
        .unwrap();
    assert_eq!(ran.ok(), "socket 600 1000:0\nThe agent has no identities.\n1", "{}", ran.stderr);
    assert!(ran.stderr.contains("Failed to remove all identities"), "{}", ran.stderr);
    assert!(bench.changes(&ran).0.is_empty());
    let asked = asked.lock().unwrap();
    assert!(asked.contains(&11) && asked.iter().all(|kind| [11, 27].contains(kind)), "{asked:?}");
}

/// Answers every request as an agent without keys does; what is asked for is noted.
fn agent_without_keys(listener: &UnixListener) -> Arc<Mutex<Vec<u8>>> {
    let (listener, asked) = (listener.try_clone().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let notes = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut length) = (stream.unwrap(), [0; 4]);
            while stream.read_exact(&mut length).is_ok() {
                let mut request = vec![0; u32::from_be_bytes(length) as usize];
                stream.read_exact(&mut request).unwrap();
                notes.lock().unwrap().push(request[0]);
                let answer: &[u8] = match request[0] {
                    11 => &[0, 0, 0, 5, 12, 0, 0, 0, 0],
                    _ => &[0, 0, 0, 1, 5],
                };
                stream.write_all(answer).unwrap();
            }
        }
    });
    asked
}

/// A program of this machine with the libraries that it needs, as a layer.
fn machine_program(path: &str) -> Option<Vec<Taken>> {
    if !std::path::Path::new(path).exists() {
        eprintln!("skipped: {path} is not installed");
        return None;
    }
    let listing = std::process::Command::new("ldd").arg(path).output().unwrap();
    let listing = String::from_utf8(listing.stdout).unwrap();
    let libraries = listing.split_whitespace().filter(|word| word.starts_with('/'));
    let files = std::iter::once(path).chain(libraries);
    let entry = |path: &str| file_of(&path[1..], 0o755, &fs::read(path).unwrap());
    Some(files.map(entry).collect())
}

#[test]
fn a_script_is_a_program_that_the_step_can_run() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let content = b"#!/bin/cat\nof root, and run by anybody\n".to_vec();
    let mounts = vec![mount("/dev/pipes/EOF", MountKind::Script { content })];
    let script = "/dev/pipes/EOF; stat -c '%a %u:%g' /dev/pipes/EOF";
    let ran = bench
        .step(&root, &["/bin/sh", "-c", script], |step| {
            step.user = "app".into();
            step.mounts = mounts;
        })
        .unwrap();
    assert_eq!(ran.ok(), "#!/bin/cat\nof root, and run by anybody\n755 0:0");
    assert!(bench.changes(&ran).0.is_empty());
}

#[test]
fn a_step_that_takes_too_long_is_ended_with_all_it_started() {
    let Some(bench) = Bench::new() else { return };
    let start = Instant::now();
    let script = "trap 'echo told; exit 0' TERM; sleep 1000 & wait";
    let limit = Duration::from_millis(300);
    let error = bench
        .step(&[bench.busybox()], &["/bin/sh", "-c", script], |step| step.timeout = Some(limit))
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, Error::TimedOut { limit: told } if told == limit), "{error:?}");
    assert_eq!(error.to_string(), "the step was ended because it took longer than 0.3 seconds");
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    let ran = bench
        .step(&[bench.busybox()], &["/bin/sh", "-c", ":"], |step| {
            step.timeout = Some(Duration::from_secs(60));
        })
        .unwrap();
    assert_eq!(ran.exit.code, 0);
}

#[test]
fn a_step_starts_with_the_open_files_that_container_engines_give() {
    let Some(bench) = Bench::new() else { return };
    let hard = bench.sh(&[bench.busybox()], "ulimit -Hn").ok().to_owned();
    let ran = bench.sh(&[bench.busybox()], "ulimit -Sn; ulimit -Sn $(ulimit -Hn); ulimit -Sn");
    assert_eq!(ran.ok(), format!("1024\n{hard}"));
    assert!(hard == "unlimited" || hard.parse::<u64>().unwrap() >= 1024);
}

#[test]
fn scratch_directories_with_mounts_are_removed_whole() {
    let Some(bench) = Bench::new() else { return };
    let source = [bench.layer(&[], &[dir("d", 0o555), file("d/f", "x")])];
    let scratch = {
        let mounts = vec![mount("/m", bind(&source, "d", true))];
        let ran = run(&bench, &[bench.busybox()], mounts, "rm -f /m/f; mkdir /m/n; chmod 0 /m/n")
            .unwrap();
        ran.ok();
        ran.step.scratch.clone()
    };
    bench.sandbox.remove(&scratch).unwrap();
    assert!(!scratch.exists());
    assert_eq!(fs::metadata(source[0].join("d/f")).unwrap().size(), 1, "the source is as it was");
}
