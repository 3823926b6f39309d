//! From the headers of an entry to the entry: which field counts, what is refused, and what names
//! mean in a layer.

use std::collections::BTreeMap;

use longshore_runtime::entry::{Entry, Kind};
use tar::Header;

use super::pax::{self, Records};
use super::problem::ArchiveProblem;
use super::read::Names;
use super::{OPAQUE, WHITEOUT, XATTR, header};
use crate::layer::path::{
    PATH_LIMIT, PathProblem, clean_path, components, display, push_component, split_last,
};

/// The longest name of an extended attribute (Linux, XATTR_NAME_MAX).
const XATTR_NAME: usize = 255;

/// The longest value of an extended attribute, and the longest list of names of a file's
/// (Linux, XATTR_SIZE_MAX and XATTR_LIST_MAX).
const XATTR_MOST: usize = 64 * 1024;

/// What stands in front of a header and overrides its fields.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Extra {
    pub(super) records: Option<Records>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) target: Option<Vec<u8>>,
}

/// An entry as its headers tell it.
pub(super) struct Member {
    header: Header,
    records: Records,
    pub(super) name: Vec<u8>,
    target: Vec<u8>,
}

impl Member {
    pub(super) fn new(header: &Header, extra: Extra) -> Self {
        let mut records = extra.records.unwrap_or_default();
        // An empty value takes a record back (pax, "pax Header Block").
        let mut record = |key: &[u8]| records.remove(key).filter(|value| !value.is_empty());
        // As in Go's reader, which reads most images: GNU names count more than PAX records.
        let name = extra.name.or(record(b"path")).unwrap_or_else(|| name_field(header));
        let target = extra
            .target
            .or(record(b"linkpath"))
            .unwrap_or_else(|| header::text(&header.as_old().linkname).to_vec());
        Self { header: header.clone(), records, name, target }
    }

    fn flag(&self) -> u8 {
        match self.header.as_old().linkflag[0] {
            0 | b'0' | b'7' if self.name.ends_with(b"/") => b'5',
            0 | b'7' => b'0',
            flag => flag,
        }
    }

    /// Bytes of content that follow the header; only files have any.
    pub(super) fn content_size(&self) -> Result<u64, ArchiveProblem> {
        match (self.flag(), self.header.as_old().linkflag[0]) {
            // A directory by its name only, the way of v7: some readers would take a file.
            (b'5', 0 | b'0' | b'7') => match self.numeric(b"size", "size")? {
                0 => Ok(0),
                size => Err(ArchiveProblem::Content(size)),
            },
            (b'1'..=b'6', _) => Ok(0),
            _ => self.numeric(b"size", "size"),
        }
    }

    /// A number from the records or else from its field.
    fn numeric(&self, key: &[u8], what: &'static str) -> Result<u64, ArchiveProblem> {
        let old = self.header.as_old();
        let field: &[u8] = match key {
            b"size" => &old.size,
            b"uid" => &old.uid,
            _ => &old.gid,
        };
        match self.records.get(key).filter(|value| !value.is_empty()) {
            Some(value) => decimal(value).ok_or(ArchiveProblem::Number(what)),
            None => number(field, what),
        }
    }

    fn id(&self, key: &[u8], what: &'static str) -> Result<u32, ArchiveProblem> {
        u32::try_from(self.numeric(key, what)?).map_err(|_| ArchiveProblem::Number(what))
    }

    fn mtime(&self) -> Result<i64, ArchiveProblem> {
        let bad = ArchiveProblem::Number("time");
        match self.records.get(b"mtime".as_slice()).filter(|value| !value.is_empty()) {
            Some(value) => pax::seconds(value).ok_or(bad),
            None => header::number(&self.header.as_old().mtime).map_err(|_| bad),
        }
    }

    /// The entry; none for a marker that only one old union file system understands.
    pub(super) fn entry(self, size: u64, names: Names) -> Result<Option<Entry>, ArchiveProblem> {
        let kind = self.kind(size)?;
        let mode = number(&self.header.as_old().mode, "mode")?;
        let entry = Entry {
            path: clean_path(&self.name)?,
            kind,
            mode: u32::try_from(mode & 0o7777).expect("twelve bits fit"),
            uid: self.id(b"uid", "uid")?,
            gid: self.id(b"gid", "gid")?,
            mtime: self.mtime()?,
            xattrs: self.attributes()?,
        };
        if entry.path.is_empty() && entry.kind != Kind::Directory {
            return Err(ArchiveProblem::Root);
        }
        match names {
            Names::Layer => interpret(entry),
            Names::Archive => Ok(Some(entry)),
        }
    }

    fn kind(&self, size: u64) -> Result<Kind, ArchiveProblem> {
        let sparse = self.records.keys().any(|key| pax::is_of_sparse_file(key));
        match self.flag() {
            b'S' => Err(ArchiveProblem::Sparse),
            b'0' if sparse => Err(ArchiveProblem::Sparse),
            b'0' => Ok(Kind::File { size }),
            b'1' => Ok(Kind::HardLink { target: self.hard_link()? }),
            b'2' if self.target.is_empty() => Err(ArchiveProblem::NoTarget),
            b'2' if self.target.contains(&0) => Err(ArchiveProblem::Target(PathProblem::Nul)),
            b'2' if self.target.len() > PATH_LIMIT => {
                Err(ArchiveProblem::Target(PathProblem::Long))
            }
            b'2' => Ok(Kind::Symlink { target: self.target.clone() }),
            b'3' => self.device().map(|(major, minor)| Kind::CharDevice { major, minor }),
            b'4' => self.device().map(|(major, minor)| Kind::BlockDevice { major, minor }),
            b'5' => Ok(Kind::Directory),
            b'6' => Ok(Kind::Fifo),
            flag => Err(ArchiveProblem::Type(char::from(flag))),
        }
    }

    fn hard_link(&self) -> Result<Vec<u8>, ArchiveProblem> {
        let target = clean_path(&self.target).map_err(ArchiveProblem::Target)?;
        if target.is_empty() { Err(ArchiveProblem::NoTarget) } else { Ok(target) }
    }

    fn device(&self) -> Result<(u32, u32), ArchiveProblem> {
        let bad = ArchiveProblem::Number("device number");
        // The fields lie at the same place in ustar and GNU headers; v7 has none.
        let block = self.header.as_bytes();
        let field = |at: usize| {
            let value = header::number(&block[at..at + 8]).ok();
            value.and_then(|value| u32::try_from(value).ok()).ok_or(bad.clone())
        };
        if block[257..262] == *b"ustar" { Ok((field(329)?, field(337)?)) } else { Err(bad) }
    }

    fn attributes(&self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ArchiveProblem> {
        let named = |(key, value): (&Vec<u8>, &Vec<u8>)| {
            let name = key.strip_prefix(XATTR).filter(|name| !name.is_empty())?;
            Some((name.to_vec(), value.clone()))
        };
        let attributes: BTreeMap<_, _> = self.records.iter().filter_map(named).collect();
        let beyond = |(name, value): &(&Vec<u8>, &Vec<u8>)| {
            name.len() > XATTR_NAME || value.len() > XATTR_MOST
        };
        if let Some((name, value)) = attributes.iter().find(beyond) {
            return Err(ArchiveProblem::Attribute { name: display(name), bytes: value.len() });
        }
        // A list of names has a NUL after each.
        let names = attributes.keys().map(|name| name.len() + 1).sum();
        if names > XATTR_MOST { Err(ArchiveProblem::Attributes(names)) } else { Ok(attributes) }
    }
}

/// The name of a header block, with the prefix that only POSIX archives have; star's is shorter,
/// as it has two times behind it. The version after the magic is not always true.
fn name_field(header: &Header) -> Vec<u8> {
    let (name, block) = (header::text(&header.as_old().name), header.as_bytes());
    let prefix = match (&block[257..263], &block[508..512]) {
        (b"ustar\0", b"tar\0") => header::text(&block[345..476]),
        (b"ustar\0", _) => header::text(&block[345..500]),
        _ => &[],
    };
    let mut whole = prefix.to_vec();
    if !whole.is_empty() {
        whole.push(b'/');
    }
    whole.extend_from_slice(name);
    whole
}

pub(super) fn number(field: &[u8], what: &'static str) -> Result<u64, ArchiveProblem> {
    let value = header::number(field).ok().and_then(|value| u64::try_from(value).ok());
    value.filter(|&value| value <= i64::MAX as u64 / 2).ok_or(ArchiveProblem::Number(what))
}

fn decimal(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(value).filter(|&value| value <= i64::MAX as u64 / 2)
}

/// Turns the names of whiteouts into their meaning.
fn interpret(entry: Entry) -> Result<Option<Entry>, ArchiveProblem> {
    let (parent, base) = split_last(&entry.path);
    if base == OPAQUE {
        let path = plain(parent)?;
        return Ok(Some(Entry { path, kind: Kind::Opaque, xattrs: BTreeMap::new(), ..entry }));
    }
    if components(&entry.path).any(|part| part.starts_with(b".wh..wh.")) {
        return Ok(None);
    }
    let Some(name) = base.strip_prefix(WHITEOUT) else {
        plain(parent)?;
        return Ok(Some(entry));
    };
    if matches!(name, b"" | b"." | b"..") {
        return Err(ArchiveProblem::Whiteout);
    }
    let mut path = plain(parent)?;
    push_component(&mut path, name);
    Ok(Some(Entry { path, kind: Kind::Whiteout, xattrs: BTreeMap::new(), ..entry }))
}

/// A directory that entries can lie in: none of its components is a whiteout.
fn plain(path: &[u8]) -> Result<Vec<u8>, ArchiveProblem> {
    if components(path).any(|part| part.starts_with(WHITEOUT)) {
        return Err(ArchiveProblem::Whiteout);
    }
    Ok(path.to_vec())
}
