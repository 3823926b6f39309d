//! Resolving: what a base reference is right now, by manifest digest and config.
//!
//! The only part of planning that reaches out. A reference by tag costs one HEAD; manifests and
//! configs come from `base_cache` where it has them.

use thiserror::Error;

use super::base_cache::BaseCache;
use super::graph::ImageSource;
use crate::image::{
    ImageConfig, ImageError, ImageFormat, Manifest, parse_manifest, select_platform,
};
use crate::model::{DiffId, Digest, Repository};
use crate::registry::{Registry, RegistryError, Side};
use crate::storage::{Layer, Origin};

/// Configs above this are no configs (bytes).
const CONFIG_LIMIT: u64 = 4 << 20;

/// A resolved image.
#[derive(Clone, Debug)]
pub struct Base {
    /// As the Dockerfile names it, normalised.
    pub reference: String,
    /// Digest of the platform's manifest.
    pub manifest: Digest,
    /// Its format, which an image built upon it inherits by default.
    pub format: ImageFormat,
    /// Its config.
    pub config: ImageConfig,
    /// Its layers, bottom first.
    pub layers: Vec<Layer>,
}

/// Why a base could not be resolved.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// A registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The image's manifest or config is wrong.
    #[error("the image {reference} cannot be used as a base")]
    Image {
        /// The reference.
        reference: String,
        /// What is wrong with it.
        #[source]
        source: ImageError,
    },
    /// The config does not list the layers that the manifest has.
    #[error("the image {reference} has {layers} layers, but its config lists {diff_ids}")]
    Layers {
        /// The reference.
        reference: String,
        /// Layers in the manifest.
        layers: usize,
        /// Layers in the config.
        diff_ids: usize,
    },
}

/// Resolves `image` to a base.
///
/// # Errors
/// When no registry has it, or what it has is no image for the platform.
pub async fn resolve(
    registry: &Registry,
    cache: &BaseCache,
    image: &ImageSource,
) -> Result<Base, ResolveError> {
    let reference = &image.reference;
    let (repository, top) = match reference.digest {
        // Where a mirror serves the layers is known only by asking.
        Some(digest) if !registry.is_mirrored(&reference.repository) => {
            (reference.repository.clone(), digest)
        }
        _ => {
            let head = registry.head_resolve(reference).await?;
            (head.repository, head.head.digest)
        }
    };
    if cache.get(&top).await.is_none() {
        cache.recall(image, &top).await;
    }
    Resolver { registry, cache, repository, image, top }.base().await
}

struct Resolver<'a> {
    registry: &'a Registry,
    cache: &'a BaseCache,
    /// Where the reference was found, which may be a mirror.
    repository: Repository,
    image: &'a ImageSource,
    /// The digest of what the reference names: a manifest, or an index.
    top: Digest,
}

impl Resolver<'_> {
    async fn base(&self) -> Result<Base, ResolveError> {
        let (manifest, parsed) = match self.manifest(self.top).await? {
            Manifest::Image(parsed) => (self.top, parsed),
            Manifest::Index(entries) => {
                let chosen = select_platform(&entries, &self.image.platform)
                    .map_err(|source| self.wrong(source))?;
                match self.manifest(chosen.digest).await? {
                    Manifest::Image(parsed) => (chosen.digest, parsed),
                    Manifest::Index(_) => {
                        let nested = "an index inside of an index".to_owned();
                        return Err(self.wrong(ImageError::Kind(nested)));
                    }
                }
            }
        };
        let config = self.config(&parsed.config.digest).await?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != parsed.layers.len() {
            return Err(ResolveError::Layers {
                reference: self.reference(),
                layers: parsed.layers.len(),
                diff_ids: diff_ids.len(),
            });
        }
        let layer = |(layer, diff_id): (_, &DiffId)| self.layer(layer, *diff_id);
        let layers = parsed.layers.iter().zip(diff_ids).map(layer).collect();
        let reference = self.reference();
        Ok(Base { reference, manifest, format: parsed.format, config, layers })
    }

    fn layer(&self, descriptor: &crate::image::LayerDescriptor, diff_id: DiffId) -> Layer {
        Layer {
            digest: descriptor.digest,
            diff_id,
            size: descriptor.size,
            media_type: descriptor.media_type.clone(),
            origin: Origin::Registry(self.repository.clone()),
        }
    }

    async fn manifest(&self, digest: Digest) -> Result<Manifest, ResolveError> {
        let bytes = match self.cache.get(&digest).await {
            Some(bytes) => bytes,
            None => {
                let selector = digest.to_string();
                let found =
                    self.registry.get_manifest(&self.repository, &selector, Side::Pull).await?;
                let found = found.ok_or_else(|| RegistryError::NotFound {
                    reference: format!("{}@{digest}", self.repository),
                    tried: vec![self.repository.to_string()],
                })?;
                self.cache.keep(self.image, &self.top, &digest, &found.bytes).await;
                found.bytes.to_vec()
            }
        };
        parse_manifest(None, &bytes).map_err(|source| self.wrong(source))
    }

    async fn config(&self, digest: &Digest) -> Result<ImageConfig, ResolveError> {
        let bytes = match self.cache.get(digest).await {
            Some(bytes) => bytes,
            None => {
                let read = self.registry.read_blob(&self.repository, digest, CONFIG_LIMIT);
                let bytes = read.await?.to_vec();
                self.cache.keep(self.image, &self.top, digest, &bytes).await;
                bytes
            }
        };
        ImageConfig::from_bytes(&bytes).map_err(|source| self.wrong(source))
    }

    fn reference(&self) -> String {
        self.image.reference.to_string()
    }

    fn wrong(&self, source: ImageError) -> ResolveError {
        ResolveError::Image { reference: self.reference(), source }
    }
}
