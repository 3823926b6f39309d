//! Copies the content of files in the cheapest way that their file systems have: shared extents,
//! else inside the kernel, else by hand.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{copy_file_range, ioctl_ficlone};
use rustix::io::Errno;

/// Smaller files cost less to read and write than to have copied by the kernel.
const BUFFER: usize = 64 << 10;

/// Copies, and remembers what was refused.
#[derive(Debug)]
pub(super) struct Copier {
    clones: bool,
    in_kernel: bool,
    buffer: Vec<u8>,
}

impl Copier {
    pub(super) fn new() -> Self {
        Self { clones: true, in_kernel: true, buffer: vec![0; BUFFER] }
    }

    /// Copies all `size` bytes of `from`, which nobody changes, into the empty `to`.
    pub(super) fn copy(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        size: u64,
    ) -> io::Result<()> {
        if size == 0 || self.cloned(from, to)? {
            return Ok(());
        }
        let mut done = 0;
        while done < size {
            let count = match self.in_kernel && size - done > BUFFER as u64 {
                true => self.kernel_copy(from, to, size - done)?,
                false => self.hand_copy(from, to)?,
            };
            match count {
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(count) => done += count,
                None => {}
            }
        }
        Ok(())
    }

    fn cloned(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<bool> {
        if !self.clones {
            return Ok(false);
        }
        match ioctl_ficlone(to, from) {
            Ok(()) => Ok(true),
            Err(Errno::NOSPC) => Err(Errno::NOSPC.into()),
            Err(_) => {
                self.clones = false;
                Ok(false)
            }
        }
    }

    /// `None` when the kernel cannot, which must have copied nothing then.
    fn kernel_copy(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        most: u64,
    ) -> io::Result<Option<u64>> {
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(1 << 30);
        match copy_file_range(from, None, to, None, most) {
            Ok(count) if count > 0 => Ok(Some(count as u64)),
            Err(Errno::NOSPC) => Err(Errno::NOSPC.into()),
            // Some file systems say so by copying nothing.
            Ok(_) | Err(_) => {
                self.in_kernel = false;
                Ok(None)
            }
        }
    }

    fn hand_copy(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<Option<u64>> {
        let count = rustix::io::read(from, self.buffer.as_mut_slice())?;
        write_all(to, &self.buffer[..count])?;
        Ok(Some(count as u64))
    }
}

/// Writes all of `bytes`.
pub(super) fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = rustix::io::write(to, bytes)?;
        bytes = &bytes[count..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn content_is_the_same_in_every_way() {
        let work = tempfile::tempdir().unwrap();
        for size in [0, 1, BUFFER - 1, BUFFER, BUFFER + 1, 5 * BUFFER + 7] {
            for (clones, in_kernel) in [(true, true), (false, true), (false, false)] {
                let content: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
                let (from, to) = (work.path().join("from"), work.path().join("to"));
                std::fs::write(&from, &content).unwrap();
                let mut copier = Copier { clones, in_kernel, buffer: vec![0; BUFFER] };
                let (source, copy) = (File::open(&from).unwrap(), File::create(&to).unwrap());
                copier.copy(source.as_fd(), copy.as_fd(), size as u64).unwrap();
                assert_eq!(std::fs::read(&to).unwrap(), content, "{size} {clones} {in_kernel}");
            }
        }
    }
}
