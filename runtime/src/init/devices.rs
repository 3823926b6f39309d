//! `/proc`, `/sys` and `/dev` of a step, and what of them it must not touch.
//!
//! `/proc` and `/sys` are the pod's, with everything mounted on them (a part of them cannot be
//! taken in a user namespace), unless the kernel allows a `/proc` of an own process namespace. As
//! the step's root may be root of the machine to `/proc/sys`, the paths that container runtimes
//! hide or make read-only are treated so here too, whatever the pod did.

use std::fs;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, OpenTreeFlags, fsconfig_create, fsmount,
    fsopen, mount, open_tree,
};

use super::world::attach;
use crate::wire::{Failure, OrFail as _};

const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 6] = [
    ("pts/ptmx", "/dev/ptmx"),
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("/proc/kcore", "/dev/core"),
];
/// Hidden and read-only paths: the defaults of the OCI runtimes.
const HIDDEN: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Mounts of the pod, detached.
#[derive(Debug)]
pub(super) struct PodMounts {
    proc: OwnedFd,
    sys: OwnedFd,
    nodes: Vec<(&'static str, OwnedFd)>,
}

impl PodMounts {
    /// Takes the mounts while the pod's root is still there.
    pub(super) fn take(fresh_proc: bool) -> Result<Self, Failure> {
        let proc = if fresh_proc {
            new_proc().or_fail(|| "cannot mount a /proc of the step's own".into())?
        } else {
            take_tree("/proc")?
        };
        let sys = take_tree("/sys")?;
        make_read_only(&sys).or_fail(|| "cannot make /sys read-only".into())?;
        let mut nodes = Vec::new();
        for name in NODES {
            let path = format!("/dev/{name}");
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            match open_tree(CWD, &path, flags) {
                Ok(mount) => nodes.push((name, mount)),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(Failure::new(format!("cannot take {path}"), errno)),
            }
        }
        Ok(Self { proc, sys, nodes })
    }

    /// Puts them into the new root.
    pub(super) fn attach(self) -> Result<(), Failure> {
        attach(&self.proc, "/proc")?;
        attach(&self.sys, "/sys")?;
        self.make_dev()?;
        for path in READ_ONLY {
            if fs::symlink_metadata(path).is_ok() {
                let again = take_tree(path)?;
                make_read_only(&again).or_fail(|| format!("cannot make {path} read-only"))?;
                attach(&again, path)?;
            }
        }
        HIDDEN.into_iter().try_for_each(hide)
    }

    fn make_dev(&self) -> Result<(), Failure> {
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        temporary("/dev", MountFlags::NOSUID, c"mode=755,size=65536k")?;
        for (name, node) in &self.nodes {
            let path = format!("/dev/{name}");
            fs::write(&path, "").or_fail(|| format!("cannot create {path}"))?;
            attach(node, &path)?;
        }
        for dir in ["/dev/pts", "/dev/shm", "/dev/mqueue"] {
            fs::DirBuilder::new()
                .mode(0o755)
                .create(dir)
                .or_fail(|| format!("cannot create {dir}"))?;
        }
        temporary("/dev/shm", flags | MountFlags::NODEV, c"mode=1777,size=65536k")?;
        // Group 5 is `tty` nearly everywhere, but need not be mapped.
        let options = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
        mount("devpts", "/dev/pts", "devpts", flags, options)
            .or_else(|_| {
                let options = c"newinstance,ptmxmode=0666,mode=0620";
                mount("devpts", "/dev/pts", "devpts", flags, options)
            })
            .or_fail(|| "cannot mount /dev/pts".into())?;
        // Some kernels are built without message queues; few programs miss them.
        let _ = mount("mqueue", "/dev/mqueue", "mqueue", flags | MountFlags::NODEV, None);
        for (target, link) in LINKS {
            symlink(target, link).or_fail(|| format!("cannot create {link}"))?;
        }
        Ok(())
    }
}

/// Makes a `/proc` of this process's namespace, detached. The kernel allows it only as long as
/// another one, with nothing hidden, can be seen: so before the root is exchanged.
pub(super) fn new_proc() -> io::Result<OwnedFd> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Covers `path`, if it is there, with nothing.
fn hide(path: &str) -> Result<(), Failure> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if metadata.is_dir() {
        return temporary(path, MountFlags::RDONLY | MountFlags::NOSUID, c"mode=755");
    }
    // The pod has hidden it already.
    if metadata.permissions().mode() & libc::S_IFMT == libc::S_IFCHR {
        return Ok(());
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let null = open_tree(CWD, "/dev/null", flags).or_fail(|| "cannot take /dev/null".into())?;
    attach(&null, path)
}

fn temporary(path: &str, flags: MountFlags, options: &std::ffi::CStr) -> Result<(), Failure> {
    mount("tmpfs", path, "tmpfs", flags, options)
        .or_fail(|| format!("cannot mount tmpfs at {path}"))
}

/// Takes `path` with everything mounted below it.
fn take_tree(path: &str) -> Result<OwnedFd, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).or_fail(|| format!("cannot take {path}"))
}

/// Makes a detached mount and all below it read-only, mount_setattr(2).
pub(super) fn make_read_only(mount: &OwnedFd) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path is a NUL-terminated string and the attributes a `mount_attr` of the size
    // passed; both live through the call, which only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
