//! The files that a COPY, ADD or WORKDIR adds, on top of what the parent image has.
//!
//! Pure but for the spool: paths are looked up first among the files placed here, then in the
//! parent's index, so that links in the image are followed without its files being there.
//! Invariant: what is emitted is in canonical order, every path once, a parent before its children.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::{self, Read};

use longshore_runtime::entry::{Entry, EntrySink, Kind};
use thiserror::Error;

use crate::layer::{IndexKind, MergedIndex, path_order};

/// How many links are followed, as in Linux.
const HOPS: usize = 40;

/// Where the bytes of a placed file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// It has none.
    None,
    /// An entry of the context.
    Context {
        /// Which of the step's listings has it.
        listing: usize,
        /// Its number there.
        entry: usize,
    },
    /// The text of a file that stands in the Dockerfile.
    Inline {
        /// Its number in the step.
        file: usize,
    },
    /// A piece of the spool.
    Spool {
        /// Offset of its first byte.
        offset: u64,
        /// Its length in bytes.
        length: u64,
    },
}

/// A file system object to be added.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// Its metadata; hard links are files here, see `group`.
    pub(super) entry: Entry,
    /// Its bytes.
    pub(super) content: Content,
    /// Objects of one group are names of one file.
    pub(super) group: Option<u64>,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    Nothing,
    Directory,
    Symlink(Vec<u8>),
    Other,
}

/// Why something cannot be placed; the texts name paths in the image.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum PlaceError {
    #[error("/{path} is {found} in the image, not a directory")]
    NotADirectory { path: String, found: &'static str },
    #[error("/{path} is a directory in the image and cannot be replaced by a file")]
    IsADirectory { path: String },
    #[error("too many levels of symbolic links in /{path}")]
    Loop { path: String },
    #[error("the hard link /{path} points to {target:?}, which is not in the archive")]
    HardLink { path: String, target: String },
}

/// The files to be added; see the module text.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    base: &'a MergedIndex,
    placed: BTreeMap<PathKey, Placed>,
}

/// Owner and time of directories that are made on the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Implied {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PathKey(Vec<u8>);

impl PartialOrd for PathKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PathKey {
    fn cmp(&self, other: &Self) -> Ordering {
        path_order(&self.0, &other.0)
    }
}

impl<'a> Tree<'a> {
    /// No files yet, on top of `base`.
    pub(super) const fn new(base: &'a MergedIndex) -> Self {
        Self { base, placed: BTreeMap::new() }
    }

    /// What is at `path`, links not followed.
    pub(super) fn at(&self, path: &[u8]) -> At {
        if path.is_empty() {
            return At::Directory;
        }
        if let Some(placed) = self.get(path) {
            return match &placed.entry.kind {
                Kind::Directory => At::Directory,
                Kind::Symlink { target } => At::Symlink(target.clone()),
                _ => At::Other,
            };
        }
        if prefixes(path).any(|prefix| self.hides(prefix)) {
            return At::Nothing;
        }
        match self.base.lookup(path).map(|found| &found.entry.kind) {
            None => At::Nothing,
            Some(IndexKind::Directory) => At::Directory,
            Some(IndexKind::Symlink { target }) => At::Symlink(target.clone()),
            Some(_) => At::Other,
        }
    }

    /// What was placed at `path`.
    pub(super) fn get(&self, path: &[u8]) -> Option<&Placed> {
        self.placed.get(&PathKey(path.to_vec()))
    }

    /// The path behind `path` with every link followed inside the image; what does not exist is
    /// kept as it is.
    pub(super) fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, PlaceError> {
        let mut resolved: Vec<u8> = Vec::new();
        let mut ahead: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        let mut hops = 0;
        while let Some(name) = ahead.pop() {
            if name == b".." {
                let parent = parent(&resolved).len();
                resolved.truncate(parent);
                continue;
            }
            let above = resolved.len();
            push(&mut resolved, &name);
            let At::Symlink(target) = self.at(&resolved) else { continue };
            hops += 1;
            if hops > HOPS {
                return Err(PlaceError::Loop { path: shown(path) });
            }
            resolved.truncate(if target.starts_with(b"/") { 0 } else { above });
            ahead.extend(components(&target).rev().map(<[u8]>::to_vec));
        }
        Ok(resolved)
    }

    /// Makes `path` and its parents directories where nothing is; links are not followed.
    pub(super) fn directories(&mut self, path: &[u8], implied: Implied) -> Result<(), PlaceError> {
        let every: Vec<Vec<u8>> = prefixes(path).chain([path]).map(<[u8]>::to_vec).collect();
        for path in every {
            match self.at(&path) {
                At::Directory => {}
                At::Nothing => {
                    let mut entry = Entry::new(path, Kind::Directory, 0o755, implied.mtime);
                    (entry.uid, entry.gid) = (implied.uid, implied.gid);
                    self.insert(Placed { entry, content: Content::None, group: None });
                }
                found => {
                    let found = named(&found);
                    return Err(PlaceError::NotADirectory { path: shown(&path), found });
                }
            }
        }
        Ok(())
    }

    /// Places `placed` as COPY does: a directory only on a directory or nothing, anything else
    /// never on a directory.
    pub(super) fn copy(&mut self, placed: Placed) -> Result<(), PlaceError> {
        let path = &placed.entry.path;
        let is_directory = placed.entry.kind == Kind::Directory;
        match self.at(path) {
            At::Directory if !is_directory => Err(PlaceError::IsADirectory { path: shown(path) }),
            found @ (At::Symlink(_) | At::Other) if is_directory => {
                Err(PlaceError::NotADirectory { path: shown(path), found: named(&found) })
            }
            _ => {
                self.insert(placed);
                Ok(())
            }
        }
    }

    /// Places `placed` as an archive is unpacked: it replaces whatever is there, unless both are
    /// directories.
    pub(super) fn unpack(&mut self, placed: Placed) {
        let path = placed.entry.path.clone();
        // Only a directory has something below it; looking for it at every file would be quadratic.
        if placed.entry.kind != Kind::Directory && self.at(&path) == At::Directory {
            let below = |key: &PathKey| key.0.len() > path.len() && is_below(&key.0, &path);
            self.placed.retain(|key, _| !below(key));
        }
        self.insert(placed);
    }

    /// A group of hard links that nothing here belongs to.
    pub(super) fn next_group(&self) -> u64 {
        let groups = self.placed.values().filter_map(|placed| placed.group);
        groups.max().map_or(0, |group| group + 1)
    }

    fn insert(&mut self, placed: Placed) {
        self.placed.insert(PathKey(placed.entry.path.clone()), placed);
    }

    /// Whether something placed at `path` hides what the base has below it.
    fn hides(&self, path: &[u8]) -> bool {
        self.get(path).is_some_and(|placed| placed.entry.kind != Kind::Directory)
    }

    /// Hands all entries to `sink` in canonical order; `open` gives the bytes of a file.
    pub(super) fn emit(
        &self,
        sink: &mut dyn EntrySink,
        open: &mut dyn FnMut(Content) -> io::Result<Box<dyn Read + Send>>,
    ) -> io::Result<()> {
        let mut first: BTreeMap<u64, &[u8]> = BTreeMap::new();
        for placed in self.placed.values() {
            let known = placed.group.and_then(|group| first.get(&group));
            if let Some(target) = known {
                let mut entry = placed.entry.clone();
                entry.kind = Kind::HardLink { target: target.to_vec() };
                sink.entry(&entry, &mut io::empty())?;
                continue;
            }
            if let Some(group) = placed.group {
                first.insert(group, &placed.entry.path);
            }
            match placed.content {
                Content::None => sink.entry(&placed.entry, &mut io::empty())?,
                content => sink.entry(&placed.entry, &mut open(content)?)?,
            }
        }
        Ok(())
    }
}

/// The names of a path.
pub(super) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

/// Adds a name to a path.
pub(super) fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() && !name.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// The directory that `path` lies in.
pub(super) fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|&byte| byte == b'/').map_or(&[], |at| &path[..at])
}

/// The last name of `path`.
pub(super) fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

/// A path for a message.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// The directories above `path`, the root left out, topmost first.
fn prefixes(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at])
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

const fn named(at: &At) -> &'static str {
    match at {
        At::Nothing => "nothing",
        At::Directory => "a directory",
        At::Symlink(_) => "a symbolic link",
        At::Other => "a file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{IndexEntry, LayerIndex};

    const IMPLIED: Implied = Implied { uid: 0, gid: 0, mtime: 7 };

    fn base(entries: &[(&str, IndexKind)]) -> MergedIndex {
        let mut index = LayerIndex::default();
        for (path, kind) in entries {
            let entry = IndexEntry { kind: kind.clone(), mode: 0o755, uid: 0, gid: 0 };
            index.entries.insert(path.as_bytes().to_vec(), entry);
        }
        let mut merged = MergedIndex::new();
        merged.push_layer(index);
        merged
    }

    fn link(target: &str) -> IndexKind {
        IndexKind::Symlink { target: target.as_bytes().to_vec() }
    }

    fn placed(path: &str, kind: Kind, group: Option<u64>) -> Placed {
        let entry = Entry::new(path, kind, 0o644, 1);
        Placed { entry, content: Content::None, group }
    }

    #[test]
    fn links_of_the_image_are_followed_inside_its_root() {
        let base = base(&[
            ("usr/bin", IndexKind::Directory),
            ("bin", link("usr/bin")),
            ("abs", link("/usr/bin")),
            ("out", link("../../../usr")),
            ("loop", link("loop")),
        ]);
        let tree = Tree::new(&base);
        for (path, resolved) in [
            ("bin/x", "usr/bin/x"),
            ("abs/../y", "usr/y"),
            ("out/bin", "usr/bin"),
            ("no/x", "no/x"),
        ] {
            assert_eq!(shown(&tree.resolve(path.as_bytes()).unwrap()), resolved, "{path}");
        }
        assert!(matches!(tree.resolve(b"loop/x"), Err(PlaceError::Loop { .. })));
    }

    #[test]
    fn directories_are_made_only_where_nothing_is() {
        let base = base(&[("opt", IndexKind::Directory), ("f", IndexKind::File)]);
        let mut tree = Tree::new(&base);
        tree.directories(b"opt/a/b", IMPLIED).unwrap();
        let made: Vec<String> = tree.placed.keys().map(|key| shown(&key.0)).collect();
        assert_eq!(made, ["opt/a", "opt/a/b"]);
        assert!(matches!(
            tree.directories(b"f/x", IMPLIED),
            Err(PlaceError::NotADirectory { found: "a file", .. })
        ));
    }

    #[test]
    fn copy_never_mixes_files_and_directories() {
        let base = base(&[("d", IndexKind::Directory), ("l", link("d"))]);
        let mut tree = Tree::new(&base);
        assert!(tree.copy(placed("d", Kind::File { size: 0 }, None)).is_err());
        assert!(tree.copy(placed("l", Kind::Directory, None)).is_err());
        tree.copy(placed("l", Kind::File { size: 0 }, None)).unwrap();
        assert_eq!(tree.at(b"l"), At::Other);
    }

    #[test]
    fn the_first_name_of_a_group_carries_the_content() {
        let base = MergedIndex::new();
        let mut tree = Tree::new(&base);
        for path in ["b", "a", "c"] {
            tree.unpack(placed(path, Kind::File { size: 0 }, Some(1)));
        }
        let mut seen = Vec::new();
        let mut sink = |entry: &Entry, _: &mut dyn Read| {
            seen.push((shown(&entry.path), matches!(entry.kind, Kind::HardLink { .. })));
            Ok(())
        };
        tree.emit(&mut sink, &mut |_| Ok(Box::new(io::empty()))).unwrap();
        assert_eq!(seen, [("a".into(), false), ("b".into(), true), ("c".into(), true)]);
    }

    #[test]
    fn a_file_from_an_archive_hides_the_directory_it_replaces() {
        let base = base(&[("d", IndexKind::Directory), ("d/x", IndexKind::File)]);
        let mut tree = Tree::new(&base);
        tree.unpack(placed("d", Kind::File { size: 0 }, None));
        assert_eq!(tree.at(b"d/x"), At::Nothing);
    }
}
