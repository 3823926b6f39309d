//! The tree of a commit, from git objects alone.
//!
//! Trees are read on the way to what is asked for and below it only where an ignore rule can reach;
//! elsewhere the id that git recorded for a tree says everything.

use std::io::Read;
use std::path::PathBuf;

use super::repository::Repository;
use super::worktree::no_git_here;
use crate::context::entry::Content;
use crate::context::identity::{
    EXECUTABLE_MODE, FILE_MODE, LINK_MODE, SUBMODULE_MODE, TREE_MODE, TreeRow, tree_id,
};
use crate::context::lfs::LfsPlace;
use crate::context::listing::{Found, Presence, arrange};
use crate::context::path::{behind_links, join_names};
use crate::context::{
    At, Commit, ContextEntry, ContextError, ContextOptions, ContextSource, EntryKind, Identity,
    Listing, ObjectId,
};

/// How deep trees may be nested.
const DEPTH_LIMIT: usize = 1000;

/// A context that is (part of) the tree of a commit.
#[derive(Debug)]
pub(super) struct RevisionContext {
    repository: Repository,
    commit: Commit,
    /// The context's root.
    root: ObjectId,
    options: ContextOptions,
}

impl RevisionContext {
    pub(super) fn open(
        repository: Repository,
        revision: &str,
        options: &ContextOptions,
    ) -> Result<Self, ContextError> {
        let commit = repository.commit(revision)?;
        let Some(root) = repository.root(&commit.id)? else {
            let prefix = String::from_utf8_lossy(&repository.prefix).into_owned();
            let message = format!("commit {} has no directory {prefix:?}", commit.id);
            return Err(repository.layout.refuse(message));
        };
        Ok(Self { repository, commit, root, options: options.clone() })
    }

    /// The row of `path` in the tree that it lies in, whatever the rules say.
    fn row(&self, path: &[u8]) -> Result<Option<TreeRow>, ContextError> {
        let root = TreeRow { name: Vec::new(), mode: TREE_MODE, object: self.root };
        let mut at = Some(root);
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            at = match at {
                Some(TreeRow { mode: TREE_MODE, object, .. }) => {
                    self.repository.rows(object)?.into_iter().find(|row| row.name == name)
                }
                _ => return Ok(None),
            };
        }
        Ok(at)
    }

    /// The identity of what the rules leave of a row at `path`.
    fn filtered(&self, path: &[u8], row: &TreeRow) -> Result<Option<TreeRow>, ContextError> {
        let excluded = self.options.ignore.is_excluded(path);
        if row.mode != TREE_MODE || !self.options.ignore.may_match_below(path) {
            return Ok((!excluded).then(|| row.clone()));
        }
        self.check_depth(path)?;
        let mut left = Vec::new();
        for child in self.repository.rows(row.object)? {
            left.extend(self.filtered(&join_names(path, &child.name), &child)?);
        }
        if excluded && left.is_empty() {
            return Ok(None);
        }
        Ok(Some(TreeRow { object: tree_id(left), ..row.clone() }))
    }

    /// What lies at and below a row at `path`.
    fn collect(
        &self,
        path: Vec<u8>,
        row: &TreeRow,
        found: &mut Vec<Found>,
    ) -> Result<(), ContextError> {
        let excluded = self.options.ignore.is_excluded(&path);
        if row.mode == TREE_MODE {
            let presence = if excluded { Presence::Parent } else { Presence::Always };
            if excluded && !self.options.ignore.may_match_below(&path) {
                return Ok(());
            }
            self.check_depth(&path)?;
            for child in self.repository.rows(row.object)? {
                self.collect(join_names(&path, &child.name), &child, found)?;
            }
            if !path.is_empty() {
                found.push(Found { entry: self.entry(path, row)?, presence });
            }
        } else if !excluded {
            found.push(Found { entry: self.entry(path, row)?, presence: Presence::Always });
        }
        Ok(())
    }

    /// Trees may be nested without end, stacks are not; no file system takes such a path either.
    fn check_depth(&self, path: &[u8]) -> Result<(), ContextError> {
        if path.iter().filter(|&&byte| byte == b'/').count() < DEPTH_LIMIT {
            return Ok(());
        }
        let start = String::from_utf8_lossy(&path[..path.len().min(80)]).into_owned();
        Err(self.repository.layout.refuse(format!(
            "{start}... in commit {} lies below more than {DEPTH_LIMIT} directories",
            self.commit.id
        )))
    }

    fn entry(&self, path: Vec<u8>, row: &TreeRow) -> Result<ContextEntry, ContextError> {
        let object = if row.mode == TREE_MODE { ObjectId::default() } else { row.object };
        let (kind, mode, size, content) = match row.mode {
            TREE_MODE => (EntryKind::Directory, 0o755, 0, Content::None),
            SUBMODULE_MODE => (EntryKind::Submodule, 0o755, 0, Content::None),
            LINK_MODE => {
                let target = self.repository.blob(object)?;
                let size = target.len() as u64;
                (EntryKind::Symlink { target }, 0o777, size, Content::None)
            }
            mode => {
                let size = self.repository.blob_size(object)?;
                let mode = if mode == EXECUTABLE_MODE { 0o755 } else { 0o644 };
                (EntryKind::File, mode, size, Content::Git)
            }
        };
        Ok(ContextEntry { path, kind, mode, size, object, mtime: None, inode: None, content })
    }

    fn content(&self, entry: &ContextEntry) -> Result<Box<dyn Read + Send>, ContextError> {
        Ok(Box::new(self.repository.open_blob(entry.object, entry.size)?))
    }

    fn lfs_place(&self, entry: &ContextEntry) -> LfsPlace {
        let directory = self.repository.layout.directory.clone();
        let path = join_names(&self.repository.prefix, &entry.path);
        LfsPlace { git: Some(directory.clone()), directory, path }
    }

    /// The row of what is behind the links in every component of `path`.
    fn behind_links(&self, path: &[u8]) -> Result<Option<TreeRow>, ContextError> {
        let target = |path: &[u8]| match self.row(path)? {
            Some(TreeRow { mode: LINK_MODE, object, .. }) => self.repository.blob(object).map(Some),
            _ => Ok(None),
        };
        match behind_links(path, target)? {
            Some(path) => self.row(&path),
            None => Ok(None),
        }
    }
}

impl ContextSource for RevisionContext {
    fn commit(&self) -> Option<&Commit> {
        Some(&self.commit)
    }

    fn find(&self, path: &[u8]) -> Result<Option<At>, ContextError> {
        if path.is_empty() {
            return Ok(Some(At::Directory));
        }
        let Some(row) = self.row(path)? else { return Ok(None) };
        if self.options.ignore.is_excluded(path)
            && !(row.mode == TREE_MODE && self.options.ignore.may_match_below(path))
        {
            return Ok(None);
        }
        Ok(Some(match row.mode {
            TREE_MODE => At::Directory,
            SUBMODULE_MODE => At::Submodule,
            LINK_MODE => At::Symlink { target: self.repository.blob(row.object)? },
            _ => At::File,
        }))
    }

    fn names(&self, directory: &[u8]) -> Result<Vec<Vec<u8>>, ContextError> {
        let Some(TreeRow { mode: TREE_MODE, object, .. }) = self.row(directory)? else {
            return Ok(Vec::new());
        };
        let ignore = &self.options.ignore;
        let is_left = |row: &TreeRow| {
            let path = join_names(directory, &row.name);
            !ignore.is_excluded(&path) || (row.mode == TREE_MODE && ignore.may_match_below(&path))
        };
        let rows = self.repository.rows(object)?.into_iter().filter(is_left);
        let mut names: Vec<Vec<u8>> = rows.map(|row| row.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn identity(&self, path: &[u8]) -> Result<Option<Identity>, ContextError> {
        let row = match self.row(path)? {
            Some(row) => self.filtered(path, &row)?,
            None => None,
        };
        Ok(row.map(|row| Identity {
            mode: row.mode,
            object: row.object,
            marks: Vec::new(),
            submodule: (row.mode == SUBMODULE_MODE).then(|| path.to_vec()),
        }))
    }

    fn listing(&self, path: &[u8]) -> Result<Option<Listing>, ContextError> {
        let mut found = Vec::new();
        if let Some(row) = self.row(path)? {
            self.collect(path.to_vec(), &row, &mut found)?;
        }
        Ok(arrange(found).part(path))
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    fn open(&self, entry: &ContextEntry) -> Result<Box<dyn Read + Send>, ContextError> {
        let content = self.content(entry)?;
        self.options.lfs_pointers.resolve(entry, content, || self.lfs_place(entry))
    }

    fn length(&self, entry: &ContextEntry) -> Result<u64, ContextError> {
        self.options.lfs_pointers.length(entry, || self.content(entry))
    }

    fn read_small(&self, path: &[u8], limit: u64) -> Result<Vec<u8>, ContextError> {
        let place = crate::context::read::join(&PathBuf::new(), path);
        let row = self
            .behind_links(path)?
            .filter(|row| matches!(row.mode, FILE_MODE | EXECUTABLE_MODE))
            .ok_or_else(|| ContextError::read(&place, std::io::ErrorKind::NotFound.into()))?;
        if self.repository.blob_size(row.object)? > limit {
            return Err(ContextError::TooLarge { path: place, limit });
        }
        self.repository.blob(row.object)
    }

    fn has_git_dir(&self) -> bool {
        false
    }

    fn why_absent(&self, path: &[u8]) -> Option<String> {
        no_git_here(&self.options, path).or_else(|| self.options.ignore.exclusion(path))
    }
}
