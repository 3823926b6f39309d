//! Where mounts go: their targets in the image, and in each other.

use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};

use super::super::devices::make_read_only;
use super::super::stubs::{Point, Points};
use super::super::tree::{join, split};
use super::sources::{Taken, refused};
use super::walk::{Found, follow, is_below};
use crate::wire::{Failure, OrFail as _};

/// Mounted before anything of the step, and not to be mounted on.
const CLOSED: [&[u8]; 2] = [b"proc", b"sys"];
const DEV: &[u8] = b"dev";

/// A mount that knows its place.
#[derive(Debug)]
pub(in super::super) struct Placed {
    pub(in super::super) target: PathBuf,
    /// Relative to the root of the step, without links.
    pub(in super::super) path: Vec<u8>,
    pub(in super::super) mount: OwnedFd,
    pub(in super::super) point: Point,
    readonly: bool,
}

/// Finds the places of mounts in the image that is seen in `view`; those around others come first.
/// Returns also which mount points the image lacks.
pub(in super::super) fn place(
    taken: Vec<Taken>,
    view: BorrowedFd<'_>,
) -> Result<(Vec<Placed>, Points), Failure> {
    let mut covered: Vec<Vec<u8>> = CLOSED.iter().chain([&DEV]).map(|path| path.to_vec()).collect();
    let (mut placed, mut missing) = (Vec::new(), Points::new());
    for taken in taken {
        let found = follow(&view, taken.target.as_os_str().as_bytes(), &covered)
            .map_err(|error| refused(&taken.target, unfollowed(&error)))?;
        check(&taken, &found, &placed)?;
        let around = placed
            .iter()
            .filter(|outer: &&Placed| is_below(&found.path, &outer.path))
            .max_by_key(|outer| outer.path.len());
        match (around, found.kind) {
            (Some(outer), _) => outer.make_point(&found.path, &taken)?,
            (None, None) if !is_below(&found.path, DEV) => {
                missing.insert(found.path.clone(), taken.point);
            }
            (None, _) => {}
        }
        covered.push(found.path.clone());
        let Taken { target, mount, point, readonly } = taken;
        placed.push(Placed { target, path: found.path, mount, point, readonly });
    }
    for placed in placed.iter().filter(|placed| placed.readonly) {
        make_read_only(&placed.mount)
            .or_fail(|| format!("cannot make {} read-only", placed.target.display()))?;
    }
    Ok((placed, missing))
}

/// Refuses places where nothing of a step can be mounted.
fn check(taken: &Taken, found: &Found, placed: &[Placed]) -> Result<(), Failure> {
    let refused = |reason: String| Err(refused(&taken.target, reason));
    if found.path.is_empty() {
        return refused("it leads to the root of the image".into());
    }
    if let Some(closed) = CLOSED.iter().find(|closed| is_below(&found.path, closed)) {
        return refused(format!("nothing can be mounted in /{}", closed.escape_ascii()));
    }
    if found.path == DEV {
        return refused("nothing can be mounted over /dev".into());
    }
    if let Some(same) = placed.iter().find(|other| other.path == found.path) {
        return refused(format!("it is the same place as {}", same.target.display()));
    }
    match found.kind.and_then(|kind| mismatch(taken.point, kind)) {
        Some(reason) => refused(reason.to_owned()),
        None => Ok(()),
    }
}

/// Why something cannot be mounted on what the image has.
pub(in super::super) fn mismatch(point: Point, there: FileType) -> Option<&'static str> {
    match (point, there == FileType::Directory) {
        (Point::File, true) => {
            Some("it is a directory of the image, but a file is to be mounted there")
        }
        (Point::Directory, false) => {
            Some("it is a file of the image, but a directory is to be mounted there")
        }
        (Point::File, false) | (Point::Directory, true) => None,
    }
}

impl Placed {
    /// Makes what `inner`, whose place is `path`, is mounted on, inside of this mount.
    fn make_point(&self, path: &[u8], inner: &Taken) -> Result<(), Failure> {
        let inside = path[self.path.len()..].strip_prefix(b"/").unwrap_or_default();
        let failed = |error: io::Error| {
            let reason = unfollowed(&error);
            let outer = self.target.display();
            refused(&inner.target, format!("it cannot be made in the mount at {outer}: {reason}"))
        };
        if self.point == Point::File {
            return Err(failed(Errno::NOTDIR.into()));
        }
        let found = follow(&self.mount.as_fd(), inside, &[]).map_err(failed)?;
        if found.path != inside {
            // Behind a link, it would be a place in another tree than the one that is seen then.
            return Err(failed(io::Error::other("a link of the mount is on the way")));
        }
        match (inner.point, found.kind) {
            (Point::Directory, Some(FileType::Directory)) => Ok(()),
            (Point::File, Some(kind)) if kind != FileType::Directory => Ok(()),
            (Point::Directory, Some(_)) => Err(failed(Errno::NOTDIR.into())),
            (Point::File, Some(_)) => Err(failed(Errno::ISDIR.into())),
            (_, None) => make(self.mount.as_fd(), inside, inner.point).map_err(failed),
        }
    }

    /// Puts the mount into the root, which is this process's by now.
    pub(in super::super) fn attach(self) -> Result<(), Failure> {
        let path = Path::new("/").join(OsStr::from_bytes(&self.path));
        let action = || format!("cannot mount {}", self.target.display());
        if is_below(&self.path, DEV) && !path.exists() {
            make_in_dev(&path, self.point).or_fail(action)?;
        }
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&self.mount, "", CWD, &path, flags).or_fail(action)
    }
}

/// Makes a mount point and the directories around it.
fn make(root: BorrowedFd<'_>, path: &[u8], point: Point) -> io::Result<()> {
    let (parents, _) = split(path);
    let mut made = Vec::new();
    let directory = if point == Point::Directory { path } else { parents };
    for name in directory.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        made = join(&made, name);
        match mkdirat(root, made.as_slice(), Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    if point == Point::File {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        openat(root, path, flags, Mode::from_raw_mode(0o644))?;
    }
    Ok(())
}

/// Makes a mount point in the step's own `/dev`, which has no links but those to `/proc`.
fn make_in_dev(path: &Path, point: Point) -> io::Result<()> {
    let directory = match point {
        Point::Directory => path,
        Point::File => path.parent().unwrap_or(path),
    };
    DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    if point == Point::File {
        std::fs::File::create_new(path)?;
    }
    Ok(())
}

/// Why a path could not be followed, for who wrote it.
fn unfollowed(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotADirectory => "a file is on the way".to_owned(),
        io::ErrorKind::IsADirectory => "a directory is there".to_owned(),
        _ if error.raw_os_error() == Some(libc::ELOOP) => "its links never end".to_owned(),
        _ => error.to_string(),
    }
}
