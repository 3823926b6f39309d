//! The work tree as it lies on disk, with git's ids and modes.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use super::repository::Repository;
use super::tracked::Tracked;
use crate::context::entry::Content;
use crate::context::read::{open_entry, read_file, refuse_lfs_pointer};
use crate::context::walk::{Lazy, Listing, Walk};
use crate::context::{
    Commit, ContextEntry, ContextError, ContextOptions, ContextSource, GitDirectory, LfsPointers,
};

/// Blobs up to this size may come from the repository when the file changed since it was listed.
const BLOB_LIMIT: u64 = 8 << 20;

/// A context in the work tree of a repository.
#[derive(Debug)]
pub(super) struct WorktreeContext {
    root: PathBuf,
    repository: Repository,
    commit: Option<Commit>,
    options: ContextOptions,
    listing: Lazy<Listing>,
}

impl WorktreeContext {
    pub(super) fn open(
        root: &Path,
        repository: Repository,
        options: &ContextOptions,
    ) -> Result<Self, ContextError> {
        let commit = repository.head()?;
        let (root, options) = (root.to_owned(), options.clone());
        Ok(Self { root, repository, commit, options, listing: Lazy::default() })
    }

    fn listing(&self) -> Result<&Listing, ContextError> {
        self.listing.get_or_try(|| {
            let tracked = Tracked::load(&self.repository, self.commit.as_ref())?;
            Walk {
                root: &self.root,
                ignore: &self.options.ignore,
                tracker: Some(&|path, metadata| tracked.track(path, metadata)),
                drop_git: self.options.git_directory == GitDirectory::Drop,
                times: self.commit.is_none(),
            }
            .list()
        })
    }

    /// The file, or what the repository has of it when the file is not what was listed any more.
    fn content(&self, entry: &ContextEntry) -> Result<Box<dyn Read + Send>, ContextError> {
        let from_disk = open_entry(&self.root, entry);
        let recorded = entry.content == Content::WorktreeAndGit && entry.size <= BLOB_LIMIT;
        match from_disk {
            Err(error) if recorded => {
                tracing::debug!(%error, "read from the repository instead");
                let blob = self.repository.blob(entry.object)?;
                Ok(Box::new(Cursor::new(blob)))
            }
            other => other,
        }
    }
}

impl ContextSource for WorktreeContext {
    fn commit(&self) -> Option<&Commit> {
        self.commit.as_ref()
    }

    fn entries(&self) -> Result<&[ContextEntry], ContextError> {
        Ok(&self.listing()?.entries)
    }

    fn notes(&self) -> Result<&[String], ContextError> {
        Ok(&self.listing()?.notes)
    }

    fn open(&self, entry: &ContextEntry) -> Result<Box<dyn Read + Send>, ContextError> {
        let content = self.content(entry)?;
        match self.options.lfs_pointers {
            LfsPointers::Refuse => refuse_lfs_pointer(entry, content),
            LfsPointers::Keep => Ok(content),
        }
    }

    fn read_small(&self, path: &[u8], limit: u64) -> Result<Vec<u8>, ContextError> {
        read_file(&self.root, path, limit)
    }

    fn has_git_dir(&self) -> bool {
        self.root.join(".git").exists() && !self.options.ignore.is_excluded(b".git")
    }

    fn why_absent(&self, path: &[u8]) -> Option<String> {
        why_absent(&self.options, path)
    }
}

/// Why a git context does not have a path.
pub(super) fn why_absent(options: &ContextOptions, path: &[u8]) -> Option<String> {
    let in_git = path.split(|&byte| byte == b'/').any(|part| part == b".git");
    match options.git_directory {
        GitDirectory::Drop if in_git => Some("a git context has no .git".to_owned()),
        _ => options.ignore.exclusion(path),
    }
}
