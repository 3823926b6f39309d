//! Images as bytes: configs and manifests, read tolerantly and written deterministically
//! (OCI image spec, "config", "manifest", "image index"; Docker "Image Manifest Version 2,
//! Schema 2" and "Docker Image Specification v1.3").
//!
//! Pure: values and bytes only. What was pulled is kept as raw bytes by whoever pulled it; nothing
//! here promises to reproduce foreign bytes.

mod config;
mod manifest;
mod media_type;
mod platform;
#[cfg(test)]
mod tests;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use manifest::{
    Descriptor, ImageError, ImageManifest, IndexEntry, LayerDescriptor, Manifest, manifest,
    parse_manifest,
};
pub use media_type::{
    DOCKER_CONFIG, DOCKER_INDEX, DOCKER_MANIFEST, ImageFormat, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST,
};
pub use platform::select_platform;
