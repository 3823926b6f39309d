//! Resolving: what a base reference is right now, by manifest digest and config.
//!
//! The only part of planning that reaches out. A reference by tag costs one HEAD; manifests and
//! configs are kept by digest in the work directory, so they are fetched once a machine.

use std::path::PathBuf;

use thiserror::Error;

use super::graph::ImageSource;
use crate::blocking::blocking;
use crate::hashing::sha256;
use crate::image::{
    ImageConfig, ImageError, ImageFormat, ImageManifest, Manifest, parse_manifest, select_platform,
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

/// Manifests and configs by digest, in files.
#[derive(Clone, Debug)]
pub struct BaseCache {
    directory: PathBuf,
}

impl BaseCache {
    /// The cache in `directory`, which exists.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    async fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        let (path, digest) = (self.directory.join(digest.hex()), *digest);
        // A damaged file is the same as none: it is fetched and written again.
        blocking(move || fs_err::read(path).ok().filter(|bytes| sha256(bytes) == digest)).await
    }

    async fn put(&self, digest: &Digest, bytes: &[u8]) {
        let (directory, name, bytes) = (self.directory.clone(), digest.hex(), bytes.to_vec());
        let written = blocking(move || {
            let file = tempfile::NamedTempFile::new_in(&directory)?;
            fs_err::write(file.path(), bytes)?;
            file.persist(directory.join(name)).map_err(|error| error.error)
        });
        if let Err(error) = written.await {
            tracing::debug!("cannot keep {digest} in the work directory: {error}");
        }
    }
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
    let (repository, digest) = match reference.digest {
        Some(digest) if cache.get(&digest).await.is_some() => {
            (reference.repository.clone(), digest)
        }
        _ => {
            let head = registry.head_resolve(reference).await?;
            (head.repository, head.head.digest)
        }
    };
    let resolver = Resolver { registry, cache, repository, reference: reference.to_string() };
    resolver.image(image, digest).await
}

struct Resolver<'a> {
    registry: &'a Registry,
    cache: &'a BaseCache,
    repository: Repository,
    reference: String,
}

impl Resolver<'_> {
    async fn image(&self, image: &ImageSource, digest: Digest) -> Result<Base, ResolveError> {
        let (manifest, parsed) = match self.manifest(digest).await? {
            Manifest::Image(parsed) => (digest, parsed),
            Manifest::Index(entries) => {
                let chosen = select_platform(&entries, &image.platform)
                    .map_err(|source| self.wrong(source))?;
                match self.manifest(chosen.digest).await? {
                    Manifest::Image(parsed) => (chosen.digest, parsed),
                    Manifest::Index(_) => {
                        return Err(
                            self.wrong(ImageError::Kind("an index inside of an index".to_owned()))
                        );
                    }
                }
            }
        };
        self.base(manifest, parsed).await
    }

    async fn base(&self, manifest: Digest, parsed: ImageManifest) -> Result<Base, ResolveError> {
        let config = self.config(&parsed.config.digest).await?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != parsed.layers.len() {
            return Err(ResolveError::Layers {
                reference: self.reference.clone(),
                layers: parsed.layers.len(),
                diff_ids: diff_ids.len(),
            });
        }
        let layer = |(layer, diff_id): (_, &DiffId)| self.layer(layer, *diff_id);
        let layers = parsed.layers.iter().zip(diff_ids).map(layer).collect();
        let reference = self.reference.clone();
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
                self.cache.put(&digest, &found.bytes).await;
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
                self.cache.put(digest, &bytes).await;
                bytes
            }
        };
        ImageConfig::from_bytes(&bytes).map_err(|source| self.wrong(source))
    }

    fn wrong(&self, source: ImageError) -> ResolveError {
        ResolveError::Image { reference: self.reference.clone(), source }
    }
}
