//! Looks through a stack of layer directories the way an overlay does.
//!
//! Overlay rules (kernel documentation, overlayfs.rst): the topmost layer that has a name decides;
//! directories of the same name merge downwards until a layer has something else there, a whiteout
//! (character device 0:0), or an opaque directory.
//!
//! Every component is looked up by itself and without following links, so a link in a layer never
//! leads out of it. Nobody else changes layers meanwhile, so what was seen to be a directory can be
//! passed through later.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, Stat, fgetxattr, openat, statat};
use rustix::io::Errno;

use super::metadata::OPAQUE;
use super::tree::directory_flags;

/// Paths longer than this are taken from a directory further down: the kernel takes 4096 bytes.
const LONG_PATH: usize = 2048;

/// Layer directories, topmost first.
#[derive(Debug)]
pub(super) struct Layers(Vec<PathBuf>);

/// What a path is in the merged view.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing.
    Absent,
    /// A directory; the path of the topmost layer's part of it.
    Directory(PathBuf),
    /// Something else.
    Other(FileType),
}

/// What a path is in the merged view, with the means to read it.
#[derive(Clone, Debug)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// A directory.
    Directory(Merged),
    /// Something else.
    Other(Leaf),
}

/// The directories of several layers that an overlay shows as one, topmost first; at least one.
#[derive(Clone, Debug)]
pub(super) struct Merged(Vec<Place>);

/// Something in a layer that is no directory.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    place: Place,
    stat: Stat,
}

/// A path in one layer.
#[derive(Clone, Debug)]
struct Place {
    /// What the path is relative to; `None` for absolute paths.
    from: Option<Rc<OwnedFd>>,
    path: PathBuf,
}

impl Layers {
    /// A stack from layers that are listed bottom first.
    pub(super) fn from_bottom(layers: Vec<PathBuf>) -> Self {
        Self(layers.into_iter().rev().collect())
    }

    /// The same stack with one more layer on top.
    pub(super) fn under(mut self, top: &Path) -> Self {
        self.0.insert(0, top.to_owned());
        self
    }

    /// Looks up `path`; the empty path is the topmost root.
    pub(super) fn look(&self, path: &[u8]) -> io::Result<Seen> {
        match self.find(path)? {
            Found::Absent => Ok(Seen::Absent),
            Found::Directory(merged) => match &merged.top().from {
                None => Ok(Seen::Directory(merged.top().path.clone())),
                Some(_) => Err(Errno::NAMETOOLONG.into()),
            },
            Found::Other(leaf) => Ok(Seen::Other(FileType::from_raw_mode(leaf.stat.st_mode))),
        }
    }

    /// Looks up `path` from the roots.
    pub(super) fn find(&self, path: &[u8]) -> io::Result<Found> {
        let mut found = self.root();
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            found = match found {
                Found::Directory(merged) => merged.child(name)?,
                Found::Absent | Found::Other(_) => return Ok(Found::Absent),
            };
        }
        Ok(found)
    }

    /// The roots of all layers.
    pub(super) fn root(&self) -> Found {
        if self.0.is_empty() {
            return Found::Absent;
        }
        let places = self.0.iter().map(|path| Place { from: None, path: path.clone() });
        Found::Directory(Merged(places.collect()))
    }
}

impl Merged {
    /// What the directory has under `name`.
    pub(super) fn child(&self, name: &[u8]) -> io::Result<Found> {
        let mut below = Vec::new();
        for dir in &self.0 {
            let place = dir.child(name);
            let Some(stat) = place.stat()? else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let place = place.shortened()?;
                let stop = is_opaque(place.open_directory()?.as_fd())?;
                below.push(place);
                if stop {
                    break;
                }
            } else if is_whiteout(&stat) || !below.is_empty() {
                break;
            } else {
                return Ok(Found::Other(Leaf { place, stat }));
            }
        }
        Ok(if below.is_empty() { Found::Absent } else { Found::Directory(Self(below)) })
    }

    /// All names that the directory has, in order.
    pub(super) fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        // The topmost layer that has a name decides whether it is there.
        let mut decided: BTreeMap<Vec<u8>, bool> = BTreeMap::new();
        for dir in &self.0 {
            let fd = dir.open_directory()?;
            for item in Dir::read_from(&fd)? {
                let item = item?;
                let name = item.file_name().to_bytes();
                if matches!(name, b"." | b"..") || decided.contains_key(name) {
                    continue;
                }
                let may_be_whiteout =
                    matches!(item.file_type(), FileType::CharacterDevice | FileType::Unknown);
                let is_there = !may_be_whiteout
                    || !is_whiteout(&statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW)?);
                decided.insert(name.to_vec(), is_there);
            }
        }
        Ok(decided.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect())
    }

    /// Opens the part that the metadata are taken from.
    pub(super) fn open(&self) -> io::Result<OwnedFd> {
        self.top().open_directory()
    }

    /// Opens all parts, topmost first.
    pub(super) fn parts(&self) -> io::Result<Vec<OwnedFd>> {
        self.0.iter().map(Place::open_directory).collect()
    }

    fn top(&self) -> &Place {
        self.0.first().expect("no directory merges from nothing")
    }
}

impl Leaf {
    pub(super) fn stat(&self) -> &Stat {
        &self.stat
    }

    /// The directory and the path from there, as system calls take them.
    pub(super) fn at(&self) -> (BorrowedFd<'_>, &[u8]) {
        (self.place.from(), self.place.path.as_os_str().as_bytes())
    }
}

impl Place {
    fn child(&self, name: &[u8]) -> Self {
        Self { from: self.from.clone(), path: self.path.join(OsStr::from_bytes(name)) }
    }

    fn from(&self) -> BorrowedFd<'_> {
        self.from.as_ref().map_or(CWD, |fd| fd.as_fd())
    }

    fn stat(&self) -> io::Result<Option<Stat>> {
        match statat(self.from(), &self.path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn open_directory(&self) -> io::Result<OwnedFd> {
        Ok(openat(self.from(), &self.path, directory_flags(), Mode::empty())?)
    }

    /// The same directory by a path that has room for more names.
    fn shortened(self) -> io::Result<Self> {
        if self.path.as_os_str().len() <= LONG_PATH {
            return Ok(self);
        }
        Ok(Self { from: Some(Rc::new(self.open_directory()?)), path: PathBuf::from(".") })
    }
}

/// Whether this is overlay's way to say that a name is gone.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_opaque(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut value = [0_u8; 8];
    match fgetxattr(fd, OPAQUE, value.as_mut_slice()) {
        Ok(length) => Ok(&value[..length] == b"y"),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_topmost_layer_decides() {
        let work = tempfile::tempdir().unwrap();
        let layer = |name: &str| work.path().join(name);
        fs::create_dir_all(layer("bottom/etc/apt")).unwrap();
        fs::create_dir_all(layer("bottom/opt")).unwrap();
        fs::write(layer("bottom/file"), "").unwrap();
        fs::create_dir_all(layer("top/etc")).unwrap();
        fs::write(layer("top/opt"), "").unwrap();
        fs::create_dir_all(layer("top/file/below")).unwrap();
        symlink("etc", layer("top/link")).unwrap();
        let layers = Layers::from_bottom(vec![layer("bottom"), layer("top")]);
        for (path, expected) in [
            ("", Seen::Directory(layer("top"))),
            ("etc", Seen::Directory(layer("top/etc"))),
            ("etc/apt", Seen::Directory(layer("bottom/etc/apt"))),
            ("etc/none", Seen::Absent),
            ("opt", Seen::Other(FileType::RegularFile)),
            ("file/below", Seen::Directory(layer("top/file/below"))),
            ("link", Seen::Other(FileType::Symlink)),
            ("link/apt", Seen::Absent),
        ] {
            assert_eq!(layers.look(path.as_bytes()).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn without_layers_there_is_nothing() {
        assert_eq!(Layers::from_bottom(Vec::new()).look(b"etc").unwrap(), Seen::Absent);
    }

    #[test]
    fn names_are_those_of_the_merged_view() {
        let work = tempfile::tempdir().unwrap();
        let layer = |name: &str| work.path().join(name);
        for dir in ["bottom/d/low", "middle/d/mid", "top/d/high"] {
            fs::create_dir_all(layer(dir)).unwrap();
        }
        fs::write(layer("bottom/d/file"), "").unwrap();
        symlink("nowhere", layer("top/d/link")).unwrap();
        let names = |layers: &Layers| match layers.find(b"d").unwrap() {
            Found::Directory(merged) => {
                let names = merged.names().unwrap();
                names.into_iter().map(|name| String::from_utf8(name).unwrap()).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        };
        let layers = Layers::from_bottom(["bottom", "middle", "top"].map(layer).into());
        assert_eq!(names(&layers), ["file", "high", "link", "low", "mid"]);
        let middle = fs::File::open(layer("middle/d")).unwrap();
        if rustix::fs::fsetxattr(&middle, OPAQUE, b"y", rustix::fs::XattrFlags::empty()).is_ok() {
            assert_eq!(names(&layers), ["high", "link", "mid"]);
        }
    }

    #[test]
    fn paths_may_be_longer_than_the_kernel_takes() {
        let work = tempfile::tempdir().unwrap();
        let name = "n".repeat(200);
        let mut path = Vec::new();
        let mut dir = fs::File::open(work.path()).unwrap();
        for _ in 0..40 {
            rustix::fs::mkdirat(&dir, &name, Mode::RWXU).unwrap();
            dir = openat(&dir, &name, directory_flags(), Mode::empty()).unwrap().into();
            path.extend_from_slice(name.as_bytes());
            path.push(b'/');
        }
        path.pop();
        let layers = Layers::from_bottom(vec![work.path().to_owned()]);
        assert!(matches!(layers.find(&path).unwrap(), Found::Directory(_)));
        assert!(matches!(layers.find(&[&path, b"/x".as_slice()].concat()).unwrap(), Found::Absent));
        crate::init::removal::remove(&work.path().join(&name)).unwrap();
    }
}
