//! Contexts in git repositories.
//!
//! libgit2 serves as a reader of commits and trees, and checks the id of each object that it reads.
//! Blobs ([`objects`]), the [`index`] and references ([`refs`]) are read here, and configuration is
//! not read at all, except for `core.fileMode` in the repository's own file: so nothing that a
//! repository names is included or executed, and a checkout that belongs to another user is read
//! like any other.
//!
//! Limits: SHA-256 and reftable repositories are refused with the reason. A sparse or split index is
//! not read, which costs hashing all files. `core.worktree` is not obeyed.

mod index;
mod objects;
mod refs;
mod repository;
mod revision;
mod revparse;
mod tracked;
mod worktree;

use std::path::Path;

use self::repository::Repository;
use super::{ContextError, ContextOptions, ContextSource, Owners, RepositoryUse};

/// Opens the context in `root`, a canonical path, if there is a repository around it.
pub(super) fn open(
    root: &Path,
    options: &ContextOptions,
) -> Result<Option<Box<dyn ContextSource>>, ContextError> {
    let revision = match &options.repository {
        RepositoryUse::Revision(revision) => Some(revision.as_str()),
        RepositoryUse::Worktree | RepositoryUse::Ignore => None,
    };
    let Some(repository) = Repository::around(root, revision.is_some())? else {
        return match revision {
            None => Ok(None),
            Some(revision) => Err(ContextError::Repository {
                path: root.to_owned(),
                reason: format!("there is none to read {revision:?} from"),
                source: None,
            }),
        };
    };
    if options.owners == Owners::Own {
        repository.layout.check_owner()?;
    }
    let repository = repository.with_scratch(options.scratch.clone())?;
    Ok(Some(match revision {
        None => Box::new(worktree::WorktreeContext::open(root, repository, options)?),
        Some(revision) => Box::new(revision::RevisionContext::open(repository, revision, options)?),
    }))
}

#[cfg(test)]
mod tests;
