//! What git knows about the files of a work tree, from its index.
//!
//! The index (git's "gitformat-index") keeps the stat data that each file had when git last knew
//! its content. A file whose data is still the same has the recorded id, unless it was written so
//! late that the index could not notice a later write ("racy git" in git's documentation).
//! Owner, group and device are not compared: they change when a volume moves between pods.
//! Zeros are fields that the writer of the index did not know.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use super::repository::{Repository, object_id};
use crate::context::identity::{EXECUTABLE_MODE, SUBMODULE_MODE};
use crate::context::path::is_below;
use crate::context::walk::Tracking;
use crate::context::{Commit, ContextError, ObjectId};

/// Bits of an index entry's flags.
const STAGE_MASK: u16 = 0x3000;
const INTENT_TO_ADD: u16 = 1 << 13;

/// The tracked files of a context.
#[derive(Debug)]
pub(super) struct Tracked {
    /// Sorted by the bytes of the path.
    files: Vec<TrackedFile>,
    submodules: Vec<(Vec<u8>, ObjectId)>,
    trusts_file_mode: bool,
    /// When the index was written.
    written: Time,
}

#[derive(Debug)]
struct TrackedFile {
    path: Vec<u8>,
    executable: bool,
    object: ObjectId,
    stat: Option<Stat>,
}

/// Seconds and nanoseconds; nought nanoseconds may mean that they are not known.
type Time = (i64, u32);

#[derive(Clone, Copy, Debug)]
struct Stat {
    size: u32,
    modified: Time,
    changed: Time,
    inode: u32,
}

impl Tracked {
    /// Reads the index; where there is none, or it cannot be read, what is tracked is what HEAD has.
    pub(super) fn load(
        repository: &Repository,
        head: Option<&Commit>,
    ) -> Result<Self, ContextError> {
        let place = repository.layout.directory.join("index");
        let mut tracked = Self {
            files: Vec::new(),
            submodules: Vec::new(),
            trusts_file_mode: repository.layout.trusts_file_mode()?,
            written: (0, 0),
        };
        match fs_err::metadata(&place) {
            Ok(metadata) => tracked.written = modification(&metadata),
            Err(error) => {
                tracing::debug!(%error, "no index");
                tracked.add_head(repository, head)?;
                return Ok(tracked);
            }
        }
        match git2::Index::open(&place) {
            Ok(index) => {
                tracked.add_index(&index, &repository.prefix);
                tracked.doubt_converted(repository);
            }
            Err(error) => {
                tracing::debug!(%error, "the index cannot be read; all files are hashed");
                tracked.add_head(repository, head)?;
            }
        }
        Ok(tracked)
    }

    fn add_index(&mut self, index: &git2::Index, prefix: &[u8]) {
        for entry in index.iter() {
            let Some(path) = below_prefix(&entry.path, prefix) else {
                continue;
            };
            let object = object_id(entry.id);
            if entry.mode == 0o160_000 {
                self.submodules.push((path.to_vec(), object));
                continue;
            }
            let usable = entry.mode & 0o170_000 == 0o100_000
                && entry.flags & STAGE_MASK == 0
                && entry.flags_extended & INTENT_TO_ADD == 0;
            let stat = Stat {
                size: entry.file_size,
                modified: (entry.mtime.seconds().into(), entry.mtime.nanoseconds()),
                changed: (entry.ctime.seconds().into(), entry.ctime.nanoseconds()),
                inode: entry.ino,
            };
            self.files.push(TrackedFile {
                path: path.to_vec(),
                executable: entry.mode & 0o100 != 0,
                object,
                stat: usable.then_some(stat),
            });
        }
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
    }

    fn add_head(
        &mut self,
        repository: &Repository,
        head: Option<&Commit>,
    ) -> Result<(), ContextError> {
        let Some(head) = head else {
            return Ok(());
        };
        for (path, row) in repository.files(&head.id)? {
            match row.mode {
                SUBMODULE_MODE => self.submodules.push((path, row.object)),
                mode => self.files.push(TrackedFile {
                    path,
                    executable: mode == EXECUTABLE_MODE,
                    object: row.object,
                    stat: None,
                }),
            }
        }
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }

    /// Forgets the ids of files that a filter or line ends conversion changed at checkout: the index
    /// has the size of the file, the repository that of the blob. (This is also how a file that Git
    /// LFS put there is told from its pointer.) What counts is the file, as in Docker.
    fn doubt_converted(&mut self, repository: &Repository) {
        let known = self.files.iter().filter_map(|file| Some((file.object, file.stat?.size)));
        let mut same = repository.have_sizes(known).into_iter();
        for file in self.files.iter_mut().filter(|file| file.stat.is_some()) {
            if !same.next().unwrap_or(false) {
                file.stat = None;
            }
        }
    }

    /// What git knows about a path of the context that has this stat data.
    pub(super) fn track(&self, path: &[u8], metadata: &Metadata) -> Tracking {
        let executable = metadata.mode() & 0o100 != 0;
        let mode = |executable| if executable { 0o755 } else { 0o644 };
        if let Some((submodule, commit)) =
            self.submodules.iter().find(|(root, _)| root == path || is_below(path, root))
        {
            return match submodule == path {
                true => Tracking::Submodule { commit: *commit },
                false => Tracking::Modified { mode: mode(executable) },
            };
        }
        let Ok(at) = self.files.binary_search_by(|file| file.path.as_slice().cmp(path)) else {
            return Tracking::Untracked;
        };
        let file = &self.files[at];
        let executable = if self.trusts_file_mode { executable } else { file.executable };
        let mode = mode(executable);
        match file.stat {
            Some(stat) if stat.is_of(metadata) && !self.is_racy(metadata) => {
                Tracking::Clean { object: file.object, mode }
            }
            _ => Tracking::Modified { mode },
        }
    }

    /// Whether the file may have been written again after the index without a trace in its times.
    fn is_racy(&self, metadata: &Metadata) -> bool {
        let modified = modification(metadata);
        match modified.1 == 0 || self.written.1 == 0 {
            true => modified.0 >= self.written.0,
            false => modified >= self.written,
        }
    }
}

impl Stat {
    fn is_of(&self, metadata: &Metadata) -> bool {
        let changed = (metadata.ctime(), nanoseconds(metadata.ctime_nsec()));
        u64::from(self.size) == metadata.len() & 0xFFFF_FFFF
            && same_time(self.modified, modification(metadata))
            && (self.changed == (0, 0) || same_time(self.changed, changed))
            && (self.inode == 0 || u64::from(self.inode) == metadata.ino() & 0xFFFF_FFFF)
    }
}

fn modification(metadata: &Metadata) -> Time {
    (metadata.mtime(), nanoseconds(metadata.mtime_nsec()))
}

fn nanoseconds(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

/// Compares a time of the index, which has 32 bits of seconds, with one of the file system.
fn same_time(recorded: Time, actual: Time) -> bool {
    let low = |seconds: i64| seconds & 0xFFFF_FFFF;
    low(recorded.0) == low(actual.0) && (recorded.1 == 0 || recorded.1 == actual.1)
}

fn below_prefix<'a>(path: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    match prefix {
        b"" => Some(path),
        _ => path.strip_prefix(prefix)?.strip_prefix(b"/"),
    }
}
