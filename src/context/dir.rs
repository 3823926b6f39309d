//! A directory as it lies on disk: permission bits, times and empty directories are kept.

use std::io::Read;
use std::path::PathBuf;

use super::disk::Disk;
use super::lfs::refuse_pointer;
use super::read::{open_entry, read_file};
use super::{At, Commit, ContextEntry, ContextError, ContextSource, Identity, Listing};
use crate::ignore_rules::IgnoreRules;

/// A context outside git.
#[derive(Debug)]
pub(super) struct DirectoryContext {
    disk: Disk,
}

impl DirectoryContext {
    /// A context in a directory, given by its canonical path.
    pub(super) fn new(root: PathBuf, ignore: IgnoreRules) -> Self {
        Self { disk: Disk::new(root, ignore, false, true) }
    }
}

impl ContextSource for DirectoryContext {
    fn commit(&self) -> Option<&Commit> {
        None
    }

    fn find(&self, path: &[u8]) -> Result<Option<At>, ContextError> {
        self.disk.find(path)
    }

    fn names(&self, directory: &[u8]) -> Result<Vec<Vec<u8>>, ContextError> {
        self.disk.names(directory)
    }

    fn identity(&self, path: &[u8]) -> Result<Option<Identity>, ContextError> {
        self.disk.identity(path, || Ok(None))
    }

    fn listing(&self, path: &[u8]) -> Result<Option<Listing>, ContextError> {
        self.disk.listing(path, || Ok(None))
    }

    fn notes(&self) -> Vec<String> {
        self.disk.notes()
    }

    fn open(&self, entry: &ContextEntry) -> Result<Box<dyn Read + Send>, ContextError> {
        refuse_pointer(entry, open_entry(&self.disk.root, entry)?)
    }

    fn read_small(&self, path: &[u8], limit: u64) -> Result<Vec<u8>, ContextError> {
        read_file(&self.disk.root, path, limit)
    }

    fn has_git_dir(&self) -> bool {
        false
    }

    fn why_absent(&self, path: &[u8]) -> Option<String> {
        self.disk.why_absent(path)
    }
}

#[cfg(test)]
mod tests;
