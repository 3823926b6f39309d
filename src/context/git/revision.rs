//! The tree of a commit, from git objects alone.

use std::io::Read;
use std::path::PathBuf;

use super::repository::Repository;
use super::worktree::why_absent;
use crate::context::read::refuse_lfs_pointer;
use crate::context::walk::{Lazy, Listing, arrange_tree};
use crate::context::{
    Commit, ContextEntry, ContextError, ContextOptions, ContextSource, EntryKind, LfsPointers,
};

/// A context that is (part of) the tree of a commit.
#[derive(Debug)]
pub(super) struct RevisionContext {
    repository: Repository,
    commit: Commit,
    options: ContextOptions,
    listing: Lazy<Listing>,
}

impl RevisionContext {
    pub(super) fn open(
        repository: Repository,
        revision: &str,
        options: &ContextOptions,
    ) -> Result<Self, ContextError> {
        let commit = repository.commit(revision)?;
        Ok(Self { repository, commit, options: options.clone(), listing: Lazy::default() })
    }

    fn listing(&self) -> Result<&Listing, ContextError> {
        self.listing.get_or_try(|| {
            let mut entries = self.repository.tree(&self.commit.id)?;
            let ignore = &self.options.ignore;
            entries.retain(|entry| entry.is_directory() || !ignore.is_excluded(&entry.path));
            for entry in &mut entries {
                match &mut entry.kind {
                    EntryKind::File => entry.size = self.repository.blob_size(entry.object)?,
                    EntryKind::Symlink { target } => {
                        *target = self.repository.blob(entry.object)?;
                        entry.size = target.len() as u64;
                    }
                    EntryKind::Directory | EntryKind::Submodule => {}
                }
            }
            Ok(arrange_tree(entries, |path| ignore.is_excluded(path)))
        })
    }
}

impl ContextSource for RevisionContext {
    fn commit(&self) -> Option<&Commit> {
        Some(&self.commit)
    }

    fn entries(&self) -> Result<&[ContextEntry], ContextError> {
        Ok(&self.listing()?.entries)
    }

    fn notes(&self) -> Result<&[String], ContextError> {
        Ok(&self.listing()?.notes)
    }

    fn open(&self, entry: &ContextEntry) -> Result<Box<dyn Read + Send>, ContextError> {
        let content = Box::new(self.repository.open_blob(entry.object, entry.size)?);
        match self.options.lfs_pointers {
            LfsPointers::Refuse => refuse_lfs_pointer(entry, content),
            LfsPointers::Keep => Ok(content),
        }
    }

    fn read_small(&self, path: &[u8], limit: u64) -> Result<Vec<u8>, ContextError> {
        let place = crate::context::read::join(&PathBuf::new(), path);
        let entries = self.repository.tree(&self.commit.id)?;
        let entry = entries
            .iter()
            .find(|entry| entry.path == path && entry.kind == EntryKind::File)
            .ok_or_else(|| ContextError::read(&place, std::io::ErrorKind::NotFound.into()))?;
        if self.repository.blob_size(entry.object)? > limit {
            return Err(ContextError::TooLarge { path: place, limit });
        }
        self.repository.blob(entry.object)
    }

    fn has_git_dir(&self) -> bool {
        false
    }

    fn why_absent(&self, path: &[u8]) -> Option<String> {
        why_absent(&self.options, path)
    }
}
