//! The index of a pack: which objects are in it, and where.
//!
//! Only the fan-out table is held in memory; names are read at positions around where a uniform
//! distribution, which ids have, would put them.

use std::cmp::Ordering;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::error::malformed;
use crate::context::ObjectId;

const MAGIC: [u8; 4] = *b"\xfftOc";
const FANOUT: usize = 256;
const ID: u64 = 20;
/// The checksums of the pack and of the index itself.
const TRAILER: u64 = 40;
/// How many names are read at once.
const WINDOW: u64 = 128;
/// How many times the position is guessed before the range is halved.
const GUESSES: usize = 4;

/// An index whose shape was checked.
#[derive(Debug)]
pub(super) struct PackIndex {
    file: File,
    fanout: Box<[u32]>,
    /// Where the names begin, and how far they are apart.
    names: u64,
    stride: u64,
    /// Where the positions begin; nothing in version 1, which has each before its name.
    positions: Option<Positions>,
    /// The checksum that ends the pack.
    pub(super) pack_checksum: [u8; 20],
}

#[derive(Clone, Copy, Debug)]
struct Positions {
    small: u64,
    large: u64,
    large_count: u64,
}

impl PackIndex {
    pub(super) fn open(place: &Path) -> io::Result<Self> {
        let file = fs_err::File::open(place)?.into_file();
        let length = file.metadata()?.len();
        let mut head = [0; 8];
        read_exact(&file, &mut head, 0)?;
        let version = match head.strip_prefix(&MAGIC) {
            None => 1,
            Some([0, 0, 0, 2]) => 2,
            Some(_) => return Err(malformed("the version of the index is not known")),
        };
        let start = if version == 1 { 0 } else { 8 };
        let fanout = fanout(&file, start)?;
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
        read_exact(&file, &mut pack_checksum, length - TRAILER)?;
        Ok(Self { file, fanout, names, stride, positions, pack_checksum })
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
            read_exact(&self.file, &mut window[..length], self.names + part.start * self.stride)?;
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
        if count <= WINDOW {
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
        let start = middle.saturating_sub(WINDOW / 2).clamp(range.start, range.end - WINDOW);
        start..start + WINDOW
    }

    fn position(&self, at: u64) -> io::Result<u64> {
        let mut small = [0; 4];
        let Some(positions) = self.positions else {
            read_exact(&self.file, &mut small, self.names + at * self.stride - 4)?;
            return Ok(u32::from_be_bytes(small).into());
        };
        read_exact(&self.file, &mut small, positions.small + 4 * at)?;
        let small = u64::from(u32::from_be_bytes(small));
        if small < 1 << 31 {
            return Ok(small);
        }
        let at = small & 0x7FFF_FFFF;
        if at >= positions.large_count {
            return Err(malformed("the index names a position that it does not have"));
        }
        let mut large = [0; 8];
        read_exact(&self.file, &mut large, positions.large + 8 * at)?;
        Ok(u64::from_be_bytes(large))
    }
}

/// Binary search for what `compare` calls equal.
fn search(mut range: Range<u64>, compare: impl Fn(u64) -> Ordering) -> Option<u64> {
    while !range.is_empty() {
        let middle = range.start + (range.end - range.start) / 2;
        match compare(middle) {
            Ordering::Less => range.start = middle + 1,
            Ordering::Greater => range.end = middle,
            Ordering::Equal => return Some(middle),
        }
    }
    None
}

fn fanout(file: &File, start: u64) -> io::Result<Box<[u32]>> {
    let mut bytes = [0; 4 * FANOUT];
    read_exact(file, &mut bytes, start)?;
    let (quads, _) = bytes.as_chunks::<4>();
    let fanout: Box<[u32]> = quads.iter().map(|quad| u32::from_be_bytes(*quad)).collect();
    match fanout.is_sorted() {
        true => Ok(fanout),
        false => Err(malformed("the fan-out table of the index is not in order")),
    }
}

fn read_exact(file: &File, buffer: &mut [u8], at: u64) -> io::Result<()> {
    file.read_exact_at(buffer, at).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => malformed("the index ends early"),
        _ => error,
    })
}
