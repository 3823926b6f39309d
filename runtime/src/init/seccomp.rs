//! The filter of a step, seccomp(2): which calls it may make unseen, which are answered with
//! success without being made, and which init is told of.
//!
//! - Calls that flush to disk are *elided*. What a step writes is read back, hashed and pushed by
//!   this very program; a machine that crashes takes the pod along. Package managers flush after
//!   every file, which on a shared disk can take longer than the rest of a step. `msync` is left
//!   alone: it also makes a mapping visible to reads.
//! - The calls of `notify` are *told*, where a step needs files that cannot be mounted.
//! - Everything else is allowed. The filter is no fence: what a step must not do, it lacks the
//!   capability for.
//!
//! Calls of another architecture (i386 programs on x86-64, and the x32 numbers) have other numbers;
//! they are allowed as they are, neither elided nor told.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use super::bpf::{Assembler, Field, NATIVE_ARCH};

const FLUSHING: [libc::c_long; 5] = [
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
];

/// A call that init is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Its number.
    pub(super) call: libc::c_long,
    /// An argument and bits of it that make the call uninteresting.
    pub(super) unless: Option<(u8, u32)>,
}

/// Installs the filter that only elides, for this process and its descendants.
pub(super) fn elide_flushes() -> io::Result<()> {
    install(&program(&[]), 0).map(drop)
}

/// Installs the filter that elides and tells; returns the descriptor that tells.
pub(super) fn tell(told: &[Told]) -> io::Result<OwnedFd> {
    let program = program(told);
    let listen = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // With the second flag a call that init has begun to answer is not begun anew by a signal.
    // Kernels before 5.19 do not know it.
    let fd = match install(&program, listen | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => install(&program, listen)?,
        result => result?,
    };
    // SAFETY: with the first flag the call returns a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Installs a filter. Needs `CAP_SYS_ADMIN` in the user namespace, or `no_new_privs`.
fn install(filter: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<RawFd> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("the filter is short"),
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the program points to `len` instructions that live through the call; the kernel
    // copies them and writes to neither.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    RawFd::try_from(result).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)
}

/// Writes the filter.
fn program(told: &[Told]) -> Vec<libc::sock_filter> {
    let mut program = Assembler::default();
    let (allow, elide, tell) = (program.label(), program.label(), program.label());
    program.load(Field::Arch);
    program.unless_equal(NATIVE_ARCH, allow);
    program.load(Field::Number);
    for call in FLUSHING {
        program.if_equal(number(call), elide);
    }
    let mut conditions = Vec::new();
    for Told { call, unless } in told {
        let target = match unless {
            None => tell,
            Some(condition) => match conditions.iter().find(|(known, _)| known == condition) {
                Some((_, label)) => *label,
                None => {
                    let label = program.label();
                    conditions.push((*condition, label));
                    label
                }
            },
        };
        program.if_equal(number(*call), target);
    }
    program.place(allow);
    program.give(libc::SECCOMP_RET_ALLOW);
    program.place(elide);
    program.give(libc::SECCOMP_RET_ERRNO);
    for ((argument, mask), label) in conditions {
        let boring = program.label();
        program.place(label);
        program.load(Field::Argument(argument));
        program.if_any_bit(mask, boring);
        program.give(libc::SECCOMP_RET_USER_NOTIF);
        program.place(boring);
        program.give(libc::SECCOMP_RET_ALLOW);
    }
    program.place(tell);
    program.give(libc::SECCOMP_RET_USER_NOTIF);
    program.finish()
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).expect("call numbers are small")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::bpf::interpreter::{Call, verdict};
    use super::*;

    const OTHER_ARCH: u32 = 0x4000_0003;
    const X32_BIT: u32 = 0x4000_0000;
    const TOLD: [Told; 4] = [
        Told { call: libc::SYS_openat, unless: Some((2, 0x50)) },
        Told { call: libc::SYS_openat2, unless: None },
        Told { call: libc::SYS_execveat, unless: Some((2, 0x50)) },
        Told { call: libc::SYS_statx, unless: Some((2, 0x1000)) },
    ];

    /// What the filter should say, from its tables.
    fn expected(told: &[Told], call: &Call) -> u32 {
        if call.arch != NATIVE_ARCH {
            return libc::SECCOMP_RET_ALLOW;
        }
        if FLUSHING.into_iter().any(|flushing| number(flushing) == call.number) {
            return libc::SECCOMP_RET_ERRNO;
        }
        match told.iter().find(|told| number(told.call) == call.number) {
            None => libc::SECCOMP_RET_ALLOW,
            Some(Told { unless: Some((argument, mask)), .. })
                if call.arguments[usize::from(*argument)] as u32 & mask != 0 =>
            {
                libc::SECCOMP_RET_ALLOW
            }
            Some(_) => libc::SECCOMP_RET_USER_NOTIF,
        }
    }

    #[test]
    fn only_native_flushes_are_answered() {
        let (allow, elide) = (libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_ERRNO);
        for program in [program(&[]), program(&TOLD)] {
            for call in FLUSHING {
                for (arch, number, expected) in [
                    (NATIVE_ARCH, number(call), elide),
                    (NATIVE_ARCH, number(call) | X32_BIT, allow),
                    (OTHER_ARCH, number(call), allow),
                ] {
                    let call = Call { arch, number, arguments: [0; 6] };
                    assert_eq!(verdict(&program, &call), expected, "{call:?}");
                }
            }
            for call in [libc::SYS_msync, libc::SYS_read, libc::SYS_execve] {
                let call = Call { arch: NATIVE_ARCH, number: number(call), arguments: [0; 6] };
                assert_eq!(verdict(&program, &call), allow, "{call:?}");
            }
        }
    }

    #[test]
    fn calls_are_told_as_their_arguments_say() {
        let (allow, tell) = (libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_USER_NOTIF);
        for (arch, call, argument, expected) in [
            (NATIVE_ARCH, libc::SYS_openat, 0, tell),
            (NATIVE_ARCH, libc::SYS_openat, 0x2f, tell),
            (NATIVE_ARCH, libc::SYS_openat, 0x10, allow),
            (NATIVE_ARCH, libc::SYS_openat, 0x40, allow),
            (NATIVE_ARCH, libc::SYS_openat2, 0x40, tell),
            (NATIVE_ARCH, libc::SYS_execveat, 0x40, allow),
            (NATIVE_ARCH, libc::SYS_statx, 0x40, tell),
            (NATIVE_ARCH, libc::SYS_statx, 0x1000, allow),
            (OTHER_ARCH, libc::SYS_openat, 0, allow),
        ] {
            let arguments = [u64::MAX, u64::MAX, argument, u64::MAX, 0, 0];
            let call = Call { arch, number: number(call), arguments };
            assert_eq!(verdict(&program(&TOLD), &call), expected, "{call:?}");
        }
    }

    proptest! {
        #[test]
        fn the_program_says_what_its_tables_say(
            picked in prop::sample::subsequence(TOLD.to_vec(), 0..=TOLD.len()),
            native in prop::bool::weighted(0.8),
            call in 0_u32..460,
            arguments in prop::array::uniform6(any::<u64>()),
        ) {
            let arch = if native { NATIVE_ARCH } else { OTHER_ARCH };
            let call = Call { arch, number: call, arguments };
            prop_assert_eq!(verdict(&program(&picked), &call), expected(&picked, &call));
        }
    }
}
