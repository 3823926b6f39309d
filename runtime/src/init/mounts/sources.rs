//! What is mounted, as detached mounts; taken while the pod's root is there.
//!
//! The current directory is the stage, a temporary file system in memory: secrets are written
//! there and nowhere else. What a step writes to a bind mount goes to its scratch directory, which
//! is removed with it.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Gid, Mode, Uid, chownat, open};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, open_tree,
};

use super::super::overlay::{self, Overlay};
use super::super::stubs::Point;
use super::super::tree::directory_flags;
use super::fill;
use super::walk::{Found, follow};
use crate::mount::{Mount, MountKind, Owner, Tree};
use crate::wire::{Failure, FailureKind, OrFail as _, RunOrder};

/// A detached mount.
#[derive(Debug)]
pub(in super::super) struct Taken {
    pub(in super::super) target: PathBuf,
    pub(in super::super) mount: OwnedFd,
    /// What it can be mounted on.
    pub(in super::super) point: Point,
    pub(in super::super) readonly: bool,
}

/// Takes all mounts of a step; those whose targets are around others come first.
pub(in super::super) fn take(order: &RunOrder) -> Result<Vec<Taken>, Failure> {
    let mounts = in_order(order);
    let sources = mounts.iter().enumerate().map(|(at, mount)| Source {
        name: format!("m{at}"),
        scratch: order.scratch.join(format!("mount{at}")),
        mount,
        is_around: mounts
            .iter()
            .any(|other| other.target != mount.target && other.target.starts_with(&mount.target)),
    });
    sources.map(|source| source.take()).collect()
}

/// All mounts of a step; those whose targets are around others come first.
pub(in super::super) fn in_order(order: &RunOrder) -> Vec<&Mount> {
    let mut mounts: Vec<&Mount> = order.mounts.iter().collect();
    mounts.sort_by_key(|mount| mount.target.components().count());
    mounts
}

/// The failure of the mount with this target, which the author of the Dockerfile can do something
/// about.
pub(in super::super) fn refused(target: &Path, reason: impl Into<String>) -> Failure {
    Failure {
        kind: FailureKind::Mount,
        action: target.display().to_string(),
        errno: 0,
        detail: reason.into(),
    }
}

/// What one mount is taken from.
struct Source<'a> {
    /// Its name in the stage.
    name: String,
    /// Its directory on disk, if it needs one.
    scratch: PathBuf,
    mount: &'a Mount,
    /// Another mount goes into it, for which it may have to hold a mount point.
    is_around: bool,
}

impl Source<'_> {
    fn take(&self) -> Result<Taken, Failure> {
        let action = || format!("cannot prepare the mount at {}", self.mount.target.display());
        let (mount, point, readonly) = match &self.mount.kind {
            MountKind::Bind { tree, readwrite } => {
                let (mount, point) = self.tree(tree, *readwrite || self.is_around)?;
                (mount, point, !readwrite)
            }
            MountKind::Cache { dir, owner, initial, readonly } => {
                self.make_cache(dir, *owner, initial.as_ref())?;
                let mount = clone(dir).or_fail(|| format!("cannot take {}", dir.display()))?;
                (mount, Point::Directory, *readonly)
            }
            MountKind::Tmpfs { size } => {
                (temporary(*size).or_fail(action)?, Point::Directory, false)
            }
            MountKind::Secret { content, owner } => {
                let mount = self.file(content.bytes(), *owner).or_fail(action)?;
                (mount, Point::File, true)
            }
            MountKind::SshAgent { socket, owner } => {
                own(socket, *owner).or_fail(action)?;
                (clone(socket).or_fail(action)?, Point::File, false)
            }
            MountKind::Script { content } => {
                let owner = Owner { uid: 0, gid: 0, mode: 0o755 };
                (self.file(content, owner).or_fail(action)?, Point::File, true)
            }
        };
        Ok(Taken { target: self.mount.target.clone(), mount, point, readonly })
    }

    /// A file or directory of layers; what is written goes to the scratch directory.
    fn tree(&self, tree: &Tree, is_written: bool) -> Result<(OwnedFd, Point), Failure> {
        let upper = is_written.then(|| self.upper()).transpose();
        let upper = upper.or_fail(|| format!("cannot create {}", self.scratch.display()))?;
        let found = self.find(tree, upper)?;
        let point = match found.kind {
            Some(FileType::Directory) => Point::Directory,
            _ => Point::File,
        };
        let path = Path::new(&self.name).join(std::ffi::OsStr::from_bytes(&found.path));
        Ok((clone(&path).or_fail(|| format!("cannot take {}", tree.subpath.display()))?, point))
    }

    /// Mounts layers in the stage and looks for a path in them.
    fn find(&self, tree: &Tree, upper: Option<(String, String)>) -> Result<Found, Failure> {
        let target = &self.mount.target;
        let action = || format!("cannot mount the layers for {}", target.display());
        // Also a single layer, which may have an overlay's marks.
        let lowers = overlay::link(&format!("{}-", self.name), &tree.layers).or_fail(action)?;
        DirBuilder::new().mode(0o755).create(&self.name).or_fail(action)?;
        Overlay { lowers, upper }.mount(&self.name).or_fail(action)?;
        let root = open(self.name.as_str(), directory_flags(), Mode::empty()).or_fail(action)?;
        let subpath = tree.subpath.as_os_str().as_bytes();
        match follow(&root.as_fd(), subpath, &[]) {
            Ok(Found { kind: None, .. }) => {
                let subpath = tree.subpath.display();
                Err(refused(target, format!("its source {subpath} does not exist")))
            }
            Ok(found) => Ok(found),
            Err(error) => {
                let subpath = tree.subpath.display();
                Err(refused(target, format!("its source {subpath} cannot be found: {error}")))
            }
        }
    }

    /// Makes the directories that take what is written, and names for them in the stage.
    fn upper(&self) -> io::Result<(String, String)> {
        let (upper, work) = (format!("{}u", self.name), format!("{}w", self.name));
        plain_directory(&self.scratch)?;
        for name in [&upper, &work] {
            let path = self.scratch.join(name);
            plain_directory(&path)?;
            symlink(path, name)?;
        }
        Ok((upper, work))
    }

    /// Makes a cache directory that is not there yet, complete at once.
    fn make_cache(&self, dir: &Path, owner: Owner, initial: Option<&Tree>) -> Result<(), Failure> {
        if dir.is_dir() {
            return Ok(());
        }
        let action = || format!("cannot create {}", dir.display());
        // In scratch, so that nothing is left of it when this process is killed.
        let fresh = &self.scratch;
        plain_directory(fresh).or_fail(action)?;
        if let Some(tree) = initial {
            let found = self.find(tree, None)?;
            if found.kind != Some(FileType::Directory) {
                let subpath = tree.subpath.display();
                let reason = format!("its source {subpath} is not a directory");
                return Err(refused(&self.mount.target, reason));
            }
            let from = Path::new(&self.name).join(std::ffi::OsStr::from_bytes(&found.path));
            fill::fill(&from, fresh).or_fail(|| format!("cannot copy to {}", fresh.display()))?;
        }
        own(fresh, owner).or_fail(action)?;
        use rustix::fs::{RenameFlags, renameat_with};
        match renameat_with(CWD, fresh, CWD, dir, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            // Somebody else was faster, and theirs is as good; ours goes with scratch.
            Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(Failure::new(action(), errno)),
        }
    }

    /// A file in memory.
    fn file(&self, content: &[u8], owner: Owner) -> io::Result<OwnedFd> {
        let path = Path::new(&self.name);
        let mut file =
            fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        own(path, owner)?;
        clone(path)
    }
}

/// Makes a directory of root, whatever a group or a setgid bit of the volume would have it be.
pub(in super::super) fn plain_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    own(path, Owner { uid: 0, gid: 0, mode: 0o755 })
}

pub(in super::super) fn own(path: &Path, owner: Owner) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    chownat(CWD, path, Some(uid), Some(gid), flags)?;
    fs::set_permissions(path, fs::Permissions::from_mode(owner.mode))
}

/// Takes a file or directory as a mount.
fn clone(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    Ok(open_tree(CWD, path, flags)?)
}

/// A new file system in memory, tmpfs(5).
fn temporary(size: Option<u64>) -> io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "mode", "1777")?;
    if let Some(size) = size {
        fsconfig_set_string(context.as_fd(), "size", size.to_string().as_str())?;
    }
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}
