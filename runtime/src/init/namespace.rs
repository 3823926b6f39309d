//! Entering the namespaces, and the few process primitives that the rest of init needs.

use std::io;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{Gid, Uid, UnshareFlags};

use super::conversation::Builder;
use crate::wire::{Failure, OrFail as _, Tag};

/// Descriptors from here on are nothing that init was given.
const FIRST_UNKNOWN: u32 = 3;

/// Cuts what the builder's process passes on besides the socket: open files, session, mask.
pub(super) fn detach_from_builder() -> Result<(), Failure> {
    close_from(FIRST_UNKNOWN, 0).or_fail(|| "cannot close inherited files".into())?;
    // The session leader's group does not get the terminal's signals that are for the builder.
    rustix::process::setsid().or_fail(|| "cannot leave the builder's session".into())?;
    rustix::process::umask(rustix::fs::Mode::empty());
    Ok(())
}

/// Has the kernel kill this process when the builder's thread that waits for it ends, however it
/// ends: nothing is to be written behind the back of the next builder.
pub(super) fn end_with_parent() -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .or_fail(|| "cannot end with the builder".into())
}

/// Has this process live on when the builder ends, to end a step itself.
pub(super) fn outlive_parent() -> Result<(), Failure> {
    set_parent_process_death_signal(None).or_fail(|| "cannot outlive the builder".into())
}

/// Makes the user, mount, IPC and UTS namespaces and becomes root in them.
pub(super) fn enter(builder: &mut Builder) -> Result<(), Failure> {
    unshare(namespaces()).or_fail(|| "cannot make a user namespace".into())?;
    match ask_for_map(builder) {
        Ok(true) => {
            become_root().or_fail(|| "cannot become root of the user namespace".into())?;
            // Other ids have taken the signal away, prctl(2).
            end_with_parent()
        }
        Ok(false) => Err(Failure::new(
            "cannot map user ids into the sandbox".into(),
            io::Error::from_raw_os_error(libc::EPERM),
        )),
        Err(error) => Err(Failure::new("cannot hear the builder".into(), error)),
    }
}

pub(super) fn namespaces() -> UnshareFlags {
    UnshareFlags::NEWUSER | UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS
}

/// Makes namespaces for the only thread of this process.
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: `unshare` is unsafe for `CLONE_FILES` and `CLONE_FS`, which would surprise other
    // threads; neither is passed, and there are no other threads.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

/// Has the builder write the maps; whether it could.
pub(super) fn ask_for_map(builder: &mut Builder) -> io::Result<bool> {
    builder.tell(Tag::NeedMap, &[])?;
    Ok(builder.hear()?.0 == Tag::Mapped)
}

/// Takes user 0 and group 0 of the namespace.
pub(super) fn become_root() -> io::Result<()> {
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    // Fails in a namespace of one id, where groups cannot be set; they are harmless there.
    let _ = rustix::thread::set_thread_groups(&[Gid::ROOT]);
    Ok(())
}

/// Splits the process; the child gets `None`.
pub(super) fn split() -> nix::Result<Option<Pid>> {
    // SAFETY: this process has one thread, so the child is in a consistent state.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}

/// Waits for a child of this process; 128 + n for a signal.
pub(super) fn wait_for(child: Pid) -> i32 {
    loop {
        match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => return code,
            Ok(WaitStatus::Signaled(_, signal, _)) => return 128 + signal as i32,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            // Somebody else's child cannot be waited for; there is no status to have.
            Err(_) => return 255,
        }
    }
}

/// Applies `flags` (0 closes) to all descriptors from `first` on.
pub(super) fn close_from(first: u32, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: the callers hold no descriptor from `first` on that they use afterwards (0), or only
    // have it closed by exec (CLOSE_RANGE_CLOEXEC).
    match unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends the process without running anything at exit.
pub(super) fn leave(code: i32) -> ! {
    // SAFETY: `_exit` takes any code and does not return.
    unsafe { libc::_exit(code) }
}
