//! What is in a base is kept beside the stages: the next pod reads no base to put files upon it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::command::Outcome;
use crate::support::http::{exchange, put_blob};
use crate::support::image::digest_of;
use crate::support::layout::{self, Layer};
use crate::support::proxy::Proxy;
use crate::support::random::Random;
use crate::support::tarball::{Meta, Tarball};
use crate::support::{
    Access, Git, Image, Registry, Sandbox, base, built_reference, busybox, longshore,
};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// More than this must not be downloaded (bytes).
const LARGE: u64 = 50_000_000;

/// A base with busybox and a layer that no compressor makes smaller than [`LARGE`].
fn large_base(sandbox: &Sandbox) -> std::path::PathBuf {
    let mut random = Random::new(11);
    let words = LARGE / 8 + 10_000;
    let noise: Vec<u8> = (0..words).flat_map(|_| random.next().to_le_bytes()).collect();
    let mut tar = Tarball::new();
    tar.directory("opt", Meta::mode(0o755));
    tar.file("opt/noise", Meta::mode(0o644), noise);
    tar.directory("srv", Meta::mode(0o755));
    let directory = sandbox.path("large-base");
    fs_err::create_dir(&directory).expect("mkdir");
    let layers = [busybox::layer(), Layer { tar: tar.finish(), created_by: "noise" }];
    layout::write(&directory, &layers, &json!({"Env": ["PATH=/bin"]}));
    directory
}

/// Builds the context `project` in a pod of its own.
fn build(sandbox: &Sandbox, repository: &str) -> Outcome {
    let pod = Sandbox::new();
    let build = longshore(&pod).arg("build").arg(sandbox.path("project"));
    build.args(["--project", "p", "--log-debug", "--repo", repository]).outcome().success()
}

fn is_write(method: &str, path: &str) -> bool {
    method == "PUT" && path.contains("/manifests/index-")
}

#[test]
fn a_fresh_pod_downloads_no_base_to_copy_upon_it() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, Access::Plain);
    let proxy = Proxy::start(registry.address(), |_, _| false);
    registry.push(&sandbox, &large_base(&sandbox), "bases/large:1");
    let base = Image::pull(&sandbox, &registry, &registry.reference("bases/large:1"));
    let large = base.layers.last().expect("two layers").digest.clone();
    let reference = proxy.reference("bases/large:1");
    let dockerfile = format!("FROM {reference}\nCOPY x /bin/\nCOPY --chown=app:app y /srv/\n");
    sandbox.write("project/Dockerfile", dockerfile);
    sandbox.write("project/x", "x1\n");
    sandbox.write("project/y", "y1\n");
    let git = Git::init(sandbox.path("project"));
    git.commit("first");

    let repository = proxy.reference("stages/app");
    build(&sandbox, &repository);
    let indexed = proxy.blob_bytes(&large);
    assert!(indexed > LARGE, "the first build reads the base once: {indexed}");
    assert!(indexed < 2 * LARGE, "the first build reads the base once: {indexed}");

    sandbox.write("project/x", "x2\n");
    sandbox.write("project/y", "y2\n");
    git.commit("second");
    proxy.forget();
    let outcome = build(&sandbox, &repository);
    for layer in &base.layers {
        assert_eq!(proxy.blob_bytes(&layer.digest), 0, "{}", outcome.report());
    }
    let blobs: u64 = proxy.passed("GET", "/blobs/").iter().map(|one| one.bytes).sum();
    assert!(blobs < 100_000, "{blobs} bytes of blobs\n{}", outcome.report());

    let image = image(&sandbox, &registry, "stages/app", &outcome);
    assert_eq!(image.layer_digests()[..2], base.layer_digests());
    let entries: Vec<_> = image.layers[2..].iter().map(entries).collect();
    let file = |path: &str, owner: (u64, u64)| (path.to_owned(), owner);
    assert_eq!(
        entries,
        [vec![file("usr/bin/x", (0, 0))], vec![file("srv/y", (1000, 1000))]],
        "the destination's link is followed, the owner is that of the name"
    );
}

/// The image that was built into `repository`.
fn image(sandbox: &Sandbox, registry: &Registry, repository: &str, outcome: &Outcome) -> Image {
    let reference = format!("{}@{}", registry.reference(repository), digest(outcome));
    Image::pull(sandbox, registry, &reference)
}

/// Paths and owners of a layer's entries.
fn entries(layer: &crate::support::image::Blob) -> Vec<(String, (u64, u64))> {
    let mut archive = layer.archive();
    let entries = archive.entries().expect("a tar").map(|entry| {
        let entry = entry.expect("a tar");
        let header = entry.header();
        let owner = (header.uid().expect("a uid"), header.gid().expect("a gid"));
        (String::from_utf8_lossy(&entry.path_bytes()).into_owned(), owner)
    });
    entries.collect()
}

/// A registry with a small base of two layers and a repository that an earlier build has filled.
struct Filled {
    sandbox: Sandbox,
    registry: Registry,
    /// The image of the second context.
    expected: String,
    /// The artifact of each layer of the base.
    artifacts: BTreeMap<String, Value>,
    /// Diff ids of the base's layers.
    diff_ids: Vec<String>,
}

impl Filled {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, Access::Plain);
        let base = registry.push(&sandbox, &base::crafted(), "bases/crafted:1");
        let config = Image::pull(&sandbox, &registry, &base).config;
        let diff_ids = config["rootfs"]["diff_ids"].as_array().expect("diff ids").iter();
        let diff_ids = diff_ids.map(|id| id.as_str().expect("text").to_owned()).collect();
        let dockerfile = format!("FROM {base}\nCOPY --chown=web x /bin/\nCOPY x /here/\n");
        sandbox.write("project/Dockerfile", dockerfile);
        sandbox.write("project/x", "x\n");
        Git::init(sandbox.path("project")).commit("first");
        let outcome = build(&sandbox, &registry.reference("reference"));
        let (expected, artifacts) = (digest(&outcome), BTreeMap::new());
        let mut filled = Self { sandbox, registry, expected, artifacts, diff_ids };
        for id in filled.diff_ids.clone() {
            let artifact = filled.artifact("reference", &id).expect("it was stored");
            filled.artifacts.insert(id, artifact);
        }
        filled
    }

    fn path(repository: &str, diff_id: &str) -> String {
        let hex = diff_id.strip_prefix("sha256:").expect("a sha256");
        format!("/v2/{repository}/manifests/index-{hex}")
    }

    fn artifact(&self, repository: &str, diff_id: &str) -> Option<Value> {
        let request = ("GET", Self::path(repository, diff_id));
        let answer = exchange(self.registry.address(), (request.0, &request.1), MANIFEST, b"");
        (answer.status == 200).then(|| serde_json::from_slice(&answer.body).expect("JSON"))
    }

    /// Puts an artifact with `blob`, as `change` changes it, under the tag of the lowest layer.
    fn put(&self, repository: &str, blob: &[u8], change: impl FnOnce(&mut Value)) {
        let address = self.registry.address();
        let mut artifact = self.artifacts[&self.diff_ids[0]].clone();
        let layer = &mut artifact["layers"][0];
        layer.as_object_mut().expect("a descriptor").remove("data");
        (layer["digest"], layer["size"]) = (json!(digest_of(blob)), json!(blob.len()));
        change(&mut artifact);
        put_blob(address, repository, b"{}");
        put_blob(address, repository, blob);
        let path = Self::path(repository, &self.diff_ids[0]);
        let bytes = artifact.to_string();
        let answer = exchange(address, ("PUT", &path), MANIFEST, bytes.as_bytes());
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    }

    /// The stored form of a layer's index.
    fn blob(&self, layer: usize) -> Vec<u8> {
        let digest = self.artifacts[&self.diff_ids[layer]]["layers"][0]["digest"].clone();
        let path = format!("/v2/reference/blobs/{}", digest.as_str().expect("a digest"));
        exchange(self.registry.address(), ("GET", &path), "*/*", b"").body
    }

    /// A stored form that names the lowest layer and has directories at `paths`.
    fn forged(&self, paths: &[&str]) -> Vec<u8> {
        let raw = zstd::decode_all(self.blob(0).as_slice()).expect("zstd");
        let mut forged = raw[..b"longshore layer index 1\n".len() + 32].to_vec();
        forged.push(u8::try_from(paths.len()).expect("few"));
        for path in paths {
            forged.extend([0, u8::try_from(path.len()).expect("short")]);
            forged.extend(path.as_bytes());
            forged.extend([0, 0, 0, 0]);
        }
        forged.extend([0, 0, 0, 0]);
        zstd::encode_all(forged.as_slice(), 1).expect("zstd")
    }

    /// Builds into an own repository and compares the image with the expected one.
    fn check(&self, repository: &str) -> Outcome {
        let outcome = build(&self.sandbox, &self.registry.reference(repository));
        assert_eq!(digest(&outcome), self.expected, "{repository}: {}", outcome.report());
        outcome
    }
}

fn digest(outcome: &Outcome) -> String {
    let reference = built_reference(outcome);
    reference.split_once('@').expect("a pinned reference").1.to_owned()
}

const IGNORED: &str = "the stored layer index is not used";

#[test]
fn a_stored_index_that_is_missing_or_damaged_is_made_anew() {
    let filled = Filled::new();
    let good = filled.blob(0);
    let truncated = &good[..good.len() / 2];
    let bomb = zstd::encode_all(vec![0; 129 << 20].as_slice(), 1).expect("zstd");
    let (parent, unsorted) = (filled.forged(&["a/../../b"]), filled.forged(&["b", "a"]));
    type Change = fn(&mut Value);
    let nothing: Change = |_| {};
    let cases: [(&str, &[u8], Change); 10] = [
        ("garbage", b"garbage", nothing),
        ("other-layer", &filled.blob(1), nothing),
        ("truncated", truncated, nothing),
        ("bomb", &bomb, nothing),
        ("parent", &parent, nothing),
        ("unsorted", &unsorted, nothing),
        ("blob-type", &good, |it| it["layers"][0]["mediaType"] = json!("application/x")),
        ("artifact-type", &good, |it| it["artifactType"] = json!("application/x")),
        ("too-large", &good, |it| it["layers"][0]["size"] = json!(17 << 20)),
        ("other-data", &good, |it| it["layers"][0]["data"] = json!("AAAA")),
    ];
    for (name, blob, change) in cases {
        filled.put(name, blob, change);
        let outcome = filled.check(name);
        assert!(outcome.stderr.contains(IGNORED), "{name}: {}", outcome.report());
        let id = &filled.diff_ids[0];
        assert_eq!(filled.artifact(name, id).as_ref(), filled.artifacts.get(id), "{name} healed");
    }
    // What is wrong in these is the table, not the way that it came: a good one is used.
    filled.put("good", &good, |_| {});
    let outcome = filled.check("good");
    assert!(!outcome.stderr.contains(IGNORED), "{}", outcome.report());
    let outcome = filled.check("missing");
    assert!(filled.artifact("missing", &filled.diff_ids[1]).is_some(), "it is stored again");
    assert!(!outcome.stderr.contains(IGNORED), "{}", outcome.report());
}

#[test]
fn a_repository_that_takes_no_indexes_costs_time_only() {
    let filled = Filled::new();
    let proxy = Proxy::start(filled.registry.address(), is_write);
    let outcome = build(&filled.sandbox, &proxy.reference("closed"));
    assert_eq!(digest(&outcome), filled.expected, "{}", outcome.report());
    assert!(!proxy.passed("PUT", "/manifests/index-").is_empty());
    assert_eq!(filled.artifact("closed", &filled.diff_ids[0]), None);
}

#[test]
fn layers_that_were_built_are_indexed_for_the_next_pod() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, Access::Plain);
    let proxy = Proxy::start(registry.address(), |_, _| false);
    let base = registry.push(&sandbox, &base::busybox(), "bases/busybox:1");
    let dockerfile = format!(
        "FROM {base}\nRUN mkdir /made && ln -s made /link && head -c 300000 /dev/urandom > /made/n\n\
         COPY x /link/\n"
    );
    sandbox.write("project/Dockerfile", dockerfile);
    sandbox.write("project/x", "x1\n");
    let git = Git::init(sandbox.path("project"));
    git.commit("first");
    let repository = proxy.reference("app");
    let first = image(&sandbox, &registry, "app", &build(&sandbox, &repository));
    sandbox.write("project/x", "x2\n");
    git.commit("second");
    proxy.forget();
    let outcome = build(&sandbox, &repository);
    let second = image(&sandbox, &registry, "app", &outcome);
    let ran = first.layer_digests()[1];
    assert_eq!(second.layer_digests()[1], ran, "the RUN stage was found");
    for digest in &first.layer_digests()[..2] {
        assert_eq!(proxy.blob_bytes(digest), 0, "{}", outcome.report());
    }
    assert!(second.tree().get("made/x").is_some());
}

#[test]
fn only_layers_that_hold_what_is_copied_are_fetched() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, Access::Plain);
    let proxy = Proxy::start(registry.address(), |_, _| false);
    registry.push(&sandbox, &base::crafted(), "bases/crafted:1");
    let source = Image::pull(&sandbox, &registry, &registry.reference("bases/crafted:1"));
    let reference = proxy.reference("bases/crafted:1");
    let repository = proxy.reference("app");
    let copy = |from: &str| {
        let dockerfile = format!("FROM scratch\nCOPY --from={reference} {from} /x\n");
        sandbox.write("project/Dockerfile", dockerfile);
        proxy.forget();
        let outcome = build(&sandbox, &repository);
        let fetched = source.layers.iter().map(|layer| proxy.blob_bytes(&layer.digest) > 0);
        (fetched.collect::<Vec<_>>(), image(&sandbox, &registry, "app", &outcome).tree())
    };
    Git::init(sandbox.path("project"));
    let (fetched, _) = copy("/etc/passwd");
    assert_eq!(fetched, [true, true, true], "nobody has indexed the image");
    for (from, expected) in [
        ("/usr/bin/busybox", [true, false, false]),
        ("/links/two", [false, true, false]),
        ("/op/new", [false, false, true]),
    ] {
        let (fetched, tree) = copy(from);
        assert_eq!(fetched, expected, "{from}");
        let content = |tree: &crate::support::flat::Tree, path: &str| {
            tree.get(path).map(|node| node.kind.clone())
        };
        assert_eq!(content(&tree, "x"), content(&source.tree(), &from[1..]), "{from}");
    }
}
