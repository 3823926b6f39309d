//! Ids of git objects, and the id that content would have as a blob.
//!
//! A blob's id is the SHA-1 of `blob <size>\0` and the content (git's "gitformat-loose"). It is
//! computed here while content streams past, so that no file passes through memory as a whole.

use std::fmt;

use sha1::{Digest as _, Sha1};

/// The id of a git object in a SHA-1 repository.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId([u8; 20]);

impl ObjectId {
    /// Wraps the 20 raw bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The 20 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// The id of `content` as a blob.
    pub fn of_blob(content: &[u8]) -> Self {
        let mut hasher = BlobIdHasher::new(content.len() as u64);
        hasher.update(content);
        hasher.finish()
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Computes a blob's id from content that comes in pieces.
#[derive(Clone, Debug)]
pub struct BlobIdHasher(Sha1);

impl BlobIdHasher {
    /// Starts a blob of `size` bytes; git hashes the size first.
    pub fn new(size: u64) -> Self {
        let mut hash = Sha1::new();
        hash.update(format!("blob {size}\0"));
        Self(hash)
    }

    /// Adds content.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The id of what was added.
    pub fn finish(self) -> ObjectId {
        ObjectId(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_have_gits_ids() {
        for (content, id) in [
            ("", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
            ("hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"),
        ] {
            assert_eq!(ObjectId::of_blob(content.as_bytes()).to_string(), id);
        }
    }
}
