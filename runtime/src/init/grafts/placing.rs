//! Where a step sees what it is to see, before and after it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, RenameFlags, Stat, Uid, chownat, fchmod, fstat, futimens,
    mkdirat, open, openat, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::super::GRAFTS;
use super::super::layering::clear;
use super::super::metadata::{times, times_of};
use super::super::mounts::{self, Placed, mismatch, refused};
use super::super::notify::GivenFile;
use super::super::removal;
use super::super::tree::{components, directory_flags, is_empty, split};
use super::caches;
use super::sources::{self, Source};
use crate::mount::{Owner, Secret};
use crate::wire::{Failure, OrFail as _, RunOrder};

/// Everything that was moved into a tree, in that order.
#[derive(Debug)]
pub(in super::super) struct Grafts<'a> {
    scratch: &'a Path,
    placed: Vec<Graft>,
    given: Vec<Given<'a>>,
}

/// One thing that was moved into a tree.
#[derive(Debug)]
struct Graft {
    target: PathBuf,
    /// The directory that it is in, wherever the step moves it.
    parent: OwnedFd,
    name: Vec<u8>,
    /// The thing itself.
    content: OwnedFd,
    /// Where it goes back to; without, it is removed.
    home: Option<PathBuf>,
    /// What the image has in its place, if it has anything.
    aside: Option<PathBuf>,
    /// Directories that were made on the way, outer ones first.
    stubs: Vec<Stub>,
}

#[derive(Debug)]
struct Stub {
    parent: OwnedFd,
    name: Vec<u8>,
    fd: OwnedFd,
}

/// A file whose content is nowhere in the tree.
#[derive(Debug)]
struct Given<'a> {
    /// As the step was told, and without links.
    paths: [PathBuf; 2],
    content: &'a Secret,
    owner: Owner,
}

impl<'a> Grafts<'a> {
    /// Makes what the mounts of a step show, and moves it into the tree `root`.
    pub(in super::super) fn put(root: &Path, order: &'a RunOrder) -> Result<Self, Failure> {
        let mut grafts = Self { scratch: &order.scratch, placed: Vec::new(), given: Vec::new() };
        if order.mounts.is_empty() {
            return Ok(grafts);
        }
        let dir = order.scratch.join(GRAFTS);
        let (taken, sources): (Vec<_>, Vec<_>) = sources::make(order, &dir)?.into_iter().unzip();
        let action = || format!("cannot open {}", root.display());
        let root = open(root, directory_flags(), Mode::empty()).or_fail(action)?;
        // What the image lacks is made on the way to each place.
        let (placed, _) = mounts::place(taken, root.as_fd())?;
        for (at, (placed, source)) in placed.into_iter().zip(sources).enumerate() {
            grafts.graft(root.as_fd(), placed, source, dir.join(format!("{at}-aside")))?;
        }
        Ok(grafts)
    }

    fn graft(
        &mut self,
        root: BorrowedFd<'_>,
        placed: Placed,
        source: Source<'a>,
        aside: PathBuf,
    ) -> Result<(), Failure> {
        let Placed { target, path, mount, point, .. } = placed;
        if let Some((content, owner)) = source.given {
            let paths = [target.clone(), Path::new("/").join(OsStr::from_bytes(&path))];
            self.given.push(Given { paths, content, owner });
        }
        let action = || format!("cannot put {} into the step's root", target.display());
        let (way, name) = split(&path);
        let (parent, stubs) = way_to(root, way).or_fail(action)?;
        let before = fstat(&parent).or_fail(action)?;
        let covered = look(parent.as_fd(), name).or_fail(action)?;
        if let Some(stat) = &covered {
            // What is in the step's /dev was not looked at yet.
            mismatch(point, FileType::from_raw_mode(stat.st_mode))
                .map_or(Ok(()), |reason| Err(refused(&target, reason)))?;
        }
        let moved = || -> io::Result<()> {
            caches::note(self.scratch, source.home.as_deref(), &path)?;
            if covered.is_some() {
                renameat(&parent, name, CWD, &aside)?;
            }
            renameat(CWD, &source.path, &parent, name)?;
            Ok(futimens(&parent, &times_of(&before))?)
        };
        moved().or_fail(action)?;
        let aside = covered.map(|_| aside);
        let (name, home) = (name.to_vec(), source.home);
        self.placed.push(Graft { target, parent, name, content: mount, home, aside, stubs });
        Ok(())
    }

    /// The files whose content is given to the step.
    pub(in super::super) fn given(&self) -> Vec<GivenFile<'_>> {
        let files = self.given.iter().flat_map(|given| {
            let [told, real] = &given.paths;
            let paths = std::iter::once(told).chain((real != told).then_some(real));
            let Owner { uid, gid, mode } = given.owner;
            let content = given.content.bytes();
            paths.map(move |path| GivenFile { path, content, mode, uid, gid })
        });
        files.collect()
    }

    /// Takes everything out of the tree, after the step, and puts back what the image has.
    pub(in super::super) fn take_away(self) -> Result<(), Failure> {
        if self.placed.is_empty() {
            return Ok(());
        }
        for graft in self.placed.iter().rev() {
            let target = graft.target.display();
            graft.take_away().or_fail(|| format!("cannot take {target} away after the step"))?;
        }
        caches::forget(self.scratch).or_fail(|| "cannot remove the list of mounts".into())?;
        removal::remove(&self.scratch.join(GRAFTS))
    }
}

impl Graft {
    fn take_away(&self) -> io::Result<()> {
        if let Some(now) = self.find()? {
            now.keeping_times(|| match &self.home {
                Some(home) => go_home(&now, home),
                None => clear(now.parent.as_fd(), &now.name),
            })?;
        }
        if fstat(&self.parent)?.st_nlink > 0 {
            let place = At { parent: self.parent.try_clone()?, name: self.name.clone() };
            place.keeping_times(|| {
                clear(place.parent.as_fd(), &place.name)?;
                match &self.aside {
                    Some(aside) => Ok(renameat(CWD, aside, &place.parent, place.name.as_slice())?),
                    None => Ok(()),
                }
            })?;
        }
        self.stubs.iter().rev().try_for_each(Stub::take_away)
    }

    /// Where the step has left it; nothing when it was removed.
    fn find(&self) -> io::Result<Option<At>> {
        let own = fstat(&self.content)?;
        if own.st_nlink == 0 {
            return Ok(None);
        }
        let place = At { parent: self.parent.try_clone()?, name: self.name.clone() };
        if place.is(&own)? {
            return Ok(Some(place));
        }
        // The kernel knows its path. Nobody of the step is there to change it meanwhile.
        let path = fs::read_link(format!("/proc/self/fd/{}", self.content.as_raw_fd()))?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(None);
        };
        let Ok(parent) = open(parent, directory_flags(), Mode::empty()) else { return Ok(None) };
        let place = At { parent, name: name.as_bytes().to_vec() };
        Ok(if place.is(&own)? { Some(place) } else { None })
    }
}

/// A name in a directory.
struct At {
    parent: OwnedFd,
    name: Vec<u8>,
}

impl At {
    fn is(&self, own: &Stat) -> io::Result<bool> {
        let there = look(self.parent.as_fd(), &self.name)?;
        Ok(there.is_some_and(|there| (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)))
    }

    /// Does something to the directory that does not change its times.
    fn keeping_times(&self, does: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let left = fstat(&self.parent)?;
        does()?;
        Ok(futimens(&self.parent, &times_of(&left))?)
    }
}

fn go_home(now: &At, home: &Path) -> io::Result<()> {
    match renameat_with(&now.parent, now.name.as_slice(), CWD, home, RenameFlags::NOREPLACE) {
        Ok(()) => caches::part(home),
        // Somebody who did not wait for it has made another one.
        Err(Errno::EXIST) => clear(now.parent.as_fd(), &now.name),
        Err(errno) => Err(errno.into()),
    }
}

impl Stub {
    /// Removes the directory unless it is the step's by now.
    fn take_away(&self) -> io::Result<()> {
        let stat = fstat(&self.fd)?;
        let as_made = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid) == (0o755, 0, 0)
            && (stat.st_mtime, stat.st_mtime_nsec) == (0, 0);
        let place = At { parent: self.parent.try_clone()?, name: self.name.clone() };
        if stat.st_nlink == 0 || !as_made || !is_empty(&self.fd)? || !place.is(&stat)? {
            return Ok(());
        }
        let remove = || unlinkat(&self.parent, self.name.as_slice(), AtFlags::REMOVEDIR);
        place.keeping_times(|| Ok(remove()?))
    }
}

/// Opens the directory `path`, which has no links; what is missing is made.
fn way_to(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<(OwnedFd, Vec<Stub>)> {
    let mut dir = openat(root, ".", directory_flags(), Mode::empty())?;
    let mut stubs = Vec::new();
    for name in components(path) {
        dir = match openat(&dir, &name, directory_flags(), Mode::empty()) {
            Ok(inner) => inner,
            Err(Errno::NOENT) => {
                let before = fstat(&dir)?;
                let inner = make_stub(dir.as_fd(), &name)?;
                futimens(&dir, &times_of(&before))?;
                stubs.push(Stub { parent: dir, name, fd: inner.try_clone()? });
                inner
            }
            Err(errno) => return Err(errno.into()),
        };
    }
    Ok((dir, stubs))
}

fn make_stub(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    mkdirat(dir, name, Mode::RWXU)?;
    // A setgid directory passes its group on.
    chownat(dir, name, Some(Uid::ROOT), Some(Gid::ROOT), AtFlags::SYMLINK_NOFOLLOW)?;
    let made = openat(dir, name, directory_flags(), Mode::empty())?;
    fchmod(&made, Mode::from_raw_mode(0o755))?;
    futimens(&made, &times(0))?;
    Ok(made)
}

fn look(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Stat>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
