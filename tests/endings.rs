//! Builds that do not come to their end: told to stop, killed, or not possible here.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::command::{Run, Running};
use crate::support::fake_registry::silent_address;
use crate::support::normal::Normal;
use crate::support::{Access, Registry, Sandbox, base, executor, longshore, longshore_with_one_id};

/// A step that waits for ever with a process in the background, both known by their argument.
const FOREVER: &str = "RUN echo started; sleep 86399 & sleep 86399\n";

struct Bench {
    sandbox: Sandbox,
    registry: Registry,
    base: String,
}

impl Bench {
    fn new(dockerfile: &str) -> Self {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, Access::Plain);
        let base = registry.push(&sandbox, &base::busybox(), "busybox:1");
        sandbox.write("context/Dockerfile", format!("FROM {base}\n{dockerfile}"));
        Self { sandbox, registry, base }
    }

    fn build(&self, longshore: Run) -> Run {
        let insecure = ["--insecure-registry", self.registry.address()];
        longshore.arg("build").arg(self.sandbox.path("context")).args(insecure)
    }

    /// Starts a build and waits until its step runs.
    fn stuck(&self) -> Running {
        let mut build = self.build(longshore(&self.sandbox)).start();
        build.until("| started");
        build
    }

    /// What is left of builds in the work directory.
    fn leftovers(&self) -> Vec<String> {
        let below = |name: &str| names(&self.sandbox.path("work").join(name));
        [below("builds"), below("scratch")].concat()
    }

    /// The processes of steps that run somewhere below this test's work directory.
    fn steps() -> Vec<String> {
        let found = Run::new("pgrep").args(["-f", "^sleep 86399$"]).outcome();
        found.stdout.lines().map(str::to_owned).collect()
    }
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into()).collect()
}

#[test]
fn builds_that_end_early_leave_nothing_that_runs_and_nothing_in_the_way() {
    // One test for both signals: the processes of one would be taken for those of the other.
    let bench = Bench::new(FOREVER);
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let build = bench.stuck();
        build.signal(signal);
        let outcome = build.outcome().exits(code);
        let last = outcome.stderr.lines().last().unwrap_or_default();
        let number = code - 128;
        assert_eq!(last, format!("error: the build was ended by signal {number}"));
        assert_eq!((Bench::steps(), bench.leftovers()), (vec![], vec![]), "after {signal}");
    }

    let build = bench.stuck();
    build.signal("KILL");
    build.outcome().exits(137);
    let dockerfile = format!("FROM {}\nRUN echo done\n", bench.base);
    bench.sandbox.write("context/Dockerfile", dockerfile);
    bench.build(longshore(&bench.sandbox)).outcome().success();
    assert_eq!((Bench::steps(), bench.leftovers()), (vec![], vec![]), "after KILL");
}

#[test]
fn a_silent_registry_does_not_keep_a_build_from_ending() {
    let bench = Bench::new("RUN true\n");
    let silent = silent_address();
    bench.sandbox.write("context/Dockerfile", format!("FROM {silent}/base\n"));
    let mut build = bench.build(longshore(&bench.sandbox)).start();
    build.until("stages in");
    let since = Instant::now();
    build.signal("TERM");
    build.outcome().exits(143);
    // A pod is killed 30 s after it was told to end.
    assert!(since.elapsed() < Duration::from_secs(25), "{:?}", since.elapsed());
}

#[test]
fn a_pod_that_cannot_run_steps_is_told_what_to_change() {
    let bench = Bench::new("RUN true\n");
    let outcome = bench.build(longshore_with_one_id(&bench.sandbox)).outcome().exits(50);
    let expected = "\
longshore 0.1.0: stages in the OCI layout [SANDBOX]/state/layouts/default, synchronization :local
error: RUN cannot be executed in this pod: overlay-full: only one user id can be mapped; chroot: files and processes cannot get other ids
hint: for overlay-full: give the container more ids: hostUsers: true in a pod; elsewhere lines in /etc/subuid and /etc/subgid for the user who starts it
";
    assert_eq!(Normal::new(&bench.sandbox).apply(&outcome.stderr), expected);
    let build = ["--runtime", "none"];
    let outcome = bench.build(longshore(&bench.sandbox)).args(build).outcome().exits(50);
    assert!(outcome.stderr.contains("told to run no steps"), "{}", outcome.report());
}

#[test]
fn a_failed_step_ends_each_door_with_its_own_code() {
    let bench = Bench::new("RUN echo one; echo two; exit 3\n");
    let outcome = bench.build(longshore(&bench.sandbox)).outcome().exits(30);
    let expected = "\
error: RUN echo one; echo two; exit 3 failed with exit code 3
  | one
  | two
";
    assert!(outcome.stderr.ends_with(expected), "{}", outcome.report());
    assert_eq!(outcome.stdout, "", "a failed build has no result");
    let door = executor(&bench.sandbox).arg("--context").arg(bench.sandbox.path("context")).args([
        "--no-push",
        "--insecure-registry",
        bench.registry.address(),
    ]);
    door.outcome().exits(3);
    assert_eq!(bench.leftovers(), Vec::<String>::new());
}
