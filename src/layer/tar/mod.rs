//! Tar: a canonical writer and a hardened reader (POSIX.1-2017 `pax`, "ustar Interchange Format"
//! and "pax Header Block"; GNU tar manual, "Basic Tar Format"; OCI image spec, "layer").
//!
//! The writer produces ustar with extended (PAX) headers where a field does not fit, and nothing
//! else. The reader takes what images and local archives contain in practice.

mod header;
mod member;
mod pax;
mod problem;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use problem::{ArchiveError, ArchiveProblem};
pub use read::{Names, TarStats, read_tar};
pub use write::{TarWriter, WriteError};

/// Everything in a tar is a multiple of this.
const BLOCK: usize = 512;

/// The largest extended header that is read or written; Go's reader takes no larger one either.
const PAX_LIMIT: u64 = 1 << 20;

/// Prefix of the name of a whiteout (OCI image spec, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";

/// Name of an opaque whiteout (OCI image spec, "Opaque Whiteout").
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Key prefix under which extended attributes travel in PAX records.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// Bytes of zeros that follow `size` bytes of content.
const fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}
