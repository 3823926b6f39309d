//! The seam between contexts and the rest, and the choice of the implementation.

use std::fmt::Debug;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::dir::DirectoryContext;
use super::git;
use super::{Commit, ContextEntry, ContextError};
use crate::ignore_rules::IgnoreRules;

/// A build context.
pub trait ContextSource: Debug + Send + Sync {
    /// The commit that gives the context its time; nothing outside git and before the first commit.
    fn commit(&self) -> Option<&Commit>;

    /// Everything in the context after the ignore rules, in the order of path components; computed
    /// at the first call.
    ///
    /// # Errors
    /// When something cannot be read; the error names it.
    fn entries(&self) -> Result<&[ContextEntry], ContextError>;

    /// Messages on what was left out for a reason other than the ignore rules.
    ///
    /// # Errors
    /// As [`Self::entries`].
    fn notes(&self) -> Result<&[String], ContextError>;

    /// Opens the content of a file. The reader fails when the content turns out not to have the
    /// entry's id; a caller must read to the end before it uses what it got.
    ///
    /// # Errors
    /// When the file cannot be read, changed, or is a Git LFS pointer in a git context.
    fn open(&self, entry: &ContextEntry) -> Result<Box<dyn Read + Send>, ContextError>;

    /// Reads a small file of the context whether ignored or not, as the Dockerfile is.
    ///
    /// # Errors
    /// When the file is not there, lies outside, or has more than `limit` bytes.
    fn read_small(&self, path: &[u8], limit: u64) -> Result<Vec<u8>, ContextError>;

    /// Tells whether the directory has a `.git` that the ignore rules do not exclude: the context has
    /// it, too, if it was asked to keep it.
    fn has_git_dir(&self) -> bool;

    /// Says why the context has no such path although it may exist, for messages.
    fn why_absent(&self, path: &[u8]) -> Option<String>;
}

/// How a context is opened.
#[derive(Clone, Debug, Default)]
pub struct ContextOptions {
    /// What is left out.
    pub ignore: IgnoreRules,
    /// Whether a git repository around the directory is used.
    pub repository: RepositoryUse,
    /// Whether `.git` belongs to a git context.
    pub git_directory: GitDirectory,
    /// What becomes of Git LFS pointers.
    pub lfs_pointers: LfsPointers,
    /// Where big objects of git are put together; else where temporary files go.
    pub scratch: Option<PathBuf>,
}

/// Whether a git repository around the context is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RepositoryUse {
    /// The work tree as it is on disk, with git's modes and the time of HEAD.
    #[default]
    Worktree,
    /// The tree of this revision, from git objects alone; needs no checkout.
    Revision(String),
    /// The directory as it lies on disk, as if there was no repository.
    Ignore,
}

/// Whether `.git` belongs to a git context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GitDirectory {
    /// Nothing named `.git` does, at any depth.
    #[default]
    Drop,
    /// It is taken as it lies on disk unless the ignore rules exclude it.
    Keep,
}

/// What becomes of a file of a git context whose content is a Git LFS pointer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LfsPointers {
    /// Opening it is an error.
    #[default]
    Refuse,
    /// It is content like any other.
    Keep,
}

/// Opens the context in `directory`.
///
/// # Errors
/// When it is not a directory, or lies in a git repository that cannot be used.
pub fn open(
    directory: &Path,
    options: ContextOptions,
) -> Result<Box<dyn ContextSource>, ContextError> {
    let root =
        fs_err::canonicalize(directory).map_err(|error| ContextError::read(directory, error))?;
    if !root.is_dir() {
        return Err(ContextError::NotADirectory { path: directory.to_owned() });
    }
    if options.repository != RepositoryUse::Ignore
        && let Some(context) = git::open(&root, &options)?
    {
        return Ok(context);
    }
    Ok(Box::new(DirectoryContext::new(root, options.ignore)))
}
