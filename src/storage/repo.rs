//! Storage in one repository of a registry.

use std::path::Path;

use super::{Layer, Origin, StageStorage, StorageError, StoredManifest};
use crate::model::{Digest, Repository};
use crate::registry::{BlobFile, Pushed, Registry, RegistryError, Side};
use crate::ring::RingReader;

/// A repository of a registry.
#[derive(Clone, Debug)]
pub struct RepoStorage {
    registry: Registry,
    repository: Repository,
}

impl RepoStorage {
    /// The storage in `repository`.
    pub const fn new(registry: Registry, repository: Repository) -> Self {
        Self { registry, repository }
    }

    /// Stores the bytes of a layer while they are written; `None` where
    /// [`put_layer`](StageStorage::put_layer) is what to do, with the finished file.
    ///
    /// # Errors
    /// When the registry cannot be asked or refuses.
    pub async fn stream_layer(&self, blob: RingReader) -> Result<Option<Pushed>, RegistryError> {
        self.registry.stream_blob(&self.repository, blob).await
    }

    fn mounts(layer: &Layer) -> Vec<Repository> {
        match &layer.origin {
            Origin::Registry(repository) => vec![repository.clone()],
            Origin::File(_) => Vec::new(),
        }
    }
}

impl StageStorage for RepoStorage {
    fn place(&self) -> String {
        self.repository.to_string()
    }

    fn reference(&self, tag: &str) -> String {
        self.repository.tagged(tag).to_string()
    }

    async fn head(&self, tag: &str) -> Result<Option<Digest>, StorageError> {
        let head = self.registry.head_manifest(&self.repository, tag, Side::Push).await?;
        Ok(head.map(|head| head.digest))
    }

    async fn manifest(&self, selector: &str) -> Result<Option<StoredManifest>, StorageError> {
        let found = self.registry.get_manifest(&self.repository, selector, Side::Push).await?;
        Ok(found.map(|raw| StoredManifest {
            digest: raw.digest,
            media_type: raw.media_type,
            bytes: raw.bytes.to_vec(),
        }))
    }

    async fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, StorageError> {
        Ok(self.registry.read_blob(&self.repository, digest, limit).await?.to_vec())
    }

    async fn adopt(&self, layer: &Layer) -> Result<bool, StorageError> {
        let mounts = Self::mounts(layer);
        Ok(self.registry.mount_or_has(&self.repository, &layer.digest, &mounts).await?)
    }

    async fn put_layer(&self, layer: &Layer, from: &Path) -> Result<(), StorageError> {
        let blob = BlobFile { path: from.to_owned(), digest: layer.digest, size: layer.size };
        self.registry.push_blob(&self.repository, &blob, &Self::mounts(layer)).await?;
        Ok(())
    }

    async fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StorageError> {
        Ok(self.registry.push_bytes(&self.repository, bytes.to_vec()).await?)
    }

    async fn put_manifest(
        &self,
        tag: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, StorageError> {
        let put = self.registry.put_manifest(&self.repository, tag, media_type, bytes.to_vec());
        Ok(put.await?)
    }

    fn origin(&self, _digest: &Digest) -> Origin {
        Origin::Registry(self.repository.clone())
    }
}
