//! Caches on their way through a tree.
//!
//! Before something is moved into the tree, it is written down: `grafts` of the scratch directory
//! has for each the path that it goes back to (none for what is to be removed) and the path in the
//! tree, each followed by NUL. Whoever finds the list in the scratch directory of a dead builder, or
//! of a step that could not be put in order, gives the caches back by it. Nothing of the tree is
//! trusted then: no link of it is followed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid, fchmod, fchown, futimens,
    linkat, open, openat, renameat, renameat_with, statat,
};
use rustix::io::Errno;

use super::super::TREE;
use super::super::changes::{Descent, Ignored};
use super::super::copying::Copier;
use super::super::layering::clear;
use super::super::metadata::{self, times_of};
use super::super::root_tree::read_list;
use super::super::tree::{components, directory_flags, split};

/// Name of the list in the scratch directory.
const LIST: &str = "grafts";
/// Name of a file that is about to take the place of another.
const FRESH: &[u8] = b".longshore-fresh";

/// Names of files that have more of them, by device and inode, with the number of all.
type Names = BTreeMap<(u64, u64), (u64, Vec<Vec<u8>>)>;

/// Writes down that something goes to `place` in the tree, and where it goes back to.
pub(super) fn note(scratch: &Path, home: Option<&Path>, place: &[u8]) -> io::Result<()> {
    let mut list = File::options().append(true).create(true).open(scratch.join(LIST))?;
    let home = home.map_or(b"".as_slice(), |home| home.as_os_str().as_bytes());
    list.write_all(&[home, b"\0", place, b"\0"].concat())
}

/// Removes the list: everything is where it belongs.
pub(super) fn forget(scratch: &Path) -> io::Result<()> {
    fs::remove_file(scratch.join(LIST))
}

/// Takes the caches out of the tree in `scratch`, whose step is over, however it ended. What cannot
/// be given back stays, and goes with the directory.
pub(crate) fn give_back(scratch: &Path) {
    let Ok(list) = read_list(&scratch.join(LIST)) else { return };
    let root = scratch.join(TREE).join("root");
    for pair in list.chunks_exact(2).rev() {
        let (home, place) = (&pair[0], pair[1].as_os_str().as_bytes());
        let (way, name) = split(place);
        // The step may have moved or removed it, or never got it.
        let Ok(parent) = walk(&root, way) else { continue };
        if home.as_os_str().is_empty() {
            let _ = clear(parent.as_fd(), name);
        } else if is_directory(parent.as_fd(), name) {
            let _ = renameat_with(&parent, name, CWD, home, RenameFlags::NOREPLACE);
        }
    }
    let _ = forget(scratch);
}

fn is_directory(dir: BorrowedFd<'_>, name: &[u8]) -> bool {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Opens the directory `path` below `root` without following links.
fn walk(root: &Path, path: &[u8]) -> io::Result<OwnedFd> {
    let mut dir = open(root, directory_flags(), Mode::empty())?;
    for name in components(path) {
        dir = openat(&dir, &name, directory_flags(), Mode::empty())?;
    }
    Ok(dir)
}

/// Gives the cache `dir` files of its own where it shares one with the tree that it was in: a step
/// can link between them, and later steps must not find what is changed in the other one. A file
/// that cannot be copied is lost to the cache.
pub(super) fn part(dir: &Path) -> io::Result<()> {
    for (count, names) in linked(dir)?.into_values() {
        if (names.len() as u64) < count {
            separate(dir, &names)?;
        }
    }
    Ok(())
}

fn linked(dir: &Path) -> io::Result<Names> {
    let ignored = Ignored::default();
    let mut names = Names::new();
    let mut descent = Descent::new(dir, &ignored)?;
    while let Some(file_type) = descent.next()? {
        if file_type == FileType::Directory {
            descent.enter()?;
            descent.list()?;
            continue;
        }
        let stat = statat(descent.dir(), descent.name(), AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            let (_, known) = names.entry(key).or_insert((stat.st_nlink, Vec::new()));
            known.push(descent.path().to_vec());
        }
    }
    Ok(names)
}

/// Makes the names in `dir` names of a file of their own.
fn separate(dir: &Path, names: &[Vec<u8>]) -> io::Result<()> {
    let mut first: Option<(OwnedFd, &[u8])> = None;
    for path in names {
        let (way, name) = split(path);
        let parent = walk(dir, way)?;
        let before = rustix::fs::fstat(&parent)?;
        // Whatever has that name is not the cache's to keep.
        clear(parent.as_fd(), FRESH)?;
        let made = match &first {
            None => copy(parent.as_fd(), name),
            Some((dir, known)) => {
                linkat(dir, *known, &parent, FRESH, AtFlags::empty()).map_err(Into::into)
            }
        };
        match made {
            Ok(()) => renameat(&parent, FRESH, &parent, name)?,
            Err(_) => {
                clear(parent.as_fd(), FRESH)?;
                clear(parent.as_fd(), name)?;
            }
        }
        futimens(&parent, &times_of(&before))?;
        if first.is_none() && is_there(parent.as_fd(), name)? {
            first = Some((parent, name));
        }
    }
    Ok(())
}

fn is_there(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Copies a regular file to [`FRESH`]; of other things with several names there is no copy.
fn copy(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let from = openat(dir, name, flags, Mode::empty())?;
    let stat: Stat = rustix::fs::fstat(&from)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let to = openat(dir, FRESH, flags, Mode::RUSR | Mode::WUSR)?;
    let size = u64::try_from(stat.st_size).map_err(io::Error::other)?;
    Copier::new().copy(from.as_fd(), to.as_fd(), size)?;
    fchown(&to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    for (name, value) in metadata::read(from.as_fd())?.0 {
        metadata::set(to.as_fd(), &name, &value)?;
    }
    Ok(futimens(&to, &times_of(&stat))?)
}
