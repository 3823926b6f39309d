//! A bounded pipe from a download to a thread that reads it.
//!
//! A few pieces wait in the pipe, so memory does not grow with the blob. Invariant: the reader gets
//! an end of file only after the whole blob was verified; a download that fails or is dropped is a
//! read error, so nobody takes half a blob for one.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

use super::RegistryError;

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

impl BlobWriter {
    pub(super) async fn send(&self, piece: Bytes) -> Result<(), RegistryError> {
        self.0.send(Some(piece)).await.map_err(|_| RegistryError::Abandoned)
    }

    pub(super) async fn end(&self) -> Result<(), RegistryError> {
        self.0.send(None).await.map_err(|_| RegistryError::Abandoned)
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
