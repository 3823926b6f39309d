//! Standard input, read so that a build that is told to end does not wait for it.
//!
//! A read of a pipe that nobody writes to cannot be called off. It happens on a thread that nobody
//! waits for; the process ends without it.

use std::io::{self, IsTerminal as _, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use bytes::{Buf as _, Bytes};

use crate::blocking::Interrupt;

/// How much is read at a time, and how many such pieces may wait.
const PIECE: usize = 64 * 1024;
const WAITING: usize = 4;
/// How often the interrupt is looked at while nothing comes.
const TICK: Duration = Duration::from_millis(100);

/// Standard input.
#[derive(Debug)]
pub(super) struct Piped {
    pieces: Receiver<io::Result<Bytes>>,
    piece: Bytes,
    interrupt: Interrupt,
}

impl Piped {
    /// Starts reading; nothing if standard input is a terminal, where nobody types an archive.
    pub(super) fn open(interrupt: Interrupt) -> Option<Self> {
        if io::stdin().is_terminal() {
            return None;
        }
        let (sender, pieces) = sync_channel(WAITING);
        std::thread::spawn(move || {
            let mut stdin = io::stdin().lock();
            loop {
                let mut piece = vec![0; PIECE];
                let read = stdin.read(&mut piece).map(|read| {
                    piece.truncate(read);
                    Bytes::from(piece)
                });
                let ends = !matches!(&read, Ok(piece) if !piece.is_empty());
                if sender.send(read).is_err() || ends {
                    return;
                }
            }
        });
        Some(Self { pieces, piece: Bytes::new(), interrupt })
    }
}

impl Read for Piped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.recv_timeout(TICK) {
                Ok(piece) => self.piece = piece?,
                Err(RecvTimeoutError::Timeout) if self.interrupt.is_set() => {
                    return Err(io::Error::other("interrupted"));
                }
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            }
            if self.piece.is_empty() {
                return Ok(0);
            }
        }
        let most = buffer.len().min(self.piece.len());
        self.piece.split_to(most).copy_to_slice(&mut buffer[..most]);
        Ok(most)
    }
}
