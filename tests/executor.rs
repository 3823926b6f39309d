//! kaniko's command line: what pipelines rely on besides the image itself.

use std::path::PathBuf;

use crate::support::command::Run;
use crate::support::fake_registry::deserted_address;
use crate::support::{Access, Image, Registry, Sandbox, base, executor};

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
