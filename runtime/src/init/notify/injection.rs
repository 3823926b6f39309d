//! What a step is given: the pod's `/proc` and devices to open from, and files held in memory.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, MemfdFlags, Mode, OFlags, SealFlags, fchmod, fchown, fcntl_add_seals, fstat,
    fstatfs, major, memfd_create, minor, open, openat, statat,
};
use rustix::process::{Gid, Uid};

use super::calls::Extent;
use super::names::MountList;
use crate::wire::{Failure, OrFail as _};

/// The type of the `/proc` file system, <linux/magic.h>.
pub(super) const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// Everything that can be given to a step.
#[derive(Debug)]
pub(in crate::init) struct Injection {
    /// The pod's `/proc`.
    pub(super) proc: OwnedFd,
    /// The pod's `/dev`, where a step cannot have nodes of its own.
    pub(super) devices: Option<OwnedFd>,
    pub(super) files: Vec<OwnedFd>,
    /// Their paths, in the same order.
    pub(super) paths: Vec<PathBuf>,
    mounts: OwnedFd,
    mountinfo: OwnedFd,
}

/// A file held in memory.
#[derive(Clone, Copy)]
pub(in crate::init) struct GivenFile<'a> {
    /// Where the step finds it.
    pub(in crate::init) path: &'a Path,
    pub(in crate::init) content: &'a [u8],
    pub(in crate::init) mode: u32,
    pub(in crate::init) uid: u32,
    pub(in crate::init) gid: u32,
}

impl Injection {
    /// Opens what is needed of the pod for a step whose root is `root`: its devices too, if the
    /// root has none of its own.
    pub(in crate::init) fn new(root: impl AsFd) -> Result<Self, Failure> {
        let devices = if has_devices(&root) { None } else { Some(directory("/dev")?) };
        let proc = directory("/proc")?;
        let kind = fstatfs(&proc).or_fail(|| "cannot look at /proc".into())?.f_type;
        if kind != PROC_SUPER_MAGIC {
            let reason = io::Error::other("it is not a proc file system");
            return Err(Failure::new("cannot use the pod's /proc".into(), reason));
        }
        let device = fstat(root).or_fail(|| "cannot look at the root file system".into())?.st_dev;
        let (mounts, mountinfo) = mount_lists(major(device), minor(device));
        let action = || "cannot make the list of mounts".to_owned();
        Ok(Self {
            proc,
            devices,
            files: Vec::new(),
            paths: Vec::new(),
            mounts: in_memory("mounts", mounts.as_bytes(), 0o444).or_fail(action)?,
            mountinfo: in_memory("mountinfo", mountinfo.as_bytes(), 0o444).or_fail(action)?,
        })
    }

    /// Gives a file. Its content is never on a disk; it cannot be written, whoever tries.
    pub(in crate::init) fn add(&mut self, file: &GivenFile<'_>) -> Result<(), Failure> {
        let action = || format!("cannot hold {} in memory", file.path.display());
        let memory = in_memory("given", file.content, file.mode).or_fail(action)?;
        let (uid, gid) = (Uid::from_raw(file.uid), Gid::from_raw(file.gid));
        fchown(&memory, Some(uid), Some(gid)).or_fail(action)?;
        self.files.push(memory);
        self.paths.push(file.path.to_owned());
        Ok(())
    }

    /// Which calls the step's filter must tell of.
    pub(in crate::init) fn extent(&self) -> Extent {
        if self.files.is_empty() { Extent::Usual } else { Extent::All }
    }

    /// Opens a held file once more, with a position of its own, as this thread may.
    pub(super) fn reopen(&self, file: &OwnedFd) -> io::Result<OwnedFd> {
        let link = format!("self/fd/{}", file.as_raw_fd());
        Ok(openat(&self.proc, link, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// The content of a list of mounts.
    pub(super) fn mounts(&self, list: MountList) -> &OwnedFd {
        match list {
            MountList::Mounts => &self.mounts,
            MountList::Mountinfo => &self.mountinfo,
        }
    }
}

/// Whether there is a device where every root has one.
fn has_devices(root: impl AsFd) -> bool {
    statat(root, "dev/null", AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice)
}

fn directory(path: &str) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).or_fail(|| format!("cannot open {path}"))
}

/// The mounts as a step should see them, proc_pid_mounts(5) and proc_pid_mountinfo(5): what lies
/// around the step's root is the pod's affair.
fn mount_lists(major: u32, minor: u32) -> (String, String) {
    let mounts = "overlay / overlay rw,relatime 0 0\n\
                  proc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n";
    let mountinfo = format!(
        "21 20 {major}:{minor} / / rw,relatime - overlay overlay rw\n\
         22 21 0:22 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n"
    );
    (mounts.to_owned(), mountinfo)
}

fn in_memory(name: &str, content: &[u8], mode: u32) -> io::Result<OwnedFd> {
    let memory = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(memory);
    file.write_all(content)?;
    fchmod(&file, Mode::from_raw_mode(mode))?;
    fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(file.into())
}
