//! The seam between contexts and the rest, and the choice of the implementation.

use std::fmt::Debug;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::dir::DirectoryContext;
use super::git;
use super::{Commit, ContextEntry, ContextError, Identity, LfsPointers, Listing};
use crate::ignore_rules::IgnoreRules;

/// A build context.
pub trait ContextSource: Debug + Send + Sync {
    /// The commit that gives the context its time; nothing outside git and before the first commit.
    fn commit(&self) -> Option<&Commit>;

    /// What is at `path`, of which no component but the last may be a link; the empty path is the
    /// context's root. A directory that is found here may still turn out to hold nothing of the
    /// context, which [`Self::identity`] tells.
    ///
    /// # Errors
    /// When something cannot be read; the error names it.
    fn find(&self, path: &[u8]) -> Result<Option<At>, ContextError>;

    /// The names in a directory, sorted by their bytes; each is to be looked up by [`Self::find`].
    ///
    /// # Errors
    /// As [`Self::find`].
    fn names(&self, directory: &[u8]) -> Result<Vec<Vec<u8>>, ContextError>;

    /// What identifies what is at and below `path`; nothing if no part of the context is there.
    /// Looks at no more than what it has to: at nothing below a tree that git knows the id of.
    ///
    /// # Errors
    /// As [`Self::find`].
    fn identity(&self, path: &[u8]) -> Result<Option<Identity>, ContextError>;

    /// What is at and below `path`, after the ignore rules; it has what [`Self::identity`] says.
    ///
    /// # Errors
    /// As [`Self::find`].
    fn listing(&self, path: &[u8]) -> Result<Option<Listing>, ContextError>;

    /// Messages on what was left out, of what was looked at so far, for a reason other than the
    /// ignore rules.
    fn notes(&self) -> Vec<String>;

    /// Opens the content of a file. The reader fails when the content turns out not to have the
    /// entry's id, before it gives the last byte of it; a caller must read that far before it uses
    /// what it got.
    ///
    /// # Errors
    /// When the file cannot be read, changed, or is a Git LFS pointer that is not to be replaced by
    /// the file.
    fn open(&self, entry: &ContextEntry) -> Result<Box<dyn Read + Send>, ContextError>;

    /// How many bytes [`Self::open`] gives: as many as the entry has, unless it is a Git LFS pointer
    /// that is replaced by the file.
    ///
    /// # Errors
    /// When the file cannot be read, or a pointer is not understood.
    fn length(&self, entry: &ContextEntry) -> Result<u64, ContextError> {
        Ok(entry.size)
    }

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

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, verbatim.
    Symlink {
        /// Where it points.
        target: Vec<u8>,
    },
    /// A submodule whose files are not here.
    Submodule,
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
    /// Whose repositories are used.
    pub owners: Owners,
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

/// Whose repositories are used. What a foreign one could make others do (filters, hooks, included
/// settings, a monitor of the file system) is never done for anybody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owners {
    /// Everybody's: in a pod the checkout is often another user's.
    #[default]
    Any,
    /// Only those of the user who builds.
    Own,
}

/// Opens the context in `directory`. A revision's directory need not exist on disk: below a
/// repository it is a path in the commit.
///
/// # Errors
/// When it is not a directory, or lies in a git repository that cannot be used.
pub fn open(
    directory: &Path,
    options: ContextOptions,
) -> Result<Box<dyn ContextSource>, ContextError> {
    let root = match &options.repository {
        RepositoryUse::Revision(_) => canonical_start(directory),
        _ => fs_err::canonicalize(directory),
    };
    let root = root.map_err(|error| ContextError::read(directory, error))?;
    let in_commit = matches!(options.repository, RepositoryUse::Revision(_));
    if !in_commit && !root.is_dir() {
        return Err(ContextError::NotADirectory { path: directory.to_owned() });
    }
    if options.repository != RepositoryUse::Ignore
        && let Some(context) = git::open(&root, &options)?
    {
        return Ok(context);
    }
    Ok(Box::new(DirectoryContext::new(root, options.ignore)))
}

/// The canonical path of as much of `path` as exists, and the rest as it is.
fn canonical_start(path: &Path) -> io::Result<PathBuf> {
    let mut rest = PathBuf::new();
    for start in path.ancestors() {
        let place = if start.as_os_str().is_empty() { Path::new(".") } else { start };
        match fs_err::canonicalize(place) {
            Ok(found) if rest.as_os_str().is_empty() => return Ok(found),
            Ok(found) => return Ok(found.join(rest)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(error) => match start.file_name() {
                Some(name) => rest = Path::new(name).join(rest),
                // `..` behind something that is not there leads nowhere.
                None => return Err(error),
            },
        }
    }
    Err(io::ErrorKind::NotFound.into())
}
