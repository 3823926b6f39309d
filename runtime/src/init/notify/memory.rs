//! The memory of a task that waits for an answer, process_vm_readv(2).
//!
//! The kernel allows it as it allows tracing: to the same user with at least the same
//! capabilities. Init is root with all that the step has; for a step of another user its *real*
//! ids become that user's, which is what the kernel compares, while its effective ids and its
//! capabilities stay. A process that has changed its user without executing a new program is
//! closed to everybody; its calls are the kernel's.

use std::io::{self, IoSlice, IoSliceMut};

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

use super::task::Ids;

/// As long as a path can be, with the byte that ends it: `PATH_MAX`.
pub(super) const LONGEST_PATH: usize = 4096;
/// Most paths are shorter; and no read goes over a border of these, beyond which may be nothing.
const CHUNK: usize = 256;

/// The memory of one task.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory(Pid);

impl Memory {
    /// The memory of the thread `id`.
    pub(super) fn of(id: u32) -> Self {
        Self(Pid::from_raw(id.cast_signed()))
    }

    /// Reads a path into `buffer`.
    pub(super) fn path<'a>(
        &self,
        address: u64,
        buffer: &'a mut [u8; LONGEST_PATH],
    ) -> Result<&'a [u8], Errno> {
        let mut length = 0;
        while length < LONGEST_PATH {
            let at = address.checked_add(length as u64).ok_or(Errno::EFAULT)?;
            let chunk = (CHUNK - at as usize % CHUNK).min(LONGEST_PATH - length);
            let read = self.read_once(at, &mut buffer[length..length + chunk])?;
            if read == 0 {
                return Err(Errno::EFAULT);
            }
            let end = buffer[length..length + read].iter().position(|byte| *byte == 0);
            if let Some(end) = end {
                return Ok(&buffer[..length + end]);
            }
            length += read;
        }
        Err(Errno::ENAMETOOLONG)
    }

    /// Reads up to the length of `buffer`.
    pub(super) fn read(&self, address: u64, buffer: &mut [u8]) -> Option<usize> {
        self.read_once(address, buffer).ok()
    }

    /// Writes all of `bytes`.
    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        let base = usize::try_from(address).map_err(|_| Errno::EFAULT)?;
        let remote = [RemoteIoVec { base, len: bytes.len() }];
        match process_vm_writev(self.0, &[IoSlice::new(bytes)], &remote)? {
            written if written == bytes.len() => Ok(()),
            _ => Err(Errno::EFAULT.into()),
        }
    }

    fn read_once(&self, address: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        let base = usize::try_from(address).map_err(|_| Errno::EFAULT)?;
        let remote = [RemoteIoVec { base, len: buffer.len() }];
        process_vm_readv(self.0, &mut [IoSliceMut::new(buffer)], &remote)
    }
}

/// Takes `ids` as real ids, to read the memory of tasks that have them. The effective and saved ones stay, so this can be done again.
pub(super) fn become_really(ids: Ids) -> io::Result<()> {
    let keep = libc::uid_t::MAX;
    // SAFETY: the calls take numbers and change the ids of this thread, which is the only one.
    let results = unsafe {
        [
            libc::syscall(libc::SYS_setresgid, ids.gid, keep, keep),
            libc::syscall(libc::SYS_setresuid, ids.uid, keep, keep),
        ]
    };
    if results == [0, 0] { Ok(()) } else { Err(io::Error::last_os_error()) }
}
