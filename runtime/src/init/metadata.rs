//! Mode, owner, time and extended attributes of one object, written exactly and read back.
//!
//! The order of writing matters: a change of owner clears setuid bits and file capabilities, so
//! the mode comes after the owner and the attributes after both.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat, chownat,
    fchmod, fchown, fgetxattr, flistxattr, fremovexattr, fsetxattr, fstat, futimens, utimensat,
};
use rustix::io::Errno;

use crate::entry::Entry;

/// Marks an overlay directory that hides what lies below.
pub(super) const OPAQUE: &str = "user.overlay.opaque";
/// On an empty file: the device it stands for, as `c 1 3`.
pub(super) const STAND_IN: &str = "user.longshore.device";
/// On a directory whose metadata are still to come from the layers below.
pub(super) const IMPLIED: &str = "user.longshore.implied";

/// Largest value of an extended attribute, xattr(7).
const MAX_VALUE: usize = 64 << 10;

pub(super) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// What becomes of an extended attribute on its way into or out of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Belongs to the layer.
    Keep,
    /// Belongs to the overlay or to this crate; a layer must neither set nor show it.
    Internal,
    /// Depends on the machine, and is left out and counted.
    Drop,
}

pub(super) fn fate(name: &[u8]) -> Fate {
    let internal: [&[u8]; 3] = [b"user.overlay.", b"user.longshore.", b"trusted."];
    if internal.iter().any(|prefix| name.starts_with(prefix)) {
        Fate::Internal
    } else if name == b"security.capability" || name.starts_with(b"user.") {
        Fate::Keep
    } else {
        Fate::Drop
    }
}

/// Whether `name` is an access control list, which would change what the mode means.
pub(super) fn is_acl(name: &[u8]) -> bool {
    name.starts_with(b"system.posix_acl_")
}

/// Gives an open file or directory the metadata of `entry`; returns how many attributes were left
/// out.
pub(super) fn write(fd: BorrowedFd<'_>, entry: &Entry) -> io::Result<u64> {
    let (uid, gid) = (owner(entry.uid)?, group(entry.gid)?);
    // Most files are root's from the start, and to look is far cheaper than to write it again.
    let stat = fstat(fd)?;
    let is_owned = (stat.st_uid, stat.st_gid) == (entry.uid, entry.gid);
    if !is_owned {
        fchown(fd, Some(uid), Some(gid))?;
    }
    if !is_owned || stat.st_mode & 0o7777 != entry.mode {
        fchmod(fd, Mode::from_raw_mode(entry.mode))?;
    }
    let mut left_out = 0;
    for (name, value) in &entry.xattrs {
        match fate(name) {
            Fate::Keep => match fsetxattr(fd, name, value, XattrFlags::empty()) {
                Ok(()) => {}
                // The file system has none, or the value means nothing here: a base image that
                // carries such an attribute is still worth having.
                Err(Errno::NOTSUP | Errno::PERM | Errno::INVAL) => left_out += 1,
                Err(errno) => return Err(errno.into()),
            },
            Fate::Internal => {}
            Fate::Drop => left_out += 1,
        }
    }
    futimens(fd, &times(entry.mtime))?;
    Ok(left_out)
}

/// Takes from a directory the attributes that it has from elsewhere and `entry` does not mention.
pub(super) fn forget_other(fd: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
    for name in read(fd)?.0.into_keys() {
        if !entry.xattrs.contains_key(&name) {
            fremovexattr(fd, name.as_slice())?;
        }
    }
    Ok(())
}

/// Gives an object that cannot be opened (a link, a device, a pipe) its metadata.
pub(super) fn write_at(dir: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> io::Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    chownat(dir, name, Some(owner(entry.uid)?), Some(group(entry.gid)?), flags)?;
    if !matches!(entry.kind, crate::entry::Kind::Symlink { .. }) {
        // Nobody else changes the tree, so the name still is what was just made.
        chmodat(dir, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    utimensat(dir, name, &times(entry.mtime), flags)?;
    Ok(())
}

/// Gives the open directory `to` what the open directory `from` has.
pub(super) fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let stat = fstat(from)?;
    fchown(to, Some(owner(stat.st_uid)?), Some(group(stat.st_gid)?))?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    for (name, value) in read(from)?.0 {
        set(to, &name, &value)?;
    }
    futimens(to, &times_of(&stat))?;
    Ok(())
}

/// Returns the attributes of an open object that belong to a layer, and the names of those that
/// are dropped.
pub(super) fn read(fd: BorrowedFd<'_>) -> io::Result<(Xattrs, Vec<Vec<u8>>)> {
    let mut names = vec![0_u8; 1024];
    let length = loop {
        match flistxattr(fd, names.as_mut_slice()) {
            Ok(length) => break length,
            Err(Errno::RANGE) if names.len() <= MAX_VALUE => names.resize(names.len() * 4, 0),
            Err(Errno::NOTSUP) => return Ok(Default::default()),
            Err(errno) => return Err(errno.into()),
        }
    };
    let (mut kept, mut dropped) = (Xattrs::new(), Vec::new());
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match fate(name) {
            Fate::Keep => _ = kept.insert(name.to_vec(), value(fd, name)?),
            Fate::Internal => {}
            Fate::Drop => dropped.push(name.to_vec()),
        }
    }
    Ok((kept, dropped))
}

/// Returns the value of one attribute of an open object, whatever its fate; `None` without it.
pub(super) fn internal(fd: BorrowedFd<'_>, name: &str) -> io::Result<Option<Vec<u8>>> {
    let mut short = [0_u8; 64];
    match fgetxattr(fd, name, short.as_mut_slice()) {
        Ok(length) => Ok(Some(short[..length].to_vec())),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn value(fd: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut value = vec![0_u8; 256];
    loop {
        match fgetxattr(fd, name, value.as_mut_slice()) {
            Ok(length) => {
                value.truncate(length);
                return Ok(value);
            }
            Err(Errno::RANGE) if value.len() < MAX_VALUE => value.resize(value.len() * 4, 0),
            Err(errno) => return Err(errno.into()),
        }
    }
}

pub(super) fn set(fd: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(fsetxattr(fd, name, value, XattrFlags::empty())?)
}

/// Times that set the modification time, in whole seconds, and leave the access time.
pub(super) fn times(mtime: i64) -> Timestamps {
    only_mtime(Timespec { tv_sec: mtime, tv_nsec: 0 })
}

/// Times that set the modification time that `stat` has.
pub(super) fn times_of(stat: &Stat) -> Timestamps {
    only_mtime(Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: i64::try_from(stat.st_mtime_nsec).expect("nanoseconds are below 10^9"),
    })
}

fn only_mtime(last_modification: Timespec) -> Timestamps {
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Timestamps { last_access, last_modification }
}

/// The id as the kernel takes it; -1 means "leave it" there and is no id.
fn owner(uid: u32) -> io::Result<Uid> {
    if uid == u32::MAX { Err(Errno::INVAL.into()) } else { Ok(Uid::from_raw(uid)) }
}

fn group(gid: u32) -> io::Result<Gid> {
    if gid == u32::MAX { Err(Errno::INVAL.into()) } else { Ok(Gid::from_raw(gid)) }
}
