//! A pack and its index; what lies at a position of the pack.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Deref;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};

use super::ObjectKind;
use super::delta::{SIZES, Sizes};
use super::error::malformed;
use super::inflate::{Inflated, Span, peek};
use super::pack_index::PackIndex;
use crate::context::ObjectId;

/// The signature, version and count at the beginning.
const HEADER: u64 = 12;
/// The checksum at the end.
const TRAILER: u64 = 20;
/// What is read of an entry at once: its own header and the first compressed bytes.
const AHEAD: usize = 64;
/// What the first compressed bytes are at most: a Huffman table of some three hundred, and a few.
const FAR_AHEAD: usize = 512;

/// What is read of entries that lie close together: sixteen of half a KiB for one call.
const READ_AHEAD: usize = 8 << 10;

/// How many packs stay open; a partial clone may have thousands.
const HELD: u64 = 256;

/// A pack, opened when it is first asked.
#[derive(Debug)]
pub(super) struct Pack {
    /// Tells packs apart.
    pub(super) number: u64,
    pub(super) path: PathBuf,
    held: OnceLock<Opened>,
    /// How much of the index may be held in memory.
    room: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Opened {
    index: PackIndex,
    file: Arc<File>,
    /// Where the entries end.
    end: u64,
}

/// How an entry is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Whole(ObjectKind),
    /// As a delta to what lies at this position of the pack.
    OffsetDelta(u64),
    /// As a delta to this object.
    NamedDelta(ObjectId),
}

/// The header of an entry.
#[derive(Debug)]
pub(super) struct PackEntry {
    pub(super) stored: Stored,
    /// The size of what is compressed: the object, or the delta.
    pub(super) size: u64,
    /// Where the compressed data begins.
    data: u64,
    /// The first bytes from there.
    ahead: [u8; AHEAD],
    ahead_length: usize,
}

/// The number of a pack and a position in it.
type Place = (u64, u64);

/// Part of a pack that a thread has read, for headers of entries that it asks for in their order.
#[derive(Debug, Default)]
pub(in crate::context::git) struct Ahead {
    bytes: Vec<u8>,
    start: Place,
    /// What was asked for last.
    last: Place,
}

/// An opened pack: one that stays open, or one that is closed after use.
enum Handle<'a> {
    Held(&'a Opened),
    Own(Box<Opened>),
}

impl Deref for Handle<'_> {
    type Target = Opened;

    fn deref(&self) -> &Opened {
        match self {
            Self::Held(opened) => opened,
            Self::Own(opened) => opened,
        }
    }
}

impl Pack {
    pub(super) fn new(number: u64, path: PathBuf, room: &Arc<AtomicU64>) -> Self {
        Self { number, path, held: OnceLock::new(), room: Arc::clone(room) }
    }

    /// The files of the pack. No count of references is touched for held ones: all threads of a walk
    /// ask here for every file.
    fn opened(&self) -> io::Result<Handle<'_>> {
        if let Some(opened) = self.held.get() {
            return Ok(Handle::Held(opened));
        }
        if self.number >= HELD {
            let opened = Opened::open(&self.path, &AtomicU64::new(0))?;
            return Ok(Handle::Own(Box::new(opened)));
        }
        let opened = Opened::open(&self.path, &self.room)?;
        Ok(Handle::Held(self.held.get_or_init(|| opened)))
    }

    /// Where an object lies.
    pub(super) fn find(&self, id: ObjectId) -> io::Result<Option<u64>> {
        self.opened()?.index.find(id)
    }

    /// Reads the header of the entry at a position.
    pub(super) fn entry(&self, at: u64) -> io::Result<PackEntry> {
        let opened = self.opened()?;
        let mut bytes = [0; AHEAD];
        let left = opened.left(at)?;
        opened.file.read_exact_at(&mut bytes[..left], at)?;
        Self::parse_entry(at, bytes, left)
    }

    /// As [`Self::entry`], for positions that mostly come in their order: what follows the last one
    /// was read with it.
    pub(super) fn entry_ahead(&self, at: u64, ahead: &mut Ahead) -> io::Result<PackEntry> {
        let opened = self.opened()?;
        let mut bytes = [0; AHEAD];
        let left = opened.left(at)?;
        let place = (self.number, at);
        match ahead.get(place, left) {
            Some(held) => bytes[..left].copy_from_slice(held),
            None if ahead.is_soon_after(place) => {
                let all = usize::try_from(opened.end - at).unwrap_or(READ_AHEAD).min(READ_AHEAD);
                let held =
                    ahead.fill(place, all, |buffer| opened.file.read_exact_at(buffer, at))?;
                bytes[..left].copy_from_slice(&held[..left]);
            }
            None => opened.file.read_exact_at(&mut bytes[..left], at)?,
        }
        ahead.last = place;
        Self::parse_entry(at, bytes, left)
    }

    fn parse_entry(at: u64, mut bytes: [u8; AHEAD], left: usize) -> io::Result<PackEntry> {
        let ended_early = || malformed("the header of its entry has no end");
        let (stored, size, length) = parse(&bytes[..left], at).ok_or_else(ended_early)?;
        bytes.copy_within(length..left, 0);
        let data = at + length as u64;
        Ok(PackEntry { stored, size, data, ahead: bytes, ahead_length: left - length })
    }

    /// The sizes at the beginning of a delta.
    pub(super) fn delta_sizes(&self, entry: &PackEntry) -> io::Result<Sizes> {
        let mut sizes = [0; SIZES];
        let near = &entry.ahead[..entry.ahead_length];
        if let Ok(sizes) = peek(near, &mut sizes).and_then(Sizes::parse) {
            return Ok(sizes);
        }
        let opened = self.opened()?;
        let mut far = Vec::with_capacity(FAR_AHEAD);
        let span = Span::new(Arc::clone(&opened.file), entry.data, opened.end);
        span.take(FAR_AHEAD as u64).read_to_end(&mut far)?;
        Sizes::parse(peek(&far, &mut sizes)?)
    }

    /// The content of an entry: the object, or the delta.
    pub(super) fn content(&self, entry: &PackEntry) -> io::Result<Inflated> {
        let opened = self.opened()?;
        let span = Span::new(Arc::clone(&opened.file), entry.data, opened.end);
        Ok(Inflated::new(span, entry.size))
    }
}

impl Ahead {
    /// The bytes at a place, if they are held.
    fn get(&self, (pack, at): Place, length: usize) -> Option<&[u8]> {
        let (held, start) = self.start;
        let from = usize::try_from(at.checked_sub(start)?).ok()?;
        self.bytes.get(from..from + length).filter(|_| held == pack)
    }

    /// Whether one read would have covered the last place and this one.
    fn is_soon_after(&self, (pack, at): Place) -> bool {
        let (last, before) = self.last;
        last == pack && at.checked_sub(before).is_some_and(|distance| distance < READ_AHEAD as u64)
    }

    /// Holds what `read` says is at a place.
    fn fill(
        &mut self,
        place: Place,
        length: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<&[u8]> {
        self.bytes.resize(length, 0);
        self.start = place;
        if let Err(error) = read(&mut self.bytes) {
            self.bytes.clear();
            return Err(error);
        }
        Ok(&self.bytes)
    }
}

impl Opened {
    /// How much of an entry at a position is read at once.
    fn left(&self, at: u64) -> io::Result<usize> {
        match (HEADER..self.end).contains(&at) {
            true => Ok(usize::try_from(self.end - at).unwrap_or(AHEAD).min(AHEAD)),
            false => Err(malformed("the index names a position outside of the pack")),
        }
    }

    /// Opens the pack and its index, and checks that they belong together.
    fn open(path: &Path, room: &AtomicU64) -> io::Result<Self> {
        let index = PackIndex::open(&path.with_extension("idx"), room)?;
        let file = fs_err::File::open(path)?.into_file();
        let length = file.metadata()?.len();
        let mut header = [0; HEADER as usize];
        let mut checksum = [0; TRAILER as usize];
        if length < HEADER + TRAILER {
            return Err(malformed("the pack is shorter than an empty one"));
        }
        file.read_exact_at(&mut header, 0)?;
        file.read_exact_at(&mut checksum, length - TRAILER)?;
        let [b'P', b'A', b'C', b'K', 0, 0, 0, 2 | 3, count @ ..] = header else {
            return Err(malformed("it is not a pack of version 2 or 3"));
        };
        if u32::from_be_bytes(count) != index.count() || checksum != index.pack_checksum {
            return Err(malformed("the pack is not the one that its index is for"));
        }
        Ok(Self { index, file: Arc::new(file), end: length - TRAILER })
    }
}

/// Reads the header of an entry at a position; also tells how long it is. Nothing if it is malformed.
fn parse(bytes: &[u8], at: u64) -> Option<(Stored, u64, usize)> {
    let mut rest = bytes.iter();
    let mut byte = *rest.next()?;
    let number = byte >> 4 & 7;
    let mut size = u64::from(byte & 15);
    let mut shift = 4;
    while byte & 0x80 != 0 {
        byte = *rest.next()?;
        let part = u64::from(byte & 0x7F);
        if shift > 63 || part.leading_zeros() < shift {
            return None;
        }
        size |= part << shift;
        shift += 7;
    }
    let stored = match number {
        6 => Stored::OffsetDelta(at.checked_sub(distance(&mut rest)?)?),
        7 => {
            let id = rest.as_slice().first_chunk::<20>()?;
            rest = rest.as_slice()[20..].iter();
            Stored::NamedDelta(ObjectId::from_bytes(*id))
        }
        _ => Stored::Whole(ObjectKind::numbered(number)?),
    };
    Some((stored, size, bytes.len() - rest.len()))
}

/// How far back the base lies: seven bits a byte, the highest first, and each byte but the last
/// stands for one more than its bits. Nought would be the entry itself.
fn distance(rest: &mut std::slice::Iter<'_, u8>) -> Option<u64> {
    let mut byte = *rest.next()?;
    let mut value = u64::from(byte & 0x7F);
    while byte & 0x80 != 0 {
        byte = *rest.next()?;
        value = (value + 1).checked_mul(128)? | u64::from(byte & 0x7F);
    }
    (value > 0).then_some(value)
}
