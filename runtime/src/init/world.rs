//! Builds what RUN sees and makes it the root of this process.
//!
//! Everything that comes from the pod is taken as a detached mount (open_tree(2)) while the old
//! root is still there, and attached (move_mount(2)) when the image is already the root: so no link
//! in an image can lead a mount, or a file that is made for it, out of the image.
//!
//! What the image lacks as mount points comes from a *stub layer*, see `stubs`: so mount points
//! cannot leak into a layer. (BuildKit makes them in the layer and removes them afterwards, but
//! for those that are no longer empty or that it fails to recognise.)

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
use super::mounts;
use super::overlay::{self, Overlay};
use super::private_files::{self, PrivateFile};
use super::stubs::{self, Point, Points, make_directory};
use super::tree::directory_flags;
use super::{UPPER, devices, privileges};
use crate::wire::{Failure, FailureKind, OrFail as _, RunOrder};

/// As many layers as the kernel takes, without the stub layer.
const MAX_LOWERS: usize = 499;
/// Name of the stub layer in the stage.
const STUBS: &str = "s";
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
    stage.mounts.into_iter().try_for_each(mounts::Placed::attach)?;
    working_directory(&order.cwd)
}

/// A temporary file system on which the mounts are put together, with short names for everything.
struct Stage {
    /// The root of the step.
    overlay: Overlay,
    files: Vec<PrivateFile>,
    mounts: Vec<mounts::Placed>,
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
        let lowers = overlay::link("", &order.lowers).or_fail(stage_error)?;
        for (path, name) in [(UPPER, "u"), ("work", "w")] {
            symlink(order.scratch.join(path), name).or_fail(stage_error)?;
        }
        fs::create_dir("root").and_then(|()| overlay::make_empty()).or_fail(stage_error)?;
        let overlay = Overlay { lowers, upper: Some(("u".into(), "w".into())) };
        let mut stage = Self { overlay, files: Vec::new(), mounts: Vec::new() };
        let missing = stage.take_mounts(order)?;
        stage.stubs(&layers, order, missing).or_fail(stage_error)?;
        Ok(stage)
    }

    /// Takes the mounts of the step and finds their places; returns what the image lacks for them.
    fn take_mounts(&mut self, order: &RunOrder) -> Result<Points, Failure> {
        if order.mounts.is_empty() {
            return Ok(Points::new());
        }
        let taken = mounts::take(order)?;
        let view_error = || "cannot look into the image".to_owned();
        fs::create_dir("view").or_fail(view_error)?;
        let lowers = self.overlay.lowers.clone();
        Overlay { lowers, upper: None }.mount("view").or_fail(view_error)?;
        let view = open("view", directory_flags(), Mode::empty()).or_fail(view_error)?;
        let (placed, missing) = mounts::place(taken, view.as_fd())?;
        self.mounts = placed;
        Ok(missing)
    }

    /// Makes the stub layer, if it holds anything, and the private files.
    fn stubs(&mut self, layers: &Layers, order: &RunOrder, mut points: Points) -> io::Result<()> {
        for name in MOUNT_POINTS {
            if !matches!(layers.look(name.as_bytes())?, Seen::Directory(_)) {
                points.insert(name.into(), Point::Directory);
            }
        }
        if matches!(layers.look(b"etc")?, Seen::Absent | Seen::Directory(_)) {
            self.files = private_files::make(&order.hostname)?;
            for file in &self.files {
                let path = format!("etc/{}", file.name()).into_bytes();
                let seen = layers.look(&path);
                if !matches!(seen, Ok(Seen::Other(FileType::RegularFile))) {
                    points.insert(path, Point::File);
                }
            }
        }
        if !points.is_empty() || order.lowers.is_empty() {
            stubs::make(Path::new(STUBS), &points, layers)?;
            self.overlay.lowers.insert(0, STUBS.into());
        }
        Ok(())
    }

    fn mount_overlay(&self, order: &RunOrder) -> Result<(), Failure> {
        self.overlay.mount("root").map_err(|errno| {
            use rustix::io::Errno;
            let path = order.scratch.display();
            let mut failure = Failure::new(format!("cannot mount overlay at {path}"), errno);
            // Upper on an overlay, without attributes, with a foreign group, read-only.
            if matches!(errno, Errno::INVAL | Errno::ACCESS | Errno::NOTSUP | Errno::ROFS) {
                failure.kind = FailureKind::NoOverlayUpper;
                failure.action = path.to_string();
            }
            failure
        })
    }
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
