//! What a layer needs the layers below it for: the directories that it implies, and whether its
//! whiteouts hide anything.
//!
//! A layer may have `usr/bin/tool` without `usr`: an overlay then shows the metadata of this
//! layer's `usr`, so it must be what the merged view below has. To unpack layers side by side, such
//! a directory is marked with an attribute, its path goes to a journal beside the layer's
//! directory, and [`settle`] gives it its metadata when the layers below are finished.
//!
//! The attribute decides: it goes away with the directory, and when the layer mentions the
//! directory after all. The journal only spares a walk through the whole tree; it is a file because
//! nothing in memory may grow with a layer.
//!
//! A whiteout that hides nothing does harm: in a directory that no other layer has, an overlay does
//! not look for whiteouts when it lists the names, so there is a name that cannot be looked at, and
//! the directory cannot be removed. What is hidden is known for certain at the end only, as a
//! directory may turn opaque after its whiteouts; so these are written down too, also when the
//! layers below are there, and the void ones are removed then. Opaque marks that hide nothing do no
//! harm: such a directory is listed as it is.
//!
//! Format of the journal, private to one run of the program: for each directory or whiteout the
//! length of its path (32 bits, little-endian, with [`WHITEOUT`] set for the latter) and the path;
//! [`ALL_HIDDEN`] as a length when the root is opaque.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, fremovexattr, fstat, futimens, open, openat, statat, unlinkat};
use rustix::io::Errno;

use super::lowers::{Layers, Seen, is_whiteout};
use super::metadata::{self, IMPLIED, OPAQUE, times_of};
use super::tree::{Below, Tree, components, directory_flags, inherit, split};
use super::unpack::hide_roots;
use crate::wire::{Failure, OrFail as _};

/// In place of a length: everything below the layer is hidden.
const ALL_HIDDEN: u32 = u32::MAX;
/// In a length: the path is a whiteout's.
const WHITEOUT: u32 = 1 << 31;
/// No longer path comes over the wire.
const MAX_PATH: u32 = 64 << 10;

/// The paths of marked directories, on their way to a file.
#[derive(Debug)]
pub(super) struct Journal(BufWriter<File>);

impl Journal {
    /// Makes the journal of the layer directory `dest`.
    pub(super) fn create(dest: &Path) -> io::Result<Self> {
        let file = File::options().write(true).create_new(true).open(path_for(dest))?;
        Ok(Self(BufWriter::new(file)))
    }

    /// Makes a journal for this process only: it has no name from the beginning.
    fn nameless(dest: &Path) -> io::Result<Self> {
        let path = path_for(dest);
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(path)?;
        Ok(Self(BufWriter::new(file)))
    }

    /// Marks the new directory and writes its path down.
    pub(super) fn imply(&mut self, fd: BorrowedFd<'_>, path: &[u8]) -> io::Result<()> {
        inherit(fd, &Seen::Absent)?;
        metadata::set(fd, IMPLIED.as_bytes(), b"y")?;
        self.write(path, 0)
    }

    /// Writes down that there is a whiteout at `path`.
    pub(super) fn whiteout(&mut self, path: &[u8]) -> io::Result<()> {
        self.write(path, WHITEOUT)
    }

    fn write(&mut self, path: &[u8], flag: u32) -> io::Result<()> {
        let length = u32::try_from(path.len()).ok().filter(|length| *length <= MAX_PATH);
        let length = length.ok_or(Errno::NAMETOOLONG)?;
        self.0.write_all(&(length | flag).to_le_bytes())?;
        self.0.write_all(path)
    }

    /// Ends the journal.
    pub(super) fn finish(mut self, hides_all: bool) -> io::Result<()> {
        if hides_all {
            self.0.write_all(&ALL_HIDDEN.to_le_bytes())?;
        }
        self.0.flush()
    }
}

/// The whiteouts of a layer whose layers below are there.
#[derive(Debug)]
pub(super) struct Whiteouts {
    dest: PathBuf,
    /// Made with the first one; most layers have none.
    journal: Option<Journal>,
}

impl Whiteouts {
    /// None yet, of the layer directory `dest`.
    pub(super) fn none(dest: &Path) -> Self {
        Self { dest: dest.to_owned(), journal: None }
    }

    /// Notes that there is one at `path`.
    pub(super) fn note(&mut self, path: &[u8]) -> io::Result<()> {
        let journal = match self.journal.take() {
            Some(journal) => journal,
            None => Journal::nameless(&self.dest)?,
        };
        self.journal.insert(journal).whiteout(path)
    }

    /// Removes those that hide nothing of `below`.
    pub(super) fn remove_void(self, below: &Layers) -> io::Result<()> {
        let Some(journal) = self.journal else { return Ok(()) };
        let mut file = journal.0.into_inner().map_err(io::IntoInnerError::into_error)?;
        let root = open(&self.dest, directory_flags(), Mode::empty())?;
        remove_void(&mut file, &root, below)
    }
}

/// Takes the mark from a directory that the layer mentions after all.
pub(super) fn mention(fd: BorrowedFd<'_>) -> io::Result<()> {
    take_mark(fd).map(drop)
}

/// Whether a directory hides what lies below it.
pub(super) fn is_opaque(fd: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(metadata::internal(fd, OPAQUE)?.as_deref() == Some(b"y"))
}

/// Gives the layer directory `dest` what it takes from the finished layers below, `lowers`.
pub(super) fn settle(dest: &Path, lowers: Vec<PathBuf>) -> Result<(), Failure> {
    let journal = path_for(dest);
    let action = || format!("cannot finish layer directory {}", dest.display());
    let root = open(dest, directory_flags(), Mode::empty()).or_fail(action)?;
    let below = Layers::from_bottom(lowers.clone());
    let mut reader = File::open(&journal).map(BufReader::new).or_fail(action)?;
    while let Some(record) = next(&mut reader).or_fail(action)? {
        match record {
            Record::Directory(path) => give(&root, &path, &below).or_fail(|| {
                let path = String::from_utf8_lossy(&path);
                format!("cannot finish {path:?} in {}", dest.display())
            })?,
            Record::Whiteout(_) => {}
            Record::AllHidden => hide_roots(dest, &lowers).or_fail(action)?,
        }
    }
    // Only now it is certain which directories are opaque.
    remove_void(&mut reader.into_inner(), &root, &below).or_fail(action)?;
    std::fs::remove_file(&journal).or_fail(action)
}

/// Removes the whiteouts in a whole journal that hide nothing.
fn remove_void(journal: &mut File, root: &OwnedFd, below: &Layers) -> io::Result<()> {
    journal.rewind()?;
    let mut reader = BufReader::new(journal);
    while let Some(record) = next(&mut reader)? {
        if let Record::Whiteout(path) = record {
            remove_if_void(root, &path, below)?;
        }
    }
    Ok(())
}

/// Removes the whiteout at `path`, if it is still there and hides nothing.
fn remove_if_void(root: &OwnedFd, path: &[u8], below: &Layers) -> io::Result<()> {
    let (parent, name) = split(path);
    let Some((dir, is_alone)) = find(root, parent)? else { return Ok(()) };
    if !is_alone && below.look(path)? != Seen::Absent {
        return Ok(());
    }
    match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if is_whiteout(&stat) => {}
        Ok(_) | Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    }
    let before = fstat(&dir)?;
    unlinkat(&dir, name, AtFlags::empty())?;
    Ok(futimens(&dir, &times_of(&before))?)
}

enum Record {
    Directory(Vec<u8>),
    Whiteout(Vec<u8>),
    AllHidden,
}

fn next(journal: &mut impl Read) -> io::Result<Option<Record>> {
    let mut length = [0; 4];
    match journal.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let word = u32::from_le_bytes(length);
    let length = match word & !WHITEOUT {
        _ if word == ALL_HIDDEN => return Ok(Some(Record::AllHidden)),
        length if length > MAX_PATH => return Err(io::ErrorKind::InvalidData.into()),
        length => length as usize,
    };
    let mut path = vec![0; length];
    journal.read_exact(&mut path)?;
    let is_whiteout = word & WHITEOUT != 0;
    Ok(Some(if is_whiteout { Record::Whiteout(path) } else { Record::Directory(path) }))
}

/// Gives the directory `path` what lies below it, if it is still the one that was marked.
fn give(root: &OwnedFd, path: &[u8], below: &Layers) -> io::Result<()> {
    let Some((fd, _)) = find(root, path)? else { return Ok(()) };
    if take_mark(fd.as_fd())? {
        inherit(fd.as_fd(), &below.look(path)?)?;
    }
    Ok(())
}

/// Opens the directory `path`, through nothing but directories; `None` when it is gone. With it
/// comes whether it, or one above it, hides what lies below.
fn find(root: &OwnedFd, path: &[u8]) -> io::Result<Option<(OwnedFd, bool)>> {
    let (mut fd, mut is_alone) = (root.try_clone()?, false);
    for name in components(path) {
        fd = match openat(&fd, &name, directory_flags(), Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        is_alone = is_alone || is_opaque(fd.as_fd())?;
    }
    Ok(Some((fd, is_alone)))
}

fn take_mark(fd: BorrowedFd<'_>) -> io::Result<bool> {
    match fremovexattr(fd, IMPLIED) {
        Ok(()) => Ok(true),
        Err(Errno::NODATA) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The journal lies beside the layer's directory and never in it.
fn path_for(dest: &Path) -> PathBuf {
    let mut name = dest.as_os_str().to_owned();
    name.push(".implied");
    name.into()
}

/// Ends what the tree has written down so far; with the layers below there, uses it.
pub(super) fn finish(tree: Tree) -> io::Result<()> {
    let hides_all = tree.is_hiding();
    match tree.into_below() {
        Below::Later(journal) => journal.finish(hides_all),
        Below::There(layers, whiteouts) => whiteouts.remove_void(&layers),
    }
}
