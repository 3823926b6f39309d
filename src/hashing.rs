//! The only place that feeds a hasher.
//!
//! - [`framed`]: SHA-224 over fields, each preceded by its length as a 64-bit little-endian number;
//!   the first field is the domain `longshore/1/<kind>`. Fields cannot run into each other, so
//!   `("a", "b")` and `("ab")` differ. The number in the domain is the scheme's version.
//! - [`BlobHasher`]: SHA-256 of a blob while it streams past (OCI digests and diff ids).

use std::io::{self, Write};

use sha2::{Digest as _, Sha224, Sha256};

use crate::model::{Digest, StageDigest};

/// The scheme's version; raised when the meaning of any field changes.
pub const SCHEME: u32 = 1;

/// A framed hash under construction; see the module text.
#[derive(Clone, Debug)]
pub struct Framed(Sha224);

impl Framed {
    /// Starts a hash in the domain `longshore/1/<kind>`.
    pub fn new(kind: &str) -> Self {
        let mut framed = Self(Sha224::new());
        framed.field(format!("longshore/{SCHEME}/{kind}"));
        framed
    }

    /// Adds one field.
    pub fn field(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Ends the hash.
    pub fn finish(self) -> StageDigest {
        StageDigest::from_bytes(self.0.finalize().into())
    }
}

/// Returns the digest of `fields` in the domain `longshore/1/<kind>`.
pub fn framed<F: AsRef<[u8]>>(kind: &str, fields: impl IntoIterator<Item = F>) -> StageDigest {
    let mut hash = Framed::new(kind);
    for field in fields {
        hash.field(field);
    }
    hash.finish()
}

/// Returns the SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// SHA-256 and length of what is written to it.
#[derive(Clone, Debug, Default)]
pub struct BlobHasher {
    hash: Sha256,
    bytes: u64,
}

impl BlobHasher {
    /// An empty blob.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// The digest and the number of bytes seen.
    pub fn finish(self) -> (Digest, u64) {
        (Digest::from_bytes(self.hash.finalize().into()), self.bytes)
    }
}

impl Write for BlobHasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_vectors_of_the_framed_hash() {
        let none: [&str; 0] = [];
        for (digest, golden) in [
            (framed("stage", none), "44366a824af8514f042cc542f347fb1bbb02b8fdc41b83db6ec36e71"),
            (
                framed("stage", ["RUN", "echo hi"]),
                "25bd48f591a520b04381d60dff5cc7ffd6252d386996729679df5359",
            ),
            (
                framed("stage", ["RUN", "echo", " hi"]),
                "4300e68a54ed1a3269bc2755527e99c20634568479d9377dc514fb05",
            ),
        ] {
            assert_eq!(digest.to_string(), golden);
        }
    }

    #[test]
    fn golden_vector_of_a_context_entry() {
        let blob: Vec<u8> = (0..20)
            .map(|at| {
                u8::from_str_radix(
                    &"ce013625030ba8dba906f756967f9e9ca394464a"[2 * at..2 * at + 2],
                    16,
                )
                .unwrap()
            })
            .collect();
        let digest = framed("context", [b"100644".as_slice(), b"a.txt", &blob]);
        assert_eq!(digest.to_string(), "99c776844bd1d788202299658530f3b4ccd8fbc460f4fd3074c3b1e1");
    }

    #[test]
    fn blobs_hash_as_they_stream() {
        let mut hasher = BlobHasher::new();
        hasher.write_all(b"hel").unwrap();
        hasher.write_all(b"lo").unwrap();
        let (digest, bytes) = hasher.finish();
        assert_eq!((digest, bytes), (sha256(b"hello"), 5));
    }
}
