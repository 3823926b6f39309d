//! Directories that a layer implies, when the layers below it are not there yet.
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
//! Format of the journal, private to one run of the program: for each directory the length of its
//! path (32 bits, little-endian) and the path; [`ALL_HIDDEN`] as a length when the root is opaque.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fremovexattr, open, openat};
use rustix::io::Errno;

use super::lowers::{Layers, Seen};
use super::metadata::{self, IMPLIED, OPAQUE};
use super::tree::{Below, Tree, components, directory_flags, inherit};
use super::unpack::hide_roots;
use crate::wire::{Failure, OrFail as _};

/// In place of a length: everything below the layer is hidden.
const ALL_HIDDEN: u32 = u32::MAX;
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

    /// Marks the new directory and writes its path down.
    pub(super) fn imply(&mut self, fd: BorrowedFd<'_>, path: &[u8]) -> io::Result<()> {
        inherit(fd, &Seen::Absent)?;
        metadata::set(fd, IMPLIED.as_bytes(), b"y")?;
        let length = u32::try_from(path.len()).ok().filter(|length| *length <= MAX_PATH);
        let length = length.ok_or(Errno::NAMETOOLONG)?;
        self.0.write_all(&length.to_le_bytes())?;
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
            Record::AllHidden => hide_roots(dest, &lowers).or_fail(action)?,
        }
    }
    std::fs::remove_file(&journal).or_fail(action)
}

enum Record {
    Directory(Vec<u8>),
    AllHidden,
}

fn next(journal: &mut impl Read) -> io::Result<Option<Record>> {
    let mut length = [0; 4];
    match journal.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let length = match u32::from_le_bytes(length) {
        ALL_HIDDEN => return Ok(Some(Record::AllHidden)),
        length if length > MAX_PATH => return Err(io::ErrorKind::InvalidData.into()),
        length => length as usize,
    };
    let mut path = vec![0; length];
    journal.read_exact(&mut path)?;
    Ok(Some(Record::Directory(path)))
}

/// Gives the directory `path` what lies below it, if it is still the one that was marked.
fn give(root: &OwnedFd, path: &[u8], below: &Layers) -> io::Result<()> {
    let Some(fd) = find(root, path)? else { return Ok(()) };
    if take_mark(fd.as_fd())? {
        inherit(fd.as_fd(), &below.look(path)?)?;
    }
    Ok(())
}

/// Opens the directory `path`, through nothing but directories; `None` when it is gone.
fn find(root: &OwnedFd, path: &[u8]) -> io::Result<Option<OwnedFd>> {
    let mut fd = root.try_clone()?;
    for name in components(path) {
        fd = match openat(&fd, &name, directory_flags(), Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
    }
    Ok(Some(fd))
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

/// What the tree has written down so far, ended.
pub(super) fn finish(tree: Tree) -> io::Result<()> {
    let hides_all = tree.is_hiding();
    match tree.into_below() {
        Below::Later(journal) => journal.finish(hides_all),
        Below::There(_) => Ok(()),
    }
}
