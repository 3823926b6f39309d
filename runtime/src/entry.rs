//! One entry of a layer: the vocabulary shared by unpacking, change detection and the tar writer.
//!
//! Paths are bytes relative to the root, without a leading or trailing slash and without `.` or
//! `..` components; the root itself is the empty path. Whether a path obeys that is checked where
//! entries come in from outside (the archive reader, the wire), not here.

use std::collections::BTreeMap;
use std::io::{self, Read};

/// Metadata of one file system object, or a deletion, in a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative path in bytes; empty for the root.
    pub path: Vec<u8>,
    /// What the entry is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: `0o7777` at most.
    pub mode: u32,
    /// Owner as the image sees it.
    pub uid: u32,
    /// Group as the image sees it.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    /// Extended attributes, full names with their namespace (`security.capability`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory; the lower layers' entries below it stay visible.
    Directory,
    /// A regular file with this many bytes of content.
    File {
        /// Length of the content in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, verbatim.
        target: Vec<u8>,
    },
    /// Another name of a file that came earlier in the same layer.
    HardLink {
        /// Path of that file, relative to the root.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// The path does not exist any more (`.wh.NAME` in a layer).
    Whiteout,
    /// Everything that lower layers have below this directory is gone (`.wh..wh..opq`);
    /// comes right after the directory's own entry, before its children.
    Opaque,
}

/// Takes the entries of a layer in their order.
pub trait EntrySink {
    /// Takes one entry; `content` yields exactly the bytes of a [`Kind::File`] and nothing for
    /// other kinds. What a sink leaves unread is skipped by the caller.
    ///
    /// # Errors
    /// When the entry cannot be taken; no more entries are sent then.
    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()>;
}

impl<F: FnMut(&Entry, &mut dyn Read) -> io::Result<()>> EntrySink for F {
    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        self(entry, content)
    }
}

impl Entry {
    /// An entry owned by root with no extended attributes.
    pub fn new(path: impl Into<Vec<u8>>, kind: Kind, mode: u32, mtime: i64) -> Self {
        Self { path: path.into(), kind, mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new() }
    }
}
