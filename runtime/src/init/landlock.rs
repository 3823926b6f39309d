//! Keeps a step from signalling processes outside it and from the pod's abstract sockets,
//! landlock(7). Without a process namespace the builder is an ordinary process to the step, of the
//! same user; this is what protects it.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// The first version with scopes.
const SCOPED_SINCE: u32 = 6;
const CREATE_RULESET_VERSION: u32 = 1;
const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
const SCOPE_SIGNAL: u64 = 2;

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct RulesetAttributes {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// The version of Landlock; 0 without.
pub(super) fn version() -> u32 {
    let none: *const RulesetAttributes = std::ptr::null();
    // SAFETY: with this flag the kernel takes a null pointer and size 0 and only returns a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, none, 0_usize, CREATE_RULESET_VERSION)
    };
    u32::try_from(version).unwrap_or(0)
}

/// Confines this process and its descendants, where the kernel can.
pub(super) fn confine() -> io::Result<()> {
    if version() < SCOPED_SINCE {
        return Ok(());
    }
    let attributes = RulesetAttributes {
        handled_access_fs: 0,
        handled_access_net: 0,
        scoped: SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL,
    };
    // SAFETY: the attributes are of the size passed and live through the call.
    let created = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attributes,
            size_of::<RulesetAttributes>(),
            0,
        )
    };
    let Ok(created @ 0..) = RawFd::try_from(created) else {
        return Err(io::Error::last_os_error());
    };
    // SAFETY: the call has just returned this descriptor; nobody else owns it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(created) };
    // SAFETY: the call takes numbers only.
    match unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
