//! The hardened reader: archives of unknown origin to entries that obey the rules of
//! [`longshore_runtime::entry`].
//!
//! Takes v7, ustar, PAX, star's and GNU archives, with hard links, devices, long names and base-256
//! numbers. Refuses, by the entry's name: `..` components, NULs, sparse files, unknown types, and
//! headers beyond fixed bounds. Absolute names lose their slash, as in every extractor.
//!
//! Readers that disagree on where an entry begins are how content is smuggled past a check, so
//! what others interpret and this one does not (a global header with a size, a second extended
//! header, content after a name that ends in a slash) is refused as well. Where an extended header
//! and the field have different sizes the extended header counts, as everywhere.
//!
//! Names are bytes; `hdrcharset` changes nothing, as it does in Go's reader. Other records of
//! global headers (owners, times) are not applied, as by everything that unpacks images.
//!
//! # Bounds
//! An extended header has at most 1 MiB, a name or link target 64 KiB, an extended attribute 255
//! bytes of name and 64 KiB of value, those of one file together 64 KiB of names; at most one
//! header of each kind precedes an entry. Content is handed on in the sink's own pieces. So what
//! is resident does not depend on the archive, however well it was compressed.

use std::io::{self, Read};

use longshore_runtime::entry::EntrySink;
use tar::Header;

use super::member::{Extra, Member, number};
use super::pax::{self, Records};
use super::problem::{ArchiveError, ArchiveProblem};
use super::{BLOCK, PAX_LIMIT, header, padding};
use crate::layer::LayerError;
use crate::layer::path::{PATH_LIMIT, display};

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
        let size = member.content_size().map_err(|problem| blocks.error(problem))?;
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
                b'x' => {
                    let records = self.records(header)?;
                    self.once(&mut extra.records, records, "extended headers")?;
                }
                b'g' => self.global(header)?,
                b'L' => {
                    let name = self.long(header)?;
                    self.once(&mut extra.name, name, "long names")?;
                }
                b'K' => {
                    let target = self.long(header)?;
                    self.once(&mut extra.target, target, "long link targets")?;
                }
                _ => {
                    let member = Member::new(header, extra);
                    self.name.clone_from(&member.name);
                    return Ok(Some(member));
                }
            }
        }
    }

    /// Headers do not add up: of two, readers take the first, the last, or parts of both.
    fn once<T>(&self, of: &mut Option<T>, value: T, what: &'static str) -> Result<(), LayerError> {
        match of.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.error(ArchiveProblem::Twice(what))),
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
            matches!(key.as_slice(), b"path" | b"linkpath" | b"size") || pax::is_of_sparse_file(key)
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
