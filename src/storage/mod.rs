//! Storage: where stages and images are kept, a registry repository or an OCI layout directory.
//!
//! Both keep manifests under tags and blobs under digests; stages are named in `model`. Storage
//! knows nothing of locks or of the order of publishing: that is `build::publish`.
//! Invariant: what storage returns was verified against its digest.

mod layout;
mod repo;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use layout::LayoutStorage;
pub use repo::RepoStorage;

use crate::model::{DiffId, Digest, Repository};
use crate::registry::RegistryError;

/// A layer of an image: its facts and where its bytes can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// Digest of the tar.
    pub diff_id: DiffId,
    /// Compressed size in bytes.
    pub size: u64,
    /// Media type as its manifest names it.
    pub media_type: String,
    /// Where the bytes are.
    pub origin: Origin,
}

/// Where the compressed bytes of a layer can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A file of this machine.
    File(PathBuf),
    /// A repository of a registry.
    Registry(Repository),
}

/// A manifest as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    /// Digest of the bytes.
    pub digest: Digest,
    /// Media type the storage names.
    pub media_type: String,
    /// The bytes themselves.
    pub bytes: Vec<u8>,
}

/// Why storage failed.
#[derive(Debug, Error)]
pub enum StorageError {
    /// A registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A layout directory cannot be read or written.
    #[error("cannot {action} the OCI layout {}", directory.display())]
    Layout {
        /// What was tried, as in "write to".
        action: &'static str,
        /// The layout's directory.
        directory: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// A directory is there, but it is not a layout.
    #[error("{} is not an OCI layout: {reason}", directory.display())]
    NotALayout {
        /// The directory.
        directory: PathBuf,
        /// What is missing or wrong in it.
        reason: String,
    },
    /// A blob that a manifest names is not there.
    #[error("{place} does not have the blob {digest}")]
    BlobMissing {
        /// The storage.
        place: String,
        /// The blob.
        digest: Digest,
    },
}

/// Where stages and images are kept.
pub trait StageStorage: Send + Sync {
    /// How the storage is called in messages.
    fn place(&self) -> String;

    /// What a user pulls to get `tag`.
    fn reference(&self, tag: &str) -> String;

    /// Returns the digest of the manifest under `tag`, without fetching it.
    fn head(&self, tag: &str) -> impl Future<Output = Result<Option<Digest>, StorageError>> + Send;

    /// Returns the manifest under a tag or digest.
    fn manifest(
        &self,
        selector: &str,
    ) -> impl Future<Output = Result<Option<StoredManifest>, StorageError>> + Send;

    /// Returns a small blob (at most `limit` bytes), such as a config.
    fn blob(
        &self,
        digest: &Digest,
        limit: u64,
    ) -> impl Future<Output = Result<Vec<u8>, StorageError>> + Send;

    /// Makes `layer` present without its bytes passing through this machine (it is there already,
    /// or can be mounted from another repository); returns whether it is present now.
    fn adopt(&self, layer: &Layer) -> impl Future<Output = Result<bool, StorageError>> + Send;

    /// Stores the file `from` as the bytes of `layer`.
    fn put_layer(
        &self,
        layer: &Layer,
        from: &Path,
    ) -> impl Future<Output = Result<(), StorageError>> + Send;

    /// Stores a small blob and returns its digest.
    fn put_blob(&self, bytes: &[u8]) -> impl Future<Output = Result<Digest, StorageError>> + Send;

    /// Stores a manifest under `tag`, replacing what was there; its blobs must be present.
    fn put_manifest(
        &self,
        tag: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> impl Future<Output = Result<Digest, StorageError>> + Send;

    /// Where the bytes of a layer that this storage holds can be had.
    fn origin(&self, digest: &Digest) -> Origin;
}

/// The storages there are.
#[derive(Clone, Debug)]
pub enum Storage {
    /// A repository of a registry.
    Repo(RepoStorage),
    /// An OCI layout directory.
    Layout(LayoutStorage),
}

/// Calls the same method of whichever storage it is.
macro_rules! delegate {
    ($self:ident, $storage:ident => $call:expr) => {
        match $self {
            Storage::Repo($storage) => $call,
            Storage::Layout($storage) => $call,
        }
    };
}

impl StageStorage for Storage {
    fn place(&self) -> String {
        delegate!(self, storage => storage.place())
    }

    fn reference(&self, tag: &str) -> String {
        delegate!(self, storage => storage.reference(tag))
    }

    async fn head(&self, tag: &str) -> Result<Option<Digest>, StorageError> {
        delegate!(self, storage => storage.head(tag).await)
    }

    async fn manifest(&self, selector: &str) -> Result<Option<StoredManifest>, StorageError> {
        delegate!(self, storage => storage.manifest(selector).await)
    }

    async fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, StorageError> {
        delegate!(self, storage => storage.blob(digest, limit).await)
    }

    async fn adopt(&self, layer: &Layer) -> Result<bool, StorageError> {
        delegate!(self, storage => storage.adopt(layer).await)
    }

    async fn put_layer(&self, layer: &Layer, from: &Path) -> Result<(), StorageError> {
        delegate!(self, storage => storage.put_layer(layer, from).await)
    }

    async fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StorageError> {
        delegate!(self, storage => storage.put_blob(bytes).await)
    }

    async fn put_manifest(
        &self,
        tag: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, StorageError> {
        delegate!(self, storage => storage.put_manifest(tag, media_type, bytes).await)
    }

    fn origin(&self, digest: &Digest) -> Origin {
        delegate!(self, storage => storage.origin(digest))
    }
}
