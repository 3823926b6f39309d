//! Layers that are larger than what may be kept of them: memory, disk, and builds that are killed
//! with half of one on its way.

use std::path::Path;

use crate::support::command::{Outcome, Run};
use crate::support::random::Random;
use crate::support::stall::{Stall, Way};
use crate::support::{
    Access, Image, Registry, Sandbox, base, built_reference, executor, longshore,
};

const MIB: usize = 1 << 20;
/// What a build may have resident, whatever it builds.
const MOST_MEMORY: u64 = 64 << 20;

/// Writes `size` bytes, of which every second half MiB is noise.
fn write_mixed(path: &Path, size: usize) {
    let mut random = Random::new(7);
    let mut content = Vec::with_capacity(size);
    while content.len() < size {
        let words = (0..MIB / 16).flat_map(|_| random.next().to_le_bytes());
        content.extend(words);
        let text = format!("line {} of many\n", content.len());
        content.extend(text.bytes().cycle().take(MIB / 2));
    }
    content.truncate(size);
    crate::support::sandbox::write(path, content);
}

/// A registry, and a context with a large file.
struct Bench {
    sandbox: Sandbox,
    registry: Registry,
}

impl Bench {
    fn new(size: usize) -> Self {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, Access::Plain);
        write_mixed(&sandbox.path("context/large"), size);
        sandbox.write("context/small", "small\n");
        sandbox.write("context/Dockerfile", "FROM scratch\nCOPY small /\nCOPY large /\n");
        Self { sandbox, registry }
    }

    /// A build into the repository `name` of the registry at `address`, in a pod of its own.
    fn build(&self, pod: &Sandbox, address: &str, name: &str) -> Run {
        let repo = format!("{address}/{name}");
        let build = longshore(pod).arg("build").arg(self.sandbox.path("context"));
        build.args(["--repo", &repo, "--insecure-registry", address])
    }

    /// The image that a build has put into the repository `name`.
    fn pull(&self, name: &str, outcome: &Outcome) -> Image {
        let reference = format!("{}@{}", self.registry.reference(name), Self::digest(outcome));
        Image::pull(&self.sandbox, &self.registry, &reference)
    }

    /// A build by a pod that knows nothing, into a repository that has nothing.
    fn build_anew(&self) -> Outcome {
        let pod = Sandbox::new();
        self.build(&pod, self.registry.address(), "anew").outcome().success()
    }

    fn digest(outcome: &Outcome) -> String {
        let reference = built_reference(outcome);
        reference.split_once('@').expect("a digest").1.to_owned()
    }
}

#[test]
fn memory_does_not_follow_a_layer_and_the_disk_obeys_its_limit() {
    let bench = Bench::new(256 * MIB);
    let pod = Sandbox::new();
    let measured = pod.path("memory");
    let repo = bench.registry.reference("app");
    let build = pod.at_home(Run::new("time"));
    let outcome = build
        .args(["-f", "%M", "-o", measured.to_str().expect("text")])
        .arg(env!("CARGO_BIN_EXE_longshore"))
        .arg("build")
        .arg(bench.sandbox.path("context"))
        .args(["--repo", &repo, "--insecure-registry", bench.registry.address()])
        .args(["--spool-limit", "32M"])
        .env("LONGSHORE_HOME", pod.path("state"))
        .env("LONGSHORE_WORK_DIR", pod.path("work"))
        .outcome()
        .success();
    let memory = fs_err::read_to_string(measured).expect("time has written it");
    let memory = memory.trim().parse::<u64>().expect("a number of KiB") << 10;
    assert!(memory < MOST_MEMORY, "{} MiB resident", memory >> 20);
    let kept = Run::new("du").args(["-s", "-B1"]).arg(pod.path("work")).succeed();
    let kept: usize = kept.split_whitespace().next().expect("a sum").parse().expect("a number");
    assert!(kept < MIB, "{kept} bytes stay in the work directory");

    let image = bench.pull("app", &outcome);
    assert_eq!(Bench::digest(&bench.build_anew()), image.digest, "the limit changes no byte");
}

#[test]
fn what_is_not_kept_is_fetched_where_it_is_needed() {
    let bench = Bench::new(80 * MIB);
    let (pod, address) = (Sandbox::new(), bench.registry.address());
    let base = bench.registry.push(&bench.sandbox, &base::busybox(), "busybox:1");
    let lines = "COPY large /\nRUN sha256sum large > /sum\n";
    bench.sandbox.write("context/Dockerfile", format!("FROM {base}\n{lines}"));
    let limited = bench.build(&pod, address, "app").args(["--spool-limit", "32M"]);
    let other = bench.registry.reference("other:v1");
    let outcome = limited.args(["--tag", &other]).outcome().success();
    let image = Image::pull(&bench.sandbox, &bench.registry, &other);
    assert_eq!(image.digest, Bench::digest(&outcome));
    let sum = Run::new("sha256sum").arg(bench.sandbox.path("context/large")).succeed();
    let sum = sum.split_whitespace().next().expect("a sum").to_owned();
    let mut archive = image.layers.last().expect("the layer of RUN").archive();
    let mut found = String::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        if entry.path().expect("a path").ends_with("sum") {
            std::io::Read::read_to_string(&mut entry, &mut found).expect("text");
        }
    }
    assert_eq!(found, format!("{sum}  large\n"));
}

#[test]
fn a_layer_that_nothing_takes_is_an_error_with_advice() {
    let bench = Bench::new(80 * MIB);
    let pod = Sandbox::new();
    let build = longshore(&pod).arg("build").arg(bench.sandbox.path("context"));
    let outcome = build.args(["--spool-limit", "32M"]).outcome().exits(50);
    let said = "error: the layer has more than 33554432 compressed bytes, which is the limit of \
                --spool-limit\nhint: a registry takes a layer while it is made";
    assert!(outcome.stderr.contains(said), "{}", outcome.report());

    // The executor's destination takes what its images consist of.
    let destination = bench.registry.reference("app:v1");
    let door = |pod: &Sandbox| {
        executor(pod).args(["--spool-limit", "32M", "--context"]).arg(bench.sandbox.path("context"))
    };
    door(&pod).args(["-d", &destination]).outcome().success();
    let image = Image::pull(&bench.sandbox, &bench.registry, &destination);
    assert_eq!(image.layers.len(), 2);
    let tar = pod.path("image.tar");
    let outcome = door(&pod).arg("--no-push").arg("--tar-path").arg(tar).outcome().exits(1);
    assert!(outcome.stderr.contains(said), "{}", outcome.report());
}

#[test]
fn a_build_killed_in_the_middle_of_an_upload_is_not_in_the_way_of_the_next() {
    let bench = Bench::new(80 * MIB);
    let (address, pod) = (bench.registry.address(), Sandbox::new());
    for limit in [&["--spool-limit", "32M"][..], &[]] {
        let stall = Stall::start(address, Way::Up, 20 << 20);
        let build = bench.build(&pod, &stall.address, "app").args(limit).start();
        stall.wait();
        build.signal("KILL");
        build.outcome().exits(137);
        let again = bench.build(&pod, address, "app").args(limit).outcome().success();
        assert_eq!(Bench::digest(&again), Bench::digest(&bench.build_anew()));
        bench.pull("app", &again);
        assert_eq!(leftovers(&pod), Vec::<String>::new());
        // What is published must not be found by the next round.
        write_mixed(&bench.sandbox.path("context/large"), 81 * MIB);
    }
}

#[test]
fn a_build_killed_in_the_middle_of_a_download_leaves_nothing_that_is_trusted() {
    let bench = Bench::new(40 * MIB);
    let (address, pod) = (bench.registry.address(), Sandbox::new());
    let other = Sandbox::new();
    bench.build(&other, address, "base").args(["--tag", "v1"]).outcome().success();
    let from = |address: &str| {
        let text =
            format!("FROM {address}/base:v1 AS base\nFROM scratch\nCOPY --from=base /large /\n");
        bench.sandbox.write("context/Dockerfile", text);
    };
    let stall = Stall::start(address, Way::Down, 10 << 20);
    from(&stall.address);
    let build = bench.build(&pod, &stall.address, "app").start();
    stall.wait();
    build.signal("KILL");
    build.outcome().exits(137);
    let blobs = fs_err::read_dir(pod.path("work/blobs/sha256")).expect("the work directory");
    for blob in blobs.map(|entry| entry.expect("an entry").path()) {
        // What is still on its way has no digest for a name.
        let name = blob.file_name().expect("a name").to_string_lossy().into_owned();
        if !name.contains('.') {
            let sum = Run::new("sha256sum").arg(&blob).succeed();
            assert!(sum.starts_with(&name), "{sum}");
        }
    }
    from(address);
    let again = bench.build(&pod, address, "app").outcome().success();
    assert_eq!(Bench::digest(&again), Bench::digest(&bench.build_anew()));
    assert_eq!(leftovers(&pod), Vec::<String>::new());
}

#[test]
fn a_layer_whose_upload_is_lost_is_made_again() {
    let bench = Bench::new(100 * MIB);
    let pod = Sandbox::new();
    let losing = Stall::losing(bench.registry.address(), 40 << 20);
    let build = bench.build(&pod, &losing.address, "app").args(["--spool-limit", "32M"]);
    let outcome = build.outcome().success();
    let said = "the layer is made again, because its upload failed";
    assert!(outcome.stderr.contains(said), "{}", outcome.report());
    assert_eq!(Bench::digest(&outcome), Bench::digest(&bench.build_anew()));
}

/// What builds have left behind in the work directory.
fn leftovers(pod: &Sandbox) -> Vec<String> {
    let entries = fs_err::read_dir(pod.path("work/builds")).expect("the work directory");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into()).collect()
}
