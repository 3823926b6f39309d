//! A running `git-lfs`: what it writes, checked against the pointer while it is read.
//!
//! A read of a pipe cannot be called off, so that one thread reads and another waits for it and
//! looks now and then whether the build is to end. Threads that are not waited for any more end
//! with the program, which is killed when its reader goes.

use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use bytes::{Buf as _, Bytes};

use super::pointer::POINTER_LIMIT;
use super::words::last_lines;
use super::{LfsError, Pointer};
use crate::blocking::Interrupt;
use crate::context::ContextError;
use crate::hashing::{BlobHasher, sha256};
use crate::model::Digest;

/// How much is read at a time, and how many such pieces may wait.
const PIECE: usize = 64 << 10;
const WAITING: usize = 4;
/// How often the interrupt is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often it is looked at whether a program that is done has ended.
const END_TICK: Duration = Duration::from_millis(2);
/// How much of what it says is kept.
const WORDS: usize = 4096;
/// How long its last words are waited for once it has ended: a process that it left behind may hold
/// its standard error open for ever.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A running program.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    pieces: Receiver<io::Result<Bytes>>,
    words: Receiver<Vec<u8>>,
    interrupt: Interrupt,
}

/// The file that a pointer names, as the program gives it. The last byte comes only when the program
/// has ended well and all bytes have the pointer's digest.
#[derive(Debug)]
pub(super) struct Fetched {
    running: Running,
    pointer: Pointer,
    /// The digest of the pointer's own text.
    text: Digest,
    path: PathBuf,
    piece: Bytes,
    hasher: BlobHasher,
    /// How many bytes have come.
    seen: u64,
    /// The last bytes of the file, until all is known to be as it should be.
    held: Bytes,
    is_done: bool,
}

impl Running {
    /// Listens to a program whose standard output and error are pipes.
    pub(super) fn new(child: Child, interrupt: Interrupt) -> io::Result<Self> {
        let (piece_sender, pieces) = sync_channel(WAITING);
        let (word_sender, words) = sync_channel(1);
        // From here on the program is killed when something fails.
        let mut running = Self { child, pieces, words, interrupt };
        let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
        let mut output = running.child.stdout.take().ok_or_else(missing)?;
        let errors = running.child.stderr.take().ok_or_else(missing)?;
        thread::Builder::new().spawn(move || {
            loop {
                let mut piece = vec![0; PIECE];
                let read = output.read(&mut piece).map(|read| {
                    piece.truncate(read);
                    Bytes::from(piece)
                });
                let ends = !matches!(&read, Ok(piece) if !piece.is_empty());
                if piece_sender.send(read).is_err() || ends {
                    return;
                }
            }
        })?;
        thread::Builder::new().spawn(move || {
            // Nobody listens when the build has ended.
            let _ = word_sender.send(end_of(errors));
        })?;
        Ok(running)
    }

    /// What it writes, which is to be what the pointer names.
    pub(super) fn reader(self, pointer: Pointer, text: &[u8], path: PathBuf) -> Fetched {
        Fetched {
            running: self,
            pointer,
            text: sha256(text),
            path,
            piece: Bytes::new(),
            hasher: BlobHasher::new(),
            seen: 0,
            held: Bytes::new(),
            is_done: false,
        }
    }

    /// The next bytes that it writes; none at the end.
    fn piece(&self) -> Result<Bytes, LfsError> {
        loop {
            match self.pieces.recv_timeout(TICK) {
                Ok(piece) => return piece.map_err(LfsError::Output),
                Err(_) if self.interrupt.is_set() => return Err(LfsError::Interrupted),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(Bytes::new()),
            }
        }
    }

    /// Waits for the end of a program that writes no more.
    fn status(&mut self) -> Result<ExitStatus, LfsError> {
        loop {
            if let Some(status) = self.child.try_wait().map_err(LfsError::Output)? {
                return Ok(status);
            }
            if self.interrupt.is_set() {
                return Err(LfsError::Interrupted);
            }
            thread::park_timeout(END_TICK);
        }
    }

    /// What it said last, once it has ended.
    fn last_lines(&self) -> Vec<String> {
        last_lines(&self.words.recv_timeout(LAST_WORDS).unwrap_or_default())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already. Waiting is short: a killed process does not hesitate.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Fetched {
    /// The next bytes of the file, or the last ones.
    fn next(&mut self) -> Result<Bytes, LfsError> {
        loop {
            let mut piece = self.running.piece()?;
            if piece.is_empty() {
                self.check()?;
                self.is_done = true;
                return Ok(std::mem::take(&mut self.held));
            }
            let missing = self.pointer.size.saturating_sub(self.seen);
            self.seen += piece.len() as u64;
            self.hasher.update(&piece);
            // What is too long is read on if it is not endless: a program that fails may give the
            // pointer, and says why at its end.
            if self.seen > self.pointer.size.saturating_add(POINTER_LIMIT) {
                return Err(self.differs(format!("more than {} bytes", self.pointer.size)));
            }
            if self.seen < self.pointer.size {
                return Ok(piece);
            }
            piece.truncate(usize::try_from(missing).unwrap_or(usize::MAX));
            if !piece.is_empty() {
                self.held = piece;
            }
        }
    }

    fn check(&mut self) -> Result<(), LfsError> {
        let status = self.running.status()?;
        if !status.success() {
            let last_lines = self.running.last_lines();
            return Err(LfsError::Failed { status: status.to_string(), last_lines });
        }
        let (digest, size) = std::mem::take(&mut self.hasher).finish();
        if (digest, size) == (self.pointer.digest, self.pointer.size) {
            return Ok(());
        }
        match digest == self.text {
            true => Err(LfsError::Unchanged),
            false => Err(self.differs(format!("{size} bytes with {digest}"))),
        }
    }

    fn differs(&self, found: String) -> LfsError {
        let Pointer { digest, size } = self.pointer;
        LfsError::Differs { found, expected: format!("{size} bytes with {digest}") }
    }
}

impl Read for Fetched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && !self.is_done && !buffer.is_empty() {
            self.piece = self.next().map_err(|source| {
                io::Error::other(ContextError::Lfs { path: self.path.clone(), source })
            })?;
        }
        let most = buffer.len().min(self.piece.len());
        self.piece.split_to(most).copy_to_slice(&mut buffer[..most]);
        Ok(most)
    }
}

/// Reads to the end, for the program must not be held up, and keeps the end.
fn end_of(mut errors: impl Read) -> Vec<u8> {
    let mut words = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = errors.read(&mut buffer) {
        words.extend_from_slice(&buffer[..read]);
        let excess = words.len().saturating_sub(WORDS);
        words.drain(..excess);
    }
    words
}
