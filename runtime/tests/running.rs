//! What a step sees, may do, and how it ends.

use std::process::{Command, Stdio};
use std::slice::from_ref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use longshore_runtime::{Error, Network, Rung, StepSpec, Stream, harden_builder};

use crate::bench::{Bench, dir, file, file_of, link, owned};

#[test]
fn output_and_exit_code_come_back() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let ran = bench.sh(&root, "echo hello; echo oops >&2; exit 3");
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str(), ran.exit.code), ("hello\n", "oops\n", 3));
    assert!(ran.exit.max_rss > 0);
    assert_eq!(bench.sh(&root, "kill -SEGV $$").exit.code, 128 + 11);
    let ran = bench.sh(&root, "dd if=/dev/zero bs=64k count=64 2>/dev/null");
    assert_eq!(ran.ok().len(), 4 << 20);
}

#[test]
fn what_cannot_be_executed_has_the_shell_s_codes() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let odd = bench.layer(
        from_ref(&root),
        &[
            file_of("opt/script", 0o755, b"#!/no/such/interpreter\n"),
            file("opt/plain", "no program"),
            file_of("opt/text", 0o755, b"neither ELF nor script"),
        ],
    );
    for (argv, code, message) in [
        ("nothere", 127, "cannot run nothere: not found in PATH\n"),
        ("/opt/nothere", 127, "cannot run /opt/nothere: no such file\n"),
        ("/opt/script", 127, "cannot run /opt/script: its interpreter does not exist\n"),
        ("/opt/plain", 126, "cannot run /opt/plain: Permission denied\n"),
        ("plain", 126, "cannot run plain: Permission denied\n"),
        ("/opt/text", 126, "cannot run /opt/text: Exec format error\n"),
        ("/opt", 126, "cannot run /opt: Permission denied\n"),
    ] {
        let layers = [root.clone(), odd.clone()];
        let ran = bench
            .step(&layers, &[argv], |step| step.env = vec![("PATH".into(), "/bin:/opt".into())])
            .unwrap();
        assert_eq!((ran.exit.code, ran.stderr.as_str()), (code, message));
    }
}

#[test]
fn commands_without_a_slash_are_found_in_the_path_of_the_root() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let tool = bench.layer(
        from_ref(&root),
        &[
            file("first/tool", "not executable"),
            file_of("second/tool", 0o755, b"#!/bin/sh\necho tool \"$@\"\n"),
        ],
    );
    let layers = [root, tool];
    let env = vec![("PATH".into(), "/none:/first:/second".into())];
    let ran = bench.step(&layers, &["tool", "a b", "c"], |step| step.env = env).unwrap();
    assert_eq!(ran.ok(), "tool a b c");
    let ran = bench.step(&layers, &["echo", "default"], |step| step.env.clear()).unwrap();
    assert_eq!(ran.ok(), "default");
}

#[test]
fn the_environment_is_exactly_the_given_one_and_a_home() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let ran = bench.step(&root, &["/bin/env"], |step| {
        step.env = vec![("A".into(), "1".into()), ("B".into(), "x y\n=z".into())];
    });
    assert_eq!(ran.unwrap().ok(), "A=1\nB=x y\n=z\nHOME=/root");
    let ran = bench.step(&root, &["/bin/env"], |step| {
        step.env = vec![("HOME".into(), "/elsewhere".into())];
        step.user = "app".into();
    });
    assert_eq!(ran.unwrap().ok(), "HOME=/elsewhere");
}

#[test]
fn users_and_groups_are_looked_up_in_the_root() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    for (user, expected) in [
        ("", "0 0 0 /root"),
        ("app", "1000 1001 1001 33 /home/app"),
        ("app:www", "1000 33 33 /home/app"),
        ("1234:77", "1234 77 77 /"),
    ] {
        let to = if bench.has_proc() { "/dev/stderr" } else { "&2" };
        let script = &format!("echo $(id -u) $(id -g) $(id -G) $HOME; echo x >{to}");
        let ran =
            bench.step(&root, &["/bin/sh", "-c", script], |step| step.user = user.into()).unwrap();
        assert_eq!((ran.ok(), ran.stderr.as_str()), (expected, "x\n"), "{user}");
    }
    let error = bench.step(&root, &["/bin/id"], |step| step.user = "ghost".into());
    let text = error.map(|_| ()).unwrap_err().to_string();
    assert_eq!(text, "no such user \"ghost\" in the image: /etc/passwd has no user ghost");
}

#[test]
fn capabilities_are_the_default_fourteen() {
    let Some(bench) = Bench::new() else { return };
    if !bench.is_on(Rung::OverlayFull) {
        return;
    }
    let root = [bench.busybox()];
    let script = "grep -E 'Cap|NoNewPrivs' /proc/self/status | tr -d '\\t'";
    let ran = bench.sh(&root, script);
    let expected = "CapInh:0000000000000000\nCapPrm:00000000a80425fb\nCapEff:00000000a80425fb\n\
                    CapBnd:00000000a80425fb\nCapAmb:0000000000000000\nNoNewPrivs:0";
    assert_eq!(ran.ok(), expected);
    let ran =
        bench.step(&root, &["/bin/sh", "-c", script], |step| step.user = "app".into()).unwrap();
    assert_eq!(ran.ok().lines().nth(2), Some("CapEff:0000000000000000"));
    assert_ne!(bench.sh(&root, "mount -t tmpfs none /tmp").exit.code, 0);
}

#[test]
fn setuid_programs_keep_their_meaning() {
    let Some(bench) = Bench::new() else { return };
    // Elsewhere only where the builder may install filters without `no_new_privs`.
    if !bench.is_on(Rung::OverlayFull) {
        return;
    }
    let root = bench.busybox();
    let program = std::fs::read("/bin/busybox").unwrap();
    let suid = bench.layer(
        from_ref(&root),
        &[
            dir("suid", 0o755),
            file_of("suid/busybox", 0o4755, &program),
            file("etc/passwd", "root::0:0::/root:/bin/sh\napp:x:1000:1001::/:/bin/sh\n"),
        ],
    );
    let argv = ["/suid/busybox", "su", "-c", "id -u", "root"];
    let layers = [root, suid];
    let ran = bench.step(&layers, &argv, |step| step.user = "app".into()).unwrap();
    assert_eq!(ran.ok(), "0");
}

#[test]
fn the_working_directory_is_made_and_belongs_to_the_layer() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let ran = bench
        .step(&root, &["/bin/sh", "-c", "pwd; stat -c '%a %u:%g' . .."], |step| {
            step.cwd = "srv/new/app".into();
            step.user = "app".into();
        })
        .unwrap();
    assert_eq!(ran.ok(), "/srv/new/app\n755 0:0\n755 0:0");
    let (changes, _) = bench.changes(&ran);
    assert_eq!(changes.keys().collect::<Vec<_>>(), ["srv", "srv/new", "srv/new/app"]);
}

#[test]
fn devices_and_pseudo_file_systems_are_there() {
    let Some(bench) = Bench::new() else { return };
    if !bench.is_on(Rung::OverlayFull) {
        return;
    }
    let root = [bench.busybox()];
    let script = "ls /dev | tr '\\n' ' '; echo >/dev/null; head -c 4 /dev/zero | wc -c; \
                  head -c 4 /dev/urandom | wc -c; echo fd >/dev/fd/1; ls /sys >/dev/null; \
                  cat /proc/self/comm; stat -c '%a' /dev/shm; ls /dev/pts";
    let ran = bench.sh(&root, script);
    let expected = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom \
                    zero 4\n4\nfd\ncat\n1777\nptmx";
    assert_eq!(ran.ok(), expected);
    assert!(bench.changes(&ran).0.is_empty());
    let ran = bench.sh(&root, "echo 1 >/proc/sys/kernel/panic || echo x >/sys/kernel/profiling");
    assert_ne!(ran.exit.code, 0, "the machine's settings are out of reach");
}

#[test]
fn network_files_are_private_copies_outside_the_layer() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    // Without a namespace the machine has one name.
    let hostname = if bench.has_proc() { "hostname" } else { "echo builder" };
    let script = "cat /etc/hostname; HOSTNAME; grep -c builder /etc/hosts; \
                  echo nameserver 192.0.2.1 >/etc/resolv.conf && cat /etc/resolv.conf"
        .replace("HOSTNAME", hostname);
    let ran = bench.sh(from_ref(&root), &script);
    assert_eq!(ran.ok(), "builder\nbuilder\n1\nnameserver 192.0.2.1");
    assert!(bench.changes(&ran).0.is_empty(), "neither stubs nor /etc itself");

    // The image has its own ones: one a link that leads nowhere.
    let own = bench.layer(
        from_ref(&root),
        &[
            owned(dir("etc", 0o750), 7, 8),
            file("etc/hosts", "from the image"),
            link("etc/resolv.conf", "../run/none"),
        ],
    );
    let layers = [root, own];
    let ran =
        bench.sh(&layers, "stat -c '%a %u:%g %Y' /etc; grep -c image /etc/hosts; touch /etc/x");
    assert_eq!(ran.stdout, "750 7:8 100\n0\n");
    let (changes, _) = bench.changes(&ran);
    assert_eq!(changes.keys().collect::<Vec<_>>(), ["etc", "etc/x"]);
    let etc = &changes["etc"].0;
    assert_eq!((etc.mode, etc.uid, etc.gid), (0o750, 7, 8), "as in the image, not as in the stub");
}

#[test]
fn links_in_the_image_lead_nowhere_outside() {
    let Some(bench) = Bench::new() else { return };
    let outside = bench.root.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let target = outside.to_str().unwrap();
    let root = bench.busybox();
    let trap = bench.layer(
        from_ref(&root),
        &[link("dev", target), link("proc", target), link("sys", "/"), link("app", target)],
    );
    let layers = [root, trap];
    let ran = bench
        .step(&layers, &["/bin/sh", "-c", "echo >/dev/null && cd /proc && echo in"], |step| {
            step.cwd = "/app/below".into();
        })
        .map(|ran| ran.ok().to_owned());
    assert!(ran.is_err() || ran.unwrap() == "in");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(bench.sh(&layers, "cd /proc && pwd; cd /sys && pwd").ok(), "/proc\n/sys");
}

#[test]
fn no_network_means_only_an_own_loopback() {
    let Some(bench) = Bench::new() else { return };
    if !bench.is_on(Rung::OverlayFull) {
        let none = |step: &mut StepSpec| step.network = Network::None;
        let error = bench.step(&[], &["/bin/true"], none).map(|_| ()).unwrap_err();
        let text = "RUN cannot be executed in this pod: chroot: it cannot give a network";
        return assert!(error.to_string().starts_with(text), "{error}");
    }
    if !bench.sandbox.capabilities().network_namespace {
        eprintln!("skipped: no network namespace here");
        return;
    }
    let root = [bench.busybox()];
    let run = |network| {
        let script = "ifconfig | grep -c -v '^ '; ifconfig lo | grep -c UP";
        bench.step(&root, &["/bin/sh", "-c", script], |step| step.network = network).unwrap()
    };
    assert_eq!(run(Network::None).stdout, "2\n1\n", "one device and an empty line");
    assert_eq!(run(Network::Host).stdout.lines().last(), Some("1"));
}

#[test]
fn processes_left_behind_are_ended() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let mark = format!("{}.{}", 86000 + std::process::id() % 1000, std::process::id());
    let started = Instant::now();
    let script = format!(
        "sleep {mark} & setsid sleep {mark} & (setsid sh -c 'sleep {mark}; sleep {mark}' &); echo up"
    );
    let ran = bench.sh(&root, &script);
    assert_eq!(ran.ok(), "up");
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(running(&mark), 0);
}

/// How many processes have `mark` as an argument.
fn running(mark: &str) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|item| std::fs::read(item.ok()?.path().join("cmdline")).ok())
        .filter(|line| line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes()))
        .count()
}

/// What the victim is told to sleep; an argument that can be found in `/proc`.
const VICTIM: &str = "RUNTIME_TEST_VICTIM";

#[test]
fn a_killed_builder_leaves_nothing_running() {
    if let Ok(mark) = std::env::var(VICTIM) {
        let Some(bench) = Bench::new() else { return };
        let root = [bench.busybox()];
        bench.sh(&root, &format!("setsid sleep {mark} & sleep {mark} & sleep {mark}"));
        return;
    }
    let Some(_bench) = Bench::new() else { return };
    let mark = format!("{}.{}", 87000 + std::process::id() % 1000, std::process::id());
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "running::a_killed_builder_leaves_nothing_running"])
        .env(VICTIM, &mark)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_until(|| running(&mark) == 3);
    victim.kill().unwrap();
    victim.wait().unwrap();
    wait_until(|| running(&mark) == 0);
}

fn wait_until(done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited in vain");
        std::thread::yield_now();
    }
}

#[test]
fn a_hardened_builder_runs_steps() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    // From here on the other tests run hardened too, which is as it should be.
    harden_builder().unwrap();
    assert_eq!(bench.sh(&[root], "echo fine").ok(), "fine");
}

#[test]
fn an_interrupt_reaches_the_step_and_ends_it() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let scratch = bench.sandbox.scratch().unwrap();
    let started = bench.sh(&root, "true");
    let script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let mut step = started.step.clone();
    step.scratch = scratch.path().to_owned();
    step.argv = vec!["/bin/sh".into(), "-c".into(), script.into()];
    let interrupt = AtomicBool::new(false);
    let mut heard = String::new();
    let mut output = |stream: Stream, chunk: &[u8]| {
        // The shell says on the other stream that its `sleep` was ended too.
        if stream == Stream::Stdout {
            heard.push_str(std::str::from_utf8(chunk).unwrap());
        }
        interrupt.store(true, Ordering::Relaxed);
    };
    let ended = bench.sandbox.run(&step, &mut output, &interrupt);
    assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
    assert_eq!(heard, "ready\nbye\n");
}

#[test]
fn a_step_goes_before_the_builder_when_memory_runs_out() {
    let Some(bench) = Bench::new() else { return };
    if !bench.is_on(Rung::OverlayFull) {
        return;
    }
    let root = [bench.busybox()];
    let own: i32 =
        std::fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
    let ran = bench.sh(&root, "cat /proc/self/oom_score_adj");
    assert_eq!(ran.ok(), (own + 100).min(1000).to_string());
}

#[test]
fn flushes_are_answered_without_flushing() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    // `sync FILE` calls fsync; on a pipe that is an error, unless nobody asks the kernel.
    let ran = bench.sh(&root, "mkfifo /tmp/p; sync; dd if=/dev/null of=/tmp/f conv=fsync 2>&1");
    ran.ok();
    if bench.has_proc() {
        let ran = bench.sh(&root, "grep -E '^Seccomp:' /proc/self/status");
        assert_eq!(ran.ok(), "Seccomp:\t2");
    }
}

#[test]
fn the_builder_is_out_of_reach() {
    let Some(bench) = Bench::new() else { return };
    if !bench.is_on(Rung::OverlayFull) {
        return;
    }
    let root = [bench.busybox()];
    let own = std::process::id();
    if !bench.sandbox.capabilities().fresh_proc {
        for script in
            ["cat environ", "cat maps", "cat mem", "ls root/", "readlink fd/0", "readlink exe"]
        {
            let ran = bench.sh(&root, &format!("cd /proc/{own} && {script}"));
            assert_ne!(ran.exit.code, 0, "{script}: {}", ran.stdout);
        }
        if bench.sandbox.capabilities().landlock_abi >= Some(6) {
            assert_ne!(bench.sh(&root, &format!("kill -0 {own}")).exit.code, 0);
        }
        return;
    }
    let ran = bench.sh(&root, "ps -o pid= | wc -l; echo $$");
    assert!(
        ran.ok().lines().all(|count| count.trim().parse::<u32>().unwrap() < 20),
        "{}",
        ran.ok()
    );
}

#[test]
fn a_hundred_and_thirty_layers_stack() {
    let Some(bench) = Bench::new() else { return };
    let mut layers = vec![bench.busybox()];
    for number in 0..130 {
        let entries = [dir("many", 0o755), file(&format!("many/{number}"), "x"), file("top", "x")];
        let top = bench.layer(&layers[layers.len() - 1..], &entries);
        layers.push(top);
    }
    assert_eq!(bench.sh(&layers, "ls /many | wc -l").ok(), "130");
}

#[test]
fn a_step_can_run_without_any_layer() {
    let Some(bench) = Bench::new() else { return };
    let ran = bench.step(&[], &["/bin/nothing"], |_| {}).unwrap();
    assert_eq!(ran.exit.code, 127);
    let (changes, stats) = bench.changes(&ran);
    assert!(changes.is_empty() && stats.reusable);
}

#[test]
fn steps_run_side_by_side() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let template = bench.sh(&root, "true").step;
    let codes: Vec<i32> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let mut step = template.clone();
                let sandbox = &bench.sandbox;
                scope.spawn(move || {
                    let scratch = sandbox.scratch().unwrap();
                    step.scratch = scratch.path().to_owned();
                    step.argv =
                        vec!["/bin/sh".into(), "-c".into(), format!("exit {number}").into()];
                    sandbox.run(&step, &mut |_, _| {}, &AtomicBool::new(false)).unwrap().code
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7]);
}
