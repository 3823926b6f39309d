//! How kaniko's command line speaks to registries: mirrors and maps, plain HTTP, certificates, and
//! which of pulling and pushing each flag is about.

use crate::support::command::{Outcome, Run};
use crate::support::{Access, Image, Registry, Sandbox, base, executor};

struct Bench {
    sandbox: Sandbox,
    registry: Registry,
}

impl Bench {
    fn new(access: Access) -> Self {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, access);
        sandbox.write("context/file", "content\n");
        Self { sandbox, registry }
    }

    /// The registry's address in a spelling that is not known for loopback, as only that needs no
    /// flag for plain HTTP.
    fn odd_address(&self) -> String {
        self.registry.address().replace("127.0.0.1", "127.1")
    }

    fn run(&self, base: &str) -> Run {
        self.sandbox.write("context/Dockerfile", format!("FROM {base}\nCOPY file /opt/\n"));
        executor(&self.sandbox).arg("--context").arg(self.sandbox.path("context"))
    }

    fn pull_with(&self, base: &str, flags: &[&str]) -> Outcome {
        self.run(base).arg("--no-push").args(flags).outcome()
    }

    fn push_with(&self, address: &str, flags: &[&str]) -> Outcome {
        self.run("scratch").arg(format!("-d={address}/app:1")).args(flags).outcome()
    }
}

#[test]
fn images_of_docker_hub_come_from_a_mirror_alone() {
    let bench = Bench::new(Access::Plain);
    let only = "--skip-default-registry-fallback";
    let address = bench.registry.address().to_owned();
    bench.registry.push(&bench.sandbox, &base::busybox(), "library/busybox:1");
    bench.registry.push(&bench.sandbox, &base::busybox(), "hub/library/busybox:1");
    let below = format!("{address}/hub");
    let map = format!("docker.io={address}/none;docker.io={below}");
    let destination = bench.registry.reference("app:1");
    for flags in
        [["--registry-mirror", &address], ["--registry-mirror", &below], ["--registry-map", &map]]
    {
        for base in ["busybox:1", "docker.io/library/busybox:1"] {
            let run = bench.run(base).args(flags).args([only, "-d", &destination]);
            run.outcome().success();
            let image = Image::pull(&bench.sandbox, &bench.registry, &destination);
            assert_eq!(image.words(), ["/bin/sh"], "{flags:?} {base}");
            assert_eq!(image.layers.len(), 2);
        }
    }
    let run = bench.run("busybox:1").env("KANIKO_REGISTRY_MAP", &map).args(["--no-push", only]);
    run.outcome().success();

    let outcome = bench.pull_with("busybox:2", &["--registry-map", &map, only]);
    let outcome = outcome.exits(1);
    for place in ["/none/library/busybox", "/hub/library/busybox"] {
        let tried = format!("{address}{place}");
        assert!(outcome.stderr.contains(&tried), "{}", outcome.report());
    }
}

#[test]
fn plain_http_is_spoken_only_where_a_flag_says_so() {
    let bench = Bench::new(Access::Plain);
    bench.registry.push(&bench.sandbox, &base::busybox(), "busybox:1");
    let address = bench.odd_address();
    let base = format!("{address}/busybox:1");
    for (flags, pulls, pushes) in [
        (&[][..], false, false),
        (&["--insecure-pull"], true, false),
        (&["--insecure"], false, true),
        (&["--insecure-registry", &address], true, true),
        (&["--insecure-registry", "example.org"], false, false),
        (&["--skip-tls-verify", "--skip-tls-verify-pull"], false, false),
    ] {
        let pull = bench.pull_with(&base, flags);
        assert_eq!(pull.code == 0, pulls, "{}", pull.report());
        let push = bench.push_with(&address, flags);
        assert_eq!(push.code == 0, pushes, "{}", push.report());
    }
}

#[test]
fn certificates_are_verified_unless_a_flag_says_otherwise() {
    let bench = Bench::new(Access::Tls);
    let base = bench.registry.push(&bench.sandbox, &base::busybox(), "busybox:1");
    let address = bench.registry.address().to_owned();
    let certificate = format!("{address}={}", bench.registry.authority().display());
    for (flags, pulls, pushes) in [
        (&[][..], false, false),
        (&["--skip-tls-verify-pull"], true, false),
        (&["--skip-tls-verify"], false, true),
        (&["--skip-tls-verify=false", "--skip-tls-verify-pull=false"], false, false),
        (&["--skip-tls-verify-registry", &address], true, true),
        (&["--skip-tls-verify-registry", "example.org"], false, false),
        (&["--registry-certificate", &certificate], true, true),
    ] {
        let pull = bench.pull_with(&base, flags);
        assert_eq!(pull.code == 0, pulls, "{}", pull.report());
        let push = bench.push_with(&address, flags);
        assert_eq!(push.code == 0, pushes, "{}", push.report());
    }
}

#[test]
fn the_cache_is_spoken_to_as_destinations_are() {
    for (access, flag) in [(Access::Plain, "--insecure"), (Access::Tls, "--skip-tls-verify")] {
        let bench = Bench::new(access);
        let address = match access {
            Access::Tls => bench.registry.address().to_owned(),
            _ => bench.odd_address(),
        };
        bench.push_with(&address, &[flag, "--cache"]).success();
        let before = bench.registry.position(&bench.sandbox);
        bench.push_with(&address, &[flag, "--cache"]).success();
        let requests = bench.registry.requests_since(&bench.sandbox, before);
        let is_write = |method: &str| !matches!(method, "GET" | "HEAD");
        let to_cache = |path: &str| path.starts_with("/v2/app/cache/");
        assert!(requests.iter().any(|request| to_cache(&request.path)), "{requests:#?}");
        let written = requests.iter().filter(|request| to_cache(&request.path));
        assert_eq!(written.filter(|request| is_write(&request.method)).count(), 0, "{requests:#?}");
    }
}
