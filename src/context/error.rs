//! Why a context could not be read. All of these end the program with exit code 11.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::lfs::LfsError;
use crate::ignore_rules::IgnoreError;

/// Why a context could not be opened, listed or read; each names the path.
#[derive(Debug, Error)]
pub enum ContextError {
    /// The file system refused.
    #[error("cannot read {} of the build context", path.display())]
    Read {
        /// What could not be read.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The context is not a directory.
    #[error("build context {} is not a directory", path.display())]
    NotADirectory {
        /// The context as given.
        path: PathBuf,
    },
    /// A path or link leads out of the context.
    #[error("{} lies outside the build context", path.display())]
    Outside {
        /// The path as given.
        path: PathBuf,
    },
    /// A Dockerfile or ignore file is unreasonably large.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// How much is read at most.
        limit: u64,
    },
    /// The ignore file has an invalid line.
    #[error(transparent)]
    Ignore(#[from] IgnoreError),
    /// The content of a file is not what was listed.
    #[error("{} changed during the build", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The file's content is a Git LFS pointer.
    #[error("{} is a Git LFS pointer, not the file itself", path.display())]
    LfsPointer {
        /// The file.
        path: PathBuf,
    },
    /// The file is in Git LFS and could not be taken from there.
    #[error("{} cannot be taken from Git LFS", path.display())]
    Lfs {
        /// The file.
        path: PathBuf,
        /// Why.
        source: LfsError,
    },
    /// The repository cannot be used.
    #[error("git repository {}: {reason}", path.display())]
    Repository {
        /// The repository's directory.
        path: PathBuf,
        /// What was tried.
        reason: String,
        /// The cause.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl ContextError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    /// Tells whether the error is that a path does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
