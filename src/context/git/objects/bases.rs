//! What deltas refer to: whole objects, readable at any position.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::ObjectKind;
use super::error::malformed;

/// Objects up to this size are held in memory while others are made from them; two at a time.
const MEMORY_LIMIT: u64 = 4 << 20;
/// What is read of a base in a file at least: deltas copy many small parts near each other.
const WINDOW: usize = 8 << 10;
/// How much a file is written with.
const CHUNK: u64 = 64 << 10;

/// How many bytes of bases are remembered in all.
const REMEMBERED: usize = 8 << 20;
/// The longest base that is remembered.
const LONGEST_REMEMBERED: usize = 1 << 20;

/// A whole object that a delta refers to.
#[derive(Clone, Debug)]
pub(super) enum Base {
    /// A small one.
    Memory(Arc<[u8]>),
    /// A big one, in a file without a name.
    File(Arc<File>, u64),
}

impl Base {
    /// Takes `size` bytes from `content`, which must end there.
    pub(super) fn collect(
        mut content: impl Read,
        size: u64,
        scratch: Option<&Path>,
    ) -> io::Result<Self> {
        let ended_early = || malformed("an object that it is based on ends early");
        if size <= MEMORY_LIMIT {
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
            content.take(size + 1).read_to_end(&mut bytes)?;
            return match bytes.len() as u64 == size {
                true => Ok(Self::Memory(bytes.into())),
                false => Err(ended_early()),
            };
        }
        let mut file = match scratch {
            Some(directory) => tempfile::tempfile_in(directory)?,
            None => tempfile::tempfile()?,
        };
        let mut chunk = vec![0; usize::try_from(CHUNK).unwrap_or(0)];
        let mut written = 0;
        loop {
            match content.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => {
                    file.write_all(&chunk[..count])?;
                    written += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match written == size {
            true => Ok(Self::File(Arc::new(file), size)),
            false => Err(ended_early()),
        }
    }

    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }
}

/// A base with a window on it.
#[derive(Debug)]
pub(super) struct BaseReader {
    base: Base,
    window: Vec<u8>,
    /// Where the window begins.
    start: u64,
}

impl BaseReader {
    pub(super) fn new(base: Base) -> Self {
        Self { base, window: Vec::new(), start: 0 }
    }

    pub(super) fn size(&self) -> u64 {
        self.base.size()
    }

    /// Fills some of `buffer` with what is at a position inside the base.
    pub(super) fn read_at(&mut self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let (bytes, start) = match &self.base {
            Base::Memory(bytes) => (&**bytes, 0),
            Base::File(file, _) if buffer.len() >= WINDOW => return file.read_at(buffer, at),
            Base::File(file, _) => {
                let end = self.start + self.window.len() as u64;
                if !(self.start..end).contains(&at) {
                    self.window.resize(WINDOW, 0);
                    let count = file.read_at(&mut self.window, at)?;
                    self.window.truncate(count);
                    self.start = at;
                }
                (self.window.as_slice(), self.start)
            }
        };
        let from = usize::try_from(at - start).unwrap_or(usize::MAX).min(bytes.len());
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }
}

/// Where a base lies: the number of its pack and its position there.
pub(super) type Place = (u64, u64);

/// Small bases that were used last: neighbours in a pack are often made from the same.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    bases: VecDeque<(Place, ObjectKind, Arc<[u8]>)>,
    bytes: usize,
}

impl Recent {
    pub(super) fn get(&self, place: Place) -> Option<(ObjectKind, Base)> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = queue.bases.iter().rposition(|(other, ..)| *other == place)?;
        let found = queue.bases.remove(at)?;
        let (kind, base) = (found.1, Base::Memory(Arc::clone(&found.2)));
        queue.bases.push_back(found);
        Some((kind, base))
    }

    pub(super) fn put(&self, place: Place, kind: ObjectKind, base: &Base) {
        let Base::Memory(bytes) = base else {
            return;
        };
        if bytes.len() > LONGEST_REMEMBERED {
            return;
        }
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.bytes += bytes.len();
        queue.bases.push_back((place, kind, Arc::clone(bytes)));
        // The count bounds the search.
        while queue.bytes > REMEMBERED || queue.bases.len() > 1024 {
            let Some((_, _, oldest)) = queue.bases.pop_front() else {
                break;
            };
            queue.bytes -= oldest.len();
        }
    }
}
