//! The directories around the trees: the work directory and one scratch directory for each step.
//!
//! A volume with an `fsGroup` is a setgid directory of a foreign group: everything made in it
//! would inherit both, and an overlay on it is refused. So every directory made here is given the
//! builder's own group and an exact mode.
//!
//! A scratch directory `scratch/NAME` is alive as long as somebody holds a lock on
//! `scratch/NAME.lock`; the kernel lets go of the lock when its holder dies.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::unistd::{Gid, Uid};
use rustix::fs::{FlockOperation, flock};

use super::orders::Orders;
use super::sandbox::OWN_EXECUTABLE;
use crate::Error;
use crate::wire::World;

/// The directory of one step and the lock that keeps it alive. Dropping it removes nothing.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    pub(super) fn new(work_root: &Path) -> Result<Self, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let parent = work_root.join("scratch");
        make_plain(&parent)?;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("{}-{number}", std::process::id()));
            let lock_path = lock_path(&path);
            let made = OpenOptions::new().write(true).create_new(true).open(&lock_path);
            match made {
                Ok(lock) if take(&lock, &lock_path) => {
                    make_plain(&path)?;
                    return Ok(Self { path, _lock: lock });
                }
                // A janitor saw the file before it was locked and took it for a leftover.
                Ok(_) => {}
                // Process ids repeat: this one is in another pid namespace, or long dead.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("create", lock_path)(error)),
            }
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A directory that is still there is a leftover now, and its lock says so.
        if !self.path.exists() {
            let _ = fs::remove_file(lock_path(&self.path));
        }
    }
}

/// Removes the scratch directories below `work_root` whose builders are dead; returns how many.
///
/// # Errors
/// When the directory cannot be listed or a leftover cannot be removed.
pub fn clean_leftovers(work_root: &Path) -> Result<u64, Error> {
    clean_with(work_root, Path::new(OWN_EXECUTABLE))
}

pub(super) fn clean_with(work_root: &Path, init: &Path) -> Result<u64, Error> {
    let parent = work_root.join("scratch");
    let list_error = |error| Error::io("list", &parent)(error);
    let listing = match fs::read_dir(&parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        listing => listing.map_err(list_error)?,
    };
    let mut removed = 0;
    for item in listing {
        let lock_path = item.map_err(list_error)?.path();
        if lock_path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let Ok(lock) = File::open(&lock_path) else { continue };
        if !take(&lock, &lock_path) {
            continue;
        }
        let path = lock_path.with_extension("");
        if path.exists() {
            remove_leftover(init, &path)?;
            removed += 1;
        }
        fs::remove_file(&lock_path).map_err(Error::io("remove", &lock_path))?;
    }
    Ok(removed)
}

/// Removes what a dead builder left, whatever rung it was on: root of the pod can remove what root of
/// a namespace with the same ids made; others cannot do without the namespace.
fn remove_leftover(init: &Path, path: &Path) -> Result<(), Error> {
    crate::init::give_back(path);
    let remove = |world| Orders::new(init.to_owned(), world).remove(path);
    if Uid::effective().is_root() && remove(World::Pod).is_ok() {
        return Ok(());
    }
    remove(World::Namespaces)
}

fn lock_path(scratch: &Path) -> PathBuf {
    scratch.with_extension("lock")
}

/// Locks `lock` unless somebody else has, or has removed the file in the meantime.
fn take(lock: &File, path: &Path) -> bool {
    let same = || {
        let (ours, named) = (lock.metadata().ok()?, fs::metadata(path).ok()?);
        Some(ours.ino() == named.ino() && ours.dev() == named.dev())
    };
    flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok() && same() == Some(true)
}

/// Makes the work directory when missing. One that exists stays as it is, for it may be the
/// volume's own or shared; what is made in it is plain all the same.
pub(super) fn make_work_root(path: &Path) -> Result<PathBuf, Error> {
    let path = std::path::absolute(path).map_err(Error::io("resolve", path))?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
    }
    make_plain(&path)?;
    Ok(path)
}

/// Makes a directory without setgid and foreign group, unless it exists.
pub(super) fn make_plain(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Ok(()) => make_exact(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::io("create", path)(error)),
    }
}

fn make_exact(path: &Path) -> Result<(), Error> {
    chown(path, None, Some(Gid::effective().as_raw()))
        .map_err(Error::io("change group of", path))?;
    // The owner may take the group's bits with the mode: order matters.
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(Error::io("change mode of", path))
}

/// Where the changes of a step are.
pub(super) fn upper(scratch: &Path) -> PathBuf {
    scratch.join(crate::init::UPPER)
}
