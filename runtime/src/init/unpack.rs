//! Makes one layer into a lower directory of an overlay.
//!
//! Source of the rules: OCI image specification, layer.md ("whiteouts apply to lower layers only");
//! overlayfs.rst for what they become. A whiteout that hits an entry of its own layer is therefore
//! not a deletion; if that entry is a directory, the directory is opaque.

use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, fstat, futimens, linkat, makedev, mkdirat, mknodat,
    open, openat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::implied::{self, Journal, Whiteouts};
use super::lowers::{Layers, Seen, is_whiteout};
use super::metadata::{self, OPAQUE, STAND_IN};
use super::removal::remove_at;
use super::tree::{Below, Tree, directory_flags, split};
use crate::entry::{Entry, Kind};
use crate::step::UnpackStats;
use crate::wire::{EntryReader, Failure, OrFail as _, Tag};

/// How much of a file is in memory at a time.
const COPY_BUFFER: usize = 128 << 10;

/// Takes the entries that the builder sends into the new directory `dest`, above `lowers`; without
/// them, what they have to say is left to [`super::implied::settle`].
pub(super) fn unpack(
    dest: &Path,
    lowers: Option<Vec<PathBuf>>,
    entries: &mut EntryReader<impl Read>,
) -> Result<UnpackStats, Failure> {
    let mut unpacker = Unpacker::create(dest, lowers.as_deref())
        .or_fail(|| format!("cannot create layer directory {}", dest.display()))?;
    loop {
        match entries.next().or_fail(|| "cannot receive the layer".into())? {
            Ok(entry) => unpacker.take(&entry, entries).or_fail(|| {
                let path = String::from_utf8_lossy(&entry.path);
                format!("cannot unpack {path:?} into {}", dest.display())
            })?,
            Err((Tag::LayerEnd, _)) => break,
            Err((tag, _)) => {
                let error = io::Error::other(format!("got a frame {tag:?}"));
                return Err(Failure::new("cannot receive the layer".into(), error));
            }
        }
    }
    let stats = unpacker.stats;
    unpacker
        .finish(dest, lowers.as_deref())
        .or_fail(|| format!("cannot finish layer directory {}", dest.display()))?;
    Ok(stats)
}

/// A layer directory in the making.
#[derive(Debug)]
pub(super) struct Unpacker {
    tree: Tree,
    buffer: Vec<u8>,
    pub(super) stats: UnpackStats,
}

impl Unpacker {
    pub(super) fn create(dest: &Path, lowers: Option<&[PathBuf]>) -> io::Result<Self> {
        let below = match lowers {
            Some(lowers) => {
                Below::There(Layers::from_bottom(lowers.to_vec()), Whiteouts::none(dest))
            }
            None => Below::Later(Journal::create(dest)?),
        };
        let tree = Tree::create(dest, below)?;
        Ok(Self { tree, buffer: vec![0; COPY_BUFFER], stats: UnpackStats::default() })
    }

    /// Makes the file of `entry`, which is new in this layer, for somebody else to write; its
    /// metadata come with [`Unpacker::close_file`].
    pub(super) fn open_file(&mut self, entry: &Entry) -> io::Result<OwnedFd> {
        self.stats.entries += 1;
        let (parent, name) = split(&entry.path);
        create(self.tree.directory(parent)?, name)
    }

    pub(super) fn close_file(&mut self, fd: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
        self.stats.skipped_xattrs += metadata::write(fd, entry)?;
        Ok(())
    }

    pub(super) fn take(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        self.stats.entries += 1;
        match entry.kind {
            // An overlay has no such mark for its root.
            Kind::Opaque if entry.path.is_empty() => self.tree.hide_below(),
            Kind::Opaque => {
                let dir = self.tree.directory(&entry.path)?;
                metadata::set(dir, OPAQUE.as_bytes(), b"y")?;
            }
            Kind::Directory if entry.path.is_empty() => {
                self.tree.settle()?;
                implied::mention(self.tree.root())?;
                metadata::forget_other(self.tree.root(), entry)?;
                self.stats.skipped_xattrs += metadata::write(self.tree.root(), entry)?;
            }
            Kind::HardLink { ref target } => self.hard_link(entry, target)?,
            _ => self.object(entry, content)?,
        }
        Ok(())
    }

    /// Makes anything but a hard link below the root.
    fn object(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        let (parent, name) = split(&entry.path);
        let dir = self.tree.directory(parent)?;
        if let Kind::File { size } = entry.kind
            && let Some(fd) = create_new(dir, name)?
        {
            copy(content, fd.as_fd(), size, &mut self.buffer)?;
            self.stats.skipped_xattrs += metadata::write(fd.as_fd(), entry)?;
            return Ok(());
        }
        let there = stat(dir, name)?;
        match &entry.kind {
            Kind::Whiteout => {
                whiteout(dir, name, there)?;
                if there.is_none() { self.tree.note_whiteout(parent, name) } else { Ok(()) }
            }
            Kind::Directory => {
                let fd = directory(dir, name, there)?;
                if there.as_ref().is_some_and(is_directory) {
                    implied::mention(fd.as_fd())?;
                    metadata::forget_other(fd.as_fd(), entry)?;
                }
                self.stats.skipped_xattrs += metadata::write(fd.as_fd(), entry)?;
                Ok(())
            }
            _ => {
                clear(dir, name, there)?;
                let made = make(dir, name, entry, (content, &mut self.buffer))?;
                self.stats.skipped_xattrs += made.left_out;
                self.stats.stand_in_devices += u64::from(made.stand_in);
                Ok(())
            }
        }
    }

    fn hard_link(&mut self, entry: &Entry, target: &[u8]) -> io::Result<()> {
        if entry.path == target {
            return Ok(());
        }
        let (target_parent, target_name) = split(target);
        let from = self.tree.existing(target_parent)?;
        let (parent, name) = split(&entry.path);
        let dir = self.tree.directory(parent)?;
        // What is linked to must be there before what is replaced goes.
        let linked = statat(&from, target_name, AtFlags::SYMLINK_NOFOLLOW)?;
        if is_whiteout(&linked) {
            return Err(Errno::NOENT.into());
        }
        let there = stat(dir, name)?;
        if there.is_some_and(|there| same_object(&there, &linked)) {
            return Ok(());
        }
        clear(dir, name, there)?;
        Ok(linkat(&from, target_name, dir, name, AtFlags::empty())?)
    }

    pub(super) fn finish(mut self, dest: &Path, lowers: Option<&[PathBuf]>) -> io::Result<()> {
        self.tree.settle()?;
        if let Some(lowers) = lowers
            && self.tree.is_hiding()
        {
            hide_roots(dest, lowers)?;
        }
        implied::finish(self.tree)
    }
}

/// Hides each name in the roots below by itself.
pub(super) fn hide_roots(dest: &Path, lowers: &[PathBuf]) -> io::Result<()> {
    let root = open(dest, directory_flags(), Mode::empty())?;
    let before = fstat(&root)?;
    let layers = Layers::from_bottom(lowers.to_vec()).under(dest);
    for lower in lowers {
        for item in std::fs::read_dir(lower)? {
            let name = item?.file_name();
            if layers.look(name.as_bytes())? != Seen::Absent {
                let there = stat(root.as_fd(), name.as_bytes())?;
                whiteout(root.as_fd(), name.as_bytes(), there)?;
            }
        }
    }
    Ok(futimens(&root, &metadata::times_of(&before))?)
}

/// Hides what the layers below have at `name`, not what this layer has.
fn whiteout(dir: BorrowedFd<'_>, name: &[u8], there: Option<Stat>) -> io::Result<()> {
    match there {
        None => Ok(mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))?),
        Some(stat) if is_directory(&stat) => {
            let fd = openat(dir, name, directory_flags(), Mode::empty())?;
            metadata::set(fd.as_fd(), OPAQUE.as_bytes(), b"y")
        }
        // A whiteout already, or a file, which hides what is below by being there.
        Some(_) => Ok(()),
    }
}

/// Opens the directory `name`, made when missing.
fn directory(dir: BorrowedFd<'_>, name: &[u8], there: Option<Stat>) -> io::Result<OwnedFd> {
    let is_there = there.as_ref().is_some_and(is_directory);
    if !is_there {
        clear(dir, name, there)?;
        mkdirat(dir, name, Mode::RWXU)?;
    }
    let fd = openat(dir, name, directory_flags(), Mode::empty())?;
    if there.as_ref().is_some_and(is_whiteout) {
        metadata::set(fd.as_fd(), OPAQUE.as_bytes(), b"y")?;
    }
    Ok(fd)
}

/// Removes what an earlier entry of the same layer made at `name`.
fn clear(dir: BorrowedFd<'_>, name: &[u8], there: Option<Stat>) -> io::Result<()> {
    match there {
        None => Ok(()),
        Some(stat) if is_directory(&stat) => remove_at(dir, name),
        Some(_) => Ok(unlinkat(dir, name, AtFlags::empty())?),
    }
}

#[derive(Default)]
struct Made {
    left_out: u64,
    stand_in: bool,
}

/// Makes a file, a link, a device or a pipe at the free `name`.
fn make(
    dir: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    (content, buffer): (&mut dyn Read, &mut [u8]),
) -> io::Result<Made> {
    match &entry.kind {
        Kind::File { size } => {
            let fd = create(dir, name)?;
            copy(content, fd.as_fd(), *size, buffer)?;
            let left_out = metadata::write(fd.as_fd(), entry)?;
            return Ok(Made { left_out, stand_in: false });
        }
        Kind::Symlink { target } => symlinkat(target.as_slice(), dir, name)?,
        Kind::Fifo => mknodat(dir, name, FileType::Fifo, Mode::empty(), 0)?,
        Kind::CharDevice { major, minor } => {
            return device(dir, name, entry, ('c', *major, *minor));
        }
        Kind::BlockDevice { major, minor } => {
            return device(dir, name, entry, ('b', *major, *minor));
        }
        Kind::Directory | Kind::HardLink { .. } | Kind::Whiteout | Kind::Opaque => {
            unreachable!("the callers have dealt with these kinds")
        }
    }
    metadata::write_at(dir, name, entry)?;
    Ok(Made::default())
}

/// Makes an empty file that stands in for a device. A user namespace cannot make devices, and a
/// layer's directory is the same on all rungs; besides, character device 0:0 would be a deletion.
fn device(
    dir: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    (letter, major, minor): (char, u32, u32),
) -> io::Result<Made> {
    let fd = create(dir, name)?;
    let value = format!("{letter} {major} {minor}");
    metadata::set(fd.as_fd(), STAND_IN.as_bytes(), value.as_bytes())?;
    let left_out = metadata::write(fd.as_fd(), entry)?;
    Ok(Made { left_out, stand_in: true })
}

/// Makes a file where nothing is, which is the rule; `None` where something is.
fn create_new(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<OwnedFd>> {
    match create(dir, name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        created => created.map(Some),
    }
}

fn create(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?)
}

fn copy(
    content: &mut dyn Read,
    to: BorrowedFd<'_>,
    size: u64,
    buffer: &mut [u8],
) -> io::Result<()> {
    let mut written = 0;
    loop {
        let count = content.read(buffer)?;
        if count == 0 {
            break;
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let count = rustix::io::write(to, rest)?;
            rest = &rest[count..];
        }
        written += count as u64;
    }
    // The wire already refuses content of another length.
    if written == size { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn stat(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Stat>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn same_object(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}
