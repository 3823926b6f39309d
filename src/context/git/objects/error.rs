//! Why an object could not be read.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::ObjectKind;
use crate::context::ObjectId;

/// Why an object could not be read; each names the object.
#[derive(Debug, Error)]
pub(in crate::context::git) enum ObjectError {
    /// It is nowhere.
    #[error("object {id} is missing; the repository is damaged or was not fetched completely")]
    Missing {
        /// The object.
        id: ObjectId,
    },
    /// It is nowhere, and the repository is a partial clone.
    #[error(
        "object {id} is not here: a partial clone has git fetch it on demand, and a build fetches \
         nothing; run git fetch --refetch --no-filter in the repository first"
    )]
    Promised {
        /// The object.
        id: ObjectId,
    },
    /// What is stored for it is damaged or could not be read.
    #[error("object {id} cannot be read from {}", path.display())]
    Unreadable {
        /// The object.
        id: ObjectId,
        /// The pack, pack index or loose file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// It is no blob although a tree or the index says so.
    #[error("object {id} is a {kind}, not a blob")]
    NotABlob {
        /// The object.
        id: ObjectId,
        /// What it is.
        kind: ObjectKind,
    },
}

/// An error about what is stored.
pub(super) fn malformed(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}
