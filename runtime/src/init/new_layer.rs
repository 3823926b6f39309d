//! A sink that passes entries on and makes a layer directory of them on the way.
//!
//! The layer directory only saves work later, so that it cannot be made (the disk is full) is no
//! error: it is given up, and the entries go on.

use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use super::copying::write_all;
use super::unpack::Unpacker;
use crate::entry::{Entry, EntrySink, Kind};

/// The directory in the making, and where the entries go.
pub(super) struct NewLayer<'a> {
    /// `None` when it was given up.
    unpacker: Option<Unpacker>,
    next: &'a mut dyn EntrySink,
    /// Content that was seen.
    pub(super) bytes: u64,
}

impl<'a> NewLayer<'a> {
    /// Makes the new directory `dest` above `lowers`.
    pub(super) fn create(dest: &Path, lowers: &[PathBuf], next: &'a mut dyn EntrySink) -> Self {
        Self { unpacker: Unpacker::create(dest, Some(lowers)).ok(), next, bytes: 0 }
    }

    /// Ends the directory; whether it is a layer that has everything that was emitted.
    pub(super) fn finish(self, dest: &Path, lowers: &[PathBuf]) -> bool {
        self.unpacker.is_some_and(|unpacker| {
            unpacker.stats.skipped_xattrs == 0 && unpacker.finish(dest, Some(lowers)).is_ok()
        })
    }

    fn file(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        let opened = self.unpacker.as_mut().map(|unpacker| unpacker.open_file(entry));
        let Some(Ok(file)) = opened else {
            self.unpacker = None;
            return self.next.entry(entry, content);
        };
        let mut copying = Copying { content, to: file.as_fd(), failed: false };
        self.next.entry(entry, &mut copying)?;
        let failed = copying.failed;
        let closed =
            self.unpacker.as_mut().map(|unpacker| unpacker.close_file(file.as_fd(), entry));
        if failed || !matches!(closed, Some(Ok(()))) {
            self.unpacker = None;
        }
        Ok(())
    }
}

impl EntrySink for NewLayer<'_> {
    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        if let Kind::File { size } = entry.kind {
            self.bytes += size;
            return self.file(entry, content);
        }
        let taken = self.unpacker.as_mut().map(|unpacker| unpacker.take(entry, &mut io::empty()));
        if !matches!(taken, Some(Ok(()))) {
            self.unpacker = None;
        }
        self.next.entry(entry, content)
    }
}

/// Content that is written to a file while it is read.
struct Copying<'a> {
    content: &'a mut dyn Read,
    to: BorrowedFd<'a>,
    failed: bool,
}

impl Read for Copying<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.failed = self.failed || write_all(self.to, &buffer[..count]).is_err();
        Ok(count)
    }
}
