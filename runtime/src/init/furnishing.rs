//! What a step needs in its root and the layer must not have: `/dev`, `/proc`, `/sys` and the
//! private files of `/etc`; for steps that run in a root tree without any mount.
//!
//! What the image has in those places is moved aside before the step, into a directory that the
//! step cannot reach, and moved back when its last process has ended. Directories that this
//! touches keep the times that the image, and then the step, gave them.
//!
//! Kernel-made content of `/proc` is not here, nor devices where the pod may not make nodes:
//! whoever answers the step's `open` calls serves those paths.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, fchmod, fchown, fstat, futimens,
    makedev, mkdirat, mknodat, open, openat, renameat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::changes::Ignored;
use super::copying::write_all;
use super::layering::clear;
use super::lowers::{Layers, Seen};
use super::metadata::{times, times_of};
use super::private_files;
use super::tree::{directory_flags, is_empty};
use crate::wire::{Failure, OrFail as _};

/// Directories of the step's own, with their modes.
const OWN: [(&str, u32); 3] = [("dev", 0o755), ("proc", 0o555), ("sys", 0o555)];
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
];
const DIRECTORIES: [(&str, u32); 3] = [("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)];

/// A furnished root tree.
#[derive(Debug)]
pub(super) struct Furniture {
    root: OwnedFd,
    /// Where the image's own things are meanwhile.
    aside: OwnedFd,
    etc: Option<Etc>,
}

/// The `/etc` that has private files in it, wherever the step moves it.
#[derive(Debug)]
struct Etc {
    fd: OwnedFd,
    /// The image has none.
    is_stub: bool,
}

/// The paths whose changes are not the step's, given the layers that the tree is made of.
pub(super) fn ignored(layers: &Layers) -> io::Result<Ignored> {
    let mut paths: Vec<Vec<u8>> = OWN.iter().map(|(name, _)| name.as_bytes().to_vec()).collect();
    if matches!(layers.look(b"etc")?, Seen::Absent | Seen::Directory(_)) {
        paths.extend(private_files::NAMES.map(|name| format!("etc/{name}").into_bytes()));
    }
    Ok(Ignored::new(paths))
}

impl Furniture {
    /// Furnishes the tree `root`; `aside` is a new directory beside it.
    pub(super) fn put(root: &Path, aside: &Path, hostname: &str) -> Result<Self, Failure> {
        let action = || format!("cannot furnish {}", root.display());
        let opened = std::fs::create_dir(aside).and_then(|()| {
            let root = open(root, directory_flags(), Mode::empty())?;
            Ok((root, open(aside, directory_flags(), Mode::empty())?))
        });
        let (root, aside) = opened.or_fail(action)?;
        let mut furniture = Self { root, aside, etc: None };
        furniture.furnish(hostname).or_fail(action)?;
        Ok(furniture)
    }

    fn furnish(&mut self, hostname: &str) -> io::Result<()> {
        let root = self.root.as_fd();
        let before = fstat(root)?;
        for (name, mode) in OWN {
            move_there(root, self.aside.as_fd(), name)?;
            make_directory(root, name, mode)?;
        }
        fill_dev(openat(root, "dev", directory_flags(), Mode::empty())?.as_fd())?;
        if let Some(etc) = Etc::find(root)? {
            etc.furnish(self.aside.as_fd(), hostname)?;
            self.etc = Some(etc);
        }
        Ok(futimens(root, &times_of(&before))?)
    }

    /// Takes the furniture away, after the step, and puts back what the image has.
    pub(super) fn take_away(self, aside: &Path) -> Result<(), Failure> {
        let restored = self.restore();
        restored.or_fail(|| "cannot put the root back in order after the step".into())?;
        // What the step has removed the place of is still there, and goes with the scratch.
        let _ = std::fs::remove_dir(aside);
        Ok(())
    }

    fn restore(&self) -> io::Result<()> {
        let root = self.root.as_fd();
        let left = fstat(root)?;
        for (name, _) in OWN {
            clear(root, name.as_bytes())?;
            move_there(self.aside.as_fd(), root, name)?;
        }
        if let Some(etc) = &self.etc {
            etc.clear()?;
            if let Some(place) = etc.place(root)? {
                put_back(self.aside.as_fd(), place.as_fd())?;
            }
            if etc.is_stub && etc.is_untouched()? && same(root, &etc.fd)? {
                unlinkat(root, "etc", AtFlags::REMOVEDIR)?;
            }
        }
        Ok(futimens(root, &times_of(&left))?)
    }
}

impl Etc {
    /// Opens `/etc`, made if there is nothing; `None` when it is something else.
    fn find(root: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        match openat(root, "etc", directory_flags(), Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, is_stub: false })),
            Err(Errno::NOENT) => {
                make_directory(root, "etc", 0o755)?;
                let fd = openat(root, "etc", directory_flags(), Mode::empty())?;
                futimens(&fd, &times(0))?;
                Ok(Some(Self { fd, is_stub: true }))
            }
            Err(Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn furnish(&self, aside: BorrowedFd<'_>, hostname: &str) -> io::Result<()> {
        let before = fstat(&self.fd)?;
        for (name, content) in private_files::contents(hostname) {
            move_there(self.fd.as_fd(), aside, name)?;
            make_file(self.fd.as_fd(), name, 0o644, &content)?;
        }
        Ok(futimens(&self.fd, &times_of(&before))?)
    }

    /// Takes the private files out of the directory, unless the step has removed it.
    fn clear(&self) -> io::Result<()> {
        let left = fstat(&self.fd)?;
        if left.st_nlink == 0 {
            return Ok(());
        }
        for name in private_files::NAMES {
            clear(self.fd.as_fd(), name.as_bytes())?;
        }
        Ok(futimens(&self.fd, &times_of(&left))?)
    }

    /// Where the image's files belong: in what is `/etc` now, as changes there are ignored; or, if
    /// that is no directory any more, in what was.
    fn place(&self, root: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
        match openat(root, "etc", directory_flags(), Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if fstat(&self.fd)?.st_nlink == 0 => {
                Ok(None)
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Some(self.fd.try_clone()?)),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether a stub is still as it was made.
    fn is_untouched(&self) -> io::Result<bool> {
        let stat = fstat(&self.fd)?;
        let as_made = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid) == (0o755, 0, 0);
        Ok(as_made && (stat.st_mtime, stat.st_mtime_nsec) == (0, 0) && is_empty(&self.fd)?)
    }
}

/// Moves the image's files back, over whatever the step has made in their place.
fn put_back(aside: BorrowedFd<'_>, etc: BorrowedFd<'_>) -> io::Result<()> {
    let left = fstat(etc)?;
    for name in private_files::NAMES {
        clear(etc, name.as_bytes())?;
        move_there(aside, etc, name)?;
    }
    Ok(futimens(etc, &times_of(&left))?)
}

/// Whether `etc` of the root is still that directory.
fn same(root: BorrowedFd<'_>, etc: &OwnedFd) -> io::Result<bool> {
    let ours = fstat(etc)?;
    match statat(root, "etc", AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) => Ok((there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn fill_dev(dev: BorrowedFd<'_>) -> io::Result<()> {
    for (name, major, minor) in NODES {
        // Where nodes are refused, opening these names is answered by somebody else. Only what
        // scripts write to without looking is there in any case.
        if !make_node(dev, name, (major, minor))? && name == "null" {
            make_file(dev, name, 0o666, b"")?;
        }
    }
    for (name, mode) in DIRECTORIES {
        make_directory(dev, name, mode)?;
    }
    LINKS.iter().try_for_each(|(target, name)| Ok(symlinkat(*target, dev, *name)?))
}

/// Makes a device node that can be used; whether the pod and its volume allow that.
fn make_node(dir: BorrowedFd<'_>, name: &str, (major, minor): (u32, u32)) -> io::Result<bool> {
    let device = makedev(major, minor);
    match mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), device) {
        Ok(()) => {}
        Err(Errno::PERM | Errno::ACCESS) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    }
    own(dir, name, 0o666)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    match openat(dir, name, flags | OFlags::NONBLOCK, Mode::empty()) {
        // A volume without devices, or a device that the pod may not use.
        Err(Errno::ACCESS | Errno::PERM) => {
            unlinkat(dir, name, AtFlags::empty())?;
            Ok(false)
        }
        // There is no terminal here, which is no matter.
        Ok(_) | Err(_) => Ok(true),
    }
}

fn make_directory(dir: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<()> {
    mkdirat(dir, name, Mode::RWXU)?;
    own(dir, name, mode)
}

fn make_file(dir: BorrowedFd<'_>, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?;
    write_all(file.as_fd(), content)?;
    // A setgid directory passes its group on.
    fchown(&file, Some(Uid::ROOT), Some(Gid::ROOT))?;
    Ok(fchmod(&file, Mode::from_raw_mode(mode))?)
}

/// Gives what was just made its owner and mode, whatever the directory it is in passes on.
fn own(dir: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<()> {
    chownat(dir, name, Some(Uid::ROOT), Some(Gid::ROOT), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(chmodat(dir, name, Mode::from_raw_mode(mode), AtFlags::empty())?)
}

/// Moves `name` from one directory to another, where there is none; it need not be there.
fn move_there(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match renameat(from, name, to, name) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
