//! The work tree as it lies on disk, with git's ids and modes.

use std::fs::Metadata;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::OnceLock;

use super::repository::Repository;
use super::tracked::{self, Tracked};
use crate::context::disk::Disk;
use crate::context::entry::Content;
use crate::context::lfs::LfsPlace;
use crate::context::path::{join_names, split_name};
use crate::context::read::{join, open_entry, read_file};
use crate::context::walk::{Follower, Tracker, Tracking};
use crate::context::{
    At, Commit, ContextEntry, ContextError, ContextOptions, ContextSource, GitDirectory, Identity,
    Listing,
};

/// Blobs up to this size may come from the repository when the file changed since it was listed.
const BLOB_LIMIT: u64 = 8 << 20;

/// A context in the work tree of a repository.
#[derive(Debug)]
pub(super) struct WorktreeContext {
    disk: Disk,
    repository: Repository,
    commit: Option<Commit>,
    options: ContextOptions,
    tracked: OnceLock<Tracked>,
}

impl WorktreeContext {
    pub(super) fn open(
        root: &Path,
        repository: Repository,
        options: &ContextOptions,
    ) -> Result<Self, ContextError> {
        let commit = repository.head()?;
        let drop_git = options.git_directory == GitDirectory::Drop;
        let disk = Disk::new(root.to_owned(), options.ignore.clone(), drop_git, commit.is_none());
        let options = options.clone();
        Ok(Self { disk, repository, commit, options, tracked: OnceLock::new() })
    }

    fn tracked(&self) -> Result<&Tracked, ContextError> {
        if let Some(tracked) = self.tracked.get() {
            return Ok(tracked);
        }
        let tracked = Tracked::load(&self.repository, self.commit.as_ref())?;
        Ok(self.tracked.get_or_init(|| tracked))
    }

    /// The file, or what the repository has of it when the file is not what was listed any more.
    fn content(&self, entry: &ContextEntry) -> Result<Box<dyn Read + Send>, ContextError> {
        let from_disk = open_entry(&self.disk.root, entry);
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

    /// The repository is looked for from where the file lies, which may be in a submodule.
    fn lfs_place(&self, entry: &ContextEntry) -> LfsPlace {
        let directory = join(&self.disk.root, split_name(&entry.path).0);
        LfsPlace { directory, git: None, path: join_names(&self.repository.prefix, &entry.path) }
    }
}

impl ContextSource for WorktreeContext {
    fn commit(&self) -> Option<&Commit> {
        self.commit.as_ref()
    }

    fn find(&self, path: &[u8]) -> Result<Option<At>, ContextError> {
        self.disk.find(path)
    }

    fn names(&self, directory: &[u8]) -> Result<Vec<Vec<u8>>, ContextError> {
        self.disk.names(directory)
    }

    fn identity(&self, path: &[u8]) -> Result<Option<Identity>, ContextError> {
        self.disk.identity(path, || Ok(Some(self.tracked()?)))
    }

    fn listing(&self, path: &[u8]) -> Result<Option<Listing>, ContextError> {
        self.disk.listing(path, || Ok(Some(self.tracked()?)))
    }

    fn notes(&self) -> Vec<String> {
        self.disk.notes()
    }

    fn open(&self, entry: &ContextEntry) -> Result<Box<dyn Read + Send>, ContextError> {
        let content = self.content(entry)?;
        self.options.lfs_pointers.resolve(entry, content, || self.lfs_place(entry))
    }

    fn length(&self, entry: &ContextEntry) -> Result<u64, ContextError> {
        self.options.lfs_pointers.length(entry, || self.content(entry))
    }

    fn read_small(&self, path: &[u8], limit: u64) -> Result<Vec<u8>, ContextError> {
        read_file(&self.disk.root, path, limit)
    }

    fn has_git_dir(&self) -> bool {
        self.disk.root.join(".git").exists() && !self.options.ignore.is_excluded(b".git")
    }

    fn why_absent(&self, path: &[u8]) -> Option<String> {
        no_git_here(&self.options, path).or_else(|| self.disk.why_absent(path))
    }
}

impl Tracker for Tracked {
    fn follow(&self) -> Box<dyn Follower + '_> {
        Box::new(Asking { tracked: self, cursor: tracked::Cursor::default() })
    }
}

/// One thread's questions.
struct Asking<'a> {
    tracked: &'a Tracked,
    cursor: tracked::Cursor,
}

impl Follower for Asking<'_> {
    fn track(&mut self, path: &[u8], metadata: &Metadata) -> Tracking {
        self.tracked.track(path, metadata, &mut self.cursor)
    }
}

/// Says that `.git` is not there because it was left out.
pub(super) fn no_git_here(options: &ContextOptions, path: &[u8]) -> Option<String> {
    let in_git = path.split(|&byte| byte == b'/').any(|part| part == b".git");
    let dropped = in_git && options.git_directory == GitDirectory::Drop;
    dropped.then(|| "a git context has no .git unless --keep-git-dir is given".to_owned())
}
