//! The seam between builds and lock services.

use thiserror::Error;

use super::local::LocalLocks;

/// Why a lock could not be taken.
#[derive(Debug, Error)]
pub enum SyncError {
    /// The lock's file cannot be made or locked.
    #[error("cannot take the lock {name:?}")]
    Take {
        /// The lock's name.
        name: String,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct Held {
    /// Closing the file releases its flock.
    pub(super) _file: Option<fs_err::File>,
}

/// A lock manager.
pub trait Locks: Send + Sync {
    /// Waits for the exclusive lock `name` and returns it held.
    ///
    /// # Errors
    /// When the lock service fails; waiting itself never fails.
    fn acquire(&self, name: &str) -> impl Future<Output = Result<Held, SyncError>> + Send;
}

/// The lock managers there are.
#[derive(Clone, Debug)]
pub enum Synchronization {
    /// flock(2) on files of this host.
    Local(LocalLocks),
    /// No lock at all: for a storage that only one builder uses.
    None,
}

impl Locks for Synchronization {
    async fn acquire(&self, name: &str) -> Result<Held, SyncError> {
        match self {
            Self::Local(locks) => locks.acquire(name).await,
            Self::None => Ok(Held { _file: None }),
        }
    }
}
