//! Tries what running steps in a directory of one's own takes: ids, devices.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::chown;
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::init::namespace;

/// An id that nobody is.
const SOMEBODY: u32 = 1234;

/// Gives a file to somebody else.
pub(super) fn give_away(work_root: &Path) -> io::Result<()> {
    let path = work_root.join("file");
    fs::write(&path, "")?;
    let given = chown(&path, Some(SOMEBODY), Some(SOMEBODY));
    fs::remove_file(path)?;
    given
}

/// Becomes somebody else.
pub(super) fn change_ids() -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(SOMEBODY), Gid::from_raw(SOMEBODY));
    set_thread_groups(&[gid])?;
    set_thread_res_gid(gid, gid, gid)?;
    Ok(set_thread_res_uid(uid, uid, uid)?)
}

/// Makes the null device and writes to it.
pub(super) fn device(work_root: &Path) -> io::Result<()> {
    let path = work_root.join("device");
    mknod(&path, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, makedev(1, 3))?;
    let opened = OpenOptions::new().write(true).open(&path);
    fs::remove_file(path)?;
    opened.map(drop)
}

/// Splits the process by the call that filters which look at flags cannot let through.
pub(super) fn clone3() -> io::Result<()> {
    /// `struct clone_args`, its first version.
    #[repr(C)]
    struct Arguments {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
    }
    let arguments = Arguments {
        flags: 0,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
    };
    // SAFETY: without flags and stack the call is `fork`, and this process has one thread; the
    // arguments live through it and are of the size passed.
    let child =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<Arguments>()) };
    match libc::pid_t::try_from(child) {
        Ok(0) => namespace::leave(0),
        Ok(child @ 1..) => {
            namespace::wait_for(nix::unistd::Pid::from_raw(child));
            Ok(())
        }
        _ => Err(io::Error::last_os_error()),
    }
}
