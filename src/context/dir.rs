//! A directory as it lies on disk: permission bits, times and empty directories are kept.

use std::io::Read;
use std::path::PathBuf;

use super::read::{open_entry, read_file};
use super::walk::{Lazy, Listing, Walk};
use super::{Commit, ContextEntry, ContextError, ContextSource};
use crate::ignore_rules::IgnoreRules;

/// A context outside git.
#[derive(Debug)]
pub(super) struct DirectoryContext {
    root: PathBuf,
    ignore: IgnoreRules,
    listing: Lazy<Listing>,
}

impl DirectoryContext {
    /// A context in a directory, given by its canonical path.
    pub(super) fn new(root: PathBuf, ignore: IgnoreRules) -> Self {
        Self { root, ignore, listing: Lazy::default() }
    }

    fn listing(&self) -> Result<&Listing, ContextError> {
        self.listing.get_or_try(|| {
            Walk {
                root: &self.root,
                ignore: &self.ignore,
                tracker: None,
                drop_git: false,
                times: true,
            }
            .list()
        })
    }
}

impl ContextSource for DirectoryContext {
    fn commit(&self) -> Option<&Commit> {
        None
    }

    fn entries(&self) -> Result<&[ContextEntry], ContextError> {
        Ok(&self.listing()?.entries)
    }

    fn notes(&self) -> Result<&[String], ContextError> {
        Ok(&self.listing()?.notes)
    }

    fn open(&self, entry: &ContextEntry) -> Result<Box<dyn Read + Send>, ContextError> {
        open_entry(&self.root, entry)
    }

    fn read_small(&self, path: &[u8], limit: u64) -> Result<Vec<u8>, ContextError> {
        read_file(&self.root, path, limit)
    }

    fn has_git_dir(&self) -> bool {
        false
    }

    fn why_absent(&self, path: &[u8]) -> Option<String> {
        self.ignore.exclusion(path)
    }
}

#[cfg(test)]
mod tests;
