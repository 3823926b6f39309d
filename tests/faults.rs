//! What can go wrong around and in a RUN step, on both rungs: a code, a reason and a hint.

use crate::support::command::{Outcome, Run};
use crate::support::{Access, Registry, Sandbox, base, is_root, longshore, longshore_through};

const RUNGS: [&str; 2] = ["overlay", "chroot"];

struct Bench {
    sandbox: Sandbox,
    registry: Registry,
    base: String,
}

impl Bench {
    /// `None`, and the reason printed, for who cannot have both rungs.
    #[expect(clippy::print_stderr, reason = "who reads the log of a test run wants to know")]
    fn new() -> Option<Self> {
        if !is_root() {
            eprintln!("skipped: only root can change its root");
            return None;
        }
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, Access::Plain);
        let base = registry.push(&sandbox, &base::busybox(), "busybox:1");
        // The header of a program for another machine than any that this runs on.
        let mut foreign = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x2a\0\x01\0\0\0".to_vec();
        foreign.resize(4096, 0);
        sandbox.write("context/foreign", foreign);
        Some(Self { sandbox, registry, base })
    }

    fn build(&self, program: Run, dockerfile: &str, rung: &str) -> Run {
        self.sandbox.write("context/Dockerfile", dockerfile.replace("BASE", &self.base));
        let insecure = ["--insecure-registry", self.registry.address()];
        let run = program.arg("build").arg(self.sandbox.path("context")).args(insecure);
        run.args(["--runtime", rung, "--repo", &self.registry.reference(&format!("{rung}/app"))])
    }

    fn run(&self, dockerfile: &str, rung: &str) -> Outcome {
        self.build(longshore(&self.sandbox), dockerfile, rung).outcome()
    }

    /// A build whose work directory is prepared by `script` in mounts of its own; `$0` is that
    /// directory.
    fn prepared(&self, script: &str, dockerfile: &str, rung: &str) -> Outcome {
        let script = format!("{script} && exec \"$@\"");
        let work = self.sandbox.path("work").display().to_string();
        let words = ["--mount", "sh", "-c", &script, &work];
        let program = longshore_through(&self.sandbox, "unshare", &words);
        self.build(program, dockerfile, rung).outcome()
    }

    fn leftovers(&self) -> Vec<String> {
        let names = ["builds", "scratch"].map(|name| self.sandbox.path("work").join(name));
        let entries = names.iter().filter_map(|name| fs_err::read_dir(name).ok()).flatten();
        entries.map(|entry| entry.expect("an entry").path().display().to_string()).collect()
    }
}

#[test]
fn a_step_that_fails_is_explained_on_each_rung() {
    let Some(bench) = Bench::new() else { return };
    for (dockerfile, code, said) in [
        ("FROM scratch\nRUN true\n", 30, "hint: the image has no /bin/sh"),
        ("FROM BASE\nRUN kill -9 $$\n", 30, "hint: the command was killed"),
        ("FROM BASE\nRUN kill -9 0\n", 30, "failed with exit code 137"),
        (
            "FROM BASE\nCOPY --chmod=755 foreign /\nRUN [\"/foreign\"]\n",
            30,
            "hint: the program is for another architecture",
        ),
        ("FROM BASE\nUSER nobody-here\nRUN true\n", 10, "nobody-here"),
    ] {
        for rung in RUNGS {
            let outcome = bench.run(dockerfile, rung);
            assert!(
                outcome.code == code && outcome.stderr.contains(said),
                "{rung}: expected {code}, {said}\n{}",
                outcome.report()
            );
        }
    }
    assert_eq!(bench.leftovers(), Vec::<String>::new());
}

#[test]
fn oddities_of_a_step_are_no_faults() {
    let Some(bench) = Bench::new() else { return };
    for dockerfile in [
        "FROM BASE\nRUN exec >&- 2>&-; echo lost; echo kept > /kept\n",
        "FROM BASE\nRUN head -c 300000 /bin/busybox\n",
        "FROM BASE\nRUN rm -rf /tmp /etc /dev /proc /sys 2>/dev/null; true\nRUN echo still here\n",
    ] {
        for rung in RUNGS {
            bench.run(dockerfile, rung).success();
        }
    }
}

#[test]
fn a_step_that_prints_without_end_costs_no_memory() {
    let Some(bench) = Bench::new() else { return };
    let dockerfile = "FROM BASE\nRUN head -c 100000000 /dev/zero\n";
    for rung in RUNGS {
        let program = longshore_through(&bench.sandbox, "time", &["-f", "%M"]);
        let run = bench.build(program, dockerfile, rung).arg("--log-quiet");
        let outcome = run.outcome().success();
        let kilobytes: u64 = outcome.stderr.trim().parse().expect("a number");
        assert!(kilobytes < 64 << 10, "{rung}: {kilobytes} KiB");
    }
}

#[test]
fn a_step_that_ignores_the_signal_ends_at_its_time_all_the_same() {
    let Some(bench) = Bench::new() else { return };
    let dockerfile = "FROM BASE\nRUN trap '' TERM; sleep 86397; sleep 86397\n";
    let limit = ["--run-timeout", "1s"];
    let start = |rung| bench.build(longshore(&bench.sandbox), dockerfile, rung).args(limit).start();
    for build in RUNGS.map(start) {
        let outcome = build.outcome().exits(30);
        assert!(outcome.stderr.contains("longer than 1 seconds"), "{}", outcome.report());
    }
    assert_eq!(Run::new("pgrep").args(["-f", "^sleep 86397$"]).outcome().stdout, "");
    assert_eq!(bench.leftovers(), Vec::<String>::new());
}

#[test]
fn a_step_in_a_tree_ends_with_the_build() {
    let Some(bench) = Bench::new() else { return };
    let dockerfile = "FROM BASE\nRUN echo started; (setsid sleep 86396 &); sleep 86396\n";
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut build = bench.build(longshore(&bench.sandbox), dockerfile, "chroot").start();
        build.until("| started");
        build.signal(signal);
        build.outcome().exits(code);
        let left = Run::new("pgrep").args(["-f", "^sleep 86396$"]).outcome().stdout;
        assert_eq!((left.as_str(), bench.leftovers()), ("", vec![]), "after {signal}");
    }
}

/// The work directory on an overlay, as the root of a container is.
const ON_OVERLAY: &str = "mount -t tmpfs tmpfs $0 && mkdir $0/l $0/u $0/w && \
                          mount -t overlay -o lowerdir=$0/l,upperdir=$0/u,workdir=$0/w overlay $0";

#[test]
fn without_a_volume_steps_run_in_a_tree_and_the_log_says_why() {
    let Some(bench) = Bench::new() else { return };
    let dockerfile = "FROM BASE\nRUN echo made\n";
    let outcome = bench.prepared(ON_OVERLAY, dockerfile, "auto").success();
    let line = "RUN is executed on the rung chroot; not on overlay-full: the work directory cannot \
                hold an overlay upper directory; to climb, ";
    assert_eq!(outcome.stderr.matches(line).count(), 1, "{}", outcome.report());
    assert!(outcome.stderr.contains("(rung chroot)"), "{}", outcome.report());

    let outcome = bench.prepared(ON_OVERLAY, "FROM BASE\nRUN echo other\n", "overlay").exits(50);
    let hint = "hint: leave --runtime out: the rung chroot can do it here";
    assert!(outcome.stderr.contains(hint), "{}", outcome.report());
}

#[test]
fn the_rung_is_in_the_report_and_its_reason_in_the_json_log() {
    let Some(bench) = Bench::new() else { return };
    let report = bench.sandbox.path("report.json").display().to_string();
    let script = format!("{ON_OVERLAY} && set -- \"$@\" --log-format json --report {report}");
    let outcome = bench.prepared(&script, "FROM BASE\nRUN echo made\n", "auto").success();
    let lines = outcome
        .stderr
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line is JSON"));
    let said: Vec<_> = lines.filter(|event| event["event"] == "descended").collect();
    assert_eq!((said.len(), &said[0]["rung"]), (1, &"chroot".into()), "{}", outcome.report());
    assert!(said[0]["climb"].as_str().is_some_and(|text| text.contains("emptyDir")), "{said:?}");
    let report = fs_err::read_to_string(report).expect("it was written");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["rung"], "chroot");
}

#[test]
fn too_few_processes_are_an_error_with_a_hint() {
    let Some(bench) = Bench::new() else { return };
    // An id of its own, since the limit counts what all processes of a user are.
    let words = "--reuid 12346 --regid 12346 --clear-groups prlimit --nproc=2:2 --";
    let words: Vec<&str> = words.split_whitespace().collect();
    let program = longshore_through(&bench.sandbox, "setpriv", &words);
    let outcome = bench.build(program, "FROM BASE\nRUN true\n", "auto").outcome().exits(50);
    assert!(outcome.stderr.starts_with("error: cannot start threads"), "{}", outcome.report());
    assert!(outcome.stderr.contains("hint: raise the limit of processes"), "{}", outcome.report());
}

#[test]
fn faults_of_the_work_directory_and_the_pod_are_named() {
    let Some(bench) = Bench::new() else { return };
    let big = "FROM BASE\nRUN dd if=/dev/zero of=/file bs=64k\n";
    let plain = "FROM BASE\nRUN echo made\n";
    for (name, script, dockerfile, codes, said) in [
        ("full disk", "mount -t tmpfs -o size=12m tmpfs $0", big, [30, 30], "is full; --work-dir"),
        (
            "read-only",
            "mount -t tmpfs -o ro tmpfs $0",
            plain,
            [50, 50],
            "cannot use the work directory",
        ),
        (
            "no /proc",
            "mount -t tmpfs tmpfs $0 && umount -l /proc",
            plain,
            [50, 50],
            "hint: mount /proc",
        ),
    ] {
        for (rung, code) in RUNGS.into_iter().zip(codes) {
            let outcome = bench.prepared(script, dockerfile, rung);
            assert!(
                outcome.code == code && outcome.stderr.contains(said),
                "{name}, {rung}: expected {code}, {said}\n{}",
                outcome.report()
            );
        }
    }
}
