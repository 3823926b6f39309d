//! Parsing an index.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::files::{Files, Stat, State};
use super::input::Input;
use super::{IndexError, Time};
use crate::context::ObjectId;

/// The signature, version and count at the beginning.
const HEADER: u64 = 12;
/// The checksum at the end.
const TRAILER: u64 = 20;
/// What an entry has before its path, without the extended flags.
const FIXED: usize = 62;
/// No work tree can have longer paths.
const PATH_LIMIT: usize = 4096;

const EXTENDED: u16 = 1 << 14;
const STAGE: u16 = 3 << 12;
const LENGTH: u16 = 0xFFF;
/// A bit of the extended flags.
const INTENT_TO_ADD: u16 = 1 << 13;

const MODE_KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const SUBMODULE: u32 = 0o160_000;

/// What an index has below a place in the work tree.
#[derive(Debug)]
pub(in crate::context::git) struct Index {
    /// The files and links.
    pub(in crate::context::git) files: Files,
    /// The submodules, in the order of their paths.
    pub(in crate::context::git) submodules: Vec<(Vec<u8>, ObjectId)>,
    /// The file itself.
    pub(in crate::context::git) metadata: Metadata,
}

/// Why parsing stopped.
#[derive(Debug)]
enum Stop {
    Io(io::Error),
    Malformed(&'static str),
    Unsupported(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Malformed("it ends early"),
            _ => Self::Io(error),
        }
    }
}

/// Reads the index at `place`. Only what lies below `prefix` is kept, with paths relative to that.
pub(in crate::context::git) fn read(place: &Path, prefix: &[u8]) -> Result<Index, IndexError> {
    let path = || place.to_owned();
    let fail = |source| IndexError::Read { path: path(), source };
    let file = fs_err::File::open(place).map_err(fail)?.into_file();
    let metadata = file.metadata().map_err(fail)?;
    parse(file, metadata, prefix).map_err(|stop| match stop {
        Stop::Io(source) => fail(source),
        Stop::Malformed(reason) => {
            IndexError::Malformed { path: path(), reason: reason.to_owned() }
        }
        Stop::Unsupported(what) => IndexError::Unsupported { path: path(), what },
    })
}

fn parse(file: File, metadata: Metadata, prefix: &[u8]) -> Result<Index, Stop> {
    let length = metadata.len();
    let content = length.checked_sub(TRAILER).filter(|&content| content >= HEADER);
    let content = content.ok_or(Stop::Malformed("it is shorter than an empty one"))?;
    let mut checksum = [0; TRAILER as usize];
    file.read_exact_at(&mut checksum, content)?;
    let has_checksum = checksum != [0; TRAILER as usize];
    let mut input = Input::new(file, content, has_checksum);
    if input.take()? != *b"DIRC" {
        return Err(Stop::Malformed("it is not an index"));
    }
    let version = u32::from_be_bytes(input.take()?);
    if !(2..=4).contains(&version) {
        return Err(Stop::Unsupported(format!("version {version}")));
    }
    let count = u32::from_be_bytes(input.take()?);
    let possible = content / FIXED as u64;
    let capacity = usize::try_from(u64::from(count).min(possible)).unwrap_or(0);
    let mut index =
        Index { files: Files::with_capacity(capacity), submodules: Vec::new(), metadata };
    let mut parser = Parser { input, version, path: Vec::new(), next: Vec::new(), stage: 0 };
    for number in 0..count {
        let entry = parser.entry(number == 0)?;
        if let Some(path) = below(&parser.path, prefix) {
            index.add(path, &entry);
        }
    }
    parser.extensions()?;
    match parser.input.finish() {
        Some(found) if found != checksum => Err(Stop::Malformed("its checksum is another")),
        _ => {
            index.files.finish();
            Ok(index)
        }
    }
}

struct Parser {
    input: Input,
    version: u32,
    /// The path of the last entry.
    path: Vec<u8>,
    /// The path of the one that is being read.
    next: Vec<u8>,
    stage: u16,
}

struct Entry {
    mode: u32,
    object: ObjectId,
    stat: Stat,
    /// Whether it is merged and its content was added.
    settled: bool,
}

impl Parser {
    /// Reads an entry; its path is in `self.path` then.
    fn entry(&mut self, is_first: bool) -> Result<Entry, Stop> {
        let fixed: [u8; FIXED] = self.input.take()?;
        let (quads, rest) = fixed.as_chunks::<4>();
        let quad = |at: usize| u32::from_be_bytes(quads[at]);
        let time = |at: usize| -> Time { (quad(at), quad(at + 1)) };
        let mode = quad(6);
        let object = fixed[40..60].first_chunk().expect("twenty bytes were sliced");
        let flags = u16::from_be_bytes(*rest.first_chunk().expect("two bytes are left of 62"));
        let mut length = FIXED;
        let mut extended = 0;
        if flags & EXTENDED != 0 {
            if self.version < 3 {
                return Err(Stop::Malformed("version 2 has no extended flags"));
            }
            extended = u16::from_be_bytes(self.input.take()?);
            length += 2;
        }
        if mode & MODE_KIND == DIRECTORY {
            return Err(Stop::Unsupported("a directory as an entry (a sparse index)".to_owned()));
        }
        match self.version {
            4 => self.compressed_path()?,
            _ => self.padded_path(length)?,
        }
        let stated = usize::from(flags & LENGTH);
        if stated != self.next.len().min(usize::from(LENGTH)) {
            return Err(Stop::Malformed("the length of a path is another"));
        }
        self.check_order(flags & STAGE, is_first)?;
        Ok(Entry {
            mode,
            object: ObjectId::from_bytes(*object),
            stat: Stat { size: quad(9), modified: time(2), changed: time(0), inode: quad(5) },
            settled: flags & STAGE == 0 && extended & INTENT_TO_ADD == 0,
        })
    }

    /// A path and the nought bytes that fill the entry up to a multiple of eight.
    fn padded_path(&mut self, before: usize) -> Result<(), Stop> {
        self.next.clear();
        self.text()?;
        // There is at least one, which ended the text.
        let padding = 8 - (before + self.next.len()) % 8;
        Ok(self.input.skip(padding as u64 - 1)?)
    }

    /// How much to take off the end of the last path, and what follows.
    fn compressed_path(&mut self) -> Result<(), Stop> {
        let too_much = Stop::Malformed("a path shares more with the last than that has");
        let removed = self.offset()?;
        let Some(kept) = self.path.len().checked_sub(removed) else {
            return Err(too_much);
        };
        self.next.clear();
        self.next.extend_from_slice(&self.path[..kept]);
        self.text()
    }

    fn text(&mut self) -> Result<(), Stop> {
        let has_end = self.input.text(&mut self.next, PATH_LIMIT)?;
        if has_end && self.next.is_empty() {
            let what = "an entry without a path (a split index)";
            return Err(Stop::Unsupported(what.to_owned()));
        }
        match has_end && self.next.len() <= PATH_LIMIT {
            true => Ok(()),
            false => Err(Stop::Malformed("a path is too long or has no end")),
        }
    }

    /// A number as for the offsets of deltas in packs; see "gitformat-pack".
    fn offset(&mut self) -> Result<usize, Stop> {
        let [mut byte] = self.input.take()?;
        let mut value = usize::from(byte & 0x7F);
        while byte & 0x80 != 0 {
            if value > PATH_LIMIT {
                return Err(Stop::Malformed("a path shares more with the last than that has"));
            }
            [byte] = self.input.take()?;
            value = ((value + 1) << 7) | usize::from(byte & 0x7F);
        }
        Ok(value)
    }

    fn check_order(&mut self, stage: u16, is_first: bool) -> Result<(), Stop> {
        let before = (self.path.as_slice(), self.stage);
        if !is_first && before >= (self.next.as_slice(), stage) {
            return Err(Stop::Malformed("its entries are not in order"));
        }
        std::mem::swap(&mut self.path, &mut self.next);
        self.stage = stage;
        Ok(())
    }

    /// Passes over the extensions that may be passed over.
    fn extensions(&mut self) -> Result<(), Stop> {
        while self.input.has_more()? {
            let signature: [u8; 4] = self.input.take()?;
            let length = u32::from_be_bytes(self.input.take()?);
            if !signature[0].is_ascii_uppercase() {
                let name = signature.escape_ascii();
                return Err(Stop::Unsupported(match &signature {
                    b"link" => "a part in another file (a split index)".to_owned(),
                    b"sdir" => "directories as entries (a sparse index)".to_owned(),
                    _ => format!("the extension {name}"),
                }));
            }
            self.input.skip(length.into())?;
        }
        Ok(())
    }
}

impl Index {
    fn add(&mut self, path: &[u8], entry: &Entry) {
        if entry.mode & MODE_KIND == SUBMODULE {
            if self.submodules.last().is_none_or(|(last, _)| last != path) {
                self.submodules.push((path.to_vec(), entry.object));
            }
            return;
        }
        let has_stat = entry.settled && entry.mode & MODE_KIND == REGULAR;
        self.files.push(
            path,
            State {
                object: entry.object,
                executable: entry.mode & 0o100 != 0,
                stat: has_stat.then_some(entry.stat),
            },
        );
    }
}

fn below<'a>(path: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    match prefix {
        b"" => Some(path),
        _ => path.strip_prefix(prefix)?.strip_prefix(b"/"),
    }
}
