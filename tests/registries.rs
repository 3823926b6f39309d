//! Pulling bases from and pushing to each kind of registry: with a password, with a certificate of
//! an own authority, through a mirror.

use crate::support::command::Run;
use crate::support::fake_registry::deserted_address;
use crate::support::registry::PASSWORD;
use crate::support::{Access, Image, Registry, Sandbox, base, longshore};

#[test]
fn a_password_comes_from_the_docker_configuration() {
    let bench = Bench::new(Access::Password);
    let docker = bench.sandbox.path("docker");
    bench.registry.write_docker_config(&docker, PASSWORD);
    let run = bench.build(&bench.base).args(["--insecure-registry", bench.registry.address()]);
    bench.check(run.env("DOCKER_CONFIG", docker));
}

#[test]
fn an_own_authority_is_trusted_for_its_registry() {
    let bench = Bench::new(Access::Tls);
    let authority = bench.registry.authority();
    let certificate = format!("{}={}", bench.registry.address(), authority.display());
    bench.check(bench.build(&bench.base).args(["--registry-certificate", &certificate]));
}

#[test]
fn an_unknown_authority_is_not_trusted() {
    let bench = Bench::new(Access::Tls);
    let outcome = bench.build(&bench.base).outcome().exits(21);
    assert!(outcome.stderr.contains("certificate"), "{}", outcome.report());
}

#[test]
fn verification_can_be_switched_off_for_one_registry() {
    let bench = Bench::new(Access::Tls);
    let address = bench.registry.address();
    bench.check(bench.build(&bench.base).args(["--skip-tls-verify-registry", address]));
}

#[test]
fn a_mirror_stands_in_for_a_registry_that_cannot_be_reached() {
    let bench = Bench::new(Access::Plain);
    let (elsewhere, address) = (deserted_address(), bench.registry.address());
    let run = bench
        .build(&format!("{elsewhere}/base/busybox:1"))
        .args(["--insecure-registry", address])
        .args(["--registry-mirror", &format!("{elsewhere}={address}")]);
    bench.check(run);
}

struct Bench {
    sandbox: Sandbox,
    registry: Registry,
    base: String,
}

impl Bench {
    fn new(access: Access) -> Self {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, access);
        let base = registry.push(&sandbox, &base::busybox(), "base/busybox:1");
        Self { sandbox, registry, base }
    }

    /// A build from `base` into the registry.
    fn build(&self, base: &str) -> Run {
        self.sandbox.write("context/Dockerfile", format!("FROM {base}\nRUN echo made > /made\n"));
        longshore(&self.sandbox)
            .args(["build", "context", "--tag", "v1", "--repo"])
            .arg(self.registry.reference("app"))
    }

    fn check(&self, run: Run) {
        run.succeed();
        let image = Image::pull(&self.sandbox, &self.registry, &self.registry.reference("app:v1"));
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        assert_eq!(image.manifest["mediaType"], media_type);
        assert!(image.tree().get("made").is_some());
    }
}
