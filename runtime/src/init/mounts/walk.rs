//! Where a path leads in a tree, or in a stack of layers, as in a chroot, whether it exists or not.
//!
//! Nobody else changes the tree meanwhile.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, readlinkat, statat};
use rustix::io::Errno;

use super::super::lowers::{self, Layers, Seen};
use super::super::tree::{components, join, split};

/// As many links as the kernel follows in one path.
const MAX_LINKS: usize = 40;

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Found {
    /// The path without links, relative to the root; its end may be missing.
    pub(in super::super) path: Vec<u8>,
    /// What is there; `None` for nothing, and for what is in a covered directory.
    pub(in super::super) kind: Option<FileType>,
}

/// What paths are followed in. Paths are relative to its root, and nothing but their ends is a link.
pub(in super::super) trait View {
    /// What is at `path`.
    fn kind(&self, path: &[u8]) -> io::Result<Option<FileType>>;

    /// Where the link at `path` leads.
    fn link(&self, path: &[u8]) -> io::Result<Vec<u8>>;
}

impl View for BorrowedFd<'_> {
    fn kind(&self, path: &[u8]) -> io::Result<Option<FileType>> {
        match statat(self, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        Ok(readlinkat(self, path, Vec::new())?.into_bytes())
    }
}

impl View for Layers {
    fn kind(&self, path: &[u8]) -> io::Result<Option<FileType>> {
        Ok(match self.look(path)? {
            Seen::Absent => None,
            Seen::Directory(_) => Some(FileType::Directory),
            Seen::Other(kind) => Some(kind),
        })
    }

    fn link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let lowers::Found::Other(leaf) = self.find(path)? else { return Err(Errno::INVAL.into()) };
        let (dir, path) = leaf.at();
        dir.link(path)
    }
}

/// Follows `path` from `root`. What lies in a directory of `covered` is not looked at: something
/// else will be there.
pub(in super::super) fn follow(
    root: &impl View,
    path: &[u8],
    covered: &[Vec<u8>],
) -> io::Result<Found> {
    let mut ahead = components(path);
    let mut found = Found { path: Vec::new(), kind: Some(FileType::Directory) };
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == b".." {
            found = at(root, split(&found.path).0.to_vec(), covered)?;
            continue;
        }
        let next = at(root, join(&found.path, &name), covered)?;
        if next.kind != Some(FileType::Symlink) {
            found = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = root.link(&next.path)?;
        if target.starts_with(b"/") {
            found = at(root, Vec::new(), covered)?;
        }
        for component in components(&target).into_iter().rev() {
            ahead.push_front(component);
        }
    }
    Ok(found)
}

/// What is at `path`, which has no links but perhaps at its end.
fn at(root: &impl View, path: Vec<u8>, covered: &[Vec<u8>]) -> io::Result<Found> {
    if path.is_empty() {
        return Ok(Found { path, kind: Some(FileType::Directory) });
    }
    if covered.iter().any(|directory| is_below(&path, directory)) {
        return Ok(Found { path, kind: None });
    }
    let kind = root.kind(&path)?;
    Ok(Found { path, kind })
}

/// Whether `path` is `directory` itself or in it.
pub(super) fn is_below(path: &[u8], directory: &[u8]) -> bool {
    match path.strip_prefix(directory) {
        Some(rest) => directory.is_empty() || rest.is_empty() || rest.starts_with(b"/"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd as _;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_stay_inside_and_what_is_missing_is_named() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir_all(path("a/b")).unwrap();
        fs::write(path("file"), "").unwrap();
        for (name, target) in [
            ("up", "../../../../a"),
            ("abs", "/a/b"),
            ("dangling", "/run/deep"),
            ("loop", "loop"),
            ("a/rel", "b"),
        ] {
            symlink(target, path(name)).unwrap();
        }
        let directory = fs::File::open(root.path()).unwrap();
        let covered = [b"cov".to_vec()];
        let (dir, file) = (Some(FileType::Directory), Some(FileType::RegularFile));
        for (asked, expected, kind) in [
            ("/", "", dir),
            ("/a/b", "a/b", dir),
            ("a//./b/", "a/b", dir),
            ("/up/b", "a/b", dir),
            ("/abs", "a/b", dir),
            ("/a/rel/new", "a/b/new", None),
            ("/dangling/x", "run/deep/x", None),
            ("/../..", "", dir),
            ("/none/../a", "a", dir),
            ("/file", "file", file),
            ("/cov/x/y", "cov/x/y", None),
        ] {
            let found = follow(&directory.as_fd(), asked.as_bytes(), &covered).unwrap();
            let expected = Found { path: expected.as_bytes().to_vec(), kind };
            assert_eq!(found, expected, "{asked}");
        }
        for asked in ["/loop", "/file/x"] {
            assert!(follow(&directory.as_fd(), asked.as_bytes(), &covered).is_err(), "{asked}");
        }
    }

    #[test]
    fn below_goes_by_components() {
        for (path, directory, expected) in [
            ("a/b", "a", true),
            ("a", "a", true),
            ("ab", "a", false),
            ("a", "a/b", false),
            ("a", "", true),
        ] {
            assert_eq!(is_below(path.as_bytes(), directory.as_bytes()), expected, "{path}");
        }
    }
}
