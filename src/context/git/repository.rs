//! Finding a repository and reading its objects.

use std::ffi::OsStr;
use std::fmt;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use git2::Oid;

use super::objects::{ObjectError, ObjectKind, ObjectReader, Store};
use super::refs::Layout;
use super::revparse::{self, Walk};
use crate::context::identity::{
    EXECUTABLE_MODE, FILE_MODE, LINK_MODE, SUBMODULE_MODE, TREE_MODE, TreeRow,
};
use crate::context::path::join_names;
use crate::context::{Commit, ContextError, ObjectId};

/// How much of a `.git` file or the config is read.
const SMALL_FILE: u64 = 1 << 20;
/// The longest blob that is held as a whole.
const WHOLE_LIMIT: u64 = 8 << 20;

/// A repository around a context.
pub(super) struct Repository {
    /// libgit2's handle may move between threads but not be shared.
    handle: Mutex<git2::Repository>,
    /// All objects, of which blobs are read here.
    pub(super) objects: Arc<Store>,
    pub(super) layout: Layout,
    /// Where the context lies in the tree; empty at its root.
    pub(super) prefix: Vec<u8>,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository")
            .field("layout", &self.layout)
            .field("prefix", &OsStr::from_bytes(&self.prefix))
            .finish_non_exhaustive()
    }
}

impl Repository {
    /// Finds the repository whose work tree holds `root`, a canonical path; if `bare` also one that
    /// `root` or a directory above it is itself, in which `root` is then a path in the commit.
    pub(super) fn around(root: &Path, bare: bool) -> Result<Option<Self>, ContextError> {
        for above in root.ancestors() {
            let directory = match bare && is_git_directory(above) {
                true => Some(above.to_owned()),
                false => git_directory(&above.join(".git"))?,
            };
            let Some(directory) = directory else { continue };
            let prefix = root.strip_prefix(above).unwrap_or(Path::new(""));
            let prefix = prefix.as_os_str().as_bytes().to_vec();
            return Self::open(directory, prefix).map(Some);
        }
        Ok(None)
    }

    /// Opens the objects alone: no owner is asked for and no configuration is read.
    fn open(directory: PathBuf, prefix: Vec<u8>) -> Result<Self, ContextError> {
        let layout = Layout::of(directory)?;
        let fail = |error| failure(&layout.directory, "its objects cannot be opened", error);
        // Its cache of objects may grow to 256 MiB. The windows that it maps of packs cannot be limited
        // without unsafe code, so that it serves commits and trees only, which are small.
        git2::opts::enable_caching(false);
        let odb = git2::Odb::new().map_err(fail)?;
        let directories = layout.objects()?;
        for place in &directories {
            let place = place.to_str().ok_or_else(|| {
                layout.refuse(format!("the path {} is not UTF-8", place.display()))
            })?;
            odb.add_disk_alternate(place).map_err(fail)?;
        }
        let handle = git2::Repository::from_odb(odb).map_err(fail)?;
        let objects = Arc::new(Store::new(directories, None));
        Ok(Self { handle: Mutex::new(handle), objects, layout, prefix })
    }

    /// Has big objects put together in `scratch`.
    pub(super) fn with_scratch(mut self, scratch: Option<PathBuf>) -> Result<Self, ContextError> {
        self.objects = Arc::new(Store::new(self.layout.objects()?, scratch));
        Ok(self)
    }

    fn handle(&self) -> MutexGuard<'_, git2::Repository> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failure(&self, reason: impl Into<String>, error: git2::Error) -> ContextError {
        failure(&self.layout.directory, reason, error)
    }

    /// The commit of HEAD; nothing before the first one.
    pub(super) fn head(&self) -> Result<Option<Commit>, ContextError> {
        let Some(id) = self.layout.resolve("HEAD")? else {
            return Ok(None);
        };
        self.peel(&id, "HEAD").map(Some)
    }

    /// The commit that a revision names: `HEAD`, a branch, a tag, or an id, also a short one, and
    /// the steps from there.
    pub(super) fn commit(&self, revision: &str) -> Result<Commit, ContextError> {
        let (name, walks) = revparse::split(revision).ok_or_else(|| {
            self.layout.refuse(format!(
                "{revision:?} is not a revision: give a branch, a tag or an id, then ~N or ^N"
            ))
        })?;
        let mut commit = self.named(name)?;
        for walk in walks {
            let parents = match walk {
                Walk::Up(count) => vec![1; count as usize],
                Walk::Parent(number) => vec![number],
            };
            for number in parents {
                commit = self.parent(commit, number, revision)?;
            }
        }
        Ok(commit)
    }

    /// The parent with that number; 0 is the commit itself.
    fn parent(&self, commit: Commit, number: u32, revision: &str) -> Result<Commit, ContextError> {
        let Some(index) = number.checked_sub(1) else { return Ok(commit) };
        let handle = self.handle();
        let fail = |error| self.failure(format!("{revision:?} names no commit here"), error);
        let found =
            Oid::from_str(&commit.id).and_then(|id| handle.find_commit(id)).map_err(fail)?;
        let parent = found.parent_id(index as usize).map_err(fail)?;
        match handle.find_commit(parent) {
            Ok(parent) => Ok(facts(&parent)),
            Err(error) => {
                let reason = format!("{revision:?} leads to {parent}, which is not here");
                let reason = match self.layout.is_shallow() {
                    true => format!("{reason}: the clone is shallow; git fetch --deepen gets more"),
                    false => reason,
                };
                Err(self.failure(reason, error))
            }
        }
    }

    fn named(&self, revision: &str) -> Result<Commit, ContextError> {
        if revision == "HEAD" || revision.starts_with("refs/") {
            let id = self.layout.resolve(revision)?;
            let id = id.ok_or_else(|| self.unknown(revision))?;
            return self.peel(&id, revision);
        }
        for place in ["refs/tags/", "refs/heads/", "refs/remotes/"] {
            // A text that cannot be a reference's name may still be an id.
            if let Ok(Some(id)) = self.layout.resolve(&format!("{place}{revision}")) {
                return self.peel(&id, revision);
            }
        }
        let is_id = (4..=40).contains(&revision.len())
            && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
        match is_id {
            true => self.peel(revision, revision),
            false => Err(self.unknown(revision)),
        }
    }

    fn unknown(&self, revision: &str) -> ContextError {
        self.layout.refuse(format!("{revision:?} names no commit here"))
    }

    /// The commit that an id in hex, perhaps shortened, or the tag with that id leads to.
    fn peel(&self, id: &str, name: &str) -> Result<Commit, ContextError> {
        let handle = self.handle();
        let commit = handle
            .find_object_by_prefix(id, None)
            .and_then(|object| object.peel_to_commit())
            .map_err(|error| self.failure(format!("{name:?} names no commit here"), error))?;
        Ok(facts(&commit))
    }

    /// The tree that the context is in the commit; nothing if it is not there, or no directory.
    pub(super) fn root(&self, commit: &str) -> Result<Option<ObjectId>, ContextError> {
        let fail = |error| self.failure(format!("the tree of {commit} cannot be read"), error);
        let id = Oid::from_str(commit).map_err(fail)?;
        let tree = self.handle().find_commit(id).map_err(fail)?.tree_id();
        let mut tree = object_id(tree);
        for name in self.prefix.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            match self.rows(tree)?.into_iter().find(|row| row.name == name) {
                Some(row) if row.mode == TREE_MODE => tree = row.object,
                _ => return Ok(None),
            }
        }
        Ok(Some(tree))
    }

    /// What a tree holds, in git's order, its modes reduced to those that git writes today.
    pub(super) fn rows(&self, tree: ObjectId) -> Result<Vec<TreeRow>, ContextError> {
        let handle = self.handle();
        let tree = handle.find_tree(oid(tree)).map_err(|error| match self.objects.size(tree) {
            Err(error) => self.unreadable(error),
            Ok(_) => self.failure(format!("tree {tree} cannot be read"), error),
        })?;
        let row = |entry: git2::TreeEntry<'_>| TreeRow {
            name: entry.name_bytes().to_vec(),
            mode: match entry.filemode() {
                0o040_000 => TREE_MODE,
                0o120_000 => LINK_MODE,
                0o160_000 => SUBMODULE_MODE,
                mode if mode & 0o100 != 0 => EXECUTABLE_MODE,
                _ => FILE_MODE,
            },
            object: object_id(entry.id()),
        };
        Ok(tree.iter().map(row).collect())
    }

    /// Every file, link and submodule of a commit's context, by path.
    pub(super) fn files(&self, commit: &str) -> Result<Vec<(Vec<u8>, TreeRow)>, ContextError> {
        let mut files = Vec::new();
        let mut ahead: Vec<(Vec<u8>, ObjectId)> = Vec::new();
        ahead.extend(self.root(commit)?.map(|root| (Vec::new(), root)));
        while let Some((directory, tree)) = ahead.pop() {
            for row in self.rows(tree)? {
                let path = join_names(&directory, &row.name);
                match row.mode {
                    TREE_MODE => ahead.push((path, row.object)),
                    _ => files.push((path, row)),
                }
            }
        }
        Ok(files)
    }

    /// The size of a blob, from its header.
    pub(super) fn blob_size(&self, object: ObjectId) -> Result<u64, ContextError> {
        match self.objects.header(object) {
            Ok((ObjectKind::Blob, size)) => Ok(size),
            Ok((kind, _)) => Err(self.unreadable(ObjectError::NotABlob { id: object, kind })),
            Err(error) => Err(self.unreadable(error)),
        }
    }

    /// Opens a blob that has `size` bytes; its end comes only when its id is what it should be.
    pub(super) fn open_blob(
        &self,
        object: ObjectId,
        size: u64,
    ) -> Result<ObjectReader, ContextError> {
        let reader = self.objects.open(object).map_err(|error| self.unreadable(error))?;
        if reader.kind != ObjectKind::Blob {
            let kind = reader.kind;
            return Err(self.unreadable(ObjectError::NotABlob { id: object, kind }));
        }
        match reader.size == size {
            true => Ok(reader),
            false => Err(self.layout.refuse(format!(
                "object {object} has {} bytes instead of the {size} it had before",
                reader.size
            ))),
        }
    }

    /// The content of a small blob.
    pub(super) fn blob(&self, object: ObjectId) -> Result<Vec<u8>, ContextError> {
        let size = self.blob_size(object)?;
        if size > WHOLE_LIMIT {
            let reason = format!("object {object} is too large ({size} bytes) for what it is");
            return Err(self.layout.refuse(reason));
        }
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        let mut reader = self.open_blob(object, size)?;
        match reader.read_to_end(&mut content) {
            Ok(_) => Ok(content),
            Err(error) => Err(match error.downcast::<ObjectError>() {
                Ok(error) => self.unreadable(error),
                Err(error) => ContextError::read(&self.layout.common, error),
            }),
        }
    }

    fn unreadable(&self, error: ObjectError) -> ContextError {
        let reason = error.to_string();
        let source = match error {
            ObjectError::Unreadable { source, .. } => Some(source.into()),
            _ => None,
        };
        ContextError::Repository { path: self.layout.directory.clone(), reason, source }
    }
}

fn failure(directory: &Path, reason: impl Into<String>, error: git2::Error) -> ContextError {
    let source = Some(Box::new(error).into());
    ContextError::Repository { path: directory.to_owned(), reason: reason.into(), source }
}

fn facts(commit: &git2::Commit<'_>) -> Commit {
    Commit { id: commit.id().to_string(), time: commit.time().seconds() }
}

pub(super) fn object_id(id: Oid) -> ObjectId {
    let bytes = id.as_bytes().try_into().expect("ids of SHA-1 repositories have 20 bytes");
    ObjectId::from_bytes(bytes)
}

fn oid(object: ObjectId) -> Oid {
    Oid::from_bytes(object.as_bytes()).expect("20 bytes are an id")
}

/// Tells whether a directory has what every git directory has.
fn is_git_directory(directory: &Path) -> bool {
    directory.join("HEAD").is_file()
        && (directory.join("commondir").is_file() || directory.join("objects").is_dir())
}

/// The git directory that `.git` is, or names (linked work trees, submodules); nothing if `.git` is
/// not there or is a directory that is no repository, which git passes over too.
fn git_directory(dot_git: &Path) -> Result<Option<PathBuf>, ContextError> {
    let fail = |error| ContextError::read(dot_git, error);
    match fs_err::metadata(dot_git) {
        Ok(metadata) if metadata.is_dir() => {
            return Ok(is_git_directory(dot_git).then(|| dot_git.to_owned()));
        }
        Ok(metadata) if metadata.is_file() && metadata.len() < SMALL_FILE => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    }
    let text = fs_err::read(dot_git).map_err(fail)?;
    let refuse = |reason: String| ContextError::Repository {
        path: dot_git.to_owned(),
        reason,
        source: None,
    };
    let target = text
        .strip_prefix(b"gitdir:")
        .map(<[u8]>::trim_ascii)
        .ok_or_else(|| refuse("the file names no git directory".to_owned()))?;
    let target = PathBuf::from(std::ffi::OsString::from_vec(target.to_vec()));
    let directory = dot_git.parent().unwrap_or(Path::new("")).join(target);
    if !is_git_directory(&directory) {
        return Err(refuse(format!("{} is not here", directory.display())));
    }
    Ok(Some(directory))
}
