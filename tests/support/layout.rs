//! Writing an OCI image layout from tar archives (image-spec 1.1, `image-layout.md`), so that base
//! images come into being without a network and without any builder that is itself under test.

use std::path::Path;

use serde_json::{Value, json};

use super::command::Run;

/// A layer before it is compressed.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// The archive.
    pub(crate) tar: Vec<u8>,
    /// What the history says about it.
    pub(crate) created_by: &'static str,
}

/// The layout's only tag.
pub(crate) const TAG: &str = "latest";
/// When base images claim to have been created.
const CREATED: &str = "2024-01-01T00:00:00Z";

/// Writes an image of `layers` with the given `config` object into the empty `directory`.
pub(crate) fn write(directory: &Path, layers: &[Layer], config: &Value) {
    let files: Vec<_> = layers
        .iter()
        .enumerate()
        .map(|(at, layer)| {
            let path = directory.join(format!("layer-{at}.tar"));
            fs_err::write(&path, &layer.tar).expect("write");
            (path, layer.created_by)
        })
        .collect();
    let files: Vec<_> = files.iter().map(|(path, by)| (path.as_path(), *by)).collect();
    write_files(directory, &files, config);
}

/// The same from archives in files, which are consumed.
pub(crate) fn write_files(directory: &Path, layers: &[(&Path, &str)], config: &Value) {
    fs_err::create_dir_all(directory.join("blobs/sha256")).expect("mkdir");
    let diff_ids: Vec<String> = layers.iter().map(|(tar, _)| digest_of(tar)).collect();
    let descriptors: Vec<Value> = layers
        .iter()
        .map(|(tar, _)| {
            // The machine's gzip: a debug build of a compressor would take minutes for a Debian.
            Run::new("gzip").args(["-1", "-n"]).arg(tar).succeed();
            let compressed = tar.with_extension("tar.gz");
            let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
            adopt(directory, &compressed, media_type)
        })
        .collect();
    let history: Vec<Value> =
        layers.iter().map(|(_, by)| json!({"created": CREATED, "created_by": by})).collect();
    let config = json!({
        "created": CREATED, "architecture": architecture(), "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history,
    });
    let config = put(directory, &config, "application/vnd.oci.image.config.v1+json");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": descriptors,
    });
    let mut manifest = put(directory, &manifest, media_type);
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": TAG});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]});
    fs_err::write(directory.join("index.json"), index.to_string()).expect("write");
    fs_err::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
        .expect("write");
}

/// The name of this machine's architecture in image configurations.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn put(directory: &Path, value: &Value, media_type: &str) -> Value {
    let path = directory.join("blob.json");
    fs_err::write(&path, value.to_string()).expect("write");
    adopt(directory, &path, media_type)
}

/// Moves a file among the blobs and returns its descriptor.
fn adopt(directory: &Path, file: &Path, media_type: &str) -> Value {
    let digest = digest_of(file);
    let size = fs_err::metadata(file).expect("stat").len();
    let name = digest.strip_prefix("sha256:").expect("the digest is a sha256");
    fs_err::rename(file, directory.join("blobs/sha256").join(name)).expect("rename");
    json!({"mediaType": media_type, "digest": digest, "size": size})
}

fn digest_of(file: &Path) -> String {
    let line = Run::new("sha256sum").arg(file).succeed();
    format!("sha256:{}", line.split_whitespace().next().expect("sha256sum prints the sum first"))
}
