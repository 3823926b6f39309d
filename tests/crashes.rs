//! Builders that are killed at some moment: the next build in the same work directory succeeds with
//! the same image, and nothing of the killed one is left after it.
//!
//! A seed makes the moment: so many lines of the log, and then so many looks at the work directory.
//! `tests/run` tries a few fresh seeds, `tests/run --campaign N` many.

use std::path::Path;

use crate::support::command::Run;
use crate::support::random::Random;
use crate::support::{
    Access, Registry, Sandbox, base, built_reference, is_root, longshore, longshore_as_plain_user,
    variables,
};

/// Seeds of a plain test run, for each kind of builder.
const FEW: u64 = 2;
const FIRST: u64 = 1;
/// How many looks at the work directory there are at most after a line, as a power of two.
const MOST_LOOKS: usize = 15;

/// Everything that a builder may leave behind: foreign owners, closed directories, files with
/// rights, processes, changed files of the pod, a large file. The daemon is known by its argument.
const STEPS: &str = "\
RUN mkdir -p /a/b/c && for i in $(seq 100); do echo $i > /a/b/c/$i; done && chown -R 1234:4321 /a/b && echo done
RUN mkdir -p /closed/in && echo x > /closed/in/x && chmod 0 /closed/in && chown 7:7 /closed && chmod 0 /closed
RUN cp /bin/busybox /setuid && chown 99:99 /setuid && chmod 6755 /setuid && echo one && echo two
RUN (setsid sleep MARK > /dev/null 2>&1 &) ; echo self >> /etc/hosts; rm /etc/resolv.conf; echo three; rm -r /a/b/c/1*; echo four
COPY file /a/
RUN CACHE dd if=/dev/zero of=/big bs=64k count=64 2> /dev/null && echo five
";

/// A kind of builder.
struct Builder {
    rung: &'static str,
    mark: &'static str,
    cache: &'static str,
    program: fn(&Sandbox) -> Run,
}

const OVERLAY: Builder = Builder {
    rung: "overlay",
    mark: "2718281",
    cache: "--mount=type=cache,target=/cache ls /cache && echo x >> /cache/x &&",
    program: longshore,
};
const PLAIN_USER: Builder =
    Builder { mark: "2718282", program: longshore_as_plain_user, ..OVERLAY };
const CHROOT: Builder = Builder { rung: "chroot", mark: "2718283", cache: "", ..OVERLAY };

struct Bench {
    source: Sandbox,
    registry: Registry,
    builder: Builder,
}

impl Bench {
    fn new(builder: Builder) -> Self {
        let source = Sandbox::new();
        let registry = Registry::start(&source, Access::Plain);
        let base = registry.push(&source, &base::crafted(), "crafted:1");
        let steps = STEPS.replace("MARK", builder.mark).replace("CACHE", builder.cache);
        source.write("context/Dockerfile", format!("FROM {base}\n{steps}"));
        source.write("context/file", "content\n");
        Self { source, registry, builder }
    }

    fn build(&self, pod: &Sandbox) -> Run {
        (self.builder.program)(pod)
            .arg("build")
            .arg(self.source.path("context"))
            .args(["--insecure-registry", self.registry.address()])
            .args(["--runtime", self.builder.rung])
            .env("SOURCE_DATE_EPOCH", "1700000000")
    }

    /// What a build is that nobody disturbs: its result, and how much it says.
    fn undisturbed(&self) -> (String, usize) {
        let outcome = self.build(&Sandbox::new()).outcome().success();
        let lines = outcome.stderr.lines().count();
        (digest(&built_reference(&outcome)), lines)
    }

    /// Kills a build once or twice; what is wrong after the next one.
    fn disturb(&self, seed: u64, lines: usize) -> (String, Vec<String>) {
        let pod = Sandbox::new();
        let mut random = Random::new(seed);
        for _ in 0..=random.below(2) {
            let (after, magnitude) = (random.below(lines), random.below(MOST_LOOKS));
            let looks = random.below(1 << magnitude);
            let mut build = self.build(&pod).start();
            build.lines(after);
            for _ in 0..looks {
                let _ = fs_err::read_dir(pod.path("work"));
            }
            build.kill();
        }
        let outcome = self.build(&pod).outcome().success();
        (digest(&built_reference(&outcome)), self.left(&pod))
    }

    /// What is left of killed builds.
    fn left(&self, pod: &Sandbox) -> Vec<String> {
        let work = pod.path("work");
        let mut left: Vec<String> =
            ["builds", "scratch"].iter().flat_map(|name| names(&work.join(name))).collect();
        let known = ["blobs", "builds", "caches", "indexes", "layers", "roots", "scratch"];
        let known = known.map(|name| work.join(name).display().to_string());
        left.extend(names(&work).into_iter().filter(|name| !known.contains(name)));
        let roots = names(&work.join("roots"));
        if roots.len() > 4 {
            left.extend(roots);
        }
        let pattern = format!("^sleep {}$", self.builder.mark);
        let processes = Run::new("pgrep").args(["-f", &pattern]).outcome().stdout;
        left.extend(processes.lines().map(|pid| format!("process {pid}")));
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").expect("read");
        let root = pod.root().display().to_string();
        left.extend(mounts.lines().filter(|line| line.contains(&root)).map(str::to_owned));
        left
    }
}

fn digest(reference: &str) -> String {
    reference.split_once('@').map(|(_, digest)| digest.to_owned()).unwrap_or_default()
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.expect("an entry").path().display().to_string()).collect()
}

fn check(builder: Builder) {
    let bench = Bench::new(builder);
    let (expected, lines) = bench.undisturbed();
    let first = variables::number("LONGSHORE_TEST_SEED", FIRST);
    for seed in first..first + variables::number("LONGSHORE_TEST_CASES", FEW) {
        let (found, left) = bench.disturb(seed, lines);
        assert_eq!((found, left), (expected.clone(), vec![]), "seed {seed}");
    }
}

#[test]
fn a_builder_killed_on_the_overlay_rung_leaves_nothing_in_the_way() {
    check(OVERLAY);
}

#[test]
fn a_plain_user_s_killed_builder_leaves_nothing_in_the_way() {
    if !is_root() {
        return eprintln!("skipped: only root can become another user");
    }
    check(PLAIN_USER);
}

#[test]
fn a_builder_killed_on_the_chroot_rung_leaves_nothing_in_the_way() {
    if !is_root() {
        return eprintln!("skipped: only root can change its root");
    }
    check(CHROOT);
}
