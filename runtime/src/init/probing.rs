//! Tries mechanisms, each in a child that is thrown away.
//!
//! What is tried is what is used: the same flags, the same calls, the same order.

mod identity;
mod listening;

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, OpenTreeFlags, mount, mount_change, open_tree,
};
use rustix::process::{chdir, chroot, pivot_root};
use rustix::thread::UnshareFlags;

use super::conversation::Builder;
use super::devices::{make_read_only, new_proc};
use super::{landlock, namespace, removal};
use crate::capabilities::Mechanism;
use crate::wire::Reply;

/// Tries everything; what fails is part of the answer.
pub(super) fn probe(work_root: &Path, builder: &mut Builder) -> Reply {
    let mut tried = vec![
        attempt(Mechanism::Chroot, || Ok(chroot("/")?)),
        attempt(Mechanism::Mknod, || identity::device(work_root)),
        attempt(Mechanism::Chown, || identity::give_away(work_root)),
        attempt(Mechanism::SetIds, identity::change_ids),
        attempt(Mechanism::Clone3, identity::clone3),
        attempt(Mechanism::SeccompNotify, listening::listener),
    ];
    if tried.last().is_some_and(|(_, errno)| *errno == 0) {
        tried.push(attempt(Mechanism::AddFd, listening::add_fd));
    }
    let entered = enter(builder);
    tried.push((Mechanism::UserNamespace as u8, errno(&entered)));
    if entered.is_ok() {
        let dir = work_root.join("overlay");
        tried.extend([
            attempt(Mechanism::Mount, || apart(mounts)),
            attempt(Mechanism::OverlayUpper, || apart(|| overlay(&dir))),
            attempt(Mechanism::PivotRoot, || apart(pivot)),
            attempt(Mechanism::FreshProc, || apart(fresh_proc)),
            attempt(Mechanism::NetworkNamespace, || namespace::unshare(UnshareFlags::NEWNET)),
        ]);
        // Its mounts are gone with the child that made them. What cannot be removed now is in the
        // way of nothing.
        let _ = removal::remove(&dir);
    }
    Reply::Probed { tried, landlock_abi: landlock::version() }
}

/// Runs `mechanism` in a child, which may change whatever it likes.
fn attempt(mechanism: Mechanism, run: impl FnOnce() -> io::Result<()>) -> (u8, u32) {
    let result = match namespace::split() {
        Ok(None) => {
            let code = i32::try_from(errno(&run())).unwrap_or(libc::EIO);
            namespace::leave(code);
        }
        Ok(Some(child)) => u32::try_from(namespace::wait_for(child)).unwrap_or(1),
        Err(errno) => errno as u32,
    };
    (mechanism as u8, result)
}

/// Runs `mechanism` with mounts of its own.
fn apart(mechanism: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    namespace::unshare(UnshareFlags::NEWNS)?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    mechanism()
}

/// 0, or the errno; every errno fits an exit code.
fn errno(result: &io::Result<()>) -> u32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            u32::try_from(errno).unwrap_or(1)
        }
    }
}

/// Enters the namespaces; without a map from the builder, with the own id only.
fn enter(builder: &mut Builder) -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    namespace::unshare(namespace::namespaces())?;
    if !namespace::ask_for_map(builder)? {
        write("/proc/self/setgroups", "deny")?;
        write("/proc/self/uid_map", &format!("0 {uid} 1"))?;
        write("/proc/self/gid_map", &format!("0 {gid} 1"))?;
    }
    namespace::become_root()
}

fn write(path: &str, text: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

fn mounts() -> io::Result<()> {
    mount("tmpfs", "/dev", "tmpfs", MountFlags::NOSUID, c"mode=755")?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    make_read_only(&open_tree(CWD, "/sys", flags)?)
}

/// Mounts an overlay whose upper directory is in the new directory `dir`, and deletes through it.
fn overlay(dir: &Path) -> io::Result<()> {
    for path in [dir.to_owned(), dir.join("l"), dir.join("u"), dir.join("w"), dir.join("stage")] {
        fs::create_dir(&path)?;
        // A volume with a group passes it on; what is really used is made plain too.
        chown(&path, Some(0), Some(0))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    fs::create_dir(dir.join("l/below"))?;
    let stage = dir.join("stage");
    mount("stage", &stage, "tmpfs", MountFlags::NOSUID, c"mode=755")?;
    chdir(&stage)?;
    for name in ["l", "u", "w"] {
        symlink(dir.join(name), name)?;
    }
    fs::create_dir("root")?;
    let options = c"lowerdir=l,upperdir=u,workdir=w,userxattr,index=off,volatile";
    mount("overlay", "root", "overlay", MountFlags::empty(), options)?;
    // Leaves a whiteout, then an opaque directory.
    fs::remove_dir("root/below")?;
    fs::create_dir("root/below")
}

fn pivot() -> io::Result<()> {
    mount("root", "/dev", "tmpfs", MountFlags::NOSUID, c"mode=755")?;
    chdir("/dev")?;
    Ok(pivot_root(".", ".")?)
}

fn fresh_proc() -> io::Result<()> {
    namespace::unshare(UnshareFlags::NEWPID)?;
    match namespace::split()? {
        Some(child) => match namespace::wait_for(child) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        },
        None => {
            let mounted = new_proc().map(drop);
            namespace::leave(i32::try_from(errno(&mounted)).unwrap_or(libc::EIO));
        }
    }
}
