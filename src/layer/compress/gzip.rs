//! gzip in parallel: blocks of a fixed size, compressed by several threads into one member
//! (RFC 1951, RFC 1952).
//!
//! Each block but the last ends in a sync flush, that is at a byte's border and not final, and
//! begins with the last 32 KiB of the block before it as its dictionary. So the blocks can be
//! compressed in any order and, put together in theirs, are one deflate stream.
//!
//! Invariants: the bytes depend on input and level only; at most `threads + 2` blocks are in
//! flight; an error of the output comes back from `write` or `finish`.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use flate2::Crc;

use super::deflate;

/// Bytes of input in one block; part of what the output depends on.
pub const GZIP_BLOCK: usize = 1 << 20;

/// How far back deflate can refer.
const WINDOW: usize = 32 * 1024;

/// No name, no time, no hint of the compressor, operating system "unknown".
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// Compresses into `W` on its own threads.
pub(super) struct GzipWriter<W> {
    block: Vec<u8>,
    dictionary: Vec<u8>,
    buffers: Buffers,
    /// Both are gone once the output failed.
    lines: Option<Lines>,
    orderer: Option<JoinHandle<io::Result<W>>>,
}

/// Where a block goes: to a worker, and its answer's place in the order to the orderer.
struct Lines {
    jobs: SyncSender<Job>,
    order: SyncSender<Receiver<Done>>,
}

struct Job {
    block: Vec<u8>,
    dictionary: Vec<u8>,
    last: bool,
    done: SyncSender<Done>,
}

struct Done {
    bytes: io::Result<Vec<u8>>,
    crc: Crc,
}

/// Block buffers that are free to be used again; the lock guards nothing but the list.
#[derive(Clone, Default)]
struct Buffers(Arc<Mutex<VecDeque<Vec<u8>>>>);

impl Buffers {
    fn take(&self) -> Vec<u8> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_back();
        free.unwrap_or_else(|| Vec::with_capacity(GZIP_BLOCK + GZIP_BLOCK / 16))
    }

    fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(buffer);
    }
}

impl<W: Write + Send + 'static> GzipWriter<W> {
    pub(super) fn new(level: u32, threads: usize, output: W) -> io::Result<Self> {
        if level > 9 {
            let text = format!("gzip has no compression level {level}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let buffers = Buffers::default();
        let (jobs, queue) = sync_channel(1);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let (queue, buffers) = (Arc::clone(&queue), buffers.clone());
            thread::Builder::new()
                .name("gzip".to_owned())
                .spawn(move || work(&queue, level, &buffers))?;
        }
        let (order, answers) = sync_channel(threads);
        let free = buffers.clone();
        let orderer = thread::Builder::new()
            .name("gzip-order".to_owned())
            .spawn(move || put_in_order(&answers, output, &free))?;
        Ok(Self {
            block: buffers.take(),
            dictionary: Vec::new(),
            buffers,
            lines: Some(Lines { jobs, order }),
            orderer: Some(orderer),
        })
    }

    pub(super) fn finish(mut self) -> io::Result<W> {
        self.send(true)?;
        self.lines = None;
        self.join()
    }

    fn send(&mut self, last: bool) -> io::Result<()> {
        let block = std::mem::replace(&mut self.block, self.buffers.take());
        let tail = block[block.len().saturating_sub(WINDOW)..].to_vec();
        let dictionary = std::mem::replace(&mut self.dictionary, tail);
        let (done, answer) = sync_channel(1);
        let job = Job { block, dictionary, last, done };
        let sent = self
            .lines
            .as_ref()
            .is_some_and(|lines| lines.order.send(answer).is_ok() && lines.jobs.send(job).is_ok());
        if sent {
            return Ok(());
        }
        // The orderer only stops early when the output failed: its error is the one to tell.
        self.lines = None;
        self.join().and_then(|_| Err(io::Error::other("compression ended early")))
    }

    fn join(&mut self) -> io::Result<W> {
        match self.orderer.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the compression thread failed")),
            None => Err(io::Error::other("compression has failed before")),
        }
    }
}

impl<W: Write + Send + 'static> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full block is sent only when more follows, so the last block is never empty in vain.
        if self.block.len() == GZIP_BLOCK && !bytes.is_empty() {
            self.send(false)?;
        }
        let taken = bytes.len().min(GZIP_BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One worker: takes blocks until there are no more.
fn work(queue: &Mutex<Receiver<Job>>, level: u32, buffers: &Buffers) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let mut crc = Crc::new();
        crc.update(&job.block);
        let mut out = buffers.take();
        let done = deflate::compress(level, &job.block, &job.dictionary, job.last, &mut out);
        let bytes = done.map(|()| out);
        // Nobody waits for the answer once the output has failed.
        let _ = job.done.send(Done { bytes, crc });
        buffers.give(job.block);
    }
}

/// Writes the answers in the order in which they were asked for.
fn put_in_order<W: Write>(
    answers: &Receiver<Receiver<Done>>,
    mut output: W,
    buffers: &Buffers,
) -> io::Result<W> {
    output.write_all(&HEADER)?;
    let mut crc = Crc::new();
    for answer in answers {
        let done =
            answer.recv().map_err(|_| io::Error::other("a compression thread ended early"))?;
        let bytes = done.bytes?;
        output.write_all(&bytes)?;
        crc.combine(&done.crc);
        buffers.give(bytes);
    }
    output.write_all(&crc.sum().to_le_bytes())?;
    output.write_all(&crc.amount().to_le_bytes())?;
    output.flush()?;
    Ok(output)
}
