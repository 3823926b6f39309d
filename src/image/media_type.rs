//! Media types of the two families, and the way from one to the other.

use super::manifest::ImageError;

/// An OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A Docker schema 2 manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// A Docker manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// A Docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const OCI_FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";
const OCI_FOREIGN_GZIP: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const DOCKER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar";
const DOCKER_FOREIGN_GZIP: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// Layers that mean the same in both families.
const PAIRS: [(&str, &str); 4] = [
    (OCI_LAYER, DOCKER_LAYER),
    (OCI_LAYER_GZIP, DOCKER_LAYER_GZIP),
    (OCI_FOREIGN, DOCKER_FOREIGN),
    (OCI_FOREIGN_GZIP, DOCKER_FOREIGN_GZIP),
];

/// The family of media types that an image is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageFormat {
    /// OCI image spec.
    #[default]
    Oci,
    /// Docker Image Manifest Version 2, Schema 2.
    Docker,
}

impl ImageFormat {
    /// The media type of manifests.
    pub const fn manifest(self) -> &'static str {
        match self {
            Self::Oci => OCI_MANIFEST,
            Self::Docker => DOCKER_MANIFEST,
        }
    }

    /// The media type of configs.
    pub const fn config(self) -> &'static str {
        match self {
            Self::Oci => OCI_CONFIG,
            Self::Docker => DOCKER_CONFIG,
        }
    }

    /// The media type that a layer has in this family; unknown ones stay in OCI.
    ///
    /// # Errors
    /// When the Docker family has no such layer, as for zstd.
    pub fn layer(self, media_type: &str) -> Result<&str, ImageError> {
        let pair = PAIRS.iter().find(|(oci, docker)| [*oci, *docker].contains(&media_type));
        match (self, pair) {
            (Self::Oci, Some((oci, _))) => Ok(oci),
            (Self::Docker, Some((_, docker))) => Ok(docker),
            (Self::Oci, None) => Ok(media_type),
            (Self::Docker, None) => Err(ImageError::DockerLayer(media_type.to_owned())),
        }
    }
}
