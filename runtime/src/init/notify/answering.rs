//! What becomes of one call.

use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::caller::Caller;
use super::calls::{Call, Wish};
use super::injection::Injection;
use super::kernel::{Notification, Notifications, Response};
use super::memory::{LONGEST_PATH, Memory, become_really};
use super::names::{Name, may_be_virtual, name};
use super::opening::{Refusal, hold, open};
use super::task::{InNameOf, Status};

/// An answer, not given yet.
#[derive(Debug)]
pub(super) enum Answer {
    /// The kernel carries the call out.
    Continue,
    /// The call fails.
    Fails(Errno),
    /// The call succeeds with nothing to return.
    Succeeds,
    /// The call returns a descriptor for this.
    Opened { file: OwnedFd, close_on_exec: bool },
    /// The call returns `value` after these bytes were written to the task's memory.
    Told { to: u64, bytes: Vec<u8>, value: i64 },
}

/// Finds the answer to a call. `own` is init's own status, to act in others' names and come back.
pub(super) fn answer(
    notification: &Notification,
    notifications: &Notifications,
    injection: &Injection,
    own: &Status,
) -> Answer {
    let memory = Memory::of(notification.thread);
    let mut buffer = [0; LONGEST_PATH];
    let Some(call) = Call::read(&notification.data, &memory) else { return Answer::Continue };
    let proc = &injection.proc;
    let path = match memory.path(call.path, &mut buffer) {
        Err(nix::errno::Errno::EPERM) => {
            // A task of another user. What is learnt about it is used only to try again.
            let became = Caller::open(proc, notification.thread)
                .and_then(|caller| become_really(caller.status.real));
            let Ok(()) = became else { return Answer::Continue };
            let Ok(path) = memory.path(call.path, &mut buffer) else { return Answer::Continue };
            path
        }
        // The kernel finds the same fault.
        Err(_) => return Answer::Continue,
        Ok(path) => path,
    };
    let is_absolute = path.starts_with(b"/");
    let named = if is_absolute { name(path, &injection.paths) } else { None };
    if named.is_none() && (is_absolute || !may_be_virtual(path, &injection.paths)) {
        return Answer::Continue;
    }
    let Ok(caller) = Caller::open(proc, notification.thread) else { return Answer::Continue };
    // The path and the directories are the task's only if it waits still.
    if !notifications.waits(notification.id) {
        return Answer::Continue;
    }
    let Ok(_guard) = InNameOf::begin(&caller.status, own) else { return Answer::Continue };
    let named = named.or_else(|| {
        let start = caller.start_of(call.directory)?;
        name(&[&start, b"/".as_slice(), path].concat(), &injection.paths)
    });
    let Some(named) = named else { return Answer::Continue };
    fulfil(injection, &caller, named, call.wish).unwrap_or_else(|refusal| match refusal {
        Refusal::NotVirtual => Answer::Continue,
        Refusal::Fails(errno) => Answer::Fails(errno),
    })
}

fn fulfil(
    injection: &Injection,
    caller: &Caller,
    name: Name,
    wish: Wish,
) -> Result<Answer, Refusal> {
    let link = |no_follow| if no_follow { OFlags::NOFOLLOW } else { OFlags::empty() };
    match wish {
        Wish::Open { flags } => {
            let flags = OFlags::from_bits_retain(flags.cast_unsigned());
            let close_on_exec = flags.contains(OFlags::CLOEXEC);
            let file = open(injection, caller, name, flags)?;
            Ok(Answer::Opened { file, close_on_exec })
        }
        Wish::ReadLink { to, size } => read_link(injection, caller, name, to, size),
        Wish::Stat { to, no_follow } => {
            let held = hold(injection, caller, name, link(no_follow))?;
            Ok(Answer::Told { to, bytes: stat(&held)?, value: 0 })
        }
        Wish::Statx { to, no_follow, mask } => {
            let held = hold(injection, caller, name, link(no_follow))?;
            Ok(Answer::Told { to, bytes: statx(&held, mask)?, value: 0 })
        }
        Wish::Access { mode } => access(injection, caller, name, mode),
    }
}

fn read_link(
    injection: &Injection,
    caller: &Caller,
    name: Name,
    to: u64,
    size: u64,
) -> Result<Answer, Refusal> {
    let target = match name {
        Name::Link(whose, link) => {
            let directory =
                caller.directory_of(whose, &injection.proc).ok_or(Refusal::NotVirtual)?;
            caller.link(directory, link)
        }
        Name::Open(number) => caller.link(&caller.process, &format!("fd/{number}")),
        _ => return Err(Refusal::NotVirtual),
    };
    let mut bytes = target.ok_or(Errno::NOENT)?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size == 0 {
        return Err(Errno::INVAL.into());
    }
    bytes.truncate(size);
    let value = i64::try_from(bytes.len()).expect("links are short");
    Ok(Answer::Told { to, bytes, value })
}

/// As access(2), of which the difference between real and effective users is forgone.
fn access(
    injection: &Injection,
    caller: &Caller,
    name: Name,
    mode: i32,
) -> Result<Answer, Refusal> {
    let flags = match mode & (libc::R_OK | libc::W_OK) {
        0 => {
            hold(injection, caller, name, OFlags::empty())?;
            let may = mode & libc::X_OK == 0 || matches!(name, Name::Link(..));
            return if may { Ok(Answer::Succeeds) } else { Err(Errno::ACCESS.into()) };
        }
        libc::R_OK => OFlags::RDONLY,
        libc::W_OK => OFlags::WRONLY,
        _ => OFlags::RDWR,
    };
    match name {
        Name::Link(..) => drop(hold(injection, caller, name, OFlags::empty())?),
        _ if mode & libc::X_OK != 0 => return Err(Errno::ACCESS.into()),
        _ => drop(open(injection, caller, name, flags)?),
    }
    Ok(Answer::Succeeds)
}

/// The kernel's `struct stat`, which is the C library's on 64-bit machines.
fn stat(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; size_of::<libc::stat>()];
    // SAFETY: the kernel writes one `struct stat`, which is as long as the buffer; the path is a
    // NUL-terminated string. Both live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_newfstatat,
            file.as_raw_fd(),
            c"".as_ptr(),
            bytes.as_mut_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    if result == 0 { Ok(bytes) } else { Err(last_errno()) }
}

fn statx(file: &OwnedFd, mask: u32) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; size_of::<libc::statx>()];
    // SAFETY: as in `stat`, with a `struct statx`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_statx,
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            mask,
            bytes.as_mut_ptr(),
        )
    };
    if result == 0 { Ok(bytes) } else { Err(last_errno()) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Gives an answer.
pub(super) fn give(
    answer: Answer,
    notification: &Notification,
    notifications: &mut Notifications,
) -> std::io::Result<()> {
    let response = match answer {
        Answer::Continue => Response::Continue,
        Answer::Fails(errno) => Response::Fails(errno.raw_os_error()),
        Answer::Succeeds => Response::Value(0),
        Answer::Opened { file, close_on_exec } => {
            match notifications.give(notification.id, &file, close_on_exec) {
                Ok(()) => return Ok(()),
                // Too many open files, perhaps; a task that has died does not hear it.
                Err(error) => Response::Fails(error.raw_os_error().unwrap_or(libc::EIO)),
            }
        }
        Answer::Told { to, bytes, value } => {
            // The memory is the task's as long as it waits.
            if !notifications.waits(notification.id) {
                return Ok(());
            }
            match Memory::of(notification.thread).write(to, &bytes) {
                Ok(()) => Response::Value(value),
                Err(_) => Response::Fails(libc::EFAULT),
            }
        }
    };
    notifications.respond(notification.id, response)
}
