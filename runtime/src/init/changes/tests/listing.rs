//! All that a layer can say of a tree, read the plain way.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use crate::init::metadata::{self, Xattrs};

/// One name of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    what: String,
    mode: u32,
    owner: (u32, u32),
    mtime: i64,
    xattrs: Xattrs,
    content: Vec<u8>,
    /// All names of the same file, if there are several.
    pub(super) names: BTreeSet<Vec<u8>>,
}

pub(super) type Listing = BTreeMap<Vec<u8>, Listed>;

/// Lists a tree without its root.
pub(super) fn list(root: &Path, clamp: i64) -> Listing {
    let mut listing = Listing::new();
    let mut files: BTreeMap<u64, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let mut open = vec![Vec::new()];
    while let Some(dir) = open.pop() {
        for item in fs::read_dir(root.join(OsStr::from_bytes(&dir))).unwrap() {
            let item = item.unwrap();
            let name = item.file_name();
            let path = crate::init::tree::join(&dir, name.as_bytes());
            // An overlay lists whiteouts that hide nothing, and says that they are not there.
            let Ok(meta) = fs::symlink_metadata(item.path()) else { continue };
            if meta.is_dir() {
                open.push(path.clone());
            } else {
                files.entry(meta.ino()).or_default().insert(path.clone());
            }
            listing.insert(path, one(&item.path(), &meta, clamp));
        }
    }
    for names in files.into_values().filter(|names| names.len() > 1) {
        for name in &names {
            listing.get_mut(name).unwrap().names.clone_from(&names);
        }
    }
    listing
}

fn one(path: &Path, meta: &fs::Metadata, clamp: i64) -> Listed {
    let (mut xattrs, mut content) = (Xattrs::new(), Vec::new());
    let kind = meta.file_type();
    let what = if kind.is_symlink() {
        content = fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec();
        "link".to_owned()
    } else if kind.is_fifo() {
        "pipe".to_owned()
    } else if kind.is_char_device() || kind.is_block_device() {
        format!("device {}", meta.rdev())
    } else if kind.is_socket() {
        "socket".to_owned()
    } else {
        let file = fs::File::open(path).unwrap();
        xattrs = metadata::read(file.as_fd()).unwrap().0;
        if kind.is_file() {
            content = fs::read(path).unwrap();
        }
        if kind.is_dir() { "directory" } else { "file" }.to_owned()
    };
    Listed {
        what,
        mode: meta.mode() & 0o7777,
        owner: (meta.uid(), meta.gid()),
        mtime: meta.mtime().min(clamp),
        xattrs,
        content,
        names: BTreeSet::new(),
    }
}

/// Without what is known of hard links.
pub(super) fn unlinked(mut listing: Listing) -> Listing {
    for listed in listing.values_mut() {
        listed.names.clear();
    }
    listing
}

/// Without what is known of hard links of anything but files: a mounted overlay gives each name of
/// such an inode number of its own.
pub(super) fn linked_files(mut listing: Listing) -> Listing {
    for listed in listing.values_mut().filter(|listed| listed.what != "file") {
        listed.names.clear();
    }
    listing
}
