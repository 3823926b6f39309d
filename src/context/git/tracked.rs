//! What git knows about the files of a work tree, from its index.
//!
//! The index keeps the stat data that each file had when git last knew its content. A file whose
//! data is still the same has the recorded id, unless it was written so late that the index could
//! not notice a later write ("racy git" in git's documentation). Owner, group and device are not
//! compared: they change when a volume moves between pods. Zeros are fields that the writer of the
//! index did not know.
//!
//! What counts is the file on disk, as in Docker, and the recorded id is the blob's: they differ
//! where a filter (Git LFS among them) or a conversion of line ends came between. Those files have
//! another size than their blobs. Whether one could exist cannot be told from the repository, since
//! the settings and attributes of whoever made the checkout are on another machine, and a sample of
//! files would miss single ones; so the size of the blob is looked at for every file that is
//! otherwise clean, but only when the file is asked for, by the thread that asks: it takes one or
//! two reads of a pack index and one of a pack. A conversion that keeps the size (`ident` keywords
//! swapped for as many bytes, one encoding for another) is not noticed here but only when the file
//! is read and its id compared.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use super::index::{self, Files, Near, Stat, State};
use super::objects::{Ahead, Snapshot, Store};
use super::repository::Repository;
use crate::context::identity::{EXECUTABLE_MODE, SUBMODULE_MODE, TreeRow};
use crate::context::walk::Tracking;
use crate::context::{Commit, ContextError, ObjectId};

/// The tracked files of a context.
#[derive(Debug)]
pub(super) struct Tracked {
    files: Files,
    /// In the order of their paths.
    submodules: Vec<(Vec<u8>, ObjectId)>,
    trusts_file_mode: bool,
    /// When the index was written.
    written: Time,
    objects: Arc<Store>,
    packs: Snapshot,
}

/// Where the last question of a thread was answered; the next is mostly answered close by.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    files: Near,
    pack: Ahead,
}

/// Seconds and nanoseconds; nought nanoseconds may mean that they are not known.
type Time = (i64, u32);

impl Tracked {
    /// Reads the index; where there is none, or it cannot be read, what is tracked is what HEAD has.
    pub(super) fn load(
        repository: &Repository,
        head: Option<&Commit>,
    ) -> Result<Self, ContextError> {
        let mut tracked = Self {
            files: Files::default(),
            submodules: Vec::new(),
            trusts_file_mode: repository.layout.trusts_file_mode()?,
            written: (0, 0),
            objects: Arc::clone(&repository.objects),
            packs: repository.objects.snapshot(),
        };
        let place = repository.layout.directory.join("index");
        match index::read(&place, &repository.prefix) {
            Ok(index) => {
                tracked.written = modification(&index.metadata);
                (tracked.files, tracked.submodules) = (index.files, index.submodules);
            }
            Err(error) => {
                tracing::debug!(%error, "the index is not used; all files are hashed");
                tracked.add_head(repository, head)?;
            }
        }
        Ok(tracked)
    }

    fn add_head(
        &mut self,
        repository: &Repository,
        head: Option<&Commit>,
    ) -> Result<(), ContextError> {
        let Some(head) = head else {
            return Ok(());
        };
        let mut files = repository.files(&head.id)?;
        files.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (path, TreeRow { mode, object, .. }) in files {
            match mode {
                SUBMODULE_MODE => self.submodules.push((path, object)),
                mode => {
                    let executable = mode == EXECUTABLE_MODE;
                    self.files.push(&path, State { object, executable, stat: None });
                }
            }
        }
        self.files.finish();
        Ok(())
    }

    /// What git knows about a path of the context that has this stat data.
    pub(super) fn track(&self, path: &[u8], metadata: &Metadata, cursor: &mut Cursor) -> Tracking {
        let executable = metadata.mode() & 0o100 != 0;
        let mode = |executable| if executable { 0o755 } else { 0o644 };
        match self.submodule(path) {
            Some((root, commit)) if root == path => return Tracking::Submodule { commit },
            Some(_) => return Tracking::Modified { mode: mode(executable) },
            None => {}
        }
        let Some(State { object, executable: recorded, stat }) =
            self.files.get(path, &mut cursor.files)
        else {
            return Tracking::Untracked;
        };
        let mode = mode(if self.trusts_file_mode { executable } else { recorded });
        match stat {
            Some(stat)
                if is_of(stat, metadata)
                    && !self.is_racy(metadata)
                    && self.has_size(object, metadata, &mut cursor.pack) =>
            {
                Tracking::Clean { object, mode }
            }
            _ => Tracking::Modified { mode },
        }
    }

    /// The submodule that is at `path` or that holds it.
    fn submodule(&self, path: &[u8]) -> Option<(&[u8], ObjectId)> {
        if self.submodules.is_empty() {
            return None;
        }
        let ends = (0..path.len()).filter(|&at| path[at] == b'/').chain([path.len()]);
        ends.into_iter().find_map(|end| {
            let found = self.submodules.binary_search_by(|(root, _)| root[..].cmp(&path[..end]));
            found.ok().map(|at| (self.submodules[at].0.as_slice(), self.submodules[at].1))
        })
    }

    /// Whether the blob is here and as long as the file; see the module's text.
    fn has_size(&self, object: ObjectId, metadata: &Metadata, ahead: &mut Ahead) -> bool {
        let size = self.objects.size_from(&self.packs, object, ahead);
        size.is_ok_and(|size| size == metadata.len())
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

/// Whether the stat data is that of the file as it is now.
fn is_of(stat: Stat, metadata: &Metadata) -> bool {
    let changed = (metadata.ctime(), nanoseconds(metadata.ctime_nsec()));
    u64::from(stat.size) == metadata.len() & 0xFFFF_FFFF
        && same_time(stat.modified, modification(metadata))
        && (stat.changed == (0, 0) || same_time(stat.changed, changed))
        && (stat.inode == 0 || u64::from(stat.inode) == metadata.ino() & 0xFFFF_FFFF)
}

fn modification(metadata: &Metadata) -> Time {
    (metadata.mtime(), nanoseconds(metadata.mtime_nsec()))
}

fn nanoseconds(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

/// Compares a time of the index, which has 32 bits of seconds, with one of the file system.
fn same_time(recorded: index::Time, actual: Time) -> bool {
    i64::from(recorded.0) == actual.0 & 0xFFFF_FFFF && (recorded.1 == 0 || recorded.1 == actual.1)
}
