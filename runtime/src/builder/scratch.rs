//! The directories around the trees: the work directory and one scratch directory for each step.
//!
//! A volume with an `fsGroup` is a setgid directory of a foreign group: everything made in it
//! would inherit both, and an overlay on it is refused. So every directory made here is given the
//! builder's own group and an exact mode.
//!
//! A scratch directory `scratch/NAME` is alive as long as somebody holds a lock on
//! `scratch/NAME.lock`; the kernel lets go of the lock when its holder dies. Its init, which may live
//! a moment longer, holds a lock on the directory itself (see `init::place`): a leftover is renamed to
//! `scratch/NAME.dead` once both are free, and then removed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Uid};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::orders::Orders;
use super::sandbox::OWN_EXECUTABLE;
use crate::Error;
use crate::wire::World;

/// How long what a dead builder has started may take to end; killed processes can hang in the kernel.
const END_GRACE: Duration = Duration::from_secs(15);
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(2);

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
                Ok(lock) if take(&lock, &lock_path) || !has_locks(&lock) => {
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
    let (mut removed, mut failure) = (0, None);
    for item in listing {
        let lock_path = item.map_err(list_error)?.path();
        if lock_path.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let Ok(lock) = File::open(&lock_path) else { continue };
        if !take(&lock, &lock_path) {
            continue;
        }
        // One that cannot be removed keeps no other.
        match clean_one(init, &lock_path) {
            Ok(was_there) => removed += u64::from(was_there),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(removed), Err)
}

/// Removes what belongs to a lock that nobody holds, and the lock; whether there was anything.
fn clean_one(init: &Path, lock_path: &Path) -> Result<bool, Error> {
    let (path, dead) = (lock_path.with_extension(""), lock_path.with_extension("dead"));
    let was_there = path.exists() || dead.exists();
    if dead.exists() {
        remove_leftover(init, &dead)?;
    }
    if path.exists() {
        let place = alone(&path)?;
        fs::rename(&path, &dead).map_err(Error::io("rename", &path))?;
        // Whoever locks it now finds nothing under the old name. Closing it is not enough while a
        // process that is just being started has a copy.
        let _ = place.map(|place| flock(place, FlockOperation::Unlock));
        remove_leftover(init, &dead)?;
    }
    fs::remove_file(lock_path).map_err(Error::io("remove", lock_path))?;
    Ok(was_there)
}

/// Waits for the end of what a dead builder has started, which is told to end and does so soon.
fn alone(path: &Path) -> Result<Option<File>, Error> {
    let Ok(place) = File::open(path) else { return Ok(None) };
    let deadline = Instant::now() + END_GRACE;
    loop {
        match flock(&place, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(place)),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(LOOK),
            Err(Errno::WOULDBLOCK) => return Err(Error::io("remove", path)(Errno::BUSY.into())),
            // Where there are no locks, there is nothing to wait for.
            Err(_) => return Ok(None),
        }
    }
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

/// Whether files can be locked where this one is.
fn has_locks(file: &File) -> bool {
    !matches!(
        flock(file, FlockOperation::NonBlockingLockExclusive),
        Err(errno) if errno != Errno::WOULDBLOCK
    )
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
