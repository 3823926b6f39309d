//! A filter that answers the calls that flush to disk with success, seccomp(2).
//!
//! What a step writes is read back, hashed and pushed by this very program; a machine that crashes
//! takes the pod along. Package managers flush after every file, which on a shared disk can take
//! longer than the rest of a step. `msync` is left alone: it also makes a mapping visible to reads.

use std::io;
use std::mem::offset_of;

#[cfg(target_arch = "x86_64")]
const NATIVE_ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const NATIVE_ARCH: u32 = 0xC000_00B7;

const FLUSHING: [libc::c_long; 5] = [
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
];

/// Installs the filter for this process and its descendants. Needs `CAP_SYS_ADMIN` in the user
/// namespace, and in exchange leaves setuid programs their meaning.
pub(super) fn elide_flushes() -> io::Result<()> {
    let filter = program();
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("the filter is short"),
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the program points to `len` instructions that live through the call; the kernel
    // copies them and writes to neither.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn program() -> Vec<libc::sock_filter> {
    let load = |offset: usize| {
        let offset = u32::try_from(offset).expect("the structure is small");
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
    };
    let allow = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW);
    let count = u8::try_from(FLUSHING.len()).expect("the list is short");
    // Calls of another architecture have other numbers; those programs flush as they please.
    let mut filter = vec![
        load(offset_of!(libc::seccomp_data, arch)),
        jump_unless_equal(NATIVE_ARCH, count + 1),
        load(offset_of!(libc::seccomp_data, nr)),
    ];
    for (at, call) in (0..count).zip(FLUSHING) {
        let call = u32::try_from(call).expect("call numbers are small");
        filter.push(jump_if_equal(call, count - at));
    }
    filter.push(allow);
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO));
    filter
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).expect("codes have 16 bits"), jt: 0, jf: 0, k }
}

const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;

fn jump_if_equal(value: u32, distance: u8) -> libc::sock_filter {
    libc::sock_filter { jt: distance, ..statement(EQUAL, value) }
}

fn jump_unless_equal(value: u32, distance: u8) -> libc::sock_filter {
    libc::sock_filter { jf: distance, ..statement(EQUAL, value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter on one call, as the kernel would.
    fn verdict(arch: u32, nr: u32) -> u32 {
        let filter = program();
        let (mut at, mut loaded) = (0, 0);
        loop {
            let instruction = filter[at];
            at += 1;
            match u32::from(instruction.code) {
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    loaded = if instruction.k == 0 { nr } else { arch };
                }
                EQUAL => {
                    let taken = loaded == instruction.k;
                    at += usize::from(if taken { instruction.jt } else { instruction.jf });
                }
                _ => return instruction.k,
            }
        }
    }

    #[test]
    fn only_native_flushes_are_answered() {
        for call in FLUSHING {
            let call = u32::try_from(call).unwrap();
            assert_eq!(verdict(NATIVE_ARCH, call), libc::SECCOMP_RET_ERRNO);
            assert_eq!(verdict(0x4000_0003, call), libc::SECCOMP_RET_ALLOW);
        }
        for call in [libc::SYS_msync, libc::SYS_read, libc::SYS_openat] {
            let call = u32::try_from(call).unwrap();
            assert_eq!(verdict(NATIVE_ARCH, call), libc::SECCOMP_RET_ALLOW);
        }
    }
}
