//! Flags of `longshore build` that other tests only pass along: where things are read and written,
//! and what is said.

use serde_json::Value;

use crate::support::command::Run;
use crate::support::{Access, Image, Registry, Sandbox, base, built_reference, longshore};

struct Bench {
    sandbox: Sandbox,
    registry: Registry,
}

impl Bench {
    /// A directory `context` with a Dockerfile of one step and one file.
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, Access::Plain);
        let base = registry.push(&sandbox, &base::busybox(), "busybox:1");
        let dockerfile = format!("FROM {base}\nRUN echo said by the step\nCOPY . /srv/\n");
        sandbox.write("context/Dockerfile", dockerfile);
        sandbox.write("context/file", "content\n");
        Self { sandbox, registry }
    }

    fn build(&self) -> Run {
        longshore(&self.sandbox).args(["build", "context"])
    }

    fn build_to_registry(&self) -> Run {
        self.build().args(["--repo", &self.registry.reference("app")])
    }

    fn pull(&self, name: &str) -> Image {
        Image::pull(&self.sandbox, &self.registry, &self.registry.reference(name))
    }
}

fn entries(directory: impl AsRef<std::path::Path>) -> Vec<String> {
    let entries = fs_err::read_dir(directory.as_ref()).expect("it was made");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into())
        .collect();
    names.sort();
    names
}

#[test]
fn a_dockerfile_elsewhere_has_its_own_ignore_file() {
    let bench = Bench::new();
    let base = bench.registry.reference("busybox:1");
    bench.sandbox.write("elsewhere/prod.Dockerfile", format!("FROM {base}\nCOPY . /srv/\n"));
    bench.sandbox.write("elsewhere/prod.Dockerfile.dockerignore", "Dockerfile\nsecret\n");
    bench.sandbox.write("context/.dockerignore", "file\n");
    bench.sandbox.write("context/secret", "not for the image\n");
    let run = bench.build_to_registry().args(["--tag", "v1", "-f", "elsewhere/prod.Dockerfile"]);
    run.outcome().success();
    let tree = bench.pull("app:v1").tree();
    assert!(tree.get("srv/file").is_some(), "the context's own ignore file does not count");
    for left_out in ["srv/secret", "srv/Dockerfile"] {
        assert!(tree.get(left_out).is_none(), "{left_out}");
    }
}

#[test]
fn a_report_has_what_the_result_line_has() {
    let bench = Bench::new();
    let path = bench.sandbox.path("reports/build.json");
    for built in ["built", "reused"] {
        let outcome = bench.build_to_registry().arg("--report").arg(&path).outcome().success();
        let text = fs_err::read_to_string(&path).expect("it was written");
        let report: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(report["schema"], 1);
        let images = report["images"].as_array().expect("a list");
        assert_eq!(images.len(), 1, "{text}");
        let word = |key: &str| images[0][key].as_str().expect("a text").to_owned();
        assert_eq!((word("name").as_str(), word("outcome").as_str()), ("image", built));
        let pinned = format!("{}@{}", word("reference"), word("digest"));
        assert_eq!(pinned, built_reference(&outcome));
    }
}

#[test]
fn a_failed_build_leaves_no_report_and_no_digest() {
    let bench = Bench::new();
    bench.sandbox.write("context/Dockerfile", "FROM scratch\nCOPY missing /\n");
    let run = bench.build().args(["--report", "report.json", "--digest-file", "digest"]);
    assert_ne!(run.outcome().code, 0);
    assert!(!bench.sandbox.path("report.json").exists());
    assert!(!bench.sandbox.path("digest").exists());
}

#[test]
fn the_project_names_the_layout() {
    let bench = Bench::new();
    let outcome = bench.build().args(["--project", "shop-1"]).outcome().success();
    let layouts = bench.sandbox.path("state/layouts");
    assert_eq!(entries(&layouts), ["shop-1"], "{}", outcome.report());
    let layout = layouts.join("shop-1");
    assert!(built_reference(&outcome).contains(&layout.display().to_string()));
    for wrong in ["Shop", "a/b", ".."] {
        bench.build().args(["--project", wrong]).outcome().exits(2);
    }
    assert_eq!(entries(&layouts), ["shop-1"]);
}

#[test]
fn a_work_directory_goes_before_the_environments() {
    let bench = Bench::new();
    let own = bench.sandbox.path("own/work");
    bench.build().arg("--work-dir").arg(&own).outcome().success();
    assert!(!entries(&own).is_empty());
    assert_eq!(entries(bench.sandbox.path("work")), Vec::<String>::new());
}

#[test]
fn the_log_says_as_much_as_was_asked_for() {
    let bench = Bench::new();
    let said = |level: &[&str]| {
        let tag = format!("said-{}", level.concat());
        // A change of the step itself, so that each build has to execute it.
        let base = bench.registry.reference("busybox:1");
        let dockerfile = format!("FROM {base}\nENV A={tag}\nRUN echo said by the step\n");
        bench.sandbox.write("context/Dockerfile", dockerfile);
        let outcome = bench.build_to_registry().args(level).outcome().success();
        assert_eq!(outcome.stdout.lines().count(), 1, "{}", outcome.report());
        assert!(outcome.stdout.starts_with("image: "), "{}", outcome.report());
        outcome
    };
    let quiet = said(&["--log-quiet"]);
    assert_eq!(quiet.stderr, "", "{}", quiet.report());
    let normal = said(&[]);
    assert!(normal.stderr.contains("| said by the step"), "{}", normal.report());
    assert!(!normal.stderr.contains("base "), "{}", normal.report());
    let verbose = said(&["--log-verbose"]);
    let base = format!("base {} is sha256:", bench.registry.reference("busybox:1"));
    assert!(verbose.stderr.contains(&base), "{}", verbose.report());
    assert!(verbose.stderr.contains("| said by the step"), "{}", verbose.report());
    let both = ["--log-quiet", "--log-verbose"];
    bench.build().args(both).outcome().exits(2);
}

#[test]
fn a_quiet_build_still_says_why_it_failed() {
    let bench = Bench::new();
    let base = bench.registry.reference("busybox:1");
    bench.sandbox.write("context/Dockerfile", format!("FROM {base}\nRUN echo why; exit 3\n"));
    let outcome = bench.build().arg("--log-quiet").outcome().exits(30);
    let expected = "error: RUN echo why; exit 3 failed with exit code 3\n  | why\n";
    assert_eq!(outcome.stderr, expected);
}

#[test]
fn the_second_build_says_that_there_is_nothing_to_build() {
    let bench = Bench::new();
    let first = bench.build().outcome().success();
    assert!(!first.stderr.contains("nothing to build"), "{}", first.report());
    let second = bench.build().outcome().success();
    let said = second.stderr.lines().last().unwrap_or_default();
    assert_eq!(said, "[image] nothing to build: the image is up to date");
    assert!(!second.stderr.contains("said by the step"), "{}", second.report());
    assert_eq!(second.stdout, first.stdout);
}

#[test]
fn a_tag_is_one_in_the_repository_or_a_whole_reference() {
    let bench = Bench::new();
    let whole = bench.registry.reference("elsewhere/app:stable");
    let run = bench.build_to_registry().args(["--tag", "v1", "-t", &whole]);
    let outcome = run.outcome().success();
    let digest = bench.pull("app:v1").digest;
    assert_eq!(bench.pull("elsewhere/app:stable").digest, digest);
    assert!(built_reference(&outcome).ends_with(&digest), "{}", outcome.report());

    // A tag follows the image, also when nothing is built for it.
    let second = bench.build_to_registry().args(["--tag", "v2"]).outcome().success();
    assert!(second.stderr.contains("nothing to build"), "{}", second.report());
    assert_eq!(bench.pull("app:v2").digest, digest);

    let pinned = format!("{whole}@{digest}");
    bench.build_to_registry().args(["--tag", &pinned]).outcome().exits(2);
}

#[test]
fn a_step_that_the_pinned_runtime_cannot_do_is_named_with_its_place() {
    if !crate::support::is_root() {
        return;
    }
    let bench = Bench::new();
    let base = bench.registry.reference("busybox:1");
    bench.sandbox.write("context/Dockerfile", format!("FROM {base}\n\nRUN --network=none true\n"));
    let outcome = bench.build().args(["--runtime", "chroot"]).outcome().exits(50);
    for said in [
        "Dockerfile:3:1: RUN cannot be executed in this pod: chroot: it cannot give a network",
        "hint: leave --runtime out: the rung overlay-full can do it here",
    ] {
        assert!(outcome.stderr.contains(said), "{}", outcome.report());
    }
    bench.build().outcome().success();
}
