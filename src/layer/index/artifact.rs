//! The stored index as an OCI artifact (OCI image spec, "Guidelines for Artifact Usage").
//!
//! An artifact is a manifest with an empty config and one blob, the index in its stored form. A
//! small blob is in the manifest as well, in the descriptor's `data` (OCI image spec, "Content
//! Descriptors"), so that one request gets both; it is stored as a blob too, since registries
//! refuse a manifest whose blobs they do not have.
//!
//! Its tag is made of the **diff id** and not of the digest of the compressed bytes: an index says
//! what is in the tar, so one index serves every compression of it, and whoever makes an index has
//! hashed that tar and nothing else. The tag only leads here: what binds an index to its layer is
//! the diff id inside the stored form, so an artifact under the wrong tag is refused.
//!
//! An artifact is believed as much as the repository that it lies in, which holds the stages too.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::layer_index::LayerIndex;
use crate::hashing::sha256;
use crate::model::{DiffId, Digest};

/// What an artifact without a config refers to (OCI image spec, "Guidance for an empty
/// descriptor").
pub const EMPTY_CONFIG: &[u8] = b"{}";
/// The media type of the artifact's manifest.
pub const ARTIFACT_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The largest stored form that is written or read, in bytes: some three million paths.
pub const STORED_LIMIT: u64 = 16 << 20;

const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const ARTIFACT_TYPE: &str = "application/vnd.longshore.layer-index.v1";
const BLOB_TYPE: &str = "application/vnd.longshore.layer-index.v1+zstd";
/// The annotation that names the layer for people and for cleaning up; it is never read here.
const DIFF_ID: &str = "dev.longshore.layer.diff-id";
/// Stored forms of at most this many bytes are in the manifest.
const INLINE_LIMIT: usize = 64 << 10;

/// Why an artifact was refused.
#[derive(Debug, Error)]
pub enum ArtifactError {
    /// The manifest is no artifact manifest.
    #[error("malformed artifact manifest")]
    Manifest(#[source] serde_json::Error),
    /// It is the manifest of something else.
    #[error("the artifact has {what} {found:?}")]
    Foreign {
        /// The field.
        what: &'static str,
        /// Its value.
        found: String,
    },
    /// It does not have one blob.
    #[error("the artifact has {0} blobs instead of one")]
    Blobs(usize),
    /// Its blob is too large.
    #[error("the artifact's blob has {0} bytes, more than {STORED_LIMIT}")]
    TooLarge(u64),
    /// What is in the manifest is not what its descriptor says.
    #[error("the data in the artifact's manifest is not the blob {0}")]
    Data(Digest),
}

/// An index as it is put into storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexArtifact {
    /// The manifest, which refers to [`EMPTY_CONFIG`] and to the blob.
    pub manifest: Vec<u8>,
    /// The stored form.
    pub blob: Vec<u8>,
}

/// Where the stored form of an artifact is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArtifactBlob {
    /// In the manifest; verified.
    Inline(Vec<u8>),
    /// In the blob with this digest, of at most [`STORED_LIMIT`] bytes.
    Stored(Digest),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    schema_version: u32,
    media_type: String,
    artifact_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(skip_deserializing)]
    annotations: BTreeMap<&'static str, String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

impl Descriptor {
    fn new(media_type: &str, bytes: &[u8]) -> Self {
        let data = (bytes.len() <= INLINE_LIMIT).then(|| STANDARD.encode(bytes));
        let (media_type, size) = (media_type.to_owned(), bytes.len() as u64);
        Self { media_type, digest: sha256(bytes), size, data }
    }
}

/// The tag under which storage has the index of the layer `diff_id`.
pub fn index_tag(diff_id: DiffId) -> String {
    format!("index-{}", diff_id.0.hex())
}

impl IndexArtifact {
    /// Makes the artifact of the index of the layer `diff_id`; `None` for one that is too large to
    /// be stored. Equal indexes have equal artifacts, so that builders who race do no harm.
    pub fn new(index: &LayerIndex, diff_id: DiffId) -> Option<Self> {
        let blob = index.to_bytes(diff_id);
        if blob.len() as u64 > STORED_LIMIT {
            return None;
        }
        let written = Written {
            schema_version: 2,
            media_type: ARTIFACT_MANIFEST.to_owned(),
            artifact_type: ARTIFACT_TYPE.to_owned(),
            config: Descriptor::new(EMPTY_TYPE, EMPTY_CONFIG),
            layers: vec![Descriptor::new(BLOB_TYPE, &blob)],
            annotations: BTreeMap::from([(DIFF_ID, diff_id.to_string())]),
        };
        let manifest = serde_json::to_vec(&written).expect("the keys of a manifest are strings");
        Some(Self { manifest, blob })
    }
}

/// Reads an artifact's manifest, of which nothing is believed: [`LayerIndex::from_bytes`] decides
/// whether what it leads to is the index of a layer.
///
/// # Errors
/// When it is the manifest of something else, or its blob is too large or not what is in it.
pub fn read_artifact(manifest: &[u8]) -> Result<ArtifactBlob, ArtifactError> {
    let read: Written = serde_json::from_slice(manifest).map_err(ArtifactError::Manifest)?;
    let foreign = |what, found: &str| Err(ArtifactError::Foreign { what, found: found.to_owned() });
    if read.media_type != ARTIFACT_MANIFEST {
        return foreign("media type", &read.media_type);
    }
    if read.artifact_type != ARTIFACT_TYPE {
        return foreign("artifact type", &read.artifact_type);
    }
    let [blob] = read.layers.as_slice() else {
        return Err(ArtifactError::Blobs(read.layers.len()));
    };
    if blob.media_type != BLOB_TYPE {
        return foreign("a blob of type", &blob.media_type);
    }
    if blob.size > STORED_LIMIT {
        return Err(ArtifactError::TooLarge(blob.size));
    }
    let Some(data) = &blob.data else { return Ok(ArtifactBlob::Stored(blob.digest)) };
    match STANDARD.decode(data) {
        Ok(bytes) if bytes.len() as u64 == blob.size && sha256(&bytes) == blob.digest => {
            Ok(ArtifactBlob::Inline(bytes))
        }
        _ => Err(ArtifactError::Data(blob.digest)),
    }
}

#[cfg(test)]
#[path = "artifact_tests.rs"]
mod tests;
