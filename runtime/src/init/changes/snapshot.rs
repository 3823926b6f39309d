//! What a tree was like before a step, kept in a file: enough to see later what was touched.
//!
//! Nobody can set the time of the last change of an inode (`ctime`), so what has the same inode,
//! birth, change time, size, mode and owner was not touched. The modification time says nothing, as
//! any program can put it back. Times come from a clock that ticks a few hundred times a second:
//! what was changed in the tick in which the snapshot ended could be changed in that tick again, so
//! it counts as touched whatever it looks like.
//!
//! Format, private to one builder: the time (as below) when the snapshot ended; then in the order
//! of a layer for each path the number of bytes that it has in common with the path before and the
//! number of its other bytes (16 bits each, little-endian), those bytes, and [`MARK`] bytes that
//! are compared and not read, but for the change time: seconds (64 bits) and nanoseconds (32 bits).
//! That makes about 75 bytes an entry; none of it is in memory.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, statx};
use rustix::time::{ClockId, clock_gettime};

use super::candidates::shared;
use super::descent::{Descent, Ignored};
use crate::wire::{Failure, OrFail as _};

/// Length of what is kept of one inode.
const MARK: usize = 50;

/// What is kept of one inode; the change time comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark([u8; MARK]);

/// Seconds and nanoseconds since 1970.
type Time = (i64, u32);

/// Writes the snapshot of the tree `root`, without what is `ignored`, to the file `to`.
pub(in crate::init) fn take(root: &Path, ignored: &Ignored, to: &Path) -> Result<(), Failure> {
    write(root, ignored, to)
        .or_fail(|| format!("cannot note what is in {} at {}", root.display(), to.display()))
}

fn write(root: &Path, ignored: &Ignored, to: &Path) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(64 << 10, File::create(to)?);
    file.write_all(&[0; 12])?;
    let mut last = Vec::new();
    let mut descent = Descent::new(root, ignored)?;
    while let Some(file_type) = descent.next()? {
        let mark = Mark::of(&look(&descent)?);
        let path = descent.path();
        let shared = shared(&last, path);
        for number in [shared, path.len() - shared] {
            // A tree that is so deep cannot be emitted either.
            let number = u16::try_from(number).map_err(io::Error::other)?;
            file.write_all(&number.to_le_bytes())?;
        }
        file.write_all(&path[shared..])?;
        file.write_all(&mark.0)?;
        last.truncate(shared);
        last.extend_from_slice(&path[shared..]);
        if file_type == FileType::Directory {
            descent.enter()?;
            descent.list()?;
        }
    }
    let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.seek(SeekFrom::Start(0))?;
    let now = clock_gettime(ClockId::RealtimeCoarse);
    file.write_all(&now.tv_sec.to_le_bytes())?;
    file.write_all(&u32::try_from(now.tv_nsec).unwrap_or(0).to_le_bytes())
}

/// What the kernel says of the name that a descent is at.
pub(super) fn look(descent: &Descent<'_>) -> io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    Ok(statx(descent.dir(), descent.name(), flags, wanted)?)
}

impl Mark {
    pub(super) fn of(stat: &Statx) -> Self {
        let (changed, born) = (stat.stx_ctime, stat.stx_btime);
        let mut mark = [0; MARK];
        let mut rest = mark.as_mut_slice();
        let mut put = |bytes: &[u8]| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(bytes.len());
            head.copy_from_slice(bytes);
            rest = tail;
        };
        put(&changed.tv_sec.to_le_bytes());
        put(&changed.tv_nsec.to_le_bytes());
        put(&born.tv_sec.to_le_bytes());
        put(&born.tv_nsec.to_le_bytes());
        put(&stat.stx_ino.to_le_bytes());
        put(&stat.stx_size.to_le_bytes());
        put(&stat.stx_mode.to_le_bytes());
        put(&stat.stx_uid.to_le_bytes());
        put(&stat.stx_gid.to_le_bytes());
        Self(mark)
    }

    fn changed(&self) -> Time {
        time(self.0.first_chunk().expect("a mark is longer than a time"))
    }

    /// Whether a directory was marked.
    pub(super) fn is_directory(&self) -> bool {
        let mode = u16::from_le_bytes([self.0[40], self.0[41]]);
        FileType::from_raw_mode(mode.into()) == FileType::Directory
    }
}

fn time(bytes: &[u8; 12]) -> Time {
    let (seconds, nanoseconds) = bytes.split_at(8);
    (
        i64::from_le_bytes(seconds.try_into().expect("8 of 12 bytes")),
        u32::from_le_bytes(nanoseconds.try_into().expect("4 of 12 bytes")),
    )
}

/// Whether a change at `ended` or later could have left the change time `changed`.
fn is_in_doubt(changed: Time, ended: Time) -> bool {
    // Some file systems keep whole seconds.
    if changed.1 == 0 { changed.0 >= ended.0 } else { changed >= ended }
}

/// Gives a snapshot back, in order.
#[derive(Debug)]
pub(super) struct Snapshot {
    file: BufReader<File>,
    ended: Time,
    path: Vec<u8>,
    mark: Option<Mark>,
}

impl Snapshot {
    /// Opens a snapshot at its first path.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(64 << 10, File::open(path)?);
        let mut ended = [0; 12];
        file.read_exact(&mut ended)?;
        let mut snapshot = Self { file, ended: time(&ended), path: Vec::new(), mark: None };
        snapshot.advance()?;
        Ok(snapshot)
    }

    /// The path that it is at, and what was there.
    pub(super) fn current(&self) -> Option<(&[u8], Mark)> {
        self.mark.map(|mark| (self.path.as_slice(), mark))
    }

    /// Goes to the next path.
    pub(super) fn advance(&mut self) -> io::Result<()> {
        self.mark = None;
        let mut lengths = [0; 4];
        // The whole length is written at once or the file ends before it.
        if self.file.read(&mut lengths[..1])? == 0 {
            return Ok(());
        }
        self.file.read_exact(&mut lengths[1..])?;
        let shared = usize::from(u16::from_le_bytes([lengths[0], lengths[1]]));
        let more = usize::from(u16::from_le_bytes([lengths[2], lengths[3]]));
        self.path.truncate(shared);
        self.path.resize(shared + more, 0);
        self.file.read_exact(&mut self.path[shared..])?;
        let mut mark = [0; MARK];
        self.file.read_exact(&mut mark)?;
        self.mark = Some(Mark(mark));
        Ok(())
    }

    /// Whether what is marked `now` may have been touched since it was marked `then`.
    pub(super) fn is_touched(&self, then: Mark, now: Mark) -> bool {
        then != now || is_in_doubt(then.changed(), self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_in_the_last_tick_is_in_doubt() {
        for (changed, ended, expected) in [
            ((9, 5), (9, 6), false),
            ((9, 6), (9, 6), true),
            ((9, 7), (9, 6), true),
            ((8, 999), (9, 0), false),
            ((9, 0), (9, 6), true),
            ((8, 0), (9, 6), false),
            ((11, 0), (9, 6), true),
        ] {
            assert_eq!(is_in_doubt(changed, ended), expected, "{changed:?} {ended:?}");
        }
    }
}
