//! The file of a blob that has not come whole, `NAME.part` beside the blob's own name.
//!
//! It outlives its builder: the next one that wants the blob goes on where the file ends. Its
//! content is never trusted for that; the digest of the whole decides, and the file gets the blob's
//! name only then.
//!
//! Two builders (or two downloads of one) never write the same file: its writer holds an exclusive
//! flock(2), which the kernel lets go of when the writer dies. Whoever finds it locked waits, and
//! takes what the other has made. The file may have been renamed or removed until the lock is had;
//! so the lock counts only when the name still leads to the file that was locked.

use std::fs::{Metadata, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::RegistryError;
use super::arrival::{Arrival, Arriving};
use crate::hashing::BlobHasher;
use crate::model::Digest;

/// Bytes that are written at a time.
const PIECE: usize = 256 << 10;
/// How often is looked whether another builder has the blob now.
const LOOK: Duration = Duration::from_millis(50);

/// The file being written, with what is known of its content so far.
#[derive(Debug)]
pub(super) struct Partial<'a> {
    to: &'a Path,
    path: PathBuf,
    file: File,
    hasher: BlobHasher,
    /// Bytes that have come and are not in the file yet.
    pending: Vec<u8>,
    /// Bytes that were taken, the pending ones included.
    pub(super) written: u64,
    /// The content comes from more than one answer, so that one of them may have been wrong.
    pub(super) pieced: bool,
    arriving: Arriving<'a>,
}

/// What tells one file of a name from the next.
type Identity = Option<(u64, u64, i64, i64)>;

impl<'a> Partial<'a> {
    /// Opens the partial file of `to`, with what an earlier builder left; `None` when another
    /// builder has finished the blob meanwhile.
    pub(super) async fn open(
        to: &'a Path,
        size: u64,
        arrival: &'a Arrival,
    ) -> Result<Option<Self>, RegistryError> {
        let mut path = to.as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        let failed = |error| RegistryError::io(&path, error);
        let before = identity(to).await;
        let file = loop {
            let options = OpenOptions::new().read(true).write(true).create(true).clone();
            let file = options.open(&path).await.map_err(failed)?.into_std().await;
            let locked = file.try_lock();
            let now = identity(to).await;
            if now.is_some() && now != before {
                if locked.is_ok() {
                    // Nobody needs it any more; whose it is does not matter.
                    let _ = tokio::fs::remove_file(&path).await;
                }
                return Ok(None);
            }
            match locked {
                Ok(()) => {
                    let own = file.metadata().ok().map(|meta| of(&meta));
                    if own.is_some() && own == identity(&path).await {
                        break File::from_std(file);
                    }
                }
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOOK).await,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        };
        let reader = File::open(&path).await.map_err(failed)?.into_std().await;
        let arriving = arrival.begin(reader);
        let (hasher, pending) = (BlobHasher::new(), Vec::with_capacity(PIECE));
        let mut partial =
            Self { to, path, file, hasher, pending, written: 0, pieced: false, arriving };
        partial.adopt(size).await?;
        Ok(Some(partial))
    }

    /// Takes what is in the file, unless it is too much.
    async fn adopt(&mut self, size: u64) -> Result<(), RegistryError> {
        let there = self.file.metadata().await.map_err(|error| self.failed(error))?.len();
        if there > size {
            return self.restart().await;
        }
        let mut piece = vec![0; PIECE];
        while self.written < there {
            let read = self.file.read(&mut piece).await.map_err(|error| self.failed(error))?;
            if read == 0 {
                break;
            }
            self.hasher.update(&piece[..read]);
            self.written += read as u64;
        }
        if self.written > 0 {
            tracing::debug!(path = %self.path.display(), bytes = self.written, "going on");
            self.pieced = true;
            self.arriving.advance(self.written);
        }
        Ok(())
    }

    /// Takes the next bytes.
    pub(super) async fn write(&mut self, piece: &[u8]) -> Result<(), RegistryError> {
        self.hasher.update(piece);
        self.pending.extend_from_slice(piece);
        self.written += piece.len() as u64;
        if self.pending.len() >= PIECE { self.flush().await } else { Ok(()) }
    }

    /// Puts everything that has come into the file.
    pub(super) async fn flush(&mut self) -> Result<(), RegistryError> {
        let written = async {
            self.file.write_all(&self.pending).await?;
            // What is not flushed is not in the file for those who read it.
            self.file.flush().await
        };
        written.await.map_err(|error| RegistryError::io(&self.path, error))?;
        self.pending.clear();
        self.arriving.advance(self.written);
        Ok(())
    }

    /// Throws everything away.
    pub(super) async fn restart(&mut self) -> Result<(), RegistryError> {
        self.arriving.restart();
        self.pending.clear();
        (self.hasher, self.written, self.pieced) = (BlobHasher::new(), 0, false);
        let failed = |error| RegistryError::io(&self.path, error);
        self.file.rewind().await.map_err(failed)?;
        self.file.set_len(0).await.map_err(failed)
    }

    /// The digest of everything that has come.
    pub(super) fn digest(&self) -> Digest {
        self.hasher.clone().finish().0
    }

    /// Gives the verified file the blob's name.
    pub(super) async fn keep(self) -> Result<(), RegistryError> {
        let renamed = tokio::fs::rename(&self.path, self.to).await;
        renamed.map_err(|error| self.failed(error))?;
        self.arriving.complete();
        Ok(())
    }

    /// Leaves what has come to the next download of the blob.
    pub(super) async fn leave(mut self) {
        if let Err(error) = self.flush().await {
            tracing::debug!(%error, "an incomplete blob cannot be kept");
        }
    }

    /// Removes what has come.
    pub(super) async fn remove(self) {
        if let Err(error) = tokio::fs::remove_file(&self.path).await {
            tracing::debug!(%error, path = %self.path.display(), "an incomplete blob stays");
        }
    }

    fn failed(&self, error: std::io::Error) -> RegistryError {
        RegistryError::io(&self.path, error)
    }
}

async fn identity(path: &Path) -> Identity {
    tokio::fs::symlink_metadata(path).await.ok().map(|meta| of(&meta))
}

fn of(meta: &Metadata) -> (u64, u64, i64, i64) {
    (meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec())
}
