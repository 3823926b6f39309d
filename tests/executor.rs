//! kaniko's command line: what pipelines rely on besides the image itself.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::command::Run;
use crate::support::fake_registry::deserted_address;
use crate::support::{Access, Image, Registry, Sandbox, base, executor, linked_executor};

struct Kaniko {
    sandbox: Sandbox,
    registry: Registry,
}

impl Kaniko {
    fn with_dockerfile(rest: &str) -> Self {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, Access::Plain);
        let base = registry.push(&sandbox, &base::busybox(), "busybox:1");
        sandbox.write("context/Dockerfile", format!("FROM {base}\n{rest}"));
        sandbox.write("context/file", "content\n");
        Self { sandbox, registry }
    }

    fn run(&self) -> Run {
        executor(&self.sandbox)
            .arg(format!("--context=dir://{}", self.sandbox.path("context").display()))
            .args(["--dockerfile=Dockerfile", "--insecure", "--insecure-pull"])
    }

    fn file(&self, name: &str) -> PathBuf {
        self.sandbox.path(name)
    }
}

#[test]
fn every_destination_gets_the_image_and_the_digest_file_has_the_digest() {
    let kaniko = Kaniko::with_dockerfile("COPY file /opt/\nRUN echo a > /a\n");
    let destinations =
        ["app:1", "app:latest", "other/app:1"].map(|name| kaniko.registry.reference(name));
    let mut run = kaniko.run().arg("--digest-file").arg(kaniko.file("digest"));
    for destination in &destinations {
        run = run.args(["-d", destination]);
    }
    run.args(["--label", "key=value"]).succeed();
    let digest = fs_err::read_to_string(kaniko.file("digest")).expect("the file was written");
    for destination in &destinations {
        let image = Image::pull(&kaniko.sandbox, &kaniko.registry, destination);
        assert_eq!(image.digest, digest, "the digest and no newline");
        assert_eq!(image.config["config"]["Labels"]["key"], "value");
    }
}

#[test]
fn files_with_names_list_the_destinations_alone() {
    let kaniko = Kaniko::with_dockerfile("COPY file /opt/\n");
    let repository = kaniko.registry.reference("app");
    let file = |flag: &str, name: &str| format!("--{flag}={}", kaniko.file(name).display());
    kaniko
        .run()
        .args(["-d", &format!("{repository}:1"), "-d", &format!("{repository}:2")])
        .args([file("oci-layout-path", "layout"), file("tar-path", "image.tar")])
        .args([file("digest-file", "digest"), file("image-name-with-digest-file", "names")])
        .arg(file("image-name-tag-with-digest-file", "tagged"))
        .succeed();
    let read = |name: &str| fs_err::read_to_string(kaniko.file(name)).expect("it was written");
    let digest = read("digest");
    assert_eq!(read("names"), format!("{repository}@{digest}\n").repeat(2));
    let tagged = format!("{repository}:1@{digest}\n{repository}:2@{digest}\n");
    assert_eq!(read("tagged"), tagged);
}

#[test]
fn with_a_cache_a_git_directory_in_the_context_is_warned_of() {
    let kaniko = Kaniko::with_dockerfile("COPY . /src/\n");
    crate::support::Git::init(kaniko.file("context")).commit("the project");
    let cache = format!("--cache-repo={}", kaniko.registry.reference("cache"));
    let warns = |kaniko: &Kaniko| {
        let run = kaniko.run().args(["--no-push", "--cache", &cache]);
        run.outcome().success().stderr.contains("warning: .git is part of the context")
    };
    assert!(warns(&kaniko));
    kaniko.sandbox.write("context/.dockerignore", ".git\n");
    assert!(!warns(&kaniko));
}

#[test]
fn without_cache_nothing_but_destinations_is_written() {
    let kaniko = Kaniko::with_dockerfile("COPY file /opt/\nRUN echo a > /a\n");
    let before = kaniko.registry.position(&kaniko.sandbox);
    kaniko.run().args(["--destination", &kaniko.registry.reference("app:1")]).succeed();
    let requests = kaniko.registry.requests_since(&kaniko.sandbox, before);
    let written = requests.iter().filter(|request| request.method == "PUT");
    let manifests: Vec<_> =
        written.filter(|request| request.path.contains("/manifests/")).collect();
    assert_eq!(manifests.len(), 1, "{manifests:#?}");
    assert_eq!(manifests[0].path, "/v2/app/manifests/1");
}

#[test]
fn no_push_writes_a_tarball_and_touches_no_registry() {
    let kaniko = Kaniko::with_dockerfile("COPY file /opt/\n");
    let before = kaniko.registry.position(&kaniko.sandbox);
    kaniko
        .run()
        .args(["--no-push", "--destination", "example.org/app:1", "--tar-path"])
        .arg(kaniko.file("image.tar"))
        .succeed();
    let requests = kaniko.registry.requests_since(&kaniko.sandbox, before);
    let writes = requests.iter().filter(|request| !matches!(&*request.method, "GET" | "HEAD"));
    assert_eq!(writes.count(), 0, "{requests:#?}");
    let source = format!("docker-archive:{}", kaniko.file("image.tar").display());
    let image = Image::local(&kaniko.sandbox, &source);
    assert!(image.tree().get("opt/file").is_some());
}

#[test]
fn a_failed_run_passes_its_own_exit_code_on() {
    let kaniko = Kaniko::with_dockerfile("RUN echo last words >&2; exit 7\n");
    let destination = kaniko.registry.reference("app:1");
    let outcome = kaniko.run().args(["--destination", &destination]).outcome().exits(7);
    assert!(outcome.stderr.contains("last words"), "{}", outcome.report());
}

#[test]
fn a_failed_push_leaves_no_digest_file() {
    let kaniko = Kaniko::with_dockerfile("COPY file /opt/\n");
    kaniko
        .run()
        .args(["--destination", &format!("{}/app:1", deserted_address()), "--digest-file"])
        .arg(kaniko.file("digest"))
        .outcome()
        .exits(1);
    assert!(!kaniko.file("digest").exists());
}

#[test]
fn a_flag_that_nobody_knows_is_an_error() {
    let kaniko = Kaniko::with_dockerfile("COPY file /opt/\n");
    let run = kaniko.run().args(["--destination", "example.org/app:1", "--insecure-push"]);
    let outcome = run.outcome();
    assert_ne!(outcome.code, 0);
    assert!(outcome.stderr.contains("--insecure-push"), "{}", outcome.report());
}

#[test]
fn a_link_called_executor_is_the_verb() {
    let kaniko = Kaniko::with_dockerfile("COPY file /opt/\nRUN echo a > /a\n");
    let destination = kaniko.registry.reference("app:1");
    linked_executor(&kaniko.sandbox)
        .arg(format!("--context={}", kaniko.file("context").display()))
        .args(["--insecure", "-d", &destination])
        .succeed();
    let tree = Image::pull(&kaniko.sandbox, &kaniko.registry, &destination).tree();
    assert!(tree.get("opt/file").is_some() && tree.get("a").is_some());
}

#[test]
fn a_link_called_executor_has_no_verbs_and_its_own_exit_codes() {
    let sandbox = Sandbox::new();
    let outcome = linked_executor(&sandbox).args(["build", "."]).outcome().exits(1);
    assert!(outcome.stderr.contains("unexpected argument 'build'"), "{}", outcome.report());
}

#[test]
fn the_example_is_built_through_this_door_too() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, Access::Plain);
    let context = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hello");
    let destination = registry.reference("hello:1");
    executor(&sandbox).arg("-c").arg(context).args(["-d", &destination]).succeed();
    let image = Image::pull(&sandbox, &registry, &destination);
    let config = &image.config["config"];
    assert_eq!(config["WorkingDir"], "/srv/www");
    assert_eq!(config["User"], "65534:65534");
    assert_eq!(config["ExposedPorts"], json!({"8080/tcp": {}}));
    assert_eq!(image.words(), ["/srv/www/index.html"]);
    let tree = image.tree();
    assert!(tree.get("srv/www/index.html").is_some());
    assert_eq!(tree.get("srv/README.md").map(|file| file.mode), Some(0o444));
}

#[test]
fn the_second_run_with_a_cache_executes_nothing_and_writes_nothing_to_it() {
    let kaniko =
        Kaniko::with_dockerfile("COPY file /opt/\nRUN echo said by the step > /a; cat /a\n");
    let run = |name: &str| {
        let before = kaniko.registry.position(&kaniko.sandbox);
        // Every run is a fresh pod: nothing on disk from the last one.
        let pod = Sandbox::new();
        let outcome = executor(&pod)
            .arg("--context")
            .arg(kaniko.file("context"))
            .args(["--insecure", "--insecure-pull", "--cache=true"])
            .args(["-d", &kaniko.registry.reference(name)])
            .outcome()
            .success();
        let requests = kaniko.registry.requests_since(&kaniko.sandbox, before);
        let to_cache = |path: &str| path.starts_with("/v2/app/cache/");
        let writes = requests
            .iter()
            .filter(|request| to_cache(&request.path))
            .filter(|request| !matches!(&*request.method, "GET" | "HEAD"))
            .count();
        let image =
            Image::pull(&kaniko.sandbox, &kaniko.registry, &kaniko.registry.reference(name));
        let layers: Vec<String> = image.layer_digests().into_iter().map(str::to_owned).collect();
        (writes, outcome.stderr.contains("| said by the step"), layers)
    };
    let (writes, executed, first) = run("app:1");
    assert!(writes > 0 && executed, "{writes} writes");
    let (writes, executed, second) = run("app:2");
    assert_eq!((writes, executed), (0, false));
    assert_eq!(second, first);
}

#[test]
fn a_tarball_names_the_image_by_its_destinations() {
    let kaniko = Kaniko::with_dockerfile("COPY file /opt/\n");
    kaniko
        .run()
        .args(["--no-push", "-d", "example.org/team/app:1", "-d", "example.org/team/app"])
        .arg(format!("--tar-path={}", kaniko.file("image.tar").display()))
        .succeed();
    let file = fs_err::File::open(kaniko.file("image.tar")).expect("it was written");
    let mut archive = tar::Archive::new(file);
    let mut entries = archive.entries().expect("a tar").map(|entry| entry.expect("a tar"));
    let manifest = entries.find(|entry| &*entry.path_bytes() == b"manifest.json");
    let manifest: Value = serde_json::from_reader(manifest.expect("a manifest")).expect("JSON");
    let names = json!(["example.org/team/app:1", "example.org/team/app:latest"]);
    assert_eq!(manifest[0]["RepoTags"], names, "{manifest}");
    for name in ["example.org/team/app:1", "example.org/team/app:latest"] {
        let source = format!("docker-archive:{}:{name}", kaniko.file("image.tar").display());
        Image::local(&kaniko.sandbox, &source);
    }
}

#[test]
fn flags_that_longshore_does_not_need_are_accepted_with_a_warning() {
    let kaniko = Kaniko::with_dockerfile("COPY file /opt/\n");
    let flags = [
        "--cleanup",
        "--snapshot-mode=redo",
        "--use-new-run",
        "--compressed-caching=false",
        "--force",
        "--skip-unused-stages",
        "--ignore-path=/opt",
        "--ignore-var-run=false",
        "--cache-copy-layers",
        "--cache-run-layers",
        "--image-fs-extract-retry=3",
        "--log-timestamp",
        "--kaniko-dir=/elsewhere",
        "--skip-push-permission-check",
        "--force-build-metadata=true",
    ];
    let outcome = kaniko.run().arg("--no-push").args(flags).outcome().success();
    let warnings: Vec<&str> =
        outcome.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    let expected = flags.map(|flag| {
        let (name, _) = flag.split_once('=').unwrap_or((flag, ""));
        format!("warning: {name} has no effect: longshore does not need it")
    });
    assert_eq!(warnings, expected);
    let quiet = kaniko.run().args(["--no-push", "--verbosity=error"]).outcome().success();
    assert_eq!(quiet.stderr, "", "no flag, no warning");
}

#[test]
fn what_is_not_there_yet_is_an_error_and_no_silent_difference() {
    let kaniko = Kaniko::with_dockerfile("COPY file /opt/\n");
    for flag in [
        "--reproducible",
        "--single-snapshot",
        "--cache-ttl=1h",
        "--cache-dir=/cache",
        "--no-push-cache",
        "--registry-client-cert=example.org=a,b",
    ] {
        let outcome = kaniko.run().args(["--no-push", flag]).outcome().exits(1);
        let (name, _) = flag.split_once('=').unwrap_or((flag, ""));
        let said = format!("unexpected argument '{name}'");
        assert!(outcome.stderr.contains(&said), "{}", outcome.report());
    }
}
