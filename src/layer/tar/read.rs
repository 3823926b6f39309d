//! The hardened reader: archives of unknown origin to entries that obey the rules of
//! [`longshore_runtime::entry`].
//!
//! Takes v7, ustar, PAX and GNU archives, with hard links, devices, long names and base-256
//! numbers. Refuses, by the entry's name: `..` components, NULs, sparse files, unknown types, and
//! headers beyond fixed bounds. Absolute names lose their slash, as in every extractor.
//!
//! Readers that disagree on where an entry begins are how content is smuggled past a check, so
//! what others interpret and this one does not (a global header with a size) is refused as well.

use std::collections::BTreeMap;
use std::io::{self, Read};

use longshore_runtime::entry::{Entry, EntrySink, Kind};
use tar::Header;
use thiserror::Error;

use super::pax::{self, Records};
use super::{BLOCK, OPAQUE, WHITEOUT, XATTR, header, padding};
use crate::layer::LayerError;
use crate::layer::path::{
    PATH_LIMIT, PathProblem, clean_path, components, display, push_component, split_last,
};

/// The largest extended header that is taken.
const PAX_LIMIT: u64 = 1 << 20;

/// Bytes that are skipped at a time.
const CHUNK: usize = 16 * 1024;

/// What names mean in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// A layer: `.wh.` names are deletions (OCI image spec, "Whiteouts").
    Layer,
    /// Any other archive: every name is just a name.
    Archive,
}

/// What an archive held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TarStats {
    /// Entries handed on.
    pub entries: u64,
    /// Bytes of their content.
    pub content: u64,
}

/// Where an archive is malformed, and how.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("entry {entry} at byte {offset}: {problem}")]
pub struct ArchiveError {
    /// The entry's name, or the last one before the problem.
    pub entry: String,
    /// Offset of its header in the uncompressed archive.
    pub offset: u64,
    /// What is wrong.
    pub problem: ArchiveProblem,
}

/// How an archive is malformed, or what it holds that is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ArchiveProblem {
    /// The block is no header.
    #[error("not a tar header (the checksum does not fit)")]
    Checksum,
    /// The archive ends too early.
    #[error("the archive is truncated")]
    Truncated,
    /// Data follows a zero block.
    #[error("data after the end of the archive")]
    AfterEnd,
    /// A numeric field is malformed or does not fit.
    #[error("the {0} is no valid number")]
    Number(&'static str),
    /// An extended header is malformed.
    #[error("malformed extended header: {0}")]
    Pax(String),
    /// A header is larger than what is taken.
    #[error("a header of {0} bytes is too large")]
    Large(u64),
    /// A record of a global header would change entries.
    #[error("a global extended header sets {0:?}")]
    Global(String),
    /// The name is refused.
    #[error("{0}")]
    Path(#[from] PathProblem),
    /// The link's target is refused.
    #[error("link target: {0}")]
    Target(PathProblem),
    /// A link to nowhere.
    #[error("the link has no target")]
    NoTarget,
    /// The root, but not a directory.
    #[error("the root can only be a directory")]
    Root,
    /// A whiteout of nothing, `.` or `..`, or something below a whiteout.
    #[error("not a valid whiteout")]
    Whiteout,
    /// A sparse file.
    #[error("sparse files are not supported; pack the archive without --sparse")]
    Sparse,
    /// A type that is not a file system object.
    #[error("unsupported entry type {0:?}")]
    Type(char),
}

/// Reads an archive to its end mark and hands its entries to `sink` in their order.
///
/// Bytes after the end mark are left unread.
///
/// # Errors
/// When the archive is malformed, cannot be read, or the sink refuses an entry. What the sink has
/// taken until then came from a broken archive and must not be used.
pub fn read_tar(
    reader: impl Read,
    names: Names,
    sink: &mut dyn EntrySink,
) -> Result<TarStats, LayerError> {
    let mut blocks = Blocks { reader, offset: 0, start: 0, name: Vec::new() };
    let mut stats = TarStats::default();
    while let Some(member) = blocks.member()? {
        let size = member.content_size(&blocks)?;
        let entry = member.entry(size, names).map_err(|problem| blocks.error(problem))?;
        let mut content = Content { blocks: &mut blocks, left: size };
        if let Some(entry) = entry {
            sink.entry(&entry, &mut content)
                .map_err(|source| LayerError::Entry { entry: display(&entry.path), source })?;
            stats.entries += 1;
            stats.content += size;
        }
        let left = content.left;
        blocks.skip(left)?;
        blocks.skip(padding(size))?;
    }
    Ok(stats)
}

/// The archive as a sequence of blocks, with what errors need.
struct Blocks<R> {
    reader: R,
    offset: u64,
    start: u64,
    name: Vec<u8>,
}

impl<R: Read> Blocks<R> {
    fn error(&self, problem: ArchiveProblem) -> LayerError {
        let entry = display(&self.name);
        LayerError::Archive(ArchiveError { entry, offset: self.start, problem })
    }

    /// Reads what is there, up to the buffer's length.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, LayerError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(LayerError::Read { offset: self.offset, source }),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }

    /// Reads one block; none at the end of the input.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, LayerError> {
        self.start = self.offset;
        let mut block = [0; BLOCK];
        match self.fill(&mut block)? {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(self.error(ArchiveProblem::Truncated)),
        }
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), LayerError> {
        let mut buffer = [0; CHUNK];
        while bytes > 0 {
            let most = usize::try_from(bytes).map_or(CHUNK, |bytes| bytes.min(CHUNK));
            if self.fill(&mut buffer[..most])? < most {
                return Err(self.error(ArchiveProblem::Truncated));
            }
            bytes -= most as u64;
        }
        Ok(())
    }

    /// Reads the content of a header's own entry (long name, records).
    fn content(&mut self, size: u64, limit: u64) -> Result<Vec<u8>, LayerError> {
        if size > limit {
            return Err(self.error(ArchiveProblem::Large(size)));
        }
        let mut content = vec![0; usize::try_from(size).expect("below the limit")];
        if self.fill(&mut content)? < content.len() {
            return Err(self.error(ArchiveProblem::Truncated));
        }
        self.skip(padding(size))?;
        Ok(content)
    }

    fn size_field(&self, header: &Header) -> Result<u64, LayerError> {
        number(&header.as_old().size, "size").map_err(|problem| self.error(problem))
    }

    /// Reads the headers of the next entry; none at the end mark.
    fn member(&mut self) -> Result<Option<Member>, LayerError> {
        let mut extra = Extra::default();
        loop {
            let Some(block) = self.block()? else {
                return if extra == Extra::default() {
                    Ok(None)
                } else {
                    Err(self.error(ArchiveProblem::Truncated))
                };
            };
            if block == [0; BLOCK] {
                return self.end();
            }
            if !header::checksum_fits(&block) {
                return Err(self.error(ArchiveProblem::Checksum));
            }
            let header = Header::from_byte_slice(&block);
            match header.as_old().linkflag[0] {
                b'x' => extra.records = self.records(header)?,
                b'g' => self.global(header)?,
                b'L' => extra.name = Some(self.long(header)?),
                b'K' => extra.target = Some(self.long(header)?),
                _ => {
                    let member = Member::new(header, extra);
                    self.name.clone_from(&member.name);
                    return Ok(Some(member));
                }
            }
        }
    }

    /// After one zero block come another one or the end of the input.
    fn end(&mut self) -> Result<Option<Member>, LayerError> {
        match self.block()? {
            Some(block) if block != [0; BLOCK] => Err(self.error(ArchiveProblem::AfterEnd)),
            _ => Ok(None),
        }
    }

    fn records(&mut self, header: &Header) -> Result<Records, LayerError> {
        let size = self.size_field(header)?;
        let content = self.content(size, PAX_LIMIT)?;
        pax::parse(&content).map_err(|error| self.error(ArchiveProblem::Pax(error.to_string())))
    }

    /// Global headers carry comments in practice (git archive); nothing of them is applied.
    fn global(&mut self, header: &Header) -> Result<(), LayerError> {
        let records = self.records(header)?;
        let harmful = |key: &&Vec<u8>| {
            matches!(key.as_slice(), b"path" | b"linkpath" | b"size")
                || key.starts_with(b"GNU.sparse.")
        };
        match records.keys().find(harmful) {
            Some(key) => Err(self.error(ArchiveProblem::Global(display(key)))),
            None => Ok(()),
        }
    }

    fn long(&mut self, header: &Header) -> Result<Vec<u8>, LayerError> {
        let size = self.size_field(header)?;
        let content = self.content(size, PATH_LIMIT as u64)?;
        Ok(header::text(&content).to_vec())
    }
}

/// The content of one entry; ends with an error when the archive does.
struct Content<'a, R> {
    blocks: &'a mut Blocks<R>,
    left: u64,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        let read = self.blocks.reader.read(&mut buffer[..most])?;
        if read == 0 {
            let truncated = ArchiveProblem::Truncated.to_string();
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, truncated));
        }
        self.left -= read as u64;
        self.blocks.offset += read as u64;
        Ok(read)
    }
}

/// What stands in front of a header and overrides its fields.
#[derive(Default, PartialEq, Eq)]
struct Extra {
    records: Records,
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
}

/// An entry as its headers tell it.
struct Member {
    header: Header,
    records: Records,
    name: Vec<u8>,
    target: Vec<u8>,
}

impl Member {
    fn new(header: &Header, mut extra: Extra) -> Self {
        // An empty value takes a record back (pax, "pax Header Block").
        let mut record = |key: &[u8]| extra.records.remove(key).filter(|value| !value.is_empty());
        // As in Go's reader, which reads most images: GNU names count more than PAX records.
        let name = extra.name.or(record(b"path")).unwrap_or_else(|| name_field(header));
        let target = extra
            .target
            .or(record(b"linkpath"))
            .unwrap_or_else(|| header::text(&header.as_old().linkname).to_vec());
        Self { header: header.clone(), records: extra.records, name, target }
    }

    fn flag(&self) -> u8 {
        match self.header.as_old().linkflag[0] {
            0 | b'0' | b'7' if self.name.ends_with(b"/") => b'5',
            0 | b'7' => b'0',
            flag => flag,
        }
    }

    /// Bytes of content that follow the header; only files have any.
    fn content_size<R: Read>(&self, blocks: &Blocks<R>) -> Result<u64, LayerError> {
        match self.flag() {
            b'1'..=b'6' => Ok(0),
            _ => self.numeric(b"size", "size").map_err(|problem| blocks.error(problem)),
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
    fn entry(self, size: u64, names: Names) -> Result<Option<Entry>, ArchiveProblem> {
        let kind = self.kind(size)?;
        let mode = number(&self.header.as_old().mode, "mode")?;
        let entry = Entry {
            path: clean_path(&self.name)?,
            kind,
            mode: u32::try_from(mode & 0o7777).expect("twelve bits fit"),
            uid: self.id(b"uid", "uid")?,
            gid: self.id(b"gid", "gid")?,
            mtime: self.mtime()?,
            xattrs: self.attributes(),
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
        let sparse = self.records.keys().any(|key| key.starts_with(b"GNU.sparse."));
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

    fn attributes(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let named = |(key, value): (&Vec<u8>, &Vec<u8>)| {
            let name = key.strip_prefix(XATTR).filter(|name| !name.is_empty())?;
            Some((name.to_vec(), value.clone()))
        };
        self.records.iter().filter_map(named).collect()
    }
}

/// The name of a header block, with the prefix that only POSIX archives have.
fn name_field(header: &Header) -> Vec<u8> {
    let name = header::text(&header.as_old().name);
    let prefix = header.as_ustar().map_or(&[][..], |ustar| header::text(&ustar.prefix));
    let mut whole = prefix.to_vec();
    if !whole.is_empty() {
        whole.push(b'/');
    }
    whole.extend_from_slice(name);
    whole
}

fn number(field: &[u8], what: &'static str) -> Result<u64, ArchiveProblem> {
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
