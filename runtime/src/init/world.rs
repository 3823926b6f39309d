//! Builds what RUN sees and makes it the root of this process.
//!
//! Everything that comes from the pod is taken as a detached mount (open_tree(2)) while the old
//! root is still there, and attached (move_mount(2)) when the image is already the root: so no link
//! in an image can lead a mount, or a file that is made for it, out of the image.
//!
//! What the image lacks as mount points comes from a *stub layer* on a temporary file system, put
//! on top of the image's layers only where something is missing. The upper directory never sees
//! it, so mount points cannot leak into a layer.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, open};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, mount_move, unmount,
};
use rustix::process::{chdir, chroot, pivot_root};

use super::lowers::{Layers, Seen};
use super::private_files::{self, PrivateFile};
use super::tree::{directory_flags, inherit};
use super::{UPPER, devices, privileges};
use crate::wire::{Failure, FailureKind, OrFail as _, RunOrder};

/// As many layers as the kernel takes, without the stub layer.
const MAX_LOWERS: usize = 499;
/// Directories that something is mounted on.
const MOUNT_POINTS: [&str; 3] = ["proc", "sys", "dev"];

/// Builds the world and moves into it; returns the working directory of the step.
pub(super) fn build(order: &RunOrder) -> Result<PathBuf, Failure> {
    if !order.hostname.is_empty() {
        nix::unistd::sethostname(&order.hostname)
            .or_fail(|| format!("cannot set the host name {:?}", order.hostname))?;
    }
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .or_fail(|| "cannot detach mounts from the pod's".into())?;
    let stage = Stage::make(order)?;
    stage.mount_overlay(order)?;
    let files = stage.files.iter().map(PrivateFile::take).collect::<Result<Vec<_>, _>>()?;
    let pod = devices::PodMounts::take(order.fresh_proc)?;
    enter_root()?;
    pod.attach()?;
    for file in files {
        file.attach()?;
    }
    working_directory(&order.cwd)
}

/// A temporary file system on which the mount is put together, with short names for everything.
struct Stage {
    /// Short names of the layers, topmost first.
    lowers: Vec<String>,
    files: Vec<PrivateFile>,
}

impl Stage {
    fn make(order: &RunOrder) -> Result<Self, Failure> {
        if order.lowers.len() > MAX_LOWERS {
            let count = order.lowers.len();
            let action = format!("cannot stack {count} layers");
            return Err(Failure::new(action, io::Error::other("the kernel takes 499")));
        }
        let dir = order.scratch.join("stage");
        let layers = Layers::from_bottom(order.lowers.clone());
        for (path, like) in [
            (order.scratch.join(UPPER), layers.look(b"").unwrap_or(Seen::Absent)),
            (order.scratch.join("work"), Seen::Absent),
            (dir.clone(), Seen::Absent),
        ] {
            make_directory(&path, &like).or_fail(|| format!("cannot create {}", path.display()))?;
        }
        let stage_error = || format!("cannot prepare mounts in {}", dir.display());
        mount("stage", &dir, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=755")
            .or_fail(|| format!("cannot mount tmpfs at {}", dir.display()))?;
        chdir(&dir).or_fail(stage_error)?;
        let mut stage = Self { lowers: Vec::new(), files: Vec::new() };
        stage.link(order).or_fail(stage_error)?;
        stage.stubs(&layers, order).or_fail(stage_error)?;
        Ok(stage)
    }

    /// Names the layers so that a hundred of them fit the page of mount options, and that no
    /// character in their paths means something to the overlay.
    fn link(&mut self, order: &RunOrder) -> io::Result<()> {
        for (at, lower) in order.lowers.iter().enumerate().rev() {
            let name = at.to_string();
            symlink(lower, &name)?;
            self.lowers.push(name);
        }
        symlink(order.scratch.join(UPPER), "u")?;
        symlink(order.scratch.join("work"), "w")?;
        fs::create_dir("root")
    }

    /// Makes the stub layer, if it holds anything, and the private files.
    fn stubs(&mut self, layers: &Layers, order: &RunOrder) -> io::Result<()> {
        let stub = Path::new("s");
        let mut needed = order.lowers.is_empty();
        make_directory(stub, &layers.look(b"")?)?;
        for name in MOUNT_POINTS {
            if !matches!(layers.look(name.as_bytes())?, Seen::Directory(_)) {
                make_directory(&stub.join(name), &Seen::Absent)?;
                needed = true;
            }
        }
        let etc = layers.look(b"etc")?;
        if matches!(etc, Seen::Absent | Seen::Directory(_)) {
            self.files = private_files::make(&order.hostname)?;
            let lacking: Vec<&str> = self
                .files
                .iter()
                .map(PrivateFile::name)
                .filter(|name| {
                    let seen = layers.look(format!("etc/{name}").as_bytes());
                    !matches!(seen, Ok(Seen::Other(FileType::RegularFile)))
                })
                .collect();
            if !lacking.is_empty() {
                let dir = stub.join("etc");
                make_directory(&dir, &Seen::Absent)?;
                for name in lacking {
                    fs::write(dir.join(name), "")?;
                }
                // Only now, because making the files has changed the time.
                exact(&dir, &etc)?;
                needed = true;
            }
        }
        if needed {
            self.lowers.insert(0, "s".into());
        }
        Ok(())
    }

    fn mount_overlay(&self, order: &RunOrder) -> Result<(), Failure> {
        let options = format!(
            "lowerdir={},upperdir=u,workdir=w,userxattr,index=off,volatile",
            self.lowers.join(":")
        );
        let options = std::ffi::CString::new(options).expect("short names have no NUL");
        mount("overlay", "root", "overlay", MountFlags::empty(), options.as_c_str()).map_err(
            |errno| {
                use rustix::io::Errno;
                let path = order.scratch.display();
                let mut failure = Failure::new(format!("cannot mount overlay at {path}"), errno);
                // Upper on an overlay, without attributes, with a foreign group, read-only.
                if matches!(errno, Errno::INVAL | Errno::ACCESS | Errno::NOTSUP | Errno::ROFS) {
                    failure.kind = FailureKind::NoOverlayUpper;
                    failure.action = path.to_string();
                }
                failure
            },
        )
    }
}

/// Makes a directory with the metadata of another one, or of a plain one of root.
fn make_directory(path: &Path, like: &Seen) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    exact(path, like)
}

fn exact(path: &Path, like: &Seen) -> io::Result<()> {
    inherit(open(path, directory_flags(), Mode::empty())?.as_fd(), like)
}

/// Exchanges the root for the overlay, which is in `root`, and lets the old one go.
fn enter_root() -> Result<(), Failure> {
    chdir("root").or_fail(|| "cannot enter the root file system".into())?;
    if pivot_root(".", ".").is_ok() {
        // The old root lies on top of the new one now.
        unmount(".", UnmountFlags::DETACH).or_fail(|| "cannot let go of the pod's root".into())?;
    } else {
        mount_move(".", "/").or_fail(|| "cannot move the root file system to /".into())?;
        chroot(".").or_fail(|| "cannot change the root".into())?;
        // The pod's root is still below, and `chroot` is the way there.
        privileges::forgo_chroot();
    }
    chdir("/").or_fail(|| "cannot enter /".into())
}

/// Makes the step's working directory if it is not there, in the root that this process has.
pub(super) fn working_directory(cwd: &Path) -> Result<PathBuf, Failure> {
    let cwd = Path::new("/").join(cwd);
    // Init makes files with exact modes; a step starts from the usual mask.
    let mask = rustix::process::umask(Mode::from_raw_mode(0o022));
    let made = DirBuilder::new().recursive(true).mode(0o755).create(&cwd);
    rustix::process::umask(mask);
    made.or_fail(|| format!("cannot create working directory {}", cwd.display()))?;
    Ok(cwd)
}

/// Puts a detached mount at `path`, which is not followed if it is a link.
pub(super) fn attach(mount: &OwnedFd, path: &str) -> Result<(), Failure> {
    use rustix::mount::{MoveMountFlags, move_mount};
    move_mount(mount, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .or_fail(|| format!("cannot mount {path}"))
}
