//! A file of bounded size between one writer and one reader, such as a compressor and an upload.
//!
//! The file is used as a ring: byte `n` of the stream lies at `n` modulo the capacity. As long as
//! the stream is not longer than the capacity, the file is the whole stream, whatever the reader
//! does. A longer stream overwrites what was read, and then the writer waits for the reader. Half
//! of the capacity stays behind the reader, for going back after a broken connection.
//!
//! It does not know what flows, and keeps nothing of it in memory but the piece on its way.
//!
//! Invariants: a byte is overwritten only when the reader is half a capacity beyond it; a reader
//! never sees the end of a stream whose writer did not complete it; a writer that waits ends with
//! the build.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use fs_err::os::unix::fs::FileExt as _;
use futures_util::Stream;
use thiserror::Error;
use tokio::sync::Notify;

use crate::blocking::{Interrupt, blocking};
use crate::model::Digest;

/// Bytes that are read at a time.
const PIECE: u64 = 256 * 1024;
/// How often a waiting writer looks whether the build is to end.
const LOOK: Duration = Duration::from_millis(100);

/// The stream is longer than the file may be, and nobody reads it.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("it has more than {capacity} bytes")]
pub struct RingFull {
    /// The capacity.
    pub capacity: u64,
}

/// The writing end. Dropped before [`complete`](Self::complete), it fails the reader.
#[derive(Debug)]
pub struct RingWriter {
    ring: Arc<Ring>,
    interrupt: Interrupt,
}

/// The reading end; clones are the same reader. When the last one is dropped, nobody reads.
#[derive(Clone, Debug)]
pub struct RingReader(Arc<Presence>);

/// What both ends share.
#[derive(Debug)]
struct Ring {
    file: fs_err::File,
    capacity: u64,
    // Never held across an await or a system call on the file.
    state: Mutex<State>,
    /// Wakes the writer: there is room, or nobody reads any more.
    room: Condvar,
    /// Wakes the reader: there is more, or an end.
    grown: Notify,
}

#[derive(Debug)]
struct State {
    written: u64,
    /// Where the write that is under way ends.
    reserved: u64,
    /// What lies before it may be overwritten.
    floor: u64,
    is_read: bool,
    end: End,
}

/// How the stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Complete(Digest),
    Abandoned,
}

#[derive(Debug)]
struct Presence(Arc<Ring>);

impl RingWriter {
    /// A ring in `file`, which is empty, of at most `capacity` bytes (at least one).
    pub fn new(file: fs_err::File, capacity: u64, interrupt: Interrupt) -> Self {
        let state = State { written: 0, reserved: 0, floor: 0, is_read: false, end: End::Open };
        let (room, grown) = (Condvar::new(), Notify::new());
        let ring = Ring { file, capacity: capacity.max(1), state: Mutex::new(state), room, grown };
        Self { ring: Arc::new(ring), interrupt }
    }

    /// The reading end; only one reader may be there.
    pub fn reader(&self) -> RingReader {
        self.ring.state().is_read = true;
        RingReader(Arc::new(Presence(Arc::clone(&self.ring))))
    }

    /// Ends the stream, whose bytes have this digest; returns whether the file is the whole of it.
    pub fn complete(self, digest: Digest) -> bool {
        let mut state = self.ring.state();
        state.end = End::Complete(digest);
        state.written <= self.ring.capacity
    }

    /// Waits until some of `length` bytes may be written, and returns where and how many.
    fn room(&self, length: u64) -> io::Result<(u64, u64)> {
        let Ring { capacity, room, .. } = &*self.ring;
        let mut state = self.ring.state();
        loop {
            let free = state.floor.saturating_add(*capacity) - state.written;
            if free > 0 {
                let length = length.min(free).min(capacity - state.written % capacity);
                state.reserved = state.written + length;
                return Ok((state.written, length));
            }
            if !state.is_read {
                return Err(io::Error::other(RingFull { capacity: *capacity }));
            }
            if self.interrupt.is_set() {
                return Err(io::Error::other("interrupted"));
            }
            let waited = room.wait_timeout(state, LOOK);
            state = waited.expect("no holder of this lock panics").0;
        }
    }
}

impl Write for RingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let (at, length) = self.room(bytes.len() as u64)?;
        let taken = usize::try_from(length).expect("not more than there is");
        self.ring.file.write_all_at(&bytes[..taken], at % self.ring.capacity)?;
        self.ring.state().written = at + length;
        self.ring.grown.notify_one();
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for RingWriter {
    fn drop(&mut self) {
        let mut state = self.ring.state();
        if state.end == End::Open {
            state.end = End::Abandoned;
        }
        drop(state);
        self.ring.grown.notify_one();
    }
}

impl RingReader {
    /// Waits until the stream has `length` bytes or ends; returns whether it has them.
    pub async fn reaches(&self, length: u64) -> bool {
        let ring = &self.0.0;
        loop {
            {
                let state = ring.state();
                if state.written >= length || state.end != End::Open {
                    return state.written >= length;
                }
            }
            ring.grown.notified().await;
        }
    }

    /// Goes back to `offset`; returns whether it is still in the file.
    pub fn rewind(&self, offset: u64) -> bool {
        let ring = &self.0.0;
        let mut state = ring.state();
        let kept = offset.saturating_add(ring.capacity) >= state.reserved;
        if kept {
            state.floor = state.floor.min(offset);
        }
        kept
    }

    /// Whether the writer gave up.
    pub fn is_abandoned(&self) -> bool {
        self.0.0.state().end == End::Abandoned
    }

    /// Digest and length of a completed stream.
    pub fn completed(&self) -> Option<(Digest, u64)> {
        let state = self.0.0.state();
        match state.end {
            End::Complete(digest) => Some((digest, state.written)),
            End::Open | End::Abandoned => None,
        }
    }

    /// How many bytes were written until now.
    pub fn written(&self) -> u64 {
        self.0.0.state().written
    }

    /// The stream from `offset` on, which must lie in the file, as it is written: `length` bytes of
    /// it, or all.
    pub fn pieces(
        &self,
        offset: u64,
        length: Option<u64>,
    ) -> impl Stream<Item = io::Result<Bytes>> + Send + Sync + 'static {
        let end = length.map_or(u64::MAX, |length| offset.saturating_add(length));
        let start = (self.clone(), offset);
        futures_util::stream::try_unfold(start, move |(reader, at)| async move {
            let piece = reader.piece(at, end).await?;
            Ok(piece.map(|piece| {
                let next = at + piece.len() as u64;
                (piece, (reader, next))
            }))
        })
    }

    /// The next piece before `end`; `None` at the end.
    async fn piece(&self, at: u64, end: u64) -> io::Result<Option<Bytes>> {
        if at == end {
            return Ok(None);
        }
        if !self.reaches(at + 1).await {
            return match self.completed() {
                Some(_) => Ok(None),
                None => Err(io::Error::other("the writer gave up")),
            };
        }
        let ring = Arc::clone(&self.0.0);
        let piece = blocking(move || ring.read(at, end)).await?;
        self.0.0.passed(at + piece.len() as u64);
        Ok(Some(piece))
    }
}

impl Ring {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn read(&self, at: u64, end: u64) -> io::Result<Bytes> {
        let (written, floor) = {
            let state = self.state();
            (state.written, state.floor)
        };
        if at < floor {
            return Err(io::Error::other("the bytes are not kept any more"));
        }
        let place = at % self.capacity;
        let length = (written.min(end) - at).min(PIECE).min(self.capacity - place);
        let mut piece = vec![0; usize::try_from(length).expect("a piece fits memory")];
        self.file.read_exact_at(&mut piece, place)?;
        Ok(Bytes::from(piece))
    }

    /// The reader has everything before `position`.
    fn passed(&self, position: u64) {
        let mut state = self.state();
        state.floor = state.floor.max(position.saturating_sub(self.capacity / 2));
        drop(state);
        self.room.notify_one();
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.state().is_read = false;
        self.0.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use proptest::prelude::*;

    use super::*;
    use crate::hashing::sha256;

    fn ring(capacity: u64) -> (RingWriter, RingReader) {
        let writer = RingWriter::new(file(), capacity, Interrupt::default());
        let reader = writer.reader();
        (writer, reader)
    }

    fn file() -> fs_err::File {
        fs_err::File::from_parts(tempfile::tempfile().unwrap(), "ring")
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 7 / 5) as u8).collect()
    }

    async fn rest(reader: &RingReader, offset: u64) -> io::Result<Vec<u8>> {
        let mut pieces = std::pin::pin!(reader.pieces(offset, None));
        let mut all = Vec::new();
        while let Some(piece) = pieces.next().await {
            all.extend_from_slice(&piece?);
        }
        Ok(all)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_written_is_read(length in 0_usize..5000, capacity in 1_u64..6000, step in 1_usize..900) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let content = bytes(length);
            let (mut writer, reader) = ring(capacity);
            let written = content.clone();
            let writing = std::thread::spawn(move || {
                written.chunks(step).for_each(|chunk| writer.write_all(chunk).unwrap());
                writer.complete(sha256(&written))
            });
            let read = runtime.block_on(rest(&reader, 0)).unwrap();
            prop_assert_eq!(&read, &content);
            prop_assert_eq!(writing.join().unwrap(), length as u64 <= capacity);
            prop_assert_eq!(reader.completed(), Some((sha256(&content), length as u64)));
        }
    }

    #[tokio::test]
    async fn a_stream_that_fits_can_be_read_again_and_needs_no_reader() {
        let content = bytes(1000);
        let (mut writer, reader) = ring(1000);
        writer.write_all(&content).unwrap();
        assert!(writer.complete(sha256(&content)));
        for _ in 0..2 {
            assert_eq!(rest(&reader, 0).await.unwrap(), content);
            assert!(reader.rewind(0));
        }
        let (mut writer, reader) = ring(1000);
        drop(reader);
        writer.write_all(&content).unwrap();
        let error = writer.write_all(b"x").unwrap_err();
        let full = error.get_ref().and_then(|inner| inner.downcast_ref());
        assert_eq!(full, Some(&RingFull { capacity: 1000 }));
    }

    #[tokio::test]
    async fn the_writer_waits_and_half_stays_behind_the_reader() {
        let (writer, reader) = ring(1000);
        let content = bytes(1500);
        let written = content.clone();
        let mut writer = writer;
        let writing = std::thread::spawn(move || {
            writer.write_all(&written).unwrap();
            writer.complete(sha256(&written))
        });
        assert!(reader.reaches(1000).await);
        assert!(reader.rewind(0), "nothing is overwritten before it is read");
        let first = reader.piece(0, u64::MAX).await.unwrap().unwrap();
        assert_eq!(first, content[..1000]);
        assert!(!writing.join().unwrap());
        assert!(!reader.rewind(499) && reader.rewind(500));
        assert_eq!(rest(&reader, 500).await.unwrap(), content[500..]);
        assert!(rest(&reader, 0).await.is_err());
    }

    #[tokio::test]
    async fn an_abandoned_stream_has_no_end() {
        let (mut writer, reader) = ring(1000);
        writer.write_all(b"half").unwrap();
        drop(writer);
        assert!(reader.is_abandoned() && !reader.reaches(5).await);
        assert!(rest(&reader, 0).await.is_err());
    }

    #[test]
    fn a_waiting_writer_ends_with_the_build() {
        let interrupt = Interrupt::default();
        let mut writer = RingWriter::new(file(), 10, interrupt.clone());
        let _reader = writer.reader();
        let writing = std::thread::spawn(move || writer.write_all(&bytes(100)));
        interrupt.set();
        assert!(writing.join().unwrap().is_err());
    }
}
