//! What a step is to see, made in its scratch directory.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags, mknodat, open, renameat_with};
use rustix::io::Errno;

use super::super::copying::{Copier, write_all};
use super::super::layering::{copy_object, merge};
use super::super::lowers::{Found, Layers};
use super::super::metadata::copy_directory;
use super::super::mounts::{Taken, fill, follow, in_order, own, plain_directory, refused};
use super::super::stubs::Point;
use super::super::tree::directory_flags;
use crate::mount::{Mount, MountKind, Owner, Secret, Tree};
use crate::wire::{Failure, OrFail as _, RunOrder};

/// Something that is ready to be moved into the tree.
#[derive(Debug)]
pub(super) struct Source<'a> {
    /// Where it is now.
    pub(super) path: PathBuf,
    /// Where it goes back to.
    pub(super) home: Option<PathBuf>,
    /// Content that only whoever answers for it has.
    pub(super) given: Option<(&'a Secret, Owner)>,
}

/// Makes the sources of all mounts of a step in the new directory `dir`; those whose targets are
/// around others come first.
pub(super) fn make<'a>(
    order: &'a RunOrder,
    dir: &Path,
) -> Result<Vec<(Taken, Source<'a>)>, Failure> {
    plain_directory(dir).or_fail(|| format!("cannot create {}", dir.display()))?;
    let mut copier = Copier::new();
    let mut made: Vec<(Taken, Source<'a>)> = Vec::new();
    for (at, mount) in in_order(order).into_iter().enumerate() {
        let own_dir = dir.join(at.to_string());
        let (source, point) = Maker { mount, dir: own_dir, copier: &mut copier }.make()?;
        if let Some(other) = made.iter().find(|(_, other)| other.path == source.path) {
            let place = other.0.target.display();
            let reason = format!("without mounts, a cache is in one place only, here {place}");
            return Err(refused(&mount.target, reason));
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let content = open(&source.path, flags, Mode::empty())
            .or_fail(|| format!("cannot open {}", source.path.display()))?;
        let target = mount.target.clone();
        made.push((Taken { target, mount: content, point, readonly: false }, source));
    }
    Ok(made)
}

/// Makes the source of one mount.
struct Maker<'a, 'b> {
    mount: &'a Mount,
    /// A directory for it alone.
    dir: PathBuf,
    copier: &'b mut Copier,
}

impl<'a> Maker<'a, '_> {
    fn make(&mut self) -> Result<(Source<'a>, Point), Failure> {
        let action = || format!("cannot prepare the mount at {}", self.mount.target.display());
        plain_directory(&self.dir).or_fail(action)?;
        let content = self.dir.join("content");
        let plain = |path: PathBuf| Source { path, home: None, given: None };
        Ok(match &self.mount.kind {
            MountKind::Bind { tree, .. } => {
                let (path, point) = self.copy_of(tree)?;
                (plain(path), point)
            }
            MountKind::Cache { dir, owner, initial, readonly } => {
                self.make_cache(dir, *owner, initial.as_ref())?;
                if *readonly {
                    copy_of_cache(dir, &content).or_fail(action)?;
                    return Ok((plain(content), Point::Directory));
                }
                let source = Source { path: dir.clone(), home: Some(dir.clone()), given: None };
                (source, Point::Directory)
            }
            MountKind::Tmpfs { .. } => {
                plain_directory(&content).or_fail(action)?;
                own(&content, Owner { uid: 0, gid: 0, mode: 0o1777 }).or_fail(action)?;
                (plain(content), Point::Directory)
            }
            MountKind::Secret { content: secret, owner } => {
                placeholder(&content, *owner).or_fail(action)?;
                (Source { given: Some((secret, *owner)), ..plain(content) }, Point::File)
            }
            MountKind::SshAgent { socket, owner } => {
                // A name of its own, so that the agent keeps the one that it listens at.
                fs::hard_link(socket, &content).or_fail(action)?;
                own(&content, *owner).or_fail(action)?;
                (plain(content), Point::File)
            }
            MountKind::Script { content: script } => {
                let owner = Owner { uid: 0, gid: 0, mode: 0o755 };
                write_file(&content, script, owner).or_fail(action)?;
                (plain(content), Point::File)
            }
        })
    }

    /// A copy of a file or directory of layers.
    fn copy_of(&mut self, tree: &Tree) -> Result<(PathBuf, Point), Failure> {
        let action = || format!("cannot copy {}", tree.subpath.display());
        match self.find(tree)? {
            Found::Absent | Found::Directory(_) => {
                let content = self.dir.join("content");
                self.copy_directory(tree, &content)?;
                Ok((content, Point::Directory))
            }
            Found::Other(leaf) => {
                let dir = open(&self.dir, directory_flags(), Mode::empty()).or_fail(action)?;
                let name = copy_object(&leaf, &dir, self.copier).or_fail(action)?;
                Ok((self.dir.join(std::ffi::OsStr::from_bytes(&name)), Point::File))
            }
        }
    }

    /// Copies a directory of layers to the new directory `to`.
    fn copy_directory(&mut self, tree: &Tree, to: &Path) -> Result<(), Failure> {
        let action = || format!("cannot copy {}", tree.subpath.display());
        plain_directory(to).or_fail(action)?;
        let merged = match self.find(tree)? {
            // The root of an image without layers.
            Found::Absent => return Ok(()),
            Found::Directory(merged) => merged,
            Found::Other(_) => {
                let reason = format!("its source {} is not a directory", tree.subpath.display());
                return Err(refused(&self.mount.target, reason));
            }
        };
        let mut copied = || -> io::Result<()> {
            for part in merged.parts()?.into_iter().rev() {
                let to = open(to, directory_flags(), Mode::empty())?;
                merge(part, to, self.copier)?;
            }
            Ok(())
        };
        copied().or_fail(action)
    }

    /// What a place in layers is; nothing only for the root of no layers.
    fn find(&self, tree: &Tree) -> Result<Found, Failure> {
        let layers = Layers::from_bottom(tree.layers.clone());
        let source = tree.subpath.display();
        let failed = |error| {
            refused(&self.mount.target, format!("its source {source} cannot be found: {error}"))
        };
        let found = follow(&layers, tree.subpath.as_os_str().as_bytes(), &[]).map_err(failed)?;
        if found.kind.is_none() {
            let reason = format!("its source {source} does not exist");
            return Err(refused(&self.mount.target, reason));
        }
        layers.find(&found.path).map_err(failed)
    }

    /// Makes a cache directory that is not there yet, complete at once.
    fn make_cache(
        &mut self,
        dir: &Path,
        owner: Owner,
        initial: Option<&Tree>,
    ) -> Result<(), Failure> {
        if dir.is_dir() {
            return Ok(());
        }
        let action = || format!("cannot create {}", dir.display());
        let fresh = self.dir.join("fresh");
        match initial {
            Some(tree) => self.copy_directory(tree, &fresh)?,
            None => plain_directory(&fresh).or_fail(action)?,
        }
        own(&fresh, owner).or_fail(action)?;
        match renameat_with(CWD, &fresh, CWD, dir, RenameFlags::NOREPLACE) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(Failure::new(action(), errno)),
        }
    }
}

/// Copies a cache with all that is in it to the new directory `to`.
fn copy_of_cache(dir: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    fill(dir, to)?;
    let open = |path: &Path| open(path, directory_flags(), Mode::empty());
    copy_directory(open(dir)?.as_fd(), open(to)?.as_fd())
}

/// Makes what is seen of a given file by those who only list its directory. Who opens it by a name
/// that nobody answers for gets an error, and not an empty file.
fn placeholder(path: &Path, owner: Owner) -> io::Result<()> {
    mknodat(CWD, path, FileType::Socket, Mode::RUSR, 0)?;
    own(path, owner)
}

/// Makes a file with this content.
fn write_file(path: &Path, content: &[u8], owner: Owner) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::RUSR | Mode::WUSR)?;
    write_all(file.as_fd(), content)?;
    own(path, owner)
}
