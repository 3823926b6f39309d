//! The stub layer: what is mounted on where the image has nothing.
//!
//! It lies on top of the image's layers, on a temporary file system. Directories that it has only
//! as the way to a mount point have the metadata that they have in the image, for its are the ones
//! that are seen. The upper directory never sees the layer, so mount points cannot leak into an
//! image; where a step itself puts something beside one, the directory around becomes part of the
//! step's layer like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, open};

use super::lowers::{Layers, Seen};
use super::tree::{directory_flags, inherit, split};

/// What something is mounted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    Directory,
    File,
}

/// Mount points that the image lacks, by their paths; no directory on the way is a link.
pub(super) type Points = BTreeMap<Vec<u8>, Point>;

/// Makes the layer in the new directory `stub`.
pub(super) fn make(stub: &Path, points: &Points, layers: &Layers) -> io::Result<()> {
    let directories = directories(points);
    for path in &directories {
        DirBuilder::new().mode(0o700).create(below(stub, path))?;
    }
    let files = points.iter().filter(|(_, point)| **point == Point::File);
    for (path, _) in files {
        fs::OpenOptions::new().create_new(true).write(true).mode(0o644).open(below(stub, path))?;
    }
    // Only now, because making what is in a directory changes its time.
    directories.iter().try_for_each(|path| exact(&below(stub, path), &layers.look(path)?))
}

/// All directories that are needed, each before what is in it.
fn directories(points: &Points) -> BTreeSet<Vec<u8>> {
    let mut directories = BTreeSet::from([Vec::new()]);
    for (path, point) in points {
        if *point == Point::Directory {
            directories.insert(path.clone());
        }
        let mut path = path.as_slice();
        while !path.is_empty() {
            path = split(path).0;
            directories.insert(path.to_vec());
        }
    }
    directories
}

fn below(stub: &Path, path: &[u8]) -> PathBuf {
    if path.is_empty() {
        return stub.to_owned();
    }
    stub.join(std::ffi::OsStr::from_bytes(path))
}

/// Makes a directory with the metadata of another one, or of a plain one of root.
pub(super) fn make_directory(path: &Path, like: &Seen) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    exact(path, like)
}

fn exact(path: &Path, like: &Seen) -> io::Result<()> {
    inherit(open(path, directory_flags(), Mode::empty())?.as_fd(), like)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_what_is_in_them() {
        let points = Points::from([
            (b"a/b/c".to_vec(), Point::Directory),
            (b"a/file".to_vec(), Point::File),
            (b"z".to_vec(), Point::File),
        ]);
        let expected: [&[u8]; 4] = [b"", b"a", b"a/b", b"a/b/c"];
        assert!(directories(&points).iter().eq(expected.iter()));
    }
}
