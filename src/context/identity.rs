//! What identifies a part of a context: one git object id, and what git has no word for.
//!
//! A directory is identified by the id of the git tree that its content would be ("gitformat-pack",
//! "object types", and the tree format of git's documentation: sorted `mode name\0id`). It does not
//! matter whether that tree exists: a directory that the ignore rules do not touch has the recorded
//! id, which costs nothing, one that they do touch has the id of what is left. So a checkout, the
//! commit it came from and a plain copy of it are the same, and renames, modes and link targets count.
//! What git cannot say of a plain directory (other permission bits, hard links) is kept beside the
//! id as [`Mark`]s.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use sha1::{Digest as _, Sha1};

use super::entry::Inode;
use super::path::{is_below, split_name};
use super::{ContextEntry, EntryKind, ObjectId};

/// Git's modes of what a tree can hold.
pub(super) const TREE_MODE: u32 = 0o040_000;
pub(super) const FILE_MODE: u32 = 0o100_644;
pub(super) const EXECUTABLE_MODE: u32 = 0o100_755;
pub(super) const LINK_MODE: u32 = 0o120_000;
pub(super) const SUBMODULE_MODE: u32 = 0o160_000;

/// What identifies the content at a path; equal identities give equal layers, but for times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Git's mode; a file or directory outside git keeps its permission bits.
    pub mode: u32,
    /// The blob or tree.
    pub object: ObjectId,
    /// What git cannot say, in the context's order.
    pub marks: Vec<Mark>,
    /// A selected submodule whose files are not here, as far as was looked: the recorded id of a
    /// whole tree is taken without looking.
    pub submodule: Option<Vec<u8>>,
}

/// Something about a file or directory that no git tree can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Permission bits other than git's own.
    Mode {
        /// Relative to the context.
        path: Vec<u8>,
        /// The permission bits.
        bits: u32,
    },
    /// Another name of a file before it.
    HardLink {
        /// Relative to the context.
        path: Vec<u8>,
        /// The file's first name.
        first: Vec<u8>,
    },
}

/// One row of a git tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TreeRow {
    pub(super) name: Vec<u8>,
    pub(super) mode: u32,
    pub(super) object: ObjectId,
}

/// The id of the tree with these rows, which may come in any order.
pub(super) fn tree_id(mut rows: Vec<TreeRow>) -> ObjectId {
    rows.sort_unstable_by(git_order);
    let mut content = Vec::with_capacity(rows.len() * 48);
    for row in &rows {
        content.extend_from_slice(format!("{:o} ", row.mode).as_bytes());
        content.extend_from_slice(&row.name);
        content.push(0);
        content.extend_from_slice(row.object.as_bytes());
    }
    let mut hash = Sha1::new();
    hash.update(format!("tree {}\0", content.len()));
    hash.update(&content);
    ObjectId::from_bytes(hash.finalize().into())
}

/// Git sorts directories as if their names ended in a slash.
fn git_order(a: &TreeRow, b: &TreeRow) -> Ordering {
    let common = a.name.len().min(b.name.len());
    let next = |row: &TreeRow| match row.name.get(common) {
        Some(&byte) => byte,
        None if row.mode == TREE_MODE => b'/',
        None => 0,
    };
    a.name[..common].cmp(&b.name[..common]).then_with(|| next(a).cmp(&next(b)))
}

/// The identity of what begins with the entry at `root`, which every other entry lies below;
/// `entries` are in the context's order, and without one for the context's own root.
pub(super) fn of_entries(root: &[u8], entries: &[ContextEntry]) -> Identity {
    let mut identity = Identity {
        mode: TREE_MODE,
        object: ObjectId::default(),
        marks: marks(entries.iter().filter(|entry| entry.path != root).filter_map(Odd::of)),
        submodule: None,
    };
    let missing = entries.iter().find(|entry| entry.kind == EntryKind::Submodule);
    identity.submodule = missing.map(|entry| entry.path.clone());
    if let [only] = entries
        && only.path == root
        && !only.is_directory()
    {
        identity.mode = own_mode(only);
        identity.object = only.object;
        return identity;
    }
    let top = entries.first().filter(|entry| entry.path == root && !root.is_empty());
    if let Some(top) = top {
        identity.mode = own_mode(top);
    }
    let mut open: Vec<(&[u8], Vec<TreeRow>)> = vec![(root, Vec::new())];
    for entry in &entries[usize::from(top.is_some())..] {
        close(&mut open, |directory| is_below(&entry.path, directory));
        if entry.is_directory() {
            open.push((&entry.path, Vec::new()));
            continue;
        }
        let (_, rows) = open.last_mut().expect("every entry lies below the root");
        rows.push(row(&entry.path, git_mode(entry), entry.object));
    }
    close(&mut open, |directory| directory == root);
    let (_, rows) = open.pop().expect("the root is closed last");
    identity.object = tree_id(rows);
    identity
}

/// Ends the directories at the top of `open` that do not satisfy `stays`.
fn close(open: &mut Vec<(&[u8], Vec<TreeRow>)>, stays: impl Fn(&[u8]) -> bool) {
    while open.len() > 1 && !open.last().is_some_and(|(directory, _)| stays(directory)) {
        let Some((directory, rows)) = open.pop() else { return };
        let closed = row(directory, TREE_MODE, tree_id(rows));
        if let Some((_, above)) = open.last_mut() {
            above.push(closed);
        }
    }
}

fn row(path: &[u8], mode: u32, object: ObjectId) -> TreeRow {
    TreeRow { name: split_name(path).1.to_vec(), mode, object }
}

/// The mode that git would record.
pub(super) fn git_mode(entry: &ContextEntry) -> u32 {
    match entry.kind {
        EntryKind::File if entry.mode & 0o100 != 0 => EXECUTABLE_MODE,
        EntryKind::File => FILE_MODE,
        EntryKind::Symlink { .. } => LINK_MODE,
        EntryKind::Directory => TREE_MODE,
        EntryKind::Submodule => SUBMODULE_MODE,
    }
}

/// The mode of a selected thing itself, permission bits and all.
pub(super) fn own_mode(entry: &ContextEntry) -> u32 {
    match entry.kind {
        EntryKind::File => 0o100_000 | entry.mode,
        EntryKind::Directory if entry.mode == 0o755 => TREE_MODE,
        EntryKind::Directory => TREE_MODE | entry.mode,
        _ => git_mode(entry),
    }
}

/// A file or directory of which a mark may have to be made.
#[derive(Clone, Debug)]
pub(super) struct Odd {
    pub(super) path: Vec<u8>,
    /// Permission bits that are not git's.
    bits: Option<u32>,
    inode: Option<Inode>,
}

impl Odd {
    pub(super) fn of(entry: &ContextEntry) -> Option<Self> {
        let is_usual = match entry.kind {
            EntryKind::File => matches!(entry.mode, 0o644 | 0o755),
            EntryKind::Directory => entry.mode == 0o755,
            EntryKind::Symlink { .. } | EntryKind::Submodule => true,
        };
        let bits = (!is_usual).then_some(entry.mode);
        let is_odd = bits.is_some() || entry.inode.is_some();
        is_odd.then(|| Self { path: entry.path.clone(), bits, inode: entry.inode })
    }
}

/// The marks of what comes in the context's order.
pub(super) fn marks(odd: impl IntoIterator<Item = Odd>) -> Vec<Mark> {
    let mut names: BTreeMap<Inode, Vec<u8>> = BTreeMap::new();
    let mark = |Odd { path, bits, inode }: Odd| {
        if let Some(inode) = inode {
            let first = names.entry(inode).or_insert_with(|| path.clone());
            if *first != path {
                return Some(Mark::HardLink { path, first: first.clone() });
            }
        }
        bits.map(|bits| Mark::Mode { path, bits })
    };
    odd.into_iter().filter_map(mark).collect()
}

#[cfg(test)]
mod tests;
