//! Why an index could not be read.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why an index could not be read; each names the file.
#[derive(Debug, Error)]
pub(in crate::context::git) enum IndexError {
    /// The file system refused.
    #[error("cannot read {}", path.display())]
    Read {
        /// The index.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It is not an index, or a damaged one.
    #[error("{} is damaged: {reason}", path.display())]
    Malformed {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It has something that this program does not know.
    #[error("{} has {what}, which is not supported", path.display())]
    Unsupported {
        /// The index.
        path: PathBuf,
        /// What it has.
        what: String,
    },
}
