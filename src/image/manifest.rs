//! Manifests and indexes: strict about what they mean, tolerant about how they are spelled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::config::lenient;
use super::media_type::{DOCKER_INDEX, DOCKER_MANIFEST, ImageFormat, OCI_INDEX, OCI_MANIFEST};
use crate::model::{Digest, Platform};

/// Why a config or manifest was refused.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The config is malformed.
    #[error("malformed image config")]
    Config(#[source] serde_json::Error),
    /// The manifest is malformed.
    #[error("malformed image manifest")]
    Manifest(#[source] serde_json::Error),
    /// Docker's first manifest format.
    #[error(
        "the manifest has schema version 1, which is not supported; push the image again with a \
         current client"
    )]
    Schema1,
    /// It is neither an image nor an index, or both.
    #[error("not an image manifest or index: {0}")]
    Kind(String),
    /// The media type is that of something else.
    #[error("unsupported manifest media type {0:?}")]
    MediaType(String),
    /// Docker's format has no such layers.
    #[error("docker's image format has no layers of type {0:?}, as one that was stored earlier is")]
    DockerLayer(String),
    /// The index has no image for the platform.
    #[error("no image for {wanted}; there is {present}")]
    Platform {
        /// What was asked for.
        wanted: Platform,
        /// The platforms of the index.
        present: String,
    },
}

/// A reference to a blob or manifest (OCI image spec, "Content Descriptors").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
    /// Where else it can be had (foreign layers).
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Remarks, sorted.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A reference to a layer.
pub type LayerDescriptor = Descriptor;

/// A manifest of either family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    /// One image.
    Image(ImageManifest),
    /// Images for several platforms, in their order.
    Index(Vec<IndexEntry>),
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageManifest {
    /// Its family.
    pub format: ImageFormat,
    /// The config.
    pub config: Descriptor,
    /// The layers, bottom first.
    pub layers: Vec<LayerDescriptor>,
    /// Remarks, sorted.
    pub annotations: BTreeMap<String, String>,
}

/// One manifest of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The manifest.
    pub descriptor: Descriptor,
    /// The platform it says it is for.
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// A descriptor without remarks.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        let (urls, annotations) = (Vec::new(), BTreeMap::new());
        Self { media_type: media_type.into(), digest, size, urls, annotations }
    }
}

/// Serialises the manifest of an image; layers get the media types of the format for the same
/// digests. Docker's format has no annotations, so there they are left out.
///
/// # Errors
/// When the format has no such layers (zstd in Docker's).
pub fn manifest(
    format: ImageFormat,
    config_digest: Digest,
    config_size: u64,
    layers: &[LayerDescriptor],
    annotations: &BTreeMap<String, String>,
) -> Result<Vec<u8>, ImageError> {
    let oci = format == ImageFormat::Oci;
    let convert = |layer: &LayerDescriptor| {
        let media_type = format.layer(&layer.media_type)?.to_owned();
        let annotations = if oci { layer.annotations.clone() } else { BTreeMap::new() };
        Ok(Descriptor { media_type, annotations, ..layer.clone() })
    };
    let written = Written {
        schema_version: 2,
        media_type: format.manifest(),
        config: Descriptor::new(format.config(), config_digest, config_size),
        layers: layers.iter().map(convert).collect::<Result<_, ImageError>>()?,
        annotations: if oci { annotations.clone() } else { BTreeMap::new() },
    };
    Ok(serde_json::to_vec(&written).expect("strings, numbers and sorted maps always serialise"))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    #[serde(default, deserialize_with = "lenient")]
    schema_version: u64,
    #[serde(default, deserialize_with = "lenient")]
    media_type: String,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
    #[serde(default)]
    manifests: Option<Vec<ReadEntry>>,
    #[serde(default)]
    fs_layers: Option<serde::de::IgnoredAny>,
    #[serde(default, deserialize_with = "lenient")]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct ReadEntry {
    #[serde(flatten)]
    descriptor: Descriptor,
    #[serde(default)]
    platform: Option<ReadPlatform>,
}

#[derive(Deserialize)]
struct ReadPlatform {
    #[serde(default, deserialize_with = "lenient")]
    architecture: String,
    #[serde(default, deserialize_with = "lenient")]
    os: String,
    #[serde(default, deserialize_with = "lenient")]
    variant: String,
}

impl From<ReadPlatform> for Platform {
    fn from(read: ReadPlatform) -> Self {
        let ReadPlatform { architecture, os, variant } = read;
        Self { os, architecture, variant: Some(variant).filter(|variant| !variant.is_empty()) }
    }
}

/// Parses a manifest or index. `media_type` is the one it was served with, if any; without it and
/// without one inside, the fields decide.
///
/// # Errors
/// When it is malformed, of schema 1, of another type, or can be read as both an image and an
/// index.
pub fn parse_manifest(media_type: Option<&str>, bytes: &[u8]) -> Result<Manifest, ImageError> {
    let served = media_type.and_then(|text| text.split(';').next()).map(str::trim);
    if served
        .is_some_and(|served| served.starts_with("application/vnd.docker.distribution.manifest.v1"))
    {
        return Err(ImageError::Schema1);
    }
    // A struct would be read from an array as well, by position.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(ImageError::Kind("no JSON object".to_owned()));
    }
    let read: Read = serde_json::from_slice(bytes).map_err(ImageError::Manifest)?;
    if read.schema_version == 1 || read.fs_layers.is_some() {
        return Err(ImageError::Schema1);
    }
    match media_type_of(served, &read)? {
        OCI_INDEX | DOCKER_INDEX => index(read),
        DOCKER_MANIFEST => image(read, ImageFormat::Docker),
        _ => image(read, ImageFormat::Oci),
    }
}

/// One of the four known media types: the one inside, the one served, or what the fields say.
fn media_type_of(served: Option<&str>, read: &Read) -> Result<&'static str, ImageError> {
    // Servers of plain files say anything; a media type inside is hashed with the manifest.
    let served = served.filter(|served| served.starts_with("application/vnd."));
    let named = Some(read.media_type.as_str()).filter(|inside| !inside.is_empty()).or(served);
    let Some(named) = named else {
        return Ok(if read.manifests.is_some() { OCI_INDEX } else { OCI_MANIFEST });
    };
    if let Some(served) = served.filter(|served| *served != named) {
        return Err(ImageError::Kind(format!("it was served as {served} and says it is {named}")));
    }
    [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX]
        .into_iter()
        .find(|known| *known == named)
        .ok_or_else(|| ImageError::MediaType(named.to_owned()))
}

fn image(read: Read, format: ImageFormat) -> Result<Manifest, ImageError> {
    if read.manifests.is_some() {
        return Err(ImageError::Kind("an image with a list of manifests".to_owned()));
    }
    let config = read.config.ok_or_else(|| ImageError::Kind("no config".to_owned()))?;
    let (layers, annotations) = (read.layers.unwrap_or_default(), read.annotations);
    Ok(Manifest::Image(ImageManifest { format, config, layers, annotations }))
}

fn index(read: Read) -> Result<Manifest, ImageError> {
    if read.config.is_some() || read.layers.is_some() {
        return Err(ImageError::Kind("an index with a config or layers".to_owned()));
    }
    let entries = read.manifests.unwrap_or_default().into_iter();
    let entry = |read: ReadEntry| IndexEntry {
        descriptor: read.descriptor,
        platform: read.platform.map(Platform::from),
    };
    Ok(Manifest::Index(entries.map(entry).collect()))
}
