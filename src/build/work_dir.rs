//! The work directory: what is kept between builds of one machine, and the place of one build.
//!
//! ```text
//! blobs/sha256/HEX    manifests, configs and layers that were fetched, by their digest
//!   HEX.part          what has come of a blob; locked by whoever fetches it
//! indexes/HEX         layer indexes, by diff id
//! layers/HEX          unpacked layers, by chain id
//!   HEX.lock          held by whoever unpacks the layer
//! caches/HEX         directories of RUN --mount=type=cache, see `caches`
//!   HEX.lock          held by the steps that use the directory
//! builds/RANDOM/      one running build: spool, scratch; locked while its builder lives
//! ```
//! Everything outside `builds` is a cache: it may be removed whenever no build runs. A directory
//! in `builds` whose lock is free belongs to a builder that was killed, and is removed by the next.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a work directory cannot be used.
#[derive(Debug, Error)]
#[error("cannot use the work directory {}", directory.display())]
pub struct WorkDirError {
    directory: PathBuf,
    #[source]
    source: io::Error,
}

/// A work directory.
#[derive(Clone, Debug)]
pub struct WorkDir {
    root: PathBuf,
}

/// The place of one running build; removed when dropped, as far as this process may.
#[derive(Debug)]
pub struct BuildDir {
    directory: tempfile::TempDir,
    /// Held for as long as the build runs.
    _lock: fs_err::File,
}

impl WorkDir {
    /// Opens `root`, making it if it is absent.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn open(root: &Path) -> Result<Self, WorkDirError> {
        let failed = |source| WorkDirError { directory: root.to_owned(), source };
        for name in ["blobs/sha256", "indexes", "layers", "caches", "builds"] {
            fs_err::create_dir_all(root.join(name)).map_err(failed)?;
        }
        let root = fs_err::canonicalize(root).map_err(failed)?;
        tempfile::NamedTempFile::new_in(root.join("builds")).map_err(failed)?;
        Ok(Self { root })
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a fetched blob is kept.
    pub fn blob(&self, hex: &str) -> PathBuf {
        self.root.join("blobs/sha256").join(hex)
    }

    /// Where a layer's index is kept.
    pub fn index(&self, hex: &str) -> PathBuf {
        self.root.join("indexes").join(hex)
    }

    /// Where an unpacked layer is kept.
    pub fn layer(&self, hex: &str) -> PathBuf {
        self.root.join("layers").join(hex)
    }

    /// Where the directory of a cache mount is kept.
    pub fn cache(&self, name: &str) -> PathBuf {
        self.root.join("caches").join(name)
    }

    /// Makes the place of a new build.
    ///
    /// # Errors
    /// When the work directory cannot be written.
    pub fn start_build(&self) -> Result<BuildDir, WorkDirError> {
        let failed = |source| WorkDirError { directory: self.root.clone(), source };
        let directory = tempfile::Builder::new()
            .prefix("build-")
            .tempdir_in(self.root.join("builds"))
            .map_err(failed)?;
        let lock = locked(directory.path()).map_err(failed)?;
        Ok(BuildDir { directory, _lock: lock })
    }

    /// The places of builds whose builder is gone.
    ///
    /// # Errors
    /// When the work directory cannot be read.
    pub fn leftovers(&self) -> Result<Vec<PathBuf>, WorkDirError> {
        let failed = |source| WorkDirError { directory: self.root.clone(), source };
        let mut leftovers = Vec::new();
        for entry in fs_err::read_dir(self.root.join("builds")).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            // A directory without a lock file is new: the file gets its name when it is locked.
            let free = fs_err::OpenOptions::new()
                .write(true)
                .open(path.join("lock"))
                .is_ok_and(|lock| lock.file().try_lock().is_ok());
            if free {
                leftovers.push(path);
            }
        }
        Ok(leftovers)
    }
}

impl BuildDir {
    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Makes the lock file of a build. It is locked before it has its name, so that no other builder
/// ever sees the place of a living build with a free lock.
fn locked(directory: &Path) -> io::Result<fs_err::File> {
    let (nameless, name) = (directory.join("lock.new"), directory.join("lock"));
    let lock = fs_err::OpenOptions::new().create_new(true).write(true).open(&nameless)?;
    lock.file().lock()?;
    fs_err::rename(nameless, name)?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_places_of_dead_builders_are_leftovers() {
        let root = tempfile::tempdir().unwrap();
        let work = WorkDir::open(root.path()).unwrap();
        let alive = work.start_build().unwrap();
        let dead = work.root().join("builds/build-dead");
        fs_err::create_dir(&dead).unwrap();
        fs_err::write(dead.join("lock"), "").unwrap();
        assert_eq!(work.leftovers().unwrap(), [dead]);
        let place = alive.path().to_owned();
        drop(alive);
        assert!(!place.exists());
    }
}
