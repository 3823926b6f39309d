//! Layers: tar in canonical form, reading of foreign tar, compression, spooled blobs, indexes.
//!
//! Everything here is blocking and streams: what is resident never grows with a layer or a file
//! (a [`LayerIndex`] grows with the number of entries, not with their bytes). Nothing here knows a
//! registry, git or a root file system; entries come and go as
//! [`longshore_runtime::entry::Entry`].
//!
//! - [`TarWriter`]: entries to bytes, the same bytes for the same entries, always.
//! - [`read_tar`]: bytes of unknown origin to entries that obey the rules of the entry vocabulary.
//! - [`Compression`], [`Compressor`], [`decoder`]: gzip in parallel blocks, zstd, plain.
//! - [`write_layer`], [`LayerFile`], [`read_layer`], [`read_layer_from`]: a layer as a file with its
//!   two digests.
//! - [`LayerIndex`], [`MergedIndex`]: what must be known of a base image without unpacking it.
//! - [`Accounts`]: names of users and groups to numbers.

mod accounts;
mod blob;
mod compress;
mod error;
mod index;
mod path;
mod tar;

pub use accounts::{AccountError, Accounts, Identity, Owner};
pub use blob::{LayerBlob, LayerFile, read_layer, read_layer_from, write_layer};
pub use compress::{
    Compression, CompressionError, Compressor, ENCODER_VERSION, Format, GZIP_BLOCK, Sniff, decoder,
};
pub use error::LayerError;
pub use index::{
    ARTIFACT_MANIFEST, AccountsFile, ArtifactBlob, ArtifactError, EMPTY_CONFIG, Found, INDEX_LIMIT,
    IndexArtifact, IndexEntry, IndexError, IndexKind, IndexSink, IndexTee, LayerIndex, LoopError,
    MergedIndex, STORED_LIMIT, index_tag, read_artifact,
};
pub use path::{PathProblem, clean_path, path_order};
pub use tar::{ArchiveError, ArchiveProblem, Names, TarStats, TarWriter, WriteError, read_tar};
