//! `--compression` and `--compression-level`, at both doors.

use serde_json::Value;

use crate::support::command::Run;
use crate::support::{Access, Image, Registry, Sandbox, base, executor, longshore};

const OCI: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar";

struct Builder {
    sandbox: Sandbox,
    registry: Registry,
}

impl Builder {
    /// A context of one large text, upon a base in both formats.
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, Access::Plain);
        let base = registry.push(&sandbox, &base::busybox(), "busybox:oci");
        let docker = format!("docker://{}", registry.reference("busybox:docker"));
        let copy = sandbox.tool("skopeo").args(["--insecure-policy", "copy", "--format", "v2s2"]);
        let plain = ["--src-tls-verify=false", "--dest-tls-verify=false"];
        copy.args(plain).arg(format!("docker://{base}")).arg(docker).succeed();
        for format in ["oci", "docker"] {
            let from = registry.reference(&format!("busybox:{format}"));
            let dockerfile = format!("FROM {from}\nCOPY text /opt/\n");
            sandbox.write(format!("{format}/Dockerfile"), dockerfile);
            sandbox.write(format!("{format}/text"), "some lines of text\n".repeat(5000));
        }
        Self { sandbox, registry }
    }

    fn build(&self, repository: &str) -> Run {
        let repo = self.registry.reference(repository);
        longshore(&self.sandbox).args(["build", "oci", "--repo", &repo, "--tag", "v1"])
    }

    fn execute(&self, format: &str, repository: &str) -> Run {
        let context = format!("--context={}", self.sandbox.path(format).display());
        let destination = self.registry.reference(&format!("{repository}:v1"));
        executor(&self.sandbox).args([&context, "-d", &destination])
    }

    /// The image and the descriptor of its last layer.
    fn pull(&self, repository: &str) -> (Image, Value) {
        let reference = self.registry.reference(&format!("{repository}:v1"));
        let image = Image::pull(&self.sandbox, &self.registry, &reference);
        let layer = image.manifest["layers"].as_array().expect("layers").last().cloned();
        (image, layer.expect("a layer"))
    }
}

#[test]
fn every_compression_has_its_media_type_and_the_same_files() {
    let builder = Builder::new();
    let mut diff_ids = Vec::new();
    for (flags, suffix) in [
        (&[][..], "+gzip"),
        (&["--compression", "gzip", "--compression-level", "9"], "+gzip"),
        (&["--compression", "zstd"], "+zstd"),
        (&["--compression=zstd", "--compression-level=1"], "+zstd"),
        (&["--compression", "none"], ""),
    ] {
        let name = format!("app{}", flags.concat().replace(['-', '='], ""));
        builder.build(&name).args(flags).succeed();
        let (image, layer) = builder.pull(&name);
        assert_eq!(layer["mediaType"], format!("{OCI}{suffix}"), "{flags:?}");
        let is_small = layer["size"].as_u64() < Some(10_000);
        assert_eq!(is_small, !suffix.is_empty(), "{layer}");
        assert!(image.tree().get("opt/text").is_some(), "{flags:?}");
        diff_ids.push(image.config["rootfs"]["diff_ids"].clone());
    }
    assert!(diff_ids.iter().all(|ids| *ids == diff_ids[0]), "{diff_ids:?}");
}

#[test]
fn a_stored_layer_keeps_its_compression() {
    let builder = Builder::new();
    builder.build("app").args(["--compression", "zstd"]).succeed();
    builder.build("app").args(["--compression", "gzip"]).succeed();
    assert_eq!(builder.pull("app").1["mediaType"], format!("{OCI}+zstd"));
}

#[test]
fn the_executor_writes_what_the_format_of_its_base_has() {
    let builder = Builder::new();
    for (format, flags, media_type) in [
        ("oci", &["--compression=zstd"][..], format!("{OCI}+zstd")),
        ("oci", &["--compression", "zstd", "--compression-level", "-1"], format!("{OCI}+zstd")),
        ("docker", &["--compression", "gzip", "--compression-level=1"], format!("{DOCKER}.gzip")),
        ("docker", &[], format!("{DOCKER}.gzip")),
    ] {
        builder.execute(format, "app").args(flags).succeed();
        assert_eq!(builder.pull("app").1["mediaType"], media_type, "{format} {flags:?}");
    }
}

#[test]
fn zstd_in_dockers_format_is_refused_before_anything_is_done() {
    let builder = Builder::new();
    builder.sandbox.write("scratch/Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    let docker = format!("as its base {} has it", builder.registry.reference("busybox:docker"));
    for (context, reason) in
        [("docker", docker.as_str()), ("scratch", "as of every image from scratch")]
    {
        let position = builder.registry.position(&builder.sandbox);
        let outcome = builder.execute(context, "app").arg("--compression=zstd").outcome().exits(1);
        assert!(outcome.stderr.contains(reason), "{}", outcome.report());
        assert!(outcome.stderr.contains("use --compression gzip"), "{}", outcome.report());
        let requests = builder.registry.requests_since(&builder.sandbox, position);
        let writes =
            requests.iter().filter(|request| !["GET", "HEAD"].contains(&request.method.as_str()));
        assert_eq!(writes.count(), 0, "{requests:?}");
    }
}

#[test]
fn what_no_encoder_has_is_wrong_use() {
    let builder = Builder::new();
    for (flags, part) in [
        (&["--compression", "xz"][..], "--compression \"xz\" is none of gzip, zstd, none"),
        (&["--compression-level", "10"], "level 10 is no level of gzip: those are 0 to 9"),
        (&["--compression-level", "-1"], "level -1 is no level of gzip: those are 0 to 9"),
        (&["--compression=zstd", "--compression-level=20"], "those are 1 to 19"),
        (&["--compression=none", "--compression-level=1"], "none has no --compression-level"),
        (&["--compression-level", "fast"], "invalid value 'fast'"),
    ] {
        let outcome = builder.build("app").args(flags).outcome().exits(2);
        assert!(outcome.stderr.contains(part), "{}", outcome.report());
    }
    let outcome = builder.execute("oci", "app").arg("--compression=none").outcome().exits(1);
    assert!(outcome.stderr.contains("none of gzip, zstd"), "{}", outcome.report());
}
