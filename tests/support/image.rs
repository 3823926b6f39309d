//! A built image as a registry or a layout hands it out: manifest, configuration, layers.
//!
//! Images are fetched by skopeo and not by longshore's own client, so that a mistake in the one
//! cannot hide a mistake in the other. Both OCI and Docker schema 2 manifests are read.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::command::Run;
use super::flat::Tree;
use super::registry::Registry;
use super::sandbox::Sandbox;

/// A fetched image.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// The manifest.
    pub(crate) manifest: Value,
    /// The digest of the manifest's bytes, `sha256:...`.
    pub(crate) digest: String,
    /// The configuration.
    pub(crate) config: Value,
    /// The layers from the lowest on.
    pub(crate) layers: Vec<Blob>,
}

/// A layer's blob.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    /// The digest of the compressed bytes, `sha256:...`.
    pub(crate) digest: String,
    /// Where it lies.
    pub(crate) path: PathBuf,
}

impl Image {
    /// Fetches `reference` from `registry`.
    pub(crate) fn pull(sandbox: &Sandbox, registry: &Registry, reference: &str) -> Self {
        let run = registry.skopeo(sandbox, "copy", "src-");
        Self::fetch(sandbox, run, &format!("docker://{reference}"))
    }

    /// Fetches any image that needs no registry, such as `oci:DIRECTORY:TAG`.
    pub(crate) fn local(sandbox: &Sandbox, source: &str) -> Self {
        let run = sandbox.tool("skopeo").args(["--insecure-policy", "copy"]);
        Self::fetch(sandbox, run, source)
    }

    fn fetch(sandbox: &Sandbox, skopeo: Run, source: &str) -> Self {
        let directory = tempfile::tempdir_in(sandbox.path("tmp")).expect("mkdir").keep();
        skopeo.arg(source).arg(format!("dir:{}", directory.display())).succeed();
        Self::read(&directory)
    }

    /// Reads the directory that skopeo has written: `manifest.json`, and blobs by their digests.
    pub(crate) fn read(directory: &Path) -> Self {
        let bytes = fs_err::read(directory.join("manifest.json")).expect("a manifest");
        let manifest: Value = serde_json::from_slice(&bytes).expect("JSON");
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().expect("a digest").to_owned();
            let name = digest.strip_prefix("sha256:").expect("a sha256");
            Blob { path: directory.join(name), digest }
        };
        let config = fs_err::read(blob(&manifest["config"]).path).expect("a configuration");
        let layers = manifest["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
        Self {
            config: serde_json::from_slice(&config).expect("JSON"),
            digest: digest_of(&bytes),
            layers: layers.iter().map(blob).collect(),
            manifest,
        }
    }

    /// The digests of the layers from the lowest on.
    pub(crate) fn layer_digests(&self) -> Vec<&str> {
        self.layers.iter().map(|layer| layer.digest.as_str()).collect()
    }

    /// The file system that the layers make.
    pub(crate) fn tree(&self) -> Tree {
        Tree::flatten(&self.layers)
    }

    /// The words that the image runs by default.
    pub(crate) fn words(&self) -> Vec<String> {
        let config = &self.config["config"];
        [&config["Entrypoint"], &config["Cmd"]]
            .into_iter()
            .filter_map(Value::as_array)
            .flatten()
            .map(|word| word.as_str().expect("a word").to_owned())
            .collect()
    }
}

impl Blob {
    /// The layer's archive, decompressed.
    pub(crate) fn archive(&self) -> tar::Archive<Box<dyn Read>> {
        let mut file = fs_err::File::open(&self.path).expect("a blob");
        let mut magic = Vec::new();
        file.by_ref().take(4).read_to_end(&mut magic).expect("a blob");
        let file = BufReader::new(fs_err::File::open(&self.path).expect("a blob"));
        let stream: Box<dyn Read> = match magic.as_slice() {
            [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(file)),
            [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(file).expect("zstd")),
            _ => Box::new(file),
        };
        tar::Archive::new(stream)
    }
}

/// The digest of `bytes` as references write it.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    sum.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}
