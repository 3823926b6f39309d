//! A bounded pipe from a download to a thread that reads it, for blobs of which no file is needed.
//!
//! A broken download goes on where it stopped, as in `download`. What has passed cannot be taken
//! back: where a registry starts anew, that much is left out, and the digest is that of what passed.
//!
//! A few pieces wait in the pipe, so memory does not grow with the blob. Invariant: the reader gets
//! an end of file only after the whole blob was verified; a download that fails or is dropped is a
//! read error, so nobody takes half a blob for one.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use reqwest::header::RANGE;
use reqwest::{Method, Response, StatusCode};
use tokio::sync::mpsc;

use super::download::{continues_at, failure, named, wrong_size};
use super::transport::{Call, Place, Wire};
use super::{RegistryError, answer};
use crate::hashing::BlobHasher;
use crate::model::Digest;

/// How many pieces, of at most some 256 KiB each, wait to be read.
const PIECES: usize = 8;

/// The end that a download writes to.
#[derive(Debug)]
pub struct BlobWriter(mpsc::Sender<Option<Bytes>>);

/// The end that a blocking thread reads from.
#[derive(Debug)]
pub struct BlobReader {
    pieces: mpsc::Receiver<Option<Bytes>>,
    current: Bytes,
    ended: bool,
}

/// Returns both ends of a new pipe.
pub fn blob_pipe() -> (BlobWriter, BlobReader) {
    let (sender, pieces) = mpsc::channel(PIECES);
    (BlobWriter(sender), BlobReader { pieces, current: Bytes::new(), ended: false })
}

/// A blob on its way through a pipe.
struct Passing<'a> {
    wire: &'a Wire,
    place: &'a Place,
    digest: &'a Digest,
    size: u64,
    pipe: BlobWriter,
    /// Of what has passed.
    hasher: BlobHasher,
    passed: u64,
}

/// Passes a blob on to whoever reads the pipe.
pub(super) async fn pour(
    wire: &Wire,
    place: &Place,
    (digest, size): (&Digest, u64),
    pipe: BlobWriter,
) -> Result<(), RegistryError> {
    let hasher = BlobHasher::new();
    let mut passing = Passing { wire, place, digest, size, pipe, hasher, passed: 0 };
    let mut attempts = place.attempts();
    loop {
        let before = passing.passed;
        let Err(error) = passing.attempt().await else { break };
        if passing.passed > before {
            attempts.progressed();
        }
        attempts.after(error).await?;
    }
    let (actual, _) = passing.hasher.finish();
    if actual != *digest {
        let what = named(&place.repository, digest);
        return Err(RegistryError::DigestMismatch { what, expected: *digest, actual });
    }
    passing.pipe.send(None).await
}

impl Passing<'_> {
    async fn attempt(&mut self) -> Result<(), RegistryError> {
        if self.passed == self.size && self.size > 0 {
            return Ok(());
        }
        let (mut response, mut at) = self.open().await?;
        if answer::is_html(response.headers()) {
            return Err(self.place.garbage(&response, "an HTML page"));
        }
        while let Some(piece) = answer::piece(self.place, &mut response).await? {
            let again = usize::try_from(self.passed.saturating_sub(at)).unwrap_or(usize::MAX);
            at += piece.len() as u64;
            if at > self.size {
                return Err(wrong_size(self.place, self.digest, (self.size, at)));
            }
            let fresh = piece.slice(again.min(piece.len())..);
            if !fresh.is_empty() {
                self.hasher.update(&fresh);
                self.passed += fresh.len() as u64;
                self.pipe.send(Some(fresh)).await?;
            }
        }
        match at == self.size {
            true => Ok(()),
            false => Err(wrong_size(self.place, self.digest, (self.size, at))),
        }
    }

    /// Asks for what has not passed yet; returns the answer and the offset that it starts at.
    async fn open(&self) -> Result<(Response, u64), RegistryError> {
        let url = self.place.url(&format!("blobs/{}", self.digest));
        let whole = Call::new(self.place, Method::GET, url.clone());
        if self.passed > 0 {
            let rest = format!("bytes={}-", self.passed);
            let ranged = Call::new(self.place, Method::GET, url).header(RANGE, &rest);
            let response = self.wire.send(&ranged).await?;
            match response.status() {
                StatusCode::PARTIAL_CONTENT if continues_at(&response, self.passed) => {
                    return Ok((response, self.passed));
                }
                StatusCode::OK => return Ok((response, 0)),
                // It knows ranges, but not this one.
                StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {}
                _ => return Err(failure(self.place, self.digest, response).await),
            }
        }
        let response = self.wire.send(&whole).await?;
        match response.status() {
            StatusCode::OK => Ok((response, 0)),
            _ => Err(failure(self.place, self.digest, response).await),
        }
    }
}

impl BlobWriter {
    /// Passes a piece on; `None` is the end.
    async fn send(&self, piece: Option<Bytes>) -> Result<(), RegistryError> {
        self.0.send(piece).await.map_err(|_| RegistryError::Abandoned)
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.current = piece,
                Some(None) => self.ended = true,
                None => return Err(io::Error::other("the download did not come to its end")),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
