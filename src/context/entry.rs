//! One file, link or directory of a context.

use super::ObjectId;

/// The commit that a context belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its id in hex.
    pub id: String,
    /// The committer's time in seconds since 1970.
    pub time: i64,
}

/// A file, link or directory of a context, after the ignore rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextEntry {
    /// Path relative to the context's root, in bytes.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits for the layer: git's for tracked files, those on disk for others.
    pub mode: u32,
    /// Length of a file in bytes, or of a link's target; nought for others.
    pub size: u64,
    /// The id of the content as a git blob (of a link: its target); nought for directories and the
    /// commit for submodules.
    pub object: ObjectId,
    /// The modification time on disk; only in contexts without a commit.
    pub mtime: Option<i64>,
    /// What is equal for all names of one file, where a file has several; only in contexts without
    /// git, which knows no hard links.
    pub inode: Option<Inode>,
    pub(super) content: Content,
}

/// A file on a disk, whatever its names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Inode {
    /// The device that it is on.
    pub device: u64,
    /// Its number there.
    pub number: u64,
}

/// What a [`ContextEntry`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A symbolic link, verbatim.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
    /// A directory: on its own outside git, implied by what it holds inside git.
    Directory,
    /// A git submodule whose files are not here; selecting it is an error.
    Submodule,
}

/// Where the bytes of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Nowhere: not a file.
    None,
    /// Only in the work tree.
    Worktree,
    /// In the work tree, and the same in the repository.
    WorktreeAndGit,
    /// Only in the repository.
    Git,
}

impl ContextEntry {
    /// Tells whether the entry is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == EntryKind::Directory
    }
}
