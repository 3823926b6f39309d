//! Keeps a step from signalling and tracing processes outside it, from the pod's abstract sockets
//! and, where its root is only a directory, from everything that is not below that directory;
//! landlock(7). Without a process namespace the builder is an ordinary process to the step, of the
//! same user; this is what protects it.
//!
//! All of it is a second line where there is a first, and best effort: kernels differ.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};

/// The first version with scopes.
const SCOPED_SINCE: u32 = 6;
const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;
const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
const SCOPE_SIGNAL: u64 = 2;

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct RulesetAttributes {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: RawFd,
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

/// Confines this process and its descendants, where the kernel can; `to_root` is to what is below
/// the current root.
pub(super) fn confine(to_root: bool) -> io::Result<()> {
    let version = version();
    let scoped = match version {
        ..SCOPED_SINCE => 0,
        SCOPED_SINCE.. => SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL,
    };
    let handled_access_fs = if to_root { accesses(version) } else { 0 };
    if scoped == 0 && handled_access_fs == 0 {
        return Ok(());
    }
    let attributes = RulesetAttributes { handled_access_fs, handled_access_net: 0, scoped };
    // Kernels refuse what is longer than the structure that they know, unless the rest is zero.
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
    if handled_access_fs != 0 {
        allow_root(&ruleset, handled_access_fs)?;
    }
    // SAFETY: the call takes numbers only.
    match unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Everything that a version can allow; nothing before files could be renamed between directories.
fn accesses(version: u32) -> u64 {
    match version {
        0 | 1 => 0,
        2 => (1 << 14) - 1,
        3 | 4 => (1 << 15) - 1,
        5.. => (1 << 16) - 1,
    }
}

/// Allows `accesses` to everything below the current root.
fn allow_root(ruleset: &OwnedFd, accesses: u64) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty())?;
    let rule = PathBeneath { allowed_access: accesses, parent_fd: root.as_raw_fd() };
    // SAFETY: the rule is of the type that goes with its number and lives through the call.
    let added = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0,
        )
    };
    if added == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_grow_with_the_version() {
        let expected = [(0, 0), (1, 0), (2, 0x3fff), (3, 0x7fff), (4, 0x7fff), (9, 0xffff)];
        for (version, rights) in expected {
            assert_eq!(accesses(version), rights, "{version}");
        }
    }
}
