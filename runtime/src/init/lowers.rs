//! Looks through a stack of layer directories the way an overlay does.
//!
//! Overlay rules (kernel documentation, overlayfs.rst): the topmost layer that has a name decides;
//! directories of the same name merge downwards until a layer has something else there, a whiteout
//! (character device 0:0), or an opaque directory.
//!
//! Every component is looked up by itself and without following links, so a link in a layer never
//! leads out of it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Stat, lgetxattr, statat};
use rustix::io::Errno;

use super::metadata::OPAQUE;

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
        let mut merged: Vec<PathBuf> = self.0.clone();
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            match descend(&merged, OsStr::from_bytes(name))? {
                Ok(below) => merged = below,
                Err(seen) => return Ok(seen),
            }
        }
        Ok(merged.into_iter().next().map_or(Seen::Absent, Seen::Directory))
    }
}

/// The directories that merge at `name`, or what else is there.
fn descend(merged: &[PathBuf], name: &OsStr) -> io::Result<Result<Vec<PathBuf>, Seen>> {
    let mut below = Vec::new();
    for dir in merged {
        let path = dir.join(name);
        let Some(stat) = stat(&path)? else { continue };
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type == FileType::Directory {
            let stop = is_opaque(&path)?;
            below.push(path);
            if stop {
                break;
            }
        } else if is_whiteout(&stat) || !below.is_empty() {
            break;
        } else {
            return Ok(Err(Seen::Other(file_type)));
        }
    }
    Ok(if below.is_empty() { Err(Seen::Absent) } else { Ok(below) })
}

/// Whether this is overlay's way to say that a name is gone.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn is_opaque(path: &Path) -> io::Result<bool> {
    let mut value = [0_u8; 8];
    match lgetxattr(path, OPAQUE, value.as_mut_slice()) {
        Ok(length) => Ok(&value[..length] == b"y"),
        Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn stat(path: &Path) -> io::Result<Option<Stat>> {
    match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
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
            ("link/apt", Seen::Other(FileType::Symlink)),
        ] {
            assert_eq!(layers.look(path.as_bytes()).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn without_layers_there_is_nothing() {
        assert_eq!(Layers::from_bottom(Vec::new()).look(b"etc").unwrap(), Seen::Absent);
    }
}
