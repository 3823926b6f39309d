//! A real job from end to end: `examples/compile-c` compiles a C program with Debian's gcc in one
//! stage and ships it in another; the image is pushed, pulled by skopeo and run by runc. And
//! `examples/hello`, which must build with no network at all.

use std::path::{Path, PathBuf};

use crate::support::command::Run;
use crate::support::{
    Access, Git, Image, Registry, Sandbox, base, built_reference, executor, longshore, runc,
};

/// What the program prints, by its build argument, its default arguments and its environment.
const GREETING: &str = "ahoy from the quay harbour!\n";

struct Job {
    sandbox: Sandbox,
    registry: Registry,
    arguments: Vec<String>,
}

impl Job {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, Access::Plain);
        let compiler = registry.push(&sandbox, &base::debian_gcc(), "debian-gcc:1");
        let runtime = registry.push(&sandbox, &base::busybox(), "busybox:1");
        let arguments = ["COMPILER", "RUNTIME", "GREETING"];
        let values = [compiler, runtime, "ahoy".to_owned()];
        let arguments = arguments.iter().zip(values).map(|(name, value)| format!("{name}={value}"));
        Self { arguments: arguments.collect(), sandbox, registry }
    }

    fn with_arguments(&self, run: Run) -> Run {
        self.arguments.iter().fold(run, |run, argument| run.args(["--build-arg", argument]))
    }

    fn check(&self, image: &Image) {
        assert_eq!(runc::run(&self.sandbox, image).success().stdout, GREETING);
        let tree = image.tree();
        let program = tree.get("usr/local/bin/greet").expect("the program was copied");
        assert_eq!((program.mode, program.owner), (0o755, (1000, 1000)));
        assert!(tree.get("usr/share/greet/expected.txt").is_some());
        assert!(tree.get("src").is_none(), "the compiling stage is not shipped");
        assert_eq!(image.config["config"]["User"], "1000:1000");
    }
}

#[test]
fn a_compiled_program_is_shipped_by_build() {
    let job = Job::new();
    let context = job.sandbox.path("project");
    copy(&example("compile-c"), &context);
    Git::init(&context).commit("the job");
    let repository = job.registry.reference("shipped/greet");
    let build = longshore(&job.sandbox)
        .arg("build")
        .arg(&context)
        .args(["--insecure-registry", job.registry.address(), "--repo", &repository])
        .args(["--tag", "v1"]);
    let outcome = job.with_arguments(build).outcome().success();
    let pinned = built_reference(&outcome);
    let image = Image::pull(&job.sandbox, &job.registry, &format!("{repository}:v1"));
    assert!(pinned.ends_with(&image.digest), "{pinned} is not {}", image.digest);
    job.check(&image);
}

#[test]
fn a_compiled_program_is_shipped_by_the_executor() {
    let job = Job::new();
    let context = job.sandbox.path("project");
    copy(&example("compile-c"), &context);
    let reference = job.registry.reference("shipped/greet:v1");
    let build = executor(&job.sandbox)
        .args(["--insecure", "--insecure-pull", "--destination", &reference])
        .arg("--context")
        .arg(&context)
        .arg("--dockerfile")
        .arg(context.join("Dockerfile"));
    job.with_arguments(build).outcome().success();
    job.check(&Image::pull(&job.sandbox, &job.registry, &reference));
}

#[test]
fn hello_builds_without_a_network_into_a_layout() {
    let sandbox = Sandbox::new();
    let context = sandbox.path("hello");
    copy(&example("hello"), &context);
    Git::init(&context).commit("hello");
    let outcome = longshore(&sandbox)
        .args(["build", "--project", "hello", "--tag", "v1"])
        .arg(&context)
        .outcome()
        .success();
    let layout = sandbox.path("state/layouts/hello");
    let image = Image::local(&sandbox, &format!("oci:{}:v1", layout.display()));
    assert!(built_reference(&outcome).ends_with(&image.digest), "{}", outcome.report());
    let tree = image.tree();
    let paths: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
    let expected = ["srv", "srv/README.md", "srv/www", "srv/www/index.html", "srv/www/style.css"];
    assert_eq!(paths, expected);
    assert_eq!(tree.get("srv/README.md").expect("it is listed").mode, 0o444);
    assert_eq!(image.config["config"]["WorkingDir"], "/srv/www");
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// Copies a directory as `cp -a` does.
fn copy(from: &Path, to: &Path) {
    Run::new("cp").args(["-a", "--no-preserve=ownership"]).arg(from).arg(to).succeed();
}
