//! The files that an index knows.

use super::paths::{Near, Paths};
use crate::context::ObjectId;

/// Seconds and nanoseconds; nought nanoseconds may mean that they are not known.
pub(in crate::context::git) type Time = (u32, u32);

/// The stat data that a file had when git last knew its content. Zeros are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::context::git) struct Stat {
    /// The low 32 bits of its size.
    pub(in crate::context::git) size: u32,
    /// The low 32 bits of the seconds.
    pub(in crate::context::git) modified: Time,
    /// When the inode changed.
    pub(in crate::context::git) changed: Time,
    /// The low 32 bits of the inode's number.
    pub(in crate::context::git) inode: u32,
}

/// What an index knows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::context::git) struct State {
    /// The blob.
    pub(in crate::context::git) object: ObjectId,
    /// Whether git's mode has the x bit.
    pub(in crate::context::git) executable: bool,
    /// Nothing for links, unmerged files and files that are to be added only later.
    pub(in crate::context::git) stat: Option<Stat>,
}

/// Files in the order of their paths.
#[derive(Debug, Default)]
pub(in crate::context::git) struct Files {
    paths: Paths,
    records: Vec<Record>,
}

/// A [`State`] in 44 bytes: the two bits are in nanoseconds, which have thirty.
#[derive(Clone, Copy, Debug)]
struct Record {
    object: ObjectId,
    size: u32,
    modified: Time,
    changed: Time,
    inode: u32,
}

const HAS_STAT: u32 = 1 << 31;
const EXECUTABLE: u32 = 1 << 30;
const NANOSECONDS: u32 = EXECUTABLE - 1;

impl Files {
    /// Sets room aside.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self { paths: Paths::default(), records: Vec::with_capacity(count) }
    }

    /// Adds a file. One with the path of the last adds to it that it is not merged.
    pub(in crate::context::git) fn push(&mut self, path: &[u8], state: State) {
        if let Some(last) = self.records.last_mut()
            && self.paths.last() == Some(path)
        {
            last.modified.1 &= !HAS_STAT;
            return;
        }
        self.paths.push(path);
        self.records.push(Record::of(state));
    }

    /// Ends adding.
    pub(in crate::context::git) fn finish(&mut self) {
        self.paths.finish();
        self.records.shrink_to_fit();
        debug_assert_eq!(self.paths.len(), self.records.len());
    }

    /// How many files there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// How many bytes they take in all.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.paths.memory() + self.records.capacity() * size_of::<Record>()
    }

    /// What is known of the file with this path, looked for first where the last one was.
    pub(in crate::context::git) fn get(&self, path: &[u8], near: &mut Near) -> Option<State> {
        self.paths.find(path, near).map(|number| self.records[number].state())
    }
}

impl Record {
    fn of(state: State) -> Self {
        let State { object, executable, stat } = state;
        // No file has such a time, so that the entry could never be found unchanged.
        let stat = stat.filter(|stat| stat.modified.1 <= NANOSECONDS);
        let mut bits = if executable { EXECUTABLE } else { 0 };
        let Some(Stat { size, modified, changed, inode }) = stat else {
            return Self { object, size: 0, modified: (0, bits), changed: (0, 0), inode: 0 };
        };
        bits |= HAS_STAT;
        Self { object, size, modified: (modified.0, modified.1 | bits), changed, inode }
    }

    fn state(self) -> State {
        let Self { object, size, modified: (seconds, rest), changed, inode } = self;
        let stat = Stat { size, modified: (seconds, rest & NANOSECONDS), changed, inode };
        State {
            object,
            executable: rest & EXECUTABLE != 0,
            stat: (rest & HAS_STAT != 0).then_some(stat),
        }
    }
}
