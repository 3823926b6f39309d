//! The right to fill the place of a layer, among the builders of a work directory.
//!
//! A flock(2) on `PLACE.lock`, which the kernel frees when its holder dies. The holder removes the
//! file before it lets go, so a lock counts only while the name still leads to the locked file.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The right to fill a place; the lock's file goes with it.
#[derive(Debug)]
pub(super) struct PlaceLock {
    path: PathBuf,
    /// None where the file system has no locks.
    _file: Option<fs_err::File>,
}

/// What trying to take it came to.
#[derive(Debug)]
pub(super) enum Taken {
    /// The place is filled.
    Filled,
    /// It is ours to fill.
    Locked(PlaceLock),
    /// Somebody else is filling it.
    Busy,
}

impl PlaceLock {
    /// Tries once.
    pub(super) fn take(place: &Path) -> Taken {
        if place.exists() {
            return Taken::Filled;
        }
        let path = place.with_extension("lock");
        let opened =
            fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let locked = opened.and_then(|file| match file.file().try_lock() {
            Ok(()) if is_at(&file, &path) => Ok(Some(file)),
            // Its last holder has removed it.
            Ok(()) | Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        });
        match locked {
            Ok(None) => Taken::Busy,
            Ok(Some(file)) => {
                let lock = Self { path, _file: Some(file) };
                // The last holder may have filled it just now.
                if place.exists() { Taken::Filled } else { Taken::Locked(lock) }
            }
            Err(error) => {
                tracing::debug!("cannot lock {}: {error}", path.display());
                Taken::Locked(Self { path, _file: None })
            }
        }
    }
}

impl Drop for PlaceLock {
    fn drop(&mut self) {
        if let Err(error) = fs_err::remove_file(&self.path) {
            tracing::debug!("a lock stays behind: {error}");
        }
    }
}

fn is_at(file: &fs_err::File, path: &Path) -> bool {
    let (Ok(own), Ok(named)) = (file.metadata(), fs_err::metadata(path)) else { return false };
    (own.dev(), own.ino()) == (named.dev(), named.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_until_the_place_is_filled() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("layer");
        let Taken::Locked(first) = PlaceLock::take(&place) else { panic!("it is free") };
        assert!(matches!(PlaceLock::take(&place), Taken::Busy));
        drop(first);
        let Taken::Locked(second) = PlaceLock::take(&place) else { panic!("it is free again") };
        fs_err::create_dir(&place).unwrap();
        drop(second);
        assert!(matches!(PlaceLock::take(&place), Taken::Filled));
        assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 1, "no lock is left");
    }

    #[test]
    fn the_lock_of_a_dead_builder_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("layer");
        fs_err::write(place.with_extension("lock"), "").unwrap();
        assert!(matches!(PlaceLock::take(&place), Taken::Locked(_)));
    }
}
