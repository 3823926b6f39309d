//! Goes through a tree in the order of a layer.
//!
//! One directory is open at a time, whatever the depth: the way back is `..`, which is safe because
//! nobody else changes the tree. In memory are the names of the directories on the way down; those
//! of directories whose names somebody else knows are neither read nor kept.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::vec;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, open, openat, statat};

use crate::init::tree::{directory_flags, split};

/// Room for the names that the kernel gives at a time.
const NAMES_BUFFER: usize = 32 << 10;

/// Paths that are not looked at, nor anything below them, as mount points of an overlay are not.
#[derive(Clone, Debug, Default)]
pub(in crate::init) struct Ignored(BTreeSet<Vec<u8>>);

impl Ignored {
    /// Of paths like those of entries: relative, in bytes.
    pub(in crate::init) fn new(paths: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self(paths.into_iter().collect())
    }

    /// Whether `path` is one of them or lies below one.
    pub(super) fn covers(&self, path: &[u8]) -> bool {
        self.0.iter().any(|ignored| path == ignored || is_below(path, ignored))
    }

    /// The names in the directory `path`.
    fn names_in(&self, path: &[u8]) -> Vec<&[u8]> {
        let pairs = self.0.iter().map(|ignored| split(ignored));
        pairs.filter(|(parent, _)| *parent == path).map(|(_, name)| name).collect()
    }
}

/// A walk through a tree.
#[derive(Debug)]
pub(super) struct Descent<'a> {
    here: OwnedFd,
    levels: Vec<Level>,
    path: Vec<u8>,
    /// Where the last name begins in the path.
    name_at: usize,
    ignored: &'a Ignored,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Level {
    /// `None` when they come from outside.
    names: Option<vec::IntoIter<(Vec<u8>, FileType)>>,
    /// Length of the directory's path.
    length: usize,
}

impl<'a> Descent<'a> {
    pub(super) fn new(root: &Path, ignored: &'a Ignored) -> io::Result<Self> {
        let here = open(root, directory_flags(), Mode::empty())?;
        let buffer = Vec::with_capacity(NAMES_BUFFER);
        let mut descent =
            Self { here, levels: Vec::new(), path: Vec::new(), name_at: 0, ignored, buffer };
        descent.list()?;
        Ok(descent)
    }

    /// Goes to the next name in the directory, or in the one above when there is none.
    pub(super) fn next(&mut self) -> io::Result<Option<FileType>> {
        self.next_of(None)
    }

    /// The same; in directories whose names come from outside the next name is that of `known`, if
    /// this is a path there, and of no type that this knows.
    pub(super) fn next_of(&mut self, known: Option<&[u8]>) -> io::Result<Option<FileType>> {
        while let Some(level) = self.levels.last_mut() {
            self.path.truncate(level.length);
            self.name_at = if level.length > 0 { level.length + 1 } else { 0 };
            match &mut level.names {
                Some(names) => {
                    if let Some((name, file_type)) = names.next() {
                        if level.length > 0 {
                            self.path.push(b'/');
                        }
                        self.path.extend_from_slice(&name);
                        return Ok(Some(file_type));
                    }
                }
                None => {
                    if let Some(known) = known.filter(|known| is_below(known, &self.path)) {
                        self.path.extend_from_slice(&known[level.length..]);
                        return Ok(Some(FileType::Unknown));
                    }
                }
            }
            self.levels.pop();
            if !self.levels.is_empty() {
                self.here = openat(&self.here, "..", passing_flags(), Mode::empty())?;
            }
        }
        Ok(None)
    }

    /// Opens the directory that [`Descent::next`] went to; its names come next.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        self.here = openat(&self.here, self.name(), directory_flags(), Mode::empty())?;
        Ok(())
    }

    /// Enters the directory; its names come from outside, see [`Descent::next_of`].
    pub(super) fn enter_known(&mut self) -> io::Result<()> {
        self.here = openat(&self.here, self.name(), passing_flags(), Mode::empty())?;
        self.levels.push(Level { names: None, length: self.path.len() });
        Ok(())
    }

    /// Reads the names of the directory that was entered.
    pub(super) fn list(&mut self) -> io::Result<()> {
        let skipped = self.ignored.names_in(&self.path);
        let mut names = Vec::new();
        self.buffer.clear();
        let mut items = RawDir::new(&self.here, self.buffer.spare_capacity_mut());
        while let Some(item) = items.next() {
            let item = item?;
            let name = item.file_name().to_bytes();
            if matches!(name, b"." | b"..") || skipped.contains(&name) {
                continue;
            }
            let file_type = match item.file_type() {
                FileType::Unknown => {
                    let stat = statat(&self.here, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode)
                }
                file_type => file_type,
            };
            names.push((name.to_vec(), file_type));
        }
        names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        self.levels.push(Level { names: Some(names.into_iter()), length: self.path.len() });
        Ok(())
    }

    /// The directory that is open.
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.here.as_fd()
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.path[self.name_at..]
    }

    /// The path from the root.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }
}

/// How to open a directory that is not read, which costs less.
fn passing_flags() -> OFlags {
    directory_flags() | OFlags::PATH
}

/// The order of a layer: by names, each compared bytewise.
pub(super) fn order(one: &[u8], other: &[u8]) -> Ordering {
    if one == other {
        return Ordering::Equal;
    }
    // No name has a NUL, so the end of a name comes before everything.
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    one.iter().map(rank).cmp(other.iter().map(rank))
}

/// Whether `path` lies below `dir`.
pub(super) fn is_below(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_ordered_by_their_names() {
        let paths: [&[u8]; 8] =
            [b"a", b"a/b", b"a/b/c", b"a/b-c", b"a/\xff", b"a-b", b"a.txt", b"b"];
        for (at, one) in paths.iter().enumerate() {
            for (to, other) in paths.iter().enumerate() {
                assert_eq!(order(one, other), at.cmp(&to), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn below_means_by_names() {
        for (path, dir, expected) in [
            (b"a/b".as_slice(), b"a".as_slice(), true),
            (b"a", b"a", false),
            (b"ab", b"a", false),
            (b"a", b"", true),
        ] {
            assert_eq!(is_below(path, dir), expected);
        }
    }
}
