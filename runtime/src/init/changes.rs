//! Reads the upper directory of an overlay as the entries of a layer.
//!
//! Format of the upper directory: overlayfs.rst with `userxattr`. Order: by the names of a path,
//! each compared bytewise; so a directory's children follow it at once, before `NAME-1`.
//!
//! On the way the directory is made equal to what is emitted, so that it can serve as a lower one:
//! times become whole seconds and are clamped, sockets and access control lists are removed.
//!
//! Memory: the names of the directories on the way down, and one path for each file that has other
//! names which have not come yet.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::vec;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fremovexattr, fstat, major, minor, open, openat,
    readlinkat, statat, unlinkat, utimensat,
};

use super::lowers::{Layers, Seen, is_whiteout};
use super::metadata::{self, OPAQUE, STAND_IN, Xattrs, is_acl, times};
use super::tree::{directory_flags, inherit, join};
use crate::entry::{Entry, EntrySink, Kind};
use crate::step::ChangeStats;
use crate::wire::{Failure, OrFail as _};

/// Emits everything below `upper`; opaque directories only where `lowers` have something to hide.
pub(super) fn emit(
    upper: &Path,
    lowers: Vec<PathBuf>,
    clamp_mtime: Option<i64>,
    sink: &mut dyn EntrySink,
) -> Result<ChangeStats, Failure> {
    let mut walk = Walk {
        lowers: Layers::from_bottom(lowers),
        clamp_mtime,
        sink,
        links: BTreeMap::new(),
        stats: ChangeStats { reusable: true, ..ChangeStats::default() },
        path: Vec::new(),
    };
    let root = open(upper, directory_flags(), Mode::empty())
        .or_fail(|| format!("cannot open {}", upper.display()))?;
    let walked = root.try_clone().and_then(|root| walk.all(root));
    // The root's own entry is not emitted, so it stays what it was.
    let walked = walked.and_then(|()| inherit(root.as_fd(), &walk.lowers.look(b"")?));
    walked.or_fail(|| {
        let path = String::from_utf8_lossy(&walk.path);
        format!("cannot read the change of {path:?} in {}", upper.display())
    })?;
    Ok(walk.stats)
}

struct Walk<'a> {
    lowers: Layers,
    clamp_mtime: Option<i64>,
    sink: &'a mut dyn EntrySink,
    /// First path and number of names to come of each file with several names.
    links: BTreeMap<(u64, u64), Link>,
    stats: ChangeStats,
    /// What is being read, for errors.
    path: Vec<u8>,
}

struct Link {
    first: Vec<u8>,
    left: usize,
}

/// A directory on the way down.
struct Level {
    items: vec::IntoIter<Item>,
    path: Vec<u8>,
    name: Vec<u8>,
    /// What was emitted; removing a socket changes the directory's own time.
    mtime: i64,
}

/// One thing to do in a directory, in the order of the fields.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    name: Vec<u8>,
    /// Go into the directory, after it was emitted itself.
    enter: bool,
}

impl Walk<'_> {
    fn all(&mut self, root: OwnedFd) -> io::Result<()> {
        let mut here = root;
        let items = list(&here)?;
        let mut levels = vec![Level { items, path: Vec::new(), name: Vec::new(), mtime: 0 }];
        while let Some(level) = levels.last_mut() {
            let Some(item) = level.items.next() else {
                let done = levels.pop().expect("the loop saw a level");
                if !levels.is_empty() {
                    here = openat(&here, "..", directory_flags(), Mode::empty())?;
                    settle(here.as_fd(), &done.name, done.mtime)?;
                }
                continue;
            };
            if item.enter {
                here = openat(&here, &item.name, directory_flags(), Mode::empty())?;
                let path = join(&level.path, &item.name);
                let mtime = self.clamped(&fstat(&here)?);
                let items = list(&here)?;
                levels.push(Level { items, path, name: item.name, mtime });
            } else {
                self.path = join(&level.path, &item.name);
                self.object(here.as_fd(), &item.name)?;
            }
        }
        Ok(())
    }

    fn object(&mut self, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        // Overlay links all its whiteouts together, so they come before hard links.
        if is_whiteout(&stat) {
            return self.send(&Entry::new(self.path.clone(), Kind::Whiteout, 0, 0), None);
        }
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type == FileType::Socket {
            self.stats.skipped_sockets += 1;
            self.stats.reusable &= unlinkat(dir, name, AtFlags::empty()).is_ok();
            return Ok(());
        }
        if file_type == FileType::Directory {
            return self.directory(dir, name, &stat);
        }
        if stat.st_nlink > 1
            && let Some(first) = self.earlier_name(&stat)
        {
            let kind = Kind::HardLink { target: first };
            return self.send(&self.entry(kind, &stat, Xattrs::new()), None);
        }
        match file_type {
            FileType::RegularFile => self.file(dir, name, &stat)?,
            _ => {
                let kind = special(dir, name, &stat)?;
                self.send(&self.entry(kind, &stat, Xattrs::new()), None)?;
            }
        }
        settle(dir, name, self.clamped(&stat))
    }

    fn directory(&mut self, dir: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> io::Result<()> {
        let fd = openat(dir, name, directory_flags(), Mode::empty())?;
        let xattrs = self.xattrs(fd.as_fd())?;
        self.send(&self.entry(Kind::Directory, stat, xattrs), None)?;
        let is_opaque = metadata::internal(fd.as_fd(), OPAQUE)?.as_deref() == Some(b"y");
        // The kernel also marks directories that hide nothing, as after a rename.
        if is_opaque && matches!(self.lowers.look(&self.path)?, Seen::Directory(_)) {
            self.send(&Entry::new(self.path.clone(), Kind::Opaque, 0, 0), None)?;
        }
        Ok(())
    }

    fn file(&mut self, dir: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = openat(dir, name, flags, Mode::empty())?;
        let xattrs = self.xattrs(fd.as_fd())?;
        let size = u64::try_from(stat.st_size).map_err(io::Error::other)?;
        if size == 0
            && let Some(kind) = metadata::internal(fd.as_fd(), STAND_IN)?.and_then(stood_for)
        {
            return self.send(&self.entry(kind, stat, xattrs), None);
        }
        self.send(&self.entry(Kind::File { size }, stat, xattrs), Some(fd))
    }

    /// The first name of a file that has come under another one before.
    fn earlier_name(&mut self, stat: &Stat) -> Option<Vec<u8>> {
        let key = (stat.st_dev, stat.st_ino);
        let Some(link) = self.links.get_mut(&key) else {
            // The field's type differs between architectures.
            let names = usize::try_from(stat.st_nlink).expect("no file has that many names");
            let link = Link { first: self.path.clone(), left: names - 1 };
            self.links.insert(key, link);
            return None;
        };
        link.left -= 1;
        if link.left > 0 {
            return Some(link.first.clone());
        }
        self.links.remove(&key).map(|link| link.first)
    }

    /// Reads the attributes that a layer keeps; lists that it does not are removed.
    fn xattrs(&mut self, fd: BorrowedFd<'_>) -> io::Result<Xattrs> {
        let (kept, dropped) = metadata::read(fd)?;
        for name in dropped {
            self.stats.dropped_xattrs += 1;
            if is_acl(&name) {
                self.stats.reusable &= fremovexattr(fd, name.as_slice()).is_ok();
            }
        }
        Ok(kept)
    }

    fn entry(&self, kind: Kind, stat: &Stat, xattrs: Xattrs) -> Entry {
        Entry {
            path: self.path.clone(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: self.clamped(stat),
            xattrs,
        }
    }

    fn send(&mut self, entry: &Entry, content: Option<OwnedFd>) -> io::Result<()> {
        self.stats.entries += 1;
        match content {
            Some(fd) => self.sink.entry(entry, &mut std::fs::File::from(fd)),
            None => self.sink.entry(entry, &mut io::empty()),
        }
    }

    fn clamped(&self, stat: &Stat) -> i64 {
        self.clamp_mtime.map_or(stat.st_mtime, |latest| stat.st_mtime.min(latest))
    }
}

/// Gives what was emitted the time that it was emitted with.
fn settle(dir: BorrowedFd<'_>, name: &[u8], mtime: i64) -> io::Result<()> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (stat.st_mtime, stat.st_mtime_nsec) != (mtime, 0) {
        utimensat(dir, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// What a name that is no file, directory or socket is.
fn special(dir: BorrowedFd<'_>, name: &[u8], stat: &Stat) -> io::Result<Kind> {
    let (major, minor) = (major(stat.st_rdev), minor(stat.st_rdev));
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => {
            Kind::Symlink { target: readlinkat(dir, name, Vec::new())?.into_bytes() }
        }
        FileType::Fifo => Kind::Fifo,
        FileType::CharacterDevice => Kind::CharDevice { major, minor },
        FileType::BlockDevice => Kind::BlockDevice { major, minor },
        other => return Err(io::Error::other(format!("unknown type of file {other:?}"))),
    })
}

/// The device that a stand-in's attribute names.
pub(super) fn stood_for(value: Vec<u8>) -> Option<Kind> {
    let text = String::from_utf8(value).ok()?;
    let mut words = text.split(' ');
    let letter = words.next()?;
    let (major, minor) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    match (letter, words.next()) {
        ("c", None) => Some(Kind::CharDevice { major, minor }),
        ("b", None) => Some(Kind::BlockDevice { major, minor }),
        _ => None,
    }
}

/// What to do in a directory, in order.
fn list(dir: &OwnedFd) -> io::Result<vec::IntoIter<Item>> {
    let mut items = Vec::new();
    for item in Dir::read_from(dir)? {
        let item = item?;
        let name = item.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let is_directory = match item.file_type() {
            FileType::Unknown => {
                let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            }
            file_type => file_type == FileType::Directory,
        };
        if is_directory {
            items.push(Item { name: name.to_vec(), enter: true });
        }
        items.push(Item { name: name.to_vec(), enter: false });
    }
    items.sort_unstable();
    Ok(items.into_iter())
}

#[cfg(test)]
mod tests;
