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
//! in `builds` whose lock is free, or has none, belongs to a builder that was killed, and is removed
//! by the next: `builds` itself is locked while a place is made, and while such are looked for.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
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
        let _turn = self.turn();
        let directory = tempfile::Builder::new()
            .prefix("build-")
            .tempdir_in(self.root.join("builds"))
            .map_err(failed)?;
        let lock = locked(directory.path()).map_err(failed)?;
        Ok(BuildDir { directory, _lock: lock })
    }

    /// Removes the place of a dead builder. A context in it may have directories that their own
    /// owner may not change.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove(leftover: &Path) -> io::Result<()> {
        if !fs_err::symlink_metadata(leftover)?.is_dir() {
            return fs_err::remove_file(leftover);
        }
        fs_err::remove_dir_all(leftover).or_else(|_| {
            open_directories(leftover)?;
            fs_err::remove_dir_all(leftover)
        })
    }

    /// Waits for the right to make places and to look for leftovers, if the file system has locks.
    fn turn(&self) -> Option<fs_err::File> {
        let builds = fs_err::File::open(self.root.join("builds")).ok()?;
        builds.file().lock().ok()?;
        Some(builds)
    }

    /// The places of builds whose builder is gone.
    ///
    /// # Errors
    /// When the work directory cannot be read.
    pub fn leftovers(&self) -> Result<Vec<PathBuf>, WorkDirError> {
        let failed = |source| WorkDirError { directory: self.root.clone(), source };
        let mut leftovers = Vec::new();
        let turn = self.turn();
        for entry in fs_err::read_dir(self.root.join("builds")).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let is_free = match fs_err::OpenOptions::new().write(true).open(path.join("lock")) {
                Ok(lock) => lock.file().try_lock().is_ok(),
                // Its builder was killed before there was one; where nobody waits for turns, it may
                // be about to come.
                Err(error) => turn.is_some() && !may_exist(&error),
            };
            if is_free {
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

/// Whether a file that cannot be opened may be there all the same.
fn may_exist(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Lets the owner change all directories from `top` down.
fn open_directories(top: &Path) -> io::Result<()> {
    let mut ahead = vec![top.to_owned()];
    while let Some(directory) = ahead.pop() {
        fs_err::set_permissions(&directory, std::fs::Permissions::from_mode(0o700))?;
        for entry in fs_err::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                ahead.push(entry.path());
            }
        }
    }
    Ok(())
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
        let half_made = work.root().join("builds/build-half-made");
        fs_err::create_dir_all(half_made.join("context/closed/in")).unwrap();
        let closed = std::fs::Permissions::from_mode(0o500);
        fs_err::set_permissions(half_made.join("context/closed"), closed).unwrap();
        let half_opened = work.root().join("builds/.tmp123");
        fs_err::write(&half_opened, "").unwrap();
        let mut leftovers = work.leftovers().unwrap();
        leftovers.sort();
        assert_eq!(leftovers, [half_opened.clone(), dead.clone(), half_made.clone()]);
        for path in [&dead, &half_made, &half_opened] {
            WorkDir::remove(path).unwrap();
        }
        assert_eq!(work.leftovers().unwrap(), Vec::<PathBuf>::new());
        let place = alive.path().to_owned();
        drop(alive);
        assert!(!place.exists());
    }
}
