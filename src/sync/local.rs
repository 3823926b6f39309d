//! Locks by flock(2) on files below one directory of this host.
//!
//! A file is named by the SHA-256 of the lock's name and stays behind when the lock is released:
//! removing it would let two builders lock two files of one name. A killed builder's lock is
//! released by the kernel.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{Held, Locks, SyncError};
use crate::hashing::sha256;

/// How often a waiting builder tries again.
const POLL: Duration = Duration::from_millis(50);

/// The locks of one host.
#[derive(Clone, Debug)]
pub struct LocalLocks {
    directory: PathBuf,
}

impl LocalLocks {
    /// Locks below `directory`, which is made when the first lock is taken.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    fn open(&self, name: &str) -> io::Result<fs_err::File> {
        fs_err::create_dir_all(&self.directory)?;
        let path = self.directory.join(sha256(name.as_bytes()).hex());
        fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(path)
    }
}

impl Locks for LocalLocks {
    async fn acquire(&self, name: &str) -> Result<Held, SyncError> {
        let failed = |source| SyncError::Take { name: name.to_owned(), source };
        let file = self.open(name).map_err(failed)?;
        loop {
            match file.file().try_lock() {
                Ok(()) => return Ok(Held { _file: Some(file) }),
                Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(POLL).await,
                Err(std::fs::TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_builder_waits_until_the_first_releases() {
        let home = tempfile::tempdir().unwrap();
        let locks = LocalLocks::new(home.path().join("locks"));
        let held = locks.acquire("shop.d2c5").await.unwrap();
        let mut second = Box::pin(locks.acquire("shop.d2c5"));
        tokio::select! {
            _ = &mut second => panic!("taken twice"),
            other = locks.acquire("shop.other") => drop(other.unwrap()),
        }
        drop(held);
        let _held = second.await.unwrap();
    }
}
