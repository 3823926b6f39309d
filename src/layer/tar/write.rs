//! The canonical writer: one sequence of entries has one sequence of bytes.
//!
//! Invariants:
//! - ustar headers; names as raw bytes, split at the last slash that lets both halves fit. A PAX
//!   header precedes an entry only if a field does not fit, or for extended attributes; its own
//!   fields are constant and its records sorted.
//! - Names are bytes everywhere. Records with names that are not UTF-8 have `hdrcharset=BINARY`
//!   beside them (pax, "pax Header Block"): bsdtar fails without it; Go and Python take the names
//!   either way; GNU tar takes them with a warning of the unknown record.
//! - A file is its bytes: holes are zeros.
//! - No user or group names; device numbers only for devices; directories end in a slash.
//! - Whiteouts are empty files with mode, ids and time zero, whatever their entry says.
//! - Entries come in [`path_order`], each path once; only [`Kind::Opaque`] repeats the path of the
//!   directory in front of it.
//! - The archive ends in two zero blocks and nothing after them.

use std::cmp::Ordering;
use std::fmt;
use std::io::{self, Read, Write};

use longshore_runtime::entry::{Entry, EntrySink, Kind};
use tar::{EntryType, Header};
use thiserror::Error;

use super::pax::{self, Records};
use super::{BLOCK, OPAQUE, PAX_LIMIT, WHITEOUT, XATTR, header, padding};
use crate::layer::path::{PATH_LIMIT, display, is_clean, path_order, split_last};

/// Bytes that are copied at a time.
const CHUNK: usize = 64 * 1024;

/// Writes entries as a canonical tar.
pub struct TarWriter<W: Write> {
    inner: W,
    last: Option<(Vec<u8>, bool)>,
    entries: u64,
    buffer: Vec<u8>,
}

/// Why an entry cannot be written; the inner error of the [`io::Error`] that the sink returns.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WriteError {
    /// Entries must be sorted, each path once.
    #[error("entry {path} comes after {last}, out of the canonical order")]
    Order {
        /// The refused entry.
        path: String,
        /// The entry before it.
        last: String,
    },
    /// A path that is absolute, empty in parts, too long, or has `.`, `..` or NUL in it; or a link
    /// to such a path, or to nowhere.
    #[error("{path} is not a path, or its link target is none, that a layer can have")]
    Path {
        /// The refused entry.
        path: String,
    },
    /// The name means a deletion in a layer.
    #[error("{path} cannot be in a layer: names that start with `.wh.` mean deletions there")]
    Reserved {
        /// The refused entry.
        path: String,
    },
    /// The root can only be a directory.
    #[error("the root of a layer can only be a directory")]
    Root,
    /// An attribute's name is empty or has a `=` or NUL, which tar cannot express.
    #[error("extended attribute {name} of {path} cannot be written to a tar")]
    Attribute {
        /// The refused entry.
        path: String,
        /// The attribute's name.
        name: String,
    },
    /// More extended attributes than readers take.
    #[error("the extended header of {path} has {bytes} bytes, more than readers take")]
    Large {
        /// The refused entry.
        path: String,
        /// Bytes of its extended header.
        bytes: usize,
    },
    /// A device number needs more than 21 bits.
    #[error("the device numbers of {path} do not fit a tar")]
    Device {
        /// The refused entry.
        path: String,
    },
    /// The content is shorter than the entry says.
    #[error("{path} has {got} bytes instead of {size}: it changed while it was read")]
    Short {
        /// The entry.
        path: String,
        /// The size in its header.
        size: u64,
        /// What its content had.
        got: u64,
    },
}

impl<W: Write> fmt::Debug for TarWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TarWriter").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl<W: Write> TarWriter<W> {
    /// Starts an archive.
    pub fn new(inner: W) -> Self {
        Self { inner, last: None, entries: 0, buffer: Vec::new() }
    }

    /// How many entries were written.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Ends the archive and returns what it was written to.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.inner.write_all(&[0; 2 * BLOCK])?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn check_order(&mut self, entry: &Entry) -> Result<(), WriteError> {
        let opaque = entry.kind == Kind::Opaque;
        if let Some((last, directory)) = &self.last {
            let fits = match path_order(last, &entry.path) {
                Ordering::Less => true,
                Ordering::Equal => opaque && *directory,
                Ordering::Greater => false,
            };
            if !fits {
                return Err(WriteError::Order { path: display(&entry.path), last: display(last) });
            }
        }
        self.last = Some((entry.path.clone(), entry.kind == Kind::Directory));
        Ok(())
    }

    fn copy(&mut self, entry: &Entry, size: u64, content: &mut dyn Read) -> io::Result<()> {
        self.buffer.resize(CHUNK, 0);
        let mut left = size;
        while left > 0 {
            let most = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            match content.read(&mut self.buffer[..most]) {
                Ok(0) => {
                    let path = display(&entry.path);
                    let short = WriteError::Short { path, size, got: size - left };
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, short));
                }
                Ok(read) => {
                    self.inner.write_all(&self.buffer[..read])?;
                    left -= read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pad(size)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let zeros = usize::try_from(padding(size)).expect("padding is less than a block");
        self.inner.write_all(&[0; BLOCK][..zeros])
    }
}

impl<W: Write> EntrySink for TarWriter<W> {
    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        let headers = headers(entry).and_then(|headers| {
            self.check_order(entry)?;
            Ok(headers)
        });
        let headers =
            headers.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.inner.write_all(&headers)?;
        if let Kind::File { size } = entry.kind {
            self.copy(entry, size, content)?;
        }
        self.entries += 1;
        Ok(())
    }
}

/// The header blocks of an entry, its PAX header included.
fn headers(entry: &Entry) -> Result<Vec<u8>, WriteError> {
    check_paths(entry)?;
    let name = name(entry)?;
    let mut header = Header::new_ustar();
    let mut records = Records::new();
    set_name(&mut header, &name, &mut records);
    let deleted = matches!(entry.kind, Kind::Whiteout | Kind::Opaque);
    if deleted {
        set_numbers(&mut header, &Entry::new("", Kind::Whiteout, 0, 0), &mut records);
    } else {
        set_numbers(&mut header, entry, &mut records);
        attributes(entry, &mut records)?;
    }
    set_kind(&mut header, entry, &mut records)?;
    set_charset(&mut records);
    header.set_cksum();

    let mut bytes = Vec::with_capacity(BLOCK);
    if !records.is_empty() {
        let content = pax::encode(&records);
        if content.len() as u64 > PAX_LIMIT {
            return Err(WriteError::Large { path: display(&entry.path), bytes: content.len() });
        }
        bytes.extend_from_slice(pax_header(content.len() as u64).as_bytes());
        bytes.extend_from_slice(&content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.extend_from_slice(header.as_bytes());
    Ok(bytes)
}

/// Nothing in a header may end a name early or lead out of the root.
fn check_paths(entry: &Entry) -> Result<(), WriteError> {
    let target = match &entry.kind {
        Kind::HardLink { target } => !target.is_empty() && is_clean(target),
        Kind::Symlink { target } => {
            !target.is_empty() && target.len() <= PATH_LIMIT && !target.contains(&0)
        }
        _ => true,
    };
    if target && is_clean(&entry.path) {
        return Ok(());
    }
    Err(WriteError::Path { path: display(&entry.path) })
}

/// The name in the archive: a whiteout's marker, a directory's slash.
fn name(entry: &Entry) -> Result<Vec<u8>, WriteError> {
    let (parent, base) = split_last(&entry.path);
    if base.starts_with(WHITEOUT) {
        return Err(WriteError::Reserved { path: display(&entry.path) });
    }
    let in_dir = |dir: &[u8], parts: &[&[u8]]| {
        let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
        [dir, slash, &parts.concat()].concat()
    };
    match (&entry.kind, entry.path.is_empty()) {
        (Kind::Opaque, _) => Ok(in_dir(&entry.path, &[OPAQUE])),
        (Kind::Directory, true) => Ok(b"./".to_vec()),
        (Kind::Directory, false) => Ok([&entry.path, b"/".as_slice()].concat()),
        (_, true) => Err(WriteError::Root),
        (Kind::Whiteout, false) => Ok(in_dir(parent, &[WHITEOUT, base])),
        (_, false) => Ok(entry.path.clone()),
    }
}

/// Sets name and prefix, or the beginning of the name and a record.
fn set_name(header: &mut Header, name: &[u8], records: &mut Records) {
    let ustar = header.as_ustar_mut().expect("the header was made as ustar");
    let split = (1..name.len().saturating_sub(1)).rev().find(|&at| {
        name[at] == b'/' && at <= ustar.prefix.len() && name.len() - at - 1 <= ustar.name.len()
    });
    match split {
        _ if name.len() <= ustar.name.len() => ustar.name[..name.len()].copy_from_slice(name),
        Some(at) => {
            ustar.prefix[..at].copy_from_slice(&name[..at]);
            ustar.name[..name.len() - at - 1].copy_from_slice(&name[at + 1..]);
        }
        None => {
            let beginning = &name[..ustar.name.len()];
            ustar.name.copy_from_slice(beginning);
            records.insert(b"path".to_vec(), name.to_vec());
        }
    }
}

/// Sets mode, ids and time; what does not fit becomes zero and a record.
fn set_numbers(header: &mut Header, entry: &Entry, records: &mut Records) {
    let ustar = header.as_ustar_mut().expect("the header was made as ustar");
    header::put_octal(&mut ustar.mode, u64::from(entry.mode & 0o7777));
    let mut put = |field: &mut [u8], key: &str, value: Option<u64>, text: String| {
        if !value.is_some_and(|value| header::put_octal(field, value)) {
            header::put_octal(field, 0);
            records.insert(key.into(), text.into_bytes());
        }
    };
    put(&mut ustar.uid, "uid", Some(u64::from(entry.uid)), entry.uid.to_string());
    put(&mut ustar.gid, "gid", Some(u64::from(entry.gid)), entry.gid.to_string());
    put(&mut ustar.mtime, "mtime", u64::try_from(entry.mtime).ok(), entry.mtime.to_string());
    let size = match entry.kind {
        Kind::File { size } => size,
        _ => 0,
    };
    put(&mut ustar.size, "size", Some(size), size.to_string());
}

fn set_kind(header: &mut Header, entry: &Entry, records: &mut Records) -> Result<(), WriteError> {
    let (kind, target, device) = match &entry.kind {
        Kind::Directory => (EntryType::Directory, None, None),
        Kind::File { .. } | Kind::Whiteout | Kind::Opaque => (EntryType::Regular, None, None),
        Kind::Symlink { target } => (EntryType::Symlink, Some(target), None),
        Kind::HardLink { target } => (EntryType::Link, Some(target), None),
        Kind::CharDevice { major, minor } => (EntryType::Char, None, Some((*major, *minor))),
        Kind::BlockDevice { major, minor } => (EntryType::Block, None, Some((*major, *minor))),
        Kind::Fifo => (EntryType::Fifo, None, None),
    };
    header.set_entry_type(kind);
    let ustar = header.as_ustar_mut().expect("the header was made as ustar");
    if let Some(target) = target {
        let short = target.len().min(ustar.linkname.len());
        ustar.linkname[..short].copy_from_slice(&target[..short]);
        if short < target.len() {
            records.insert(b"linkpath".to_vec(), target.clone());
        }
    }
    if let Some((major, minor)) = device {
        let fits = header::put_octal(&mut ustar.dev_major, u64::from(major))
            && header::put_octal(&mut ustar.dev_minor, u64::from(minor));
        if !fits {
            return Err(WriteError::Device { path: display(&entry.path) });
        }
    }
    Ok(())
}

/// Names in records are UTF-8 unless something else is said.
fn set_charset(records: &mut Records) {
    let is_text = |key: &[u8]| records.get(key).is_none_or(|name| str::from_utf8(name).is_ok());
    if !is_text(b"path") || !is_text(b"linkpath") {
        records.insert(b"hdrcharset".to_vec(), b"BINARY".to_vec());
    }
}

fn attributes(entry: &Entry, records: &mut Records) -> Result<(), WriteError> {
    for (name, value) in &entry.xattrs {
        if name.is_empty() || name.iter().any(|byte| matches!(byte, b'=' | 0)) {
            let (path, name) = (display(&entry.path), display(name));
            return Err(WriteError::Attribute { path, name });
        }
        records.insert([XATTR, name].concat(), value.clone());
    }
    Ok(())
}

/// The constant header in front of `size` bytes of records.
fn pax_header(size: u64) -> Header {
    let mut header = Header::new_ustar();
    let entry = Entry::new("", Kind::File { size }, 0o644, 0);
    set_numbers(&mut header, &entry, &mut Records::new());
    let ustar = header.as_ustar_mut().expect("the header was made as ustar");
    let name = b"././@PaxHeader";
    ustar.name[..name.len()].copy_from_slice(name);
    header.set_entry_type(EntryType::XHeader);
    header.set_cksum();
    header
}
