//! One object of a tree: what a layer says of it, and whether another one is the same.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, major, minor, openat, readlinkat, statat, utimensat,
};

use crate::entry::Kind;
use crate::init::lowers::Leaf;
use crate::init::metadata::{self, STAND_IN, times};

/// How much of each of two files is in memory at a time.
const COMPARE_BUFFER: usize = 64 << 10;

/// A name in an open directory, and what is there. The name may have several components when it is
/// known that they are directories.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object<'a> {
    pub(super) dir: BorrowedFd<'a>,
    pub(super) name: &'a [u8],
    pub(super) stat: Stat,
}

impl<'a> Object<'a> {
    pub(super) fn at(dir: BorrowedFd<'a>, name: &'a [u8]) -> io::Result<Self> {
        Ok(Self { dir, name, stat: statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)? })
    }

    pub(super) fn of(leaf: &'a Leaf) -> Self {
        let (dir, name) = leaf.at();
        Self { dir, name, stat: *leaf.stat() }
    }

    pub(super) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// What all names of one file have in common.
    pub(super) fn identity(&self) -> (u64, u64) {
        (self.stat.st_dev, self.stat.st_ino)
    }

    /// Opens a regular file; nothing else is opened, as that can have effects.
    pub(super) fn open(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(openat(self.dir, self.name, flags, Mode::empty())?)
    }

    pub(super) fn size(&self) -> io::Result<u64> {
        u64::try_from(self.stat.st_size).map_err(io::Error::other)
    }

    /// What an object that is no file and no directory is.
    pub(super) fn special(&self) -> io::Result<Kind> {
        let (major, minor) = (major(self.stat.st_rdev), minor(self.stat.st_rdev));
        Ok(match self.file_type() {
            FileType::Symlink => Kind::Symlink { target: self.target()? },
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            FileType::BlockDevice => Kind::BlockDevice { major, minor },
            other => return Err(io::Error::other(format!("unknown type of file {other:?}"))),
        })
    }

    /// The device that an open file stands for.
    pub(super) fn stood_for(&self, fd: BorrowedFd<'_>) -> io::Result<Option<Kind>> {
        if self.stat.st_size != 0 {
            return Ok(None);
        }
        Ok(metadata::internal(fd, STAND_IN)?.and_then(stood_for))
    }

    /// Gives the object the modification time that it shall have.
    pub(super) fn settle(&self, mtime: i64) -> io::Result<()> {
        settle(self.dir, self.name, &self.stat, mtime)
    }

    fn target(&self) -> io::Result<Vec<u8>> {
        Ok(readlinkat(self.dir, self.name, Vec::new())?.into_bytes())
    }

    /// The device that this is or stands for.
    fn device(&self) -> io::Result<Option<Kind>> {
        match self.file_type() {
            FileType::RegularFile => self.stood_for(self.open()?.as_fd()),
            _ => self.special().map(Some),
        }
    }
}

/// Whether a layer would say the same of two objects, directories excepted. Content is read only
/// when everything else is equal.
pub(super) fn same(
    one: &Object<'_>,
    other: &Object<'_>,
    clamp_mtime: Option<i64>,
) -> io::Result<bool> {
    if !same_numbers(&one.stat, &other.stat, clamp_mtime) {
        return Ok(false);
    }
    use FileType::{BlockDevice, CharacterDevice, Fifo, RegularFile, Symlink};
    match (one.file_type(), other.file_type()) {
        (RegularFile, RegularFile) => same_files(one, other),
        (Symlink, Symlink) => Ok(one.target()? == other.target()?),
        (Fifo, Fifo) => Ok(true),
        (CharacterDevice | BlockDevice | RegularFile, CharacterDevice | BlockDevice)
        | (CharacterDevice | BlockDevice, RegularFile) => Ok(one.device()? == other.device()?),
        _ => Ok(false),
    }
}

/// Whether two directories are the same but for what is in them.
pub(super) fn same_directories(
    one: (BorrowedFd<'_>, &Stat),
    other: (BorrowedFd<'_>, &Stat),
    clamp_mtime: Option<i64>,
) -> io::Result<bool> {
    Ok(same_numbers(one.1, other.1, clamp_mtime)
        && metadata::read(one.0)?.0 == metadata::read(other.0)?.0)
}

fn same_numbers(one: &Stat, other: &Stat, clamp_mtime: Option<i64>) -> bool {
    let numbers = |stat: &Stat| {
        (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid, clamped(stat.st_mtime, clamp_mtime))
    };
    numbers(one) == numbers(other)
}

/// A time of a layer: not later than `clamp_mtime`.
pub(super) fn clamped(mtime: i64, clamp_mtime: Option<i64>) -> i64 {
    clamp_mtime.map_or(mtime, |latest| mtime.min(latest))
}

fn same_files(one: &Object<'_>, other: &Object<'_>) -> io::Result<bool> {
    if one.stat.st_size != other.stat.st_size {
        return Ok(false);
    }
    let (first, second) = (one.open()?, other.open()?);
    Ok(metadata::read(first.as_fd())?.0 == metadata::read(second.as_fd())?.0
        && one.stood_for(first.as_fd())? == other.stood_for(second.as_fd())?
        && same_content(first.into(), second.into())?)
}

fn same_content(mut one: File, mut other: File) -> io::Result<bool> {
    let (mut first, mut second) = (vec![0; COMPARE_BUFFER], vec![0; COMPARE_BUFFER]);
    loop {
        let count = one.read(&mut first)?;
        if count == 0 {
            return Ok(other.read(&mut second)? == 0);
        }
        match other.read_exact(&mut second[..count]) {
            Ok(()) if first[..count] == second[..count] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Gives a name, of which `stat` is known, the modification time that it shall have, in whole
/// seconds.
pub(super) fn settle(dir: BorrowedFd<'_>, name: &[u8], stat: &Stat, mtime: i64) -> io::Result<()> {
    if (stat.st_mtime, stat.st_mtime_nsec) != (mtime, 0) {
        utimensat(dir, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
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
