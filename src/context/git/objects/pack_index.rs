//! The index of a pack: which objects are in it, and where.
//!
//! A small index is held in memory as long as all of them take no more than [`HELD`]; of others only
//! the fan-out table is, and names are read at positions around where a uniform distribution, which
//! ids have, would put them.

use std::cmp;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::malformed;
use crate::context::ObjectId;

/// How many bytes of indexes a store holds in memory: all of a shallow clone of 140,000 objects.
pub(super) const HELD: u64 = 4 << 20;

const MAGIC: [u8; 4] = *b"\xfftOc";
const FANOUT: usize = 256;
const ID: u64 = 20;
/// The checksums of the pack and of the index itself.
const TRAILER: u64 = 40;
/// How many names are read at once, at most.
const WINDOW: u64 = 128;
/// How many are read at least.
const LEAST_WINDOW: u64 = 16;
/// How many times the position is guessed before the range is halved.
const GUESSES: usize = 4;

/// An index whose shape was checked.
#[derive(Debug)]
pub(super) struct PackIndex {
    bytes: Bytes,
    fanout: Box<[u32]>,
    /// Where the names begin, and how far they are apart.
    names: u64,
    stride: u64,
    /// Where the positions begin; nothing in version 1, which has each before its name.
    positions: Option<Positions>,
    /// The checksum that ends the pack.
    pub(super) pack_checksum: [u8; 20],
}

/// The bytes of an index.
#[derive(Debug)]
enum Bytes {
    Held(Box<[u8]>),
    OnDisk(File),
}

#[derive(Clone, Copy, Debug)]
struct Positions {
    small: u64,
    large: u64,
    large_count: u64,
}

impl PackIndex {
    /// Opens an index; it is held in memory if `room` has as many bytes left.
    pub(super) fn open(place: &Path, room: &AtomicU64) -> io::Result<Self> {
        let file = fs_err::File::open(place)?.into_file();
        let length = file.metadata()?.len();
        let bytes = Bytes::new(file, length, room)?;
        let mut head = [0; 8];
        bytes.copy(&mut head, 0)?;
        let version = match head.strip_prefix(&MAGIC) {
            None => 1,
            Some([0, 0, 0, 2]) => 2,
            Some(_) => return Err(malformed("the version of the index is not known")),
        };
        let start = if version == 1 { 0 } else { 8 };
        let fanout = fanout(&bytes, start)?;
        let count = u64::from(fanout[FANOUT - 1]);
        let names = start + 4 * FANOUT as u64;
        let wrong_size = || malformed("the index has not the size that its content needs");
        let rest = length.checked_sub(names + TRAILER).ok_or_else(wrong_size)?;
        let (names, stride, positions) = match version {
            1 if rest == count * (4 + ID) => (names + 4, 4 + ID, None),
            2 if rest >= count * (ID + 8) && (rest - count * (ID + 8)).is_multiple_of(8) => {
                let small = names + count * (ID + 4);
                let large_count = (rest - count * (ID + 8)) / 8;
                let positions = Positions { small, large: small + count * 4, large_count };
                (names, ID, Some(positions))
            }
            _ => return Err(wrong_size()),
        };
        let mut pack_checksum = [0; 20];
        bytes.copy(&mut pack_checksum, length - TRAILER)?;
        Ok(Self { bytes, fanout, names, stride, positions, pack_checksum })
    }

    /// How many objects there are.
    pub(super) fn count(&self) -> u32 {
        self.fanout[FANOUT - 1]
    }

    /// Where an object lies in the pack.
    pub(super) fn find(&self, id: ObjectId) -> io::Result<Option<u64>> {
        let first = usize::from(id.as_bytes()[0]);
        let start = first.checked_sub(1).map_or(0, |before| self.fanout[before]);
        let mut range = u64::from(start)..u64::from(self.fanout[first]);
        let mut window = [0; (WINDOW * (4 + ID)) as usize];
        for attempt in 0.. {
            if range.is_empty() {
                break;
            }
            let part = self.part(&range, id, attempt);
            let count = part.end - part.start;
            // The last name has no position after it in version 1.
            let length = usize::try_from((count - 1) * self.stride + ID).unwrap_or(0);
            let start = self.names + part.start * self.stride;
            let window = self.bytes.at(&mut window[..length], start)?;
            let name = |at: u64| {
                let at = usize::try_from((at - part.start) * self.stride).unwrap_or(0);
                &window[at..at + 20]
            };
            let wanted = id.as_bytes().as_slice();
            if wanted < name(part.start) {
                range.end = part.start;
            } else if wanted > name(part.end - 1) {
                range.start = part.end;
            } else {
                let found = search(part.clone(), |at| name(at).cmp(wanted));
                return found.map(|at| self.position(at)).transpose();
            }
        }
        Ok(None)
    }

    /// The part of a range to look at next.
    fn part(&self, range: &Range<u64>, id: ObjectId, attempt: usize) -> Range<u64> {
        let count = range.end - range.start;
        // That is how far off the guess is, four times out of five or better.
        let window = (2 * count.isqrt()).clamp(LEAST_WINDOW, WINDOW);
        if count <= window {
            return range.clone();
        }
        let bytes = id.as_bytes();
        let middle = match attempt < GUESSES {
            // The bytes after the first say where in the range of the first the name should be.
            true => {
                let fraction = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
                let first = usize::from(bytes[0]);
                let low = first.checked_sub(1).map_or(0, |before| self.fanout[before]);
                let whole = u64::from(self.fanout[first] - low);
                u64::from(low) + ((whole * u64::from(fraction)) >> 32)
            }
            false => range.start + count / 2,
        };
        let start = middle.saturating_sub(window / 2).clamp(range.start, range.end - window);
        start..start + window
    }

    fn position(&self, at: u64) -> io::Result<u64> {
        let mut small = [0; 4];
        let Some(positions) = self.positions else {
            self.bytes.copy(&mut small, self.names + at * self.stride - 4)?;
            return Ok(u32::from_be_bytes(small).into());
        };
        self.bytes.copy(&mut small, positions.small + 4 * at)?;
        let small = u64::from(u32::from_be_bytes(small));
        if small < 1 << 31 {
            return Ok(small);
        }
        let at = small & 0x7FFF_FFFF;
        if at >= positions.large_count {
            return Err(malformed("the index names a position that it does not have"));
        }
        let mut large = [0; 8];
        self.bytes.copy(&mut large, positions.large + 8 * at)?;
        Ok(u64::from_be_bytes(large))
    }
}

/// Binary search for what `compare` calls equal.
fn search(mut range: Range<u64>, compare: impl Fn(u64) -> cmp::Ordering) -> Option<u64> {
    while !range.is_empty() {
        let middle = range.start + (range.end - range.start) / 2;
        match compare(middle) {
            cmp::Ordering::Less => range.start = middle + 1,
            cmp::Ordering::Greater => range.end = middle,
            cmp::Ordering::Equal => return Some(middle),
        }
    }
    None
}

fn fanout(all: &Bytes, start: u64) -> io::Result<Box<[u32]>> {
    let mut bytes = [0; 4 * FANOUT];
    all.copy(&mut bytes, start)?;
    let (quads, _) = bytes.as_chunks::<4>();
    let fanout: Box<[u32]> = quads.iter().map(|quad| u32::from_be_bytes(*quad)).collect();
    match fanout.is_sorted() {
        true => Ok(fanout),
        false => Err(malformed("the fan-out table of the index is not in order")),
    }
}

impl Bytes {
    fn new(file: File, length: u64, room: &AtomicU64) -> io::Result<Self> {
        let less = |room: u64| room.checked_sub(length);
        if room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err() {
            return Ok(Self::OnDisk(file));
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Self::Held(bytes.into()))
    }

    /// As many bytes as `buffer` has from a position, which need not be copied there.
    fn at<'a>(&'a self, buffer: &'a mut [u8], at: u64) -> io::Result<&'a [u8]> {
        let ends_early = || malformed("the index ends early");
        match self {
            Self::Held(bytes) => {
                let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..));
                rest.and_then(|rest| rest.get(..buffer.len())).ok_or_else(ends_early)
            }
            Self::OnDisk(file) => match file.read_exact_at(buffer, at) {
                Ok(()) => Ok(buffer),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ends_early()),
                Err(error) => Err(error),
            },
        }
    }

    fn copy<const N: usize>(&self, buffer: &mut [u8; N], at: u64) -> io::Result<()> {
        let mut read = [0; N];
        buffer.copy_from_slice(self.at(&mut read, at)?);
        Ok(())
    }
}
