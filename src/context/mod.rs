//! The build context: which files there are, what identifies them, and where their bytes are.
//!
//! [`open`] finds the git repository around the directory and gives a [`ContextSource`]: the work
//! tree as it lies on disk with git's ids and modes, the tree of a commit, or a plain directory.
//! [`select`] finds what a COPY takes and what identifies it, after the ignore rules; [`checksum`]
//! is what enters a stage's digest. Only what is selected is looked at, and of a commit's tree no
//! more than the ids on the way to it. Building layers from a [`Listing`] is the business of `build`.
//!
//! Contexts that are elsewhere come here first: [`remote`] fetches a commit; an archive is unpacked
//! by `build`, which knows tar.
//!
//! What a git context is beyond its tracked files: untracked and git-ignored ones (as in Docker; the
//! ignore file is what leaves things out), the files of nested repositories and of checked-out
//! submodules, but nothing named `.git` unless asked for, and no directory that holds no file.
//! Sockets, named pipes and devices are left out with a note. A submodule that is not checked out
//! is an entry of its own kind, which [`select`] refuses. Git LFS pointers are refused when opened, in
//! any context, or in git replaced by what they point to ([`LfsPointers`]).
//!
//! Invariants:
//! - Work tree contexts are what is on disk: modified, untracked and git-ignored files count by
//!   content. The index serves as a cache of ids for files that did not change since.
//! - No symbolic link is followed while listing or reading entries, and no byte of a file leaves
//!   [`ContextSource::open`] without its id being checked: a difference is an error at the end of
//!   the stream, never a silently different layer.
//! - No filter, hook or other program that the repository names is run, whoever owns it, unless it
//!   was asked to fetch from Git LFS: then the machine's `git-lfs` is, which obeys the settings.
//! - Nothing here is resident that grows with a file; entries are bounded by their number.

mod checksum;
mod dir;
mod disk;
mod entry;
mod error;
mod git;
mod identity;
mod lfs;
mod listing;
mod object_id;
mod path;
mod read;
pub mod remote;
mod select;
mod source;
mod source_pattern;
mod walk;

pub use checksum::checksum;
pub use entry::{Commit, ContextEntry, EntryKind, Inode};
pub use error::ContextError;
pub use identity::{Identity, Mark};
pub use lfs::{LfsError, LfsPointers, LfsProgram};
pub use listing::Listing;
pub use object_id::{BlobIdHasher, ObjectId};
pub use read::{load_ignore_rules, read_file, read_limited};
pub use select::{SelectError, Selected, select};
pub use source::{At, ContextOptions, ContextSource, GitDirectory, Owners, RepositoryUse, open};
pub use source_pattern::Wildcards;

#[cfg(test)]
mod tests;
