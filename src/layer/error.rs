//! Why a layer could not be written or read.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::{ArchiveError, CompressionError};
use crate::model::DiffId;

/// Why a layer could not be written or read. The source has the cause.
#[derive(Debug, Error)]
pub enum LayerError {
    /// The archive is malformed or holds what is refused.
    #[error("malformed layer archive")]
    Archive(#[from] ArchiveError),
    /// The bytes before the archive could not be read or decompressed.
    #[error("cannot read the archive at byte {offset}")]
    Read {
        /// Offset in the uncompressed archive.
        offset: u64,
        /// The cause.
        source: io::Error,
    },
    /// The compression is unknown or not possible here.
    #[error("cannot decompress")]
    Compression(#[from] CompressionError),
    /// The receiver of the entries failed.
    #[error("cannot take {entry}")]
    Entry {
        /// Path of the entry.
        entry: String,
        /// The cause.
        source: io::Error,
    },
    /// The layer could not be produced, compressed or stored.
    #[error("cannot write a layer in {}", dir.display())]
    Write {
        /// The directory that layers are written to.
        dir: PathBuf,
        /// The cause; names the file when the file system failed.
        source: io::Error,
    },
    /// The layer is longer than what may be kept of it, and nobody takes it while it is made.
    #[error(
        "the layer has more than {limit} compressed bytes, which is the limit of --spool-limit"
    )]
    TooLong {
        /// How many bytes may be kept.
        limit: u64,
    },
    /// A stored layer could not be opened.
    #[error("cannot open layer {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The uncompressed bytes are not the expected ones.
    #[error("the layer has diff id {found}, expected {expected}")]
    DiffId {
        /// What was asked for.
        expected: DiffId,
        /// What the bytes have.
        found: DiffId,
    },
    /// The interrupt flag was set.
    #[error("interrupted while writing a layer")]
    Interrupted,
}
