//! Lists a directory on disk, applying the ignore rules, and identifies its files on all cores.
//!
//! The walk itself is the `ignore` crate's parallel one with every filter of its own switched off;
//! the rules are Docker's. Git's knowledge comes in as a function, so that this module knows no git.

use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use ignore::{DirEntry, WalkBuilder, WalkState};

use super::checksum::is_below;
use super::entry::{Content, Inode};
use super::read::identify;
use super::{ContextEntry, ContextError, EntryKind, ObjectId};
use crate::ignore_rules::IgnoreRules;

/// What a context holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) entries: Vec<ContextEntry>,
    pub(super) notes: Vec<String>,
}

/// What git knows about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tracking {
    /// The content is this blob.
    Clean { object: ObjectId, mode: u32 },
    /// The file belongs to git, its content must be looked at.
    Modified { mode: u32 },
    /// A submodule at this commit.
    Submodule { commit: ObjectId },
    /// Git does not know it.
    Untracked,
}

/// Asks git about a path.
pub(super) type Tracker<'a> = &'a (dyn Fn(&[u8], &Metadata) -> Tracking + Sync);

/// How a directory is listed.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    pub(super) root: &'a Path,
    pub(super) ignore: &'a IgnoreRules,
    /// Present in git contexts.
    pub(super) tracker: Option<Tracker<'a>>,
    /// Whether whatever is named `.git` is left out.
    pub(super) drop_git: bool,
    /// Whether entries carry the times on disk.
    pub(super) times: bool,
}

/// Computes a value once; a failed attempt is not remembered.
#[derive(Debug, Default)]
pub(super) struct Lazy<T> {
    value: OnceLock<T>,
    /// Held while the value is computed, so that this happens once.
    computing: Mutex<()>,
}

impl<T> Lazy<T> {
    pub(super) fn get_or_try(
        &self,
        compute: impl FnOnce() -> Result<T, ContextError>,
    ) -> Result<&T, ContextError> {
        let _guard = self.computing.lock().unwrap_or_else(PoisonError::into_inner);
        match self.value.get() {
            Some(value) => Ok(value),
            None => {
                let value = compute()?;
                Ok(self.value.get_or_init(|| value))
            }
        }
    }
}

/// An entry, and when it is part of the context.
struct Found {
    entry: ContextEntry,
    presence: Presence,
}

/// When something that was found is part of the context.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Always.
    Always,
    /// When anything is below it, excluded or not: git knows no empty directories.
    Filled,
    /// When an entry is below it: an excluded directory with an exception in it.
    Parent,
    /// Never, but what it lies in is not empty.
    Never,
}

/// What all threads of a walk write to.
#[derive(Default)]
struct Results {
    found: Vec<Found>,
    notes: Vec<String>,
    error: Option<ContextError>,
}

impl Walk<'_> {
    /// Lists the directory.
    pub(super) fn list(&self) -> Result<Listing, ContextError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        let walker =
            WalkBuilder::new(self.root).standard_filters(false).threads(threads).build_parallel();
        let results = Mutex::new(Results::default());
        walker.run(|| {
            Box::new(|visited| {
                let outcome = match visited {
                    Ok(visited) => self.visit(&visited),
                    Err(error) => Err(self.walk_error(error)),
                };
                let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                match outcome {
                    Ok(Visit { found, note, state }) => {
                        results.found.extend(found);
                        results.notes.extend(note);
                        state
                    }
                    Err(error) => {
                        results.error.get_or_insert(error);
                        WalkState::Quit
                    }
                }
            })
        });
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        match results.error {
            Some(error) => Err(error),
            None => Ok(arrange(results.found, results.notes)),
        }
    }

    fn walk_error(&self, error: ignore::Error) -> ContextError {
        let text = error.to_string();
        let cause = error.into_io_error().unwrap_or_else(|| std::io::Error::other(text));
        ContextError::read(self.root, cause)
    }

    fn visit(&self, visited: &DirEntry) -> Result<Visit, ContextError> {
        let place = visited.path();
        let path = place.strip_prefix(self.root).unwrap_or(place).as_os_str().as_bytes();
        if path.is_empty() {
            return Ok(Visit::nothing(WalkState::Continue));
        }
        if self.drop_git && (path == b".git" || path.ends_with(b"/.git")) {
            return Ok(Visit::nothing(WalkState::Skip));
        }
        let metadata =
            fs_err::symlink_metadata(place).map_err(|error| ContextError::read(place, error))?;
        let excluded = self.ignore.is_excluded(path);
        if metadata.is_dir() {
            return Ok(self.directory(path, &metadata, excluded));
        }
        if excluded {
            return Ok(self.excluded(path, &metadata, WalkState::Continue));
        }
        if metadata.is_symlink() {
            return self.link(path, &metadata).map(Visit::entry);
        }
        if metadata.is_file() {
            return self.file(path, &metadata).map(Visit::entry);
        }
        let note = format!(
            "{} is {} and is left out of the context",
            String::from_utf8_lossy(path),
            special_kind(&metadata)
        );
        Ok(Visit { found: None, note: Some(note), state: WalkState::Continue })
    }

    fn directory(&self, path: &[u8], metadata: &Metadata, excluded: bool) -> Visit {
        if excluded && !self.ignore.may_match_below(path) {
            return self.excluded(path, metadata, WalkState::Skip);
        }
        let tracking = self.tracker.map(|ask| ask(path, metadata));
        if let Some(Tracking::Submodule { commit }) = tracking
            && !super::read::join(self.root, path).join(".git").exists()
        {
            let mut entry = self.entry(path, EntryKind::Submodule, metadata);
            entry.object = commit;
            return Visit {
                found: (!excluded).then_some(Found { entry, presence: Presence::Always }),
                note: None,
                state: WalkState::Skip,
            };
        }
        let mut entry = self.entry(path, EntryKind::Directory, metadata);
        entry.mode = match self.tracker {
            Some(_) => 0o755,
            None => metadata.mode() & 0o7777,
        };
        let presence = match (excluded, self.tracker) {
            (true, _) => Presence::Parent,
            (false, Some(_)) => Presence::Filled,
            (false, None) => Presence::Always,
        };
        Visit { found: Some(Found { entry, presence }), note: None, state: WalkState::Continue }
    }

    /// What the rules leave out still fills the directory that it lies in.
    fn excluded(&self, path: &[u8], metadata: &Metadata, state: WalkState) -> Visit {
        let found = self.tracker.map(|_| {
            let entry = self.entry(path, EntryKind::Directory, metadata);
            Found { entry, presence: Presence::Never }
        });
        Visit { found, note: None, state }
    }

    fn link(&self, path: &[u8], metadata: &Metadata) -> Result<ContextEntry, ContextError> {
        let place = super::read::join(self.root, path);
        let target =
            fs_err::read_link(&place).map_err(|error| ContextError::read(&place, error))?;
        let target = target.into_os_string().into_encoded_bytes();
        let object = ObjectId::of_blob(&target);
        let size = target.len() as u64;
        let entry = self.entry(path, EntryKind::Symlink { target }, metadata);
        Ok(ContextEntry { mode: 0o777, object, size, ..entry })
    }

    fn file(&self, path: &[u8], metadata: &Metadata) -> Result<ContextEntry, ContextError> {
        let entry = self.entry(path, EntryKind::File, metadata);
        let mode = match self.tracker.map(|ask| ask(path, metadata)) {
            Some(Tracking::Clean { object, mode }) => {
                let size = metadata.len();
                let content = Content::WorktreeAndGit;
                return Ok(ContextEntry { mode, object, size, content, ..entry });
            }
            Some(Tracking::Modified { mode }) => mode,
            Some(Tracking::Untracked | Tracking::Submodule { .. }) | None => {
                metadata.mode() & 0o7777
            }
        };
        let (object, size) = identify(self.root, path)?;
        Ok(ContextEntry { mode, object, size, content: Content::Worktree, ..entry })
    }

    fn inode(&self, metadata: &Metadata) -> Option<Inode> {
        let has_names = self.tracker.is_none() && metadata.is_file() && metadata.nlink() > 1;
        has_names.then(|| Inode { device: metadata.dev(), number: metadata.ino() })
    }

    fn entry(&self, path: &[u8], kind: EntryKind, metadata: &Metadata) -> ContextEntry {
        ContextEntry {
            path: path.to_vec(),
            kind,
            mode: 0o755,
            size: 0,
            object: ObjectId::default(),
            mtime: self.times.then(|| metadata.mtime()),
            inode: self.inode(metadata),
            content: Content::None,
        }
    }
}

/// What a visit of one path gave.
struct Visit {
    found: Option<Found>,
    note: Option<String>,
    state: WalkState,
}

impl Visit {
    fn nothing(state: WalkState) -> Self {
        Self { found: None, note: None, state }
    }

    fn entry(entry: ContextEntry) -> Self {
        let found = Some(Found { entry, presence: Presence::Always });
        Self { found, note: None, state: WalkState::Continue }
    }
}

/// Orders two paths by their components: a directory's content comes right after it.
pub(super) fn by_components(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    // No name has a nought byte, so the slash can take its place below all others.
    let order = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.iter().map(order).cmp(b.iter().map(order))
}

/// Sorts what was found, and leaves out what is not part of the context.
fn arrange(mut found: Vec<Found>, mut notes: Vec<String>) -> Listing {
    found.sort_unstable_by(|a, b| by_components(&a.entry.path, &b.entry.path));
    let mut entries: Vec<ContextEntry> = Vec::with_capacity(found.len());
    // What was left out last; from the end, a directory's content comes right before it.
    let mut left_out: Option<Vec<u8>> = None;
    for Found { entry, presence } in found.into_iter().rev() {
        let is_parent = entries.last().is_some_and(|last| is_below(&last.path, &entry.path));
        let is_filled =
            is_parent || left_out.as_ref().is_some_and(|path| is_below(path, &entry.path));
        let is_present = match presence {
            Presence::Always => true,
            Presence::Filled => is_filled,
            Presence::Parent => is_parent,
            Presence::Never => false,
        };
        if is_present {
            entries.push(entry);
        } else if presence == Presence::Never || is_filled {
            left_out = Some(entry.path);
        }
    }
    entries.reverse();
    notes.sort_unstable();
    Listing { entries, notes }
}

/// Builds a listing from the entries of a commit, which come in git's order; `is_excluded` tells
/// what the rules leave out.
pub(super) fn arrange_tree(
    entries: Vec<ContextEntry>,
    is_excluded: impl Fn(&[u8]) -> bool,
) -> Listing {
    let found = entries.into_iter().map(|entry| {
        let presence = match (is_excluded(&entry.path), entry.is_directory()) {
            // A tree of git is never empty.
            (false, _) => Presence::Always,
            (true, true) => Presence::Parent,
            (true, false) => Presence::Never,
        };
        Found { entry, presence }
    });
    arrange(found.collect(), Vec::new())
}

fn special_kind(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    match (kind.is_socket(), kind.is_fifo()) {
        (true, _) => "a socket",
        (_, true) => "a named pipe",
        _ => "a device",
    }
}
