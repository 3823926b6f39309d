//! Files out of layers and archives, into the spool of one stage.
//!
//! Archives are read once, front to back; what is wanted is written to one temporary file, so that
//! nothing resident grows with a file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use longshore_runtime::entry::{Entry, EntrySink, Kind};

use super::tree::{Content, Implied, PlaceError, Placed, Tree, file_name, parent, push, shown};
use crate::blocking::Interrupt;
use crate::layer::{LayerError, Names, Owner, Sniff, decoder, read_layer, read_tar};
use crate::model::DiffId;

/// A temporary file that pieces are appended to.
#[derive(Debug)]
pub(super) struct Spool {
    file: fs_err::File,
    length: u64,
    interrupt: Interrupt,
}

/// Reads until the build is to end.
struct Watched<'a> {
    content: &'a mut dyn Read,
    interrupt: &'a Interrupt,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.interrupt.is_set() {
            true => Err(io::Error::other("interrupted")),
            false => self.content.read(buffer),
        }
    }
}

impl Spool {
    /// A new spool in `directory`, already without a name there.
    pub(super) fn new(directory: &Path, interrupt: Interrupt) -> io::Result<Self> {
        let file = tempfile::tempfile_in(directory)?;
        let file = fs_err::File::from_parts(file, directory.join("spool"));
        Ok(Self { file, length: 0, interrupt })
    }

    /// Appends everything from `content`.
    pub(super) fn append(&mut self, content: &mut dyn Read) -> io::Result<Content> {
        let offset = self.length;
        let mut content = Watched { content, interrupt: &self.interrupt };
        let length = io::copy(&mut content, &mut self.file)?;
        self.length += length;
        Ok(Content::Spool { offset, length })
    }

    /// Reads a piece.
    pub(super) fn open(&self, offset: u64, length: u64) -> io::Result<Box<dyn Read + Send>> {
        let mut file = self.file.try_clone()?;
        file.flush()?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(io::BufReader::with_capacity(1 << 16, file).take(length)))
    }
}

/// Reads the entries at `wanted` (paths) out of one layer; files go to the spool.
///
/// The layer is read to its end even when everything was found: the last entry of a path counts,
/// and what is found may be used only when the diff id, which is that of the layer's index, was
/// right. A path that is a hard link is not followed here.
pub(super) fn from_layer(
    layer: &Path,
    diff_id: DiffId,
    wanted: &BTreeSet<Vec<u8>>,
    spool: &mut Spool,
) -> Result<BTreeMap<Vec<u8>, (Entry, Content)>, LayerError> {
    let mut found = BTreeMap::new();
    let mut sink = |entry: &Entry, content: &mut dyn Read| {
        let deletion = matches!(entry.kind, Kind::Whiteout | Kind::Opaque);
        if !deletion && wanted.contains(&entry.path) {
            let content = match entry.kind {
                Kind::File { .. } => spool.append(content)?,
                _ => Content::None,
            };
            found.insert(entry.path.clone(), (entry.clone(), content));
        }
        Ok(())
    };
    read_layer(layer, Some(diff_id), &mut sink)?;
    Ok(found)
}

/// Whether a file is a tar, compressed or not (ADD unpacks those).
pub(super) fn is_archive(reader: Box<dyn Read + Send>) -> bool {
    let Ok(mut decoded) = decoder(reader, Sniff::Archive) else { return false };
    let mut block = Vec::with_capacity(512);
    let read = (&mut decoded).take(512).read_to_end(&mut block);
    read.is_ok() && block.len() == 512 && has_checksum(&block)
}

/// Whether a block is a tar header: its checksum is right (POSIX ustar, "chksum": the sum of all
/// bytes, the field itself counted as blanks).
fn has_checksum(block: &[u8]) -> bool {
    let field = &block[148..156];
    let text: String = field.iter().map(|&byte| char::from(byte)).collect();
    let text = text.trim_matches(|c: char| c == ' ' || c == '\0');
    let Ok(expected) = u64::from_str_radix(text, 8) else { return false };
    let outside: u64 = block[..148].iter().chain(&block[156..]).map(|&byte| u64::from(byte)).sum();
    outside + 8 * u64::from(b' ') == expected
}

/// Unpacks an archive into `directory` (resolved, without a leading slash) of `tree`.
#[derive(Debug)]
pub(super) struct Unpacking<'t, 'b, 's> {
    pub(super) tree: &'t mut Tree<'b>,
    pub(super) spool: &'s mut Spool,
    pub(super) directory: Vec<u8>,
    /// `--chown`; the archive's own owners otherwise.
    pub(super) owner: Option<Owner>,
    /// Owner and time of directories that the archive does not list.
    pub(super) implied: Implied,
    /// Times above this are set to it.
    pub(super) latest: Option<i64>,
    /// The next group of hard links; groups are never shared between archives.
    pub(super) groups: u64,
    /// What could not be placed, which says more than the reader's error.
    pub(super) failure: Option<PlaceError>,
}

impl Unpacking<'_, '_, '_> {
    /// Unpacks the archive that `reader` yields.
    pub(super) fn run(&mut self, reader: Box<dyn Read + Send>) -> Result<(), LayerError> {
        let decoded = decoder(reader, Sniff::Archive)?;
        read_tar(decoded, Names::Archive, self).map(drop)
    }

    fn take(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), Taken> {
        let path = self.place(&entry.path)?;
        if path == self.directory && entry.kind == Kind::Directory {
            return Ok(());
        }
        let mut entry = Entry { path, ..entry.clone() };
        entry.mtime = self.latest.map_or(entry.mtime, |latest| entry.mtime.min(latest));
        if let Some(owner) = self.owner {
            (entry.uid, entry.gid) = (owner.uid, owner.gid);
        }
        let placed = match &entry.kind {
            Kind::HardLink { target } => self.link(&entry, target)?,
            Kind::File { .. } => {
                let content = self.spool.append(content)?;
                Placed { entry, content, group: None }
            }
            _ => Placed { entry, content: Content::None, group: None },
        };
        self.tree.unpack(placed);
        Ok(())
    }

    /// The place of an archive's path in the image: links in its directories are followed, and
    /// the directories are made where the archive does not list them.
    fn place(&mut self, path: &[u8]) -> Result<Vec<u8>, PlaceError> {
        if path.is_empty() {
            return Ok(self.directory.clone());
        }
        let mut inside = self.directory.clone();
        push(&mut inside, parent(path));
        let mut place = self.tree.resolve(&inside)?;
        self.tree.directories(&place, self.implied)?;
        push(&mut place, file_name(path));
        Ok(place)
    }

    fn link(&mut self, entry: &Entry, target: &[u8]) -> Result<Placed, PlaceError> {
        let at = self.place(target)?;
        let group = self.groups;
        let Some(known) = self.tree.get(&at).cloned() else {
            let (path, target) = (shown(&entry.path), shown(target));
            return Err(PlaceError::HardLink { path, target });
        };
        let group = known.group.unwrap_or(group);
        self.groups = self.groups.max(group + 1);
        self.tree.unpack(Placed { group: Some(group), ..known.clone() });
        let link = Entry { path: entry.path.clone(), ..known.entry };
        Ok(Placed { entry: link, content: known.content, group: Some(group) })
    }
}

enum Taken {
    Place(PlaceError),
    Io(io::Error),
}

impl From<PlaceError> for Taken {
    fn from(error: PlaceError) -> Self {
        Self::Place(error)
    }
}

impl From<io::Error> for Taken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl EntrySink for Unpacking<'_, '_, '_> {
    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        self.take(entry, content).map_err(|error| match error {
            Taken::Io(error) => error,
            Taken::Place(error) => {
                let text = error.to_string();
                self.failure = Some(error);
                io::Error::other(text)
            }
        })
    }
}
