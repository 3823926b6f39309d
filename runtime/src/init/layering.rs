//! Applies a layer directory to a root tree: what an overlay shows, made by copying.
//!
//! Overlay rules as in `lowers`: a whiteout removes a name, an opaque directory removes what was
//! below it, directories merge and take the upper one's metadata, everything else replaces what was
//! there. Applied bottom first to an empty directory, layers give their merged view.
//!
//! Hard links are kept inside a layer, as its directory has them. Stand-ins of devices stay what
//! they are, as on an overlay.
//!
//! The tree's links are never followed: every name is looked up in an open directory by itself, and
//! nobody else changes tree or layer meanwhile.
//!
//! Memory: the names of the directories on the way down, and one path for each file with several
//! names.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::vec;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chmodat, chownat, fchmod, fchown,
    fremovexattr, fstat, linkat, mkdirat, mknodat, open, openat, readlinkat, statat, symlinkat,
    unlinkat, utimensat,
};
use rustix::io::Errno;

use super::copying::Copier;
use super::implied::is_opaque;
use super::lowers::is_whiteout;
use super::metadata::{self, STAND_IN, copy_directory, times_of};
use super::removal::{clear_directory, remove_at};
use super::tree::{directory_flags, join};
use crate::wire::{Failure, OrFail as _};

/// Applies the layer directory `layer` to the tree `root`.
pub(super) fn apply(layer: &Path, root: &Path, copier: &mut Copier) -> Result<(), Failure> {
    let mut path = Vec::new();
    let applied = open(layer, directory_flags(), Mode::empty()).and_then(|from| {
        let to = open(root, directory_flags(), Mode::empty())?;
        Ok((from, to))
    });
    let applied = applied.map_err(io::Error::from).and_then(|(from, to)| {
        let mut applying =
            Applying { root: to.try_clone()?, copier, links: BTreeMap::new(), path: &mut path };
        applying.all(from, to)
    });
    applied.or_fail(|| {
        let path = String::from_utf8_lossy(&path);
        format!("cannot copy {path:?} of {} to {}", layer.display(), root.display())
    })
}

struct Applying<'a> {
    root: OwnedFd,
    copier: &'a mut Copier,
    /// The first path of each file with several names.
    links: BTreeMap<(u64, u64), Vec<u8>>,
    /// What is being copied, for errors.
    path: &'a mut Vec<u8>,
}

/// A directory on the way down.
struct Level {
    items: vec::IntoIter<CString>,
    path: Vec<u8>,
}

impl Applying<'_> {
    fn all(&mut self, mut from: OwnedFd, mut to: OwnedFd) -> io::Result<()> {
        let mut levels = vec![Level { items: names(&from)?, path: Vec::new() }];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.items.next() else {
                become_like(from.as_fd(), to.as_fd())?;
                levels.pop();
                if !levels.is_empty() {
                    from = openat(&from, "..", directory_flags(), Mode::empty())?;
                    to = openat(&to, "..", directory_flags(), Mode::empty())?;
                }
                continue;
            };
            *self.path = join(&level.path, name.to_bytes());
            let stat = statat(&from, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                from = openat(&from, &name, directory_flags(), Mode::empty())?;
                to = directory(to.as_fd(), name.to_bytes(), is_opaque(from.as_fd())?)?;
                levels.push(Level { items: names(&from)?, path: self.path.clone() });
            } else if is_whiteout(&stat) {
                clear(to.as_fd(), name.to_bytes())?;
            } else {
                self.object(from.as_fd(), to.as_fd(), name.to_bytes(), &stat)?;
            }
        }
        Ok(())
    }

    /// Copies anything but a directory.
    fn object(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &[u8],
        stat: &Stat,
    ) -> io::Result<()> {
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key) {
                let link = || linkat(&self.root, first.as_slice(), to, name, AtFlags::empty());
                return replacing(to, name, || Ok(link()?));
            }
            self.links.insert(key, self.path.clone());
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
            return self.file(from, to, name, stat);
        }
        replacing(to, name, || special(from, to, name, stat))?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        chownat(to, name, Some(uid(stat)), Some(gid(stat)), flags)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            chmodat(to, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
        }
        Ok(utimensat(to, name, &times_of(stat), flags)?)
    }

    fn file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &[u8],
        stat: &Stat,
    ) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = openat(from, name, flags, Mode::empty())?;
        let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = replacing(to, name, || Ok(openat(to, name, flags, mode)?))?;
        let size = u64::try_from(stat.st_size).map_err(io::Error::other)?;
        self.copier.copy(source.as_fd(), copy.as_fd(), size)?;
        let made = fstat(&copy)?;
        let is_owned = (made.st_uid, made.st_gid) == (stat.st_uid, stat.st_gid);
        if !is_owned {
            fchown(&copy, Some(uid(stat)), Some(gid(stat)))?;
        }
        // After the owner, whose change takes the setuid bits away; attributes for the same reason.
        // As a rule the file was made with its mode already.
        if !is_owned || made.st_mode & 0o7777 != stat.st_mode & 0o7777 {
            fchmod(&copy, mode)?;
        }
        let (kept, _) = metadata::read(source.as_fd())?;
        for (name, value) in &kept {
            metadata::set(copy.as_fd(), name, value)?;
        }
        if size == 0
            && let Some(device) = metadata::internal(source.as_fd(), STAND_IN)?
        {
            metadata::set(copy.as_fd(), STAND_IN.as_bytes(), &device)?;
        }
        Ok(rustix::fs::futimens(&copy, &times_of(stat))?)
    }
}

/// Makes the directory of the tree equal to the layer's, but for what is in it.
fn become_like(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let wanted = metadata::read(from)?.0;
    for name in metadata::read(to)?.0.into_keys() {
        if !wanted.contains_key(&name) {
            fremovexattr(to, name.as_slice())?;
        }
    }
    copy_directory(from, to)
}

/// Makes `name`, and once more after removing what is in the way.
fn replacing<T>(
    to: BorrowedFd<'_>,
    name: &[u8],
    mut make: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    match make() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            clear(to, name)?;
            make()
        }
        made => made,
    }
}

fn special(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> io::Result<()> {
    let file_type = FileType::from_raw_mode(stat.st_mode);
    if file_type == FileType::Symlink {
        let target = readlinkat(from, name, Vec::new())?;
        return Ok(symlinkat(target, to, name)?);
    }
    Ok(mknodat(to, name, file_type, Mode::empty(), stat.st_rdev)?)
}

/// Opens the directory `name` of the tree, made when it is something else or `alone`, which means
/// that nothing that was in it stays.
fn directory(to: BorrowedFd<'_>, name: &[u8], alone: bool) -> io::Result<OwnedFd> {
    match mkdirat(to, name, Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) if is_directory(to, name)? => {
            let fd = openat(to, name, directory_flags(), Mode::empty())?;
            if alone {
                clear_directory(fd.as_fd())?;
            }
            return Ok(fd);
        }
        Err(Errno::EXIST) => {
            unlinkat(to, name, AtFlags::empty())?;
            mkdirat(to, name, Mode::RWXU)?;
        }
        Err(errno) => return Err(errno.into()),
    }
    Ok(openat(to, name, directory_flags(), Mode::empty())?)
}

fn is_directory(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Removes whatever is at `name`.
pub(super) fn clear(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => remove_at(dir, name),
        Err(errno) => Err(errno.into()),
    }
}

fn names(dir: &OwnedFd) -> io::Result<vec::IntoIter<CString>> {
    let mut names = Vec::new();
    for item in Dir::read_from(dir)? {
        let item = item?;
        if !matches!(item.file_name().to_bytes(), b"." | b"..") {
            names.push(item.file_name().to_owned());
        }
    }
    // So that the first of several names of a file is the same as when the layer was made.
    names.sort_unstable();
    Ok(names.into_iter())
}

fn uid(stat: &Stat) -> Uid {
    Uid::from_raw(stat.st_uid)
}

fn gid(stat: &Stat) -> Gid {
    Gid::from_raw(stat.st_gid)
}
