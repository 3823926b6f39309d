//! The bytes of an index, hashed on the way.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};

use sha1::{Digest as _, Sha1};

/// How much is read at a time.
const BUFFER: usize = 64 << 10;

/// What an index holds before its checksum.
#[derive(Debug)]
pub(super) struct Input {
    reader: BufReader<Hashed>,
}

#[derive(Debug)]
struct Hashed {
    file: io::Take<File>,
    /// Absent where there is no checksum to compare.
    hasher: Option<Sha1>,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}

impl Input {
    /// The first `length` bytes of a file.
    pub(super) fn new(file: File, length: u64, hashed: bool) -> Self {
        let hasher = hashed.then(Sha1::new);
        let reader = BufReader::with_capacity(BUFFER, Hashed { file: file.take(length), hasher });
        Self { reader }
    }

    /// The next bytes, which must be there.
    pub(super) fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether there is more.
    pub(super) fn has_more(&mut self) -> io::Result<bool> {
        self.reader.fill_buf().map(|bytes| !bytes.is_empty())
    }

    /// Adds what comes before the next nought byte to `bytes`; false if `limit` bytes have none.
    pub(super) fn text(&mut self, bytes: &mut Vec<u8>, limit: usize) -> io::Result<bool> {
        (&mut self.reader).take(limit as u64 + 1).read_until(0, bytes)?;
        Ok(bytes.pop_if(|byte| *byte == 0).is_some())
    }

    /// Passes over some bytes, which must be there.
    pub(super) fn skip(&mut self, count: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.reader).take(count), &mut io::sink())?;
        match skipped == count {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The checksum of all that was read.
    pub(super) fn finish(self) -> Option<[u8; 20]> {
        self.reader.into_inner().hasher.map(|hasher| hasher.finalize().into())
    }
}
