//! Lists a directory on disk, applying the ignore rules, and identifies its files on all cores.
//!
//! The walk itself is the `ignore` crate's parallel one with every filter of its own switched off;
//! the rules are Docker's. Git's knowledge comes in as a function, so that this module knows no git.

use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ignore::{WalkBuilder, WalkState};

use super::entry::{Content, Inode};
use super::listing::{Found, Listing, Presence, arrange};
use super::read::identify;
use super::{ContextEntry, ContextError, EntryKind, ObjectId};
use crate::ignore_rules::IgnoreRules;

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

/// Says what git knows about paths.
pub(super) trait Tracker: Sync {
    /// What git knows about a path of the context that has this stat data.
    fn track(&self, path: &[u8], metadata: &Metadata) -> Tracking;
}

/// How a directory is listed.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    /// The context's root.
    pub(super) root: &'a Path,
    /// What is listed, relative to the root: a path that exists and leads through no link.
    pub(super) start: &'a [u8],
    pub(super) ignore: &'a IgnoreRules,
    /// Present in git contexts.
    pub(super) tracker: Option<&'a dyn Tracker>,
    /// Whether whatever is named `.git` is left out.
    pub(super) drop_git: bool,
    /// Whether entries carry the times on disk.
    pub(super) times: bool,
}

/// What all threads of a walk write to.
#[derive(Default)]
struct Results {
    found: Vec<Found>,
    notes: Vec<String>,
    error: Option<ContextError>,
}

impl Walk<'_> {
    /// Lists what is at and below the start, and notes on what was left out.
    pub(super) fn list(&self) -> Result<(Listing, Vec<String>), ContextError> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        let start = super::read::join(self.root, self.start);
        let metadata =
            fs_err::symlink_metadata(&start).map_err(|error| ContextError::read(&start, error))?;
        if !metadata.is_dir() {
            // The walker would follow a link that it starts with.
            let Visit { found, note, .. } = self.visit(&start)?;
            return Ok((arrange(found.into_iter().collect()), note.into_iter().collect()));
        }
        let walker =
            WalkBuilder::new(start).standard_filters(false).threads(threads).build_parallel();
        let results = Mutex::new(Results::default());
        walker.run(|| {
            Box::new(|visited| {
                let outcome = match visited {
                    Ok(visited) => self.visit(visited.path()),
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
            None => Ok((arrange(results.found), results.notes)),
        }
    }

    fn walk_error(&self, error: ignore::Error) -> ContextError {
        let text = error.to_string();
        let cause = error.into_io_error().unwrap_or_else(|| std::io::Error::other(text));
        ContextError::read(self.root, cause)
    }

    fn visit(&self, place: &Path) -> Result<Visit, ContextError> {
        let path = place.strip_prefix(self.root).unwrap_or(place).as_os_str().as_bytes();
        if path.is_empty() {
            return Ok(Visit::nothing(WalkState::Continue));
        }
        if self.drop_git && is_git_name(path) {
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
        let tracking = self.tracker.map(|tracker| tracker.track(path, metadata));
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
        let mode = match self.tracker.map(|tracker| tracker.track(path, metadata)) {
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

/// Tells whether the last name of a path is `.git`.
fn is_git_name(path: &[u8]) -> bool {
    path == b".git" || path.ends_with(b"/.git")
}

/// What a thing is that is no file, link or directory, for messages.
pub(super) fn special_kind(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    match (kind.is_socket(), kind.is_fifo()) {
        (true, _) => "a socket",
        (_, true) => "a named pipe",
        _ => "a device",
    }
}
