//! Finds and makes the directories of a layer that is being unpacked.
//!
//! Every step is relative to an open directory, by one component, without following links. A
//! symbolic link in the middle of a path is resolved by hand within the root, as in a chroot, which
//! is what other unpackers do; `..` at the root stays there. Nobody else changes the tree meanwhile.
//!
//! Directories that the layer needs but does not mention take their metadata from the layers below.
//! Where those are not there yet, such a directory is marked and written down (see `implied`).
//!
//! Invariant: between two entries all directories but the one in `current` have their final
//! modification time; so no list of directories needs to be kept until the end.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid, fchmod, fchown, fstat, futimens, mkdirat,
    open, openat, readlinkat, statat, unlinkat,
};
use rustix::io::Errno;

use super::implied::{self, Journal, Whiteouts};
use super::lowers::{Layers, Seen, is_whiteout};
use super::metadata::{self, OPAQUE, copy_directory, times_of};

/// As many links as the kernel follows in one path.
const MAX_LINKS: usize = 40;
/// Mode of directories that neither the layer nor those below mention.
const DEFAULT_MODE: Mode = Mode::from_raw_mode(0o755);

/// The directory of a layer that is being unpacked.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
    below: Below,
    /// Nothing below this layer is visible, whatever there is.
    hidden: bool,
    current: Option<Current>,
}

/// What is known of the layers below.
#[derive(Debug)]
pub(super) enum Below {
    /// All of them.
    There(Layers, Whiteouts),
    /// Nothing yet; what will be needed of them is written down.
    Later(Journal),
}

/// The directory in which entries are being made, and the time it shall have.
#[derive(Debug)]
struct Current {
    path: Vec<u8>,
    /// The same without links.
    resolved: Vec<u8>,
    fd: OwnedFd,
    stat: Stat,
}

/// Where a walk has got to.
#[derive(Debug)]
struct Place {
    fd: OwnedFd,
    /// Without links.
    path: Vec<u8>,
}

impl Tree {
    /// Makes the new directory `dest`, which gets what the topmost root below has.
    pub(super) fn create(dest: &Path, mut below: Below) -> io::Result<Self> {
        mkdirat(CWD, dest, Mode::RWXU)?;
        let root = open(dest, directory_flags(), Mode::empty())?;
        // In a volume with a group this directory has that group now, and where the group is not
        // mapped, nothing but this may be done to it.
        fchown(&root, None, Some(Gid::ROOT))?;
        match &mut below {
            Below::There(layers, _) => inherit(root.as_fd(), &layers.look(b"")?)?,
            Below::Later(journal) => journal.imply(root.as_fd(), b"")?,
        }
        Ok(Self { root, below, hidden: false, current: None })
    }

    /// Nothing that lies below is visible from now on.
    pub(super) fn hide_below(&mut self) {
        self.hidden = true;
    }

    /// Whether everything below is hidden.
    pub(super) fn is_hiding(&self) -> bool {
        self.hidden
    }

    /// What is still to be taken from the layers below.
    pub(super) fn into_below(self) -> Below {
        self.below
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens the directory `path`, making what is missing.
    pub(super) fn directory(&mut self, path: &[u8]) -> io::Result<BorrowedFd<'_>> {
        if self.current.as_ref().is_none_or(|current| current.path != path) {
            self.settle()?;
            let place = self.walk(path, true)?;
            let (stat, resolved) = (fstat(&place.fd)?, place.path);
            self.current = Some(Current { path: path.to_vec(), resolved, fd: place.fd, stat });
        }
        let current = self.current.as_ref().expect("was just set");
        Ok(current.fd.as_fd())
    }

    /// Notes that there is a whiteout `name` in the directory `path`.
    pub(super) fn note_whiteout(&mut self, path: &[u8], name: &[u8]) -> io::Result<()> {
        self.directory(path)?;
        let current = self.current.as_ref().expect("was just opened");
        let path = join(&current.resolved, name);
        match &mut self.below {
            Below::There(_, whiteouts) => whiteouts.note(&path),
            Below::Later(journal) => journal.whiteout(&path),
        }
    }

    /// Opens the directory `path` of this layer, which must exist.
    pub(super) fn existing(&mut self, path: &[u8]) -> io::Result<OwnedFd> {
        Ok(self.walk(path, false)?.fd)
    }

    /// Gives the directory that was worked in the time it shall have.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        if let Some(current) = self.current.take() {
            futimens(&current.fd, &times_of(&current.stat))?;
        }
        Ok(())
    }

    fn start(&self) -> io::Result<Place> {
        Ok(Place { fd: self.root.try_clone()?, path: Vec::new() })
    }

    fn walk(&mut self, path: &[u8], make: bool) -> io::Result<Place> {
        let mut place = self.start()?;
        let mut ahead: VecDeque<Vec<u8>> = components(path);
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            if name == b".." {
                place = place.up()?;
                continue;
            }
            match place.open(&name)? {
                Opened::Directory(fd) => place = place.down(fd, &name),
                Opened::Link(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    if target.starts_with(b"/") {
                        place = self.start()?;
                    }
                    for component in components(&target).into_iter().rev() {
                        ahead.push_front(component);
                    }
                }
                Opened::Missing { whiteout } if make => {
                    let fd = self.make(&place, &name, whiteout)?;
                    place = place.down(fd, &name);
                }
                Opened::Missing { .. } => return Err(Errno::NOENT.into()),
                Opened::Other => return Err(Errno::NOTDIR.into()),
            }
        }
        Ok(place)
    }

    /// Makes a directory that the layer needs but does not mention (yet).
    fn make(&mut self, place: &Place, name: &[u8], whiteout: bool) -> io::Result<OwnedFd> {
        let before = fstat(&place.fd)?;
        let path = join(&place.path, name);
        let alone = whiteout || self.hidden || self.is_below_opaque(&place.path)?;
        if whiteout {
            unlinkat(&place.fd, name, AtFlags::empty())?;
        }
        mkdirat(&place.fd, name, Mode::RWXU)?;
        let fd = openat(&place.fd, name, directory_flags(), Mode::empty())?;
        match &mut self.below {
            _ if alone => inherit(fd.as_fd(), &Seen::Absent)?,
            Below::There(layers, _) => inherit(fd.as_fd(), &layers.look(&path)?)?,
            Below::Later(journal) => journal.imply(fd.as_fd(), &path)?,
        }
        if whiteout {
            metadata::set(fd.as_fd(), OPAQUE.as_bytes(), b"y")?;
        }
        futimens(&place.fd, &times_of(&before))?;
        Ok(fd)
    }

    /// Whether the directory `path` of this layer, or one above it, hides what lies below.
    fn is_below_opaque(&self, path: &[u8]) -> io::Result<bool> {
        let mut fd = self.root.try_clone()?;
        for name in components(path) {
            fd = openat(&fd, &name, directory_flags(), Mode::empty())?;
            if implied::is_opaque(fd.as_fd())? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

enum Opened {
    Directory(OwnedFd),
    Link(Vec<u8>),
    Missing { whiteout: bool },
    Other,
}

impl Place {
    fn open(&self, name: &[u8]) -> io::Result<Opened> {
        match openat(&self.fd, name, directory_flags(), Mode::empty()) {
            Ok(fd) => return Ok(Opened::Directory(fd)),
            Err(Errno::NOENT) => return Ok(Opened::Missing { whiteout: false }),
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => return Err(errno.into()),
        }
        let stat = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Ok(Opened::Link(readlinkat(&self.fd, name, Vec::new())?.into_bytes()));
        }
        Ok(if is_whiteout(&stat) { Opened::Missing { whiteout: true } } else { Opened::Other })
    }

    fn down(self, fd: OwnedFd, name: &[u8]) -> Self {
        Self { fd, path: join(&self.path, name) }
    }

    fn up(mut self) -> io::Result<Self> {
        if self.path.is_empty() {
            return Ok(self);
        }
        let end = self.path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        self.path.truncate(end);
        self.fd = openat(&self.fd, "..", directory_flags(), Mode::empty())?;
        Ok(self)
    }
}

/// Gives a directory what the merged view of the layers below has in its place.
pub(super) fn inherit(fd: BorrowedFd<'_>, below: &Seen) -> io::Result<()> {
    match below {
        Seen::Directory(path) => {
            copy_directory(open(path, directory_flags(), Mode::empty())?.as_fd(), fd)
        }
        Seen::Absent | Seen::Other(_) => {
            // A setgid directory passes its group on.
            fchown(fd, Some(Uid::ROOT), Some(Gid::ROOT))?;
            fchmod(fd, DEFAULT_MODE)?;
            // Reproducible, unlike the time of unpacking.
            Ok(futimens(fd, &metadata::times(0))?)
        }
    }
}

pub(super) fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Splits `path` at its last slash.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

pub(super) fn components(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
        .map(<[u8]>::to_vec)
        .collect()
}
