//! Walks a directory on disk, applying the ignore rules, on all cores.
//!
//! A directory becomes one row of a git tree as soon as everything in it was seen, so what is
//! resident is what lies on the way to where the threads are, and entries as far as asked for. Git's
//! knowledge comes in as a [`Tracker`], so that this module knows no git. (A walker that hands out
//! entries in any order, as the `ignore` crate's, would need all of them in memory and sorted before
//! the first tree is known: measured at three times the time of `git status`.)

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

use super::entry::{Content, Inode};
use super::identity::{
    Identity, Odd, TREE_MODE, TreeRow, git_mode, marks, of_entries, own_mode, tree_id,
};
use super::listing::Listing;
use super::path::{join_names, split_name};
use super::read::{identify, join};
use super::{ContextEntry, ContextError, EntryKind, ObjectId};
use crate::ignore_rules::IgnoreRules;

/// Threads at most; more do not help one directory tree.
const THREADS: usize = 8;
/// Directories can be nested as deep as a path has room for names.
const STACK: usize = 32 << 20;

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
    /// A thread's own way of asking.
    fn follow(&self) -> Box<dyn Follower + '_>;
}

/// Says what git knows about paths that are asked for in their order, more or less: what was found
/// for one is where the next is looked for first.
pub(super) trait Follower {
    /// What git knows about a path of the context that has this stat data.
    fn track(&mut self, path: &[u8], metadata: &Metadata) -> Tracking;
}

/// How a directory is walked.
pub(super) struct Walk<'a> {
    /// The context's root.
    pub(super) root: &'a Path,
    pub(super) ignore: &'a IgnoreRules,
    /// Present in git contexts.
    pub(super) tracker: Option<&'a dyn Tracker>,
    /// Whether whatever is named `.git` is left out.
    pub(super) drop_git: bool,
    /// Whether entries carry the times on disk.
    pub(super) times: bool,
    /// How many entries are kept; of a walk that finds more, only what identifies them is.
    pub(super) keeps: usize,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// Nothing if no part of the context is there.
    pub(super) identity: Option<Identity>,
    /// Nothing if there are more entries than are kept.
    pub(super) listing: Option<Listing>,
    /// On what was left out.
    pub(super) notes: Vec<String>,
}

/// A walk on its way.
struct Walker<'a> {
    walk: &'a Walk<'a>,
    /// How many threads may be started.
    spare: AtomicUsize,
    /// How many entries there are.
    entries: AtomicUsize,
}

/// What a thread asks what git knows; nothing outside git.
type Git<'a> = Option<Box<dyn Follower + 'a>>;

/// What is at one path.
enum Look {
    /// Nothing of the context.
    Nothing,
    /// Something that no context can have.
    Note(String),
    /// Something that the rules leave out, which still fills the directory that it lies in.
    Excluded,
    Leaf(ContextEntry),
    Directory {
        entry: ContextEntry,
        excluded: bool,
    },
}

/// What lies in a directory.
#[derive(Default)]
struct Inside {
    rows: Vec<TreeRow>,
    /// Whether anything does, excluded or not: git knows no empty directories.
    filled: bool,
    ordered: Ordered,
    submodule: Option<Vec<u8>>,
    notes: Vec<String>,
}

/// What has to stay in the context's order.
#[derive(Default)]
struct Ordered {
    entries: Vec<ContextEntry>,
    odd: Vec<Odd>,
}

/// Part of a directory's content, in order.
enum Slot<'scope> {
    Leaves(Ordered),
    Directory(Inside),
    Running(ScopedJoinHandle<'scope, Result<Inside, ContextError>>),
}

impl Walk<'_> {
    /// Walks what is at and below `start`, a path relative to the root that exists and leads
    /// through no link.
    pub(super) fn run(&self, start: &[u8]) -> Result<Walked, ContextError> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        let (spare, entries) = (AtomicUsize::new(threads - 1), AtomicUsize::new(0));
        let walker = Walker { walk: self, spare, entries };
        thread::scope(|scope| {
            let walking = thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, || walker.start(start))
                .map_err(|error| ContextError::read(self.root, error))?;
            walking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Walker<'_> {
    fn start(&self, start: &[u8]) -> Result<Walked, ContextError> {
        let (mode, inside) = match start {
            b"" => (TREE_MODE, self.inside(b"", &mut self.git())?),
            _ => match self.look_at_start(start)? {
                Look::Nothing | Look::Excluded => return Ok(Walked::default()),
                Look::Note(note) => return Ok(Walked { notes: vec![note], ..Walked::default() }),
                Look::Leaf(entry) => {
                    let identity = Some(of_entries(start, std::slice::from_ref(&entry)));
                    let listing = Some(Listing::new(vec![entry]));
                    return Ok(Walked { identity, listing, notes: Vec::new() });
                }
                Look::Directory { entry, excluded } => {
                    (own_mode(&entry), self.directory(entry, excluded, &mut self.git())?)
                }
            },
        };
        let Inside { rows, ordered, submodule, notes, .. } = inside;
        let object = match (start, rows.as_slice()) {
            (b"", _) => tree_id(rows),
            (_, [row]) => row.object,
            _ => return Ok(Walked { notes, ..Walked::default() }),
        };
        let inner = ordered.odd.into_iter().filter(|odd| odd.path != start);
        let identity = Some(Identity { mode, object, marks: marks(inner), submodule });
        let all_kept = self.entries.load(Ordering::Relaxed) <= self.walk.keeps;
        let listing = all_kept.then(|| Listing::new(ordered.entries));
        Ok(Walked { identity, listing, notes })
    }

    fn git(&self) -> Git<'_> {
        self.walk.tracker.map(Tracker::follow)
    }

    /// What lies in a directory; sub-directories go to other threads while there are any.
    fn inside(&self, path: &[u8], git: &mut Git<'_>) -> Result<Inside, ContextError> {
        let place = join(self.walk.root, path);
        let fail = |error| ContextError::read(&place, error);
        // Entries know the open directory: looked at through it, a path is not resolved anew.
        let mut children = fs_err::read_dir(&place)
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .map_err(fail)?;
        children.sort_by_cached_key(fs_err::DirEntry::file_name);
        let mut inside = Inside::default();
        thread::scope(|scope| {
            let mut slots: Vec<Slot<'_>> = Vec::new();
            for child in children {
                let name = child.file_name().into_encoded_bytes();
                if self.walk.drop_git && name == b".git" {
                    continue;
                }
                let metadata = child.metadata().map_err(fail)?;
                match self.look(join_names(path, &name), &metadata, git)? {
                    Look::Nothing => {}
                    Look::Note(note) => inside.notes.push(note),
                    Look::Excluded => inside.filled = true,
                    Look::Leaf(entry) => self.leaf(entry, &mut inside, &mut slots),
                    Look::Directory { entry, excluded } => {
                        slots.push(match self.take_thread() {
                            false => Slot::Directory(self.directory(entry, excluded, git)?),
                            true => Slot::Running(
                                thread::Builder::new()
                                    .stack_size(STACK)
                                    .spawn_scoped(scope, move || {
                                        let found =
                                            self.directory(entry, excluded, &mut self.git());
                                        self.spare.fetch_add(1, Ordering::Relaxed);
                                        found
                                    })
                                    .map_err(fail)?,
                            ),
                        });
                    }
                }
            }
            for slot in slots {
                match slot {
                    Slot::Leaves(leaves) => inside.ordered.append(leaves),
                    Slot::Directory(below) => inside.append(below),
                    Slot::Running(thread) => inside.append(
                        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
                    ),
                }
            }
            Ok(inside)
        })
    }

    fn take_thread(&self) -> bool {
        let take = |spare: usize| spare.checked_sub(1);
        self.spare.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn keeps_one_more(&self) -> bool {
        self.entries.fetch_add(1, Ordering::Relaxed) < self.walk.keeps
    }

    fn leaf(&self, entry: ContextEntry, inside: &mut Inside, slots: &mut Vec<Slot<'_>>) {
        inside.filled = true;
        if entry.kind == EntryKind::Submodule {
            inside.submodule.get_or_insert_with(|| entry.path.clone());
        }
        inside.rows.push(row(&entry));
        let (odd, kept) = (Odd::of(&entry), self.keeps_one_more());
        if odd.is_none() && !kept {
            return;
        }
        if !matches!(slots.last(), Some(Slot::Leaves(_))) {
            slots.push(Slot::Leaves(Ordered::default()));
        }
        if let Some(Slot::Leaves(leaves)) = slots.last_mut() {
            leaves.odd.extend(odd);
            leaves.entries.extend(kept.then_some(entry));
        }
    }

    /// A directory, as what its parent has of it: one row, or none if it is not part of the context.
    fn directory(
        &self,
        entry: ContextEntry,
        excluded: bool,
        git: &mut Git<'_>,
    ) -> Result<Inside, ContextError> {
        let inside = self.inside(&entry.path, git)?;
        let is_present = match (excluded, self.walk.tracker) {
            // Only if an exception to the rule that leaves it out is in it.
            (true, _) => !inside.rows.is_empty(),
            (false, Some(_)) => inside.filled,
            (false, None) => true,
        };
        if !is_present {
            return Ok(Inside { filled: inside.filled, notes: inside.notes, ..Inside::default() });
        }
        let row = TreeRow { object: tree_id(inside.rows), ..row(&entry) };
        let mut ordered = Ordered::default();
        ordered.odd.extend(Odd::of(&entry));
        ordered.entries.extend(self.keeps_one_more().then_some(entry));
        ordered.append(inside.ordered);
        if self.entries.load(Ordering::Relaxed) > self.walk.keeps {
            ordered.entries = Vec::new();
        }
        let (submodule, notes) = (inside.submodule, inside.notes);
        Ok(Inside { rows: vec![row], filled: true, ordered, submodule, notes })
    }

    fn look_at_start(&self, path: &[u8]) -> Result<Look, ContextError> {
        if self.walk.drop_git && split_name(path).1 == b".git" {
            return Ok(Look::Nothing);
        }
        let place = join(self.walk.root, path);
        let metadata =
            fs_err::symlink_metadata(&place).map_err(|error| ContextError::read(&place, error))?;
        self.look(path.to_vec(), &metadata, &mut self.git())
    }

    fn look(
        &self,
        path: Vec<u8>,
        metadata: &Metadata,
        git: &mut Git<'_>,
    ) -> Result<Look, ContextError> {
        let excluded = self.walk.ignore.is_excluded(&path);
        if metadata.is_dir() {
            return Ok(self.look_at_directory(path, metadata, excluded, git));
        }
        if excluded {
            return Ok(Look::Excluded);
        }
        if metadata.is_symlink() {
            return self.link(path, metadata).map(Look::Leaf);
        }
        if metadata.is_file() {
            return self.file(path, metadata, git).map(Look::Leaf);
        }
        Ok(Look::Note(format!(
            "{} is {} and is left out of the context",
            String::from_utf8_lossy(&path),
            special_kind(metadata)
        )))
    }

    fn look_at_directory(
        &self,
        path: Vec<u8>,
        metadata: &Metadata,
        excluded: bool,
        git: &mut Git<'_>,
    ) -> Look {
        if excluded && !self.walk.ignore.may_match_below(&path) {
            return Look::Excluded;
        }
        let tracking = git.as_mut().map(|git| git.track(&path, metadata));
        if let Some(Tracking::Submodule { commit }) = tracking
            && !join(self.walk.root, &path).join(".git").exists()
        {
            if excluded {
                return Look::Nothing;
            }
            let entry = self.entry(path, EntryKind::Submodule, metadata);
            return Look::Leaf(ContextEntry { object: commit, ..entry });
        }
        let entry = self.entry(path, EntryKind::Directory, metadata);
        let mode = match self.walk.tracker {
            Some(_) => 0o755,
            None => metadata.mode() & 0o7777,
        };
        Look::Directory { entry: ContextEntry { mode, ..entry }, excluded }
    }

    fn link(&self, path: Vec<u8>, metadata: &Metadata) -> Result<ContextEntry, ContextError> {
        let place = join(self.walk.root, &path);
        let target =
            fs_err::read_link(&place).map_err(|error| ContextError::read(&place, error))?;
        let target = target.into_os_string().into_encoded_bytes();
        let object = ObjectId::of_blob(&target);
        let size = target.len() as u64;
        let entry = self.entry(path, EntryKind::Symlink { target }, metadata);
        Ok(ContextEntry { mode: 0o777, object, size, ..entry })
    }

    fn file(
        &self,
        path: Vec<u8>,
        metadata: &Metadata,
        git: &mut Git<'_>,
    ) -> Result<ContextEntry, ContextError> {
        let tracking = git.as_mut().map(|git| git.track(&path, metadata));
        let entry = self.entry(path, EntryKind::File, metadata);
        let mode = match tracking {
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
        let (object, size) = identify(self.walk.root, &entry.path)?;
        Ok(ContextEntry { mode, object, size, content: Content::Worktree, ..entry })
    }

    fn inode(&self, metadata: &Metadata) -> Option<Inode> {
        let has_names = self.walk.tracker.is_none() && metadata.is_file() && metadata.nlink() > 1;
        has_names.then(|| Inode { device: metadata.dev(), number: metadata.ino() })
    }

    fn entry(&self, path: Vec<u8>, kind: EntryKind, metadata: &Metadata) -> ContextEntry {
        ContextEntry {
            path,
            kind,
            mode: 0o755,
            size: 0,
            object: ObjectId::default(),
            mtime: self.walk.times.then(|| metadata.mtime()),
            inode: self.inode(metadata),
            content: Content::None,
        }
    }
}

impl Inside {
    /// Adds what a sub-directory comes down to.
    fn append(&mut self, below: Self) {
        self.rows.extend(below.rows);
        self.filled |= below.filled;
        self.ordered.append(below.ordered);
        self.submodule = self.submodule.take().or(below.submodule);
        self.notes.extend(below.notes);
    }
}

impl Ordered {
    fn append(&mut self, mut other: Self) {
        // The larger part stays where it is: what comes first is a few entries only.
        match self.entries.is_empty() && self.odd.is_empty() {
            true => *self = other,
            false => {
                self.entries.append(&mut other.entries);
                self.odd.append(&mut other.odd);
            }
        }
    }
}

fn row(entry: &ContextEntry) -> TreeRow {
    let name = split_name(&entry.path).1.to_vec();
    TreeRow { name, mode: git_mode(entry), object: entry.object }
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
