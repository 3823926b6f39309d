//! Integers and byte strings in a frame's body.
//!
//! Integers are little-endian; a byte string is a 32-bit length and the bytes. Reading never
//! allocates more than the frame that was received.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// Builds a frame's body.
#[derive(Debug, Default)]
pub(super) struct Body(pub(super) Vec<u8>);

impl Body {
    pub(super) fn byte(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    pub(super) fn number(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn signed(&mut self, value: i64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn small(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        // A length beyond 32 bits makes a frame that is far over the limit, which `send` refuses.
        self.small(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn path(&mut self, value: &Path) -> &mut Self {
        self.bytes(value.as_os_str().as_bytes())
    }

    pub(super) fn count(&mut self, value: usize) -> &mut Self {
        self.small(u32::try_from(value).unwrap_or(u32::MAX))
    }
}

/// Takes a frame's body apart.
#[derive(Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

/// The error for a frame that does not parse.
pub(super) fn garbled(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("garbled frame: {what}"))
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count).ok_or_else(|| garbled("too short"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let head = self.take(N)?;
        Ok(head.try_into().expect("take returns the length that was asked for"))
    }

    pub(super) fn byte(&mut self) -> io::Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn number(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn signed(&mut self) -> io::Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(super) fn small(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let length = self.small()? as usize;
        Ok(self.take(length)?.to_vec())
    }

    pub(super) fn os(&mut self) -> io::Result<OsString> {
        Ok(OsString::from_vec(self.bytes()?))
    }

    pub(super) fn path(&mut self) -> io::Result<PathBuf> {
        Ok(PathBuf::from(self.os()?))
    }

    pub(super) fn text(&mut self) -> io::Result<String> {
        String::from_utf8(self.bytes()?).map_err(|_| garbled("text is not UTF-8"))
    }

    /// Reads a count and that many items; the bytes that are left bound the count.
    pub(super) fn list<T>(
        &mut self,
        item: impl Fn(&mut Self) -> io::Result<T>,
    ) -> io::Result<Vec<T>> {
        let count = self.small()? as usize;
        if count > self.0.len() {
            return Err(garbled("more items than bytes"));
        }
        (0..count).map(|_| item(self)).collect()
    }

    /// Checks that nothing is left.
    pub(super) fn end(&self) -> io::Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(garbled("bytes after the end")) }
    }
}
