//! Layers and archives written entry by entry, with exactly the metadata that a test asks for.

use tar::{Builder, EntryType, Header};

/// Owner, mode and time of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u64,
    /// Group.
    pub(crate) gid: u64,
    /// Seconds since 1970.
    pub(crate) mtime: u64,
}

/// An archive under construction.
pub(crate) struct Tarball {
    builder: Builder<Vec<u8>>,
}

impl Meta {
    /// Owned by root, last changed in the evening of 2001-09-09.
    pub(crate) fn mode(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0, mtime: 1_000_000_000 }
    }

    /// The same with another owner.
    pub(crate) fn owner(self, uid: u64, gid: u64) -> Self {
        Self { uid, gid, ..self }
    }

    /// The same with another time.
    pub(crate) fn mtime(self, mtime: u64) -> Self {
        Self { mtime, ..self }
    }

    fn header(self, kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(self.mode);
        header.set_uid(self.uid);
        header.set_gid(self.gid);
        header.set_mtime(self.mtime);
        header
    }
}

impl Tarball {
    /// An archive without entries.
    pub(crate) fn new() -> Self {
        Self { builder: Builder::new(Vec::new()) }
    }

    /// Adds a directory.
    pub(crate) fn directory(&mut self, path: &str, meta: Meta) {
        let mut header = meta.header(EntryType::Directory, 0);
        self.builder.append_data(&mut header, format!("{path}/"), &[][..]).expect("entry");
    }

    /// Adds a regular file.
    pub(crate) fn file(&mut self, path: &str, meta: Meta, content: impl AsRef<[u8]>) {
        let content = content.as_ref();
        let mut header = meta.header(EntryType::Regular, content.len() as u64);
        self.builder.append_data(&mut header, path, content).expect("entry");
    }

    /// Adds a symbolic link.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) {
        let mut header = Meta::mode(0o777).header(EntryType::Symlink, 0);
        self.builder.append_link(&mut header, path, target).expect("entry");
    }

    /// Adds another name of an earlier file.
    pub(crate) fn hard_link(&mut self, path: &str, target: &str, meta: Meta) {
        let mut header = meta.header(EntryType::Link, 0);
        self.builder.append_link(&mut header, path, target).expect("entry");
    }

    /// Adds a character device.
    pub(crate) fn char_device(&mut self, path: &str, meta: Meta, (major, minor): (u32, u32)) {
        let mut header = meta.header(EntryType::Char, 0);
        header.set_device_major(major).expect("a ustar header");
        header.set_device_minor(minor).expect("a ustar header");
        self.builder.append_data(&mut header, path, &[][..]).expect("entry");
    }

    /// Adds a named pipe.
    pub(crate) fn fifo(&mut self, path: &str, meta: Meta) {
        let mut header = meta.header(EntryType::Fifo, 0);
        self.builder.append_data(&mut header, path, &[][..]).expect("entry");
    }

    /// Gives the next entry an extended attribute.
    pub(crate) fn xattr_of_next(&mut self, name: &str, value: &[u8]) {
        let key = format!("SCHILY.xattr.{name}");
        self.builder.append_pax_extensions([(key.as_str(), value)]).expect("entry");
    }

    /// Ends the archive and returns its bytes.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.builder.into_inner().expect("memory takes everything")
    }
}
