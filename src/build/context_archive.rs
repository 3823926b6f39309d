//! A build context that comes as a tar archive, unpacked into a directory of its own.
//!
//! What is kept: contents, permission bits, modification times in whole seconds, symbolic links as
//! they are, hard links. What is not: owners and extended attributes (COPY decides on those), and
//! devices, named pipes and sockets, which are left out with a note, as in a directory.
//!
//! Invariants:
//! - Nothing is made outside the directory. Names lose a leading slash and may not hold `..`; a
//!   name or hard link that leads through a symbolic link is refused, so links may point anywhere
//!   but are never followed here.
//! - The archive is read to its very end, so that the compression's own checks count, and must have
//!   the end mark that tar writes: a pipe that broke gives no smaller context.
//! - What comes out is bounded by [`ArchiveLimits`], whatever was compressed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use filetime::FileTime;
use longshore_runtime::entry::{Entry, EntrySink, Kind};
use thiserror::Error;

use crate::blocking::Interrupt;
use crate::layer::{ArchiveError, ArchiveProblem, LayerError, Names, Sniff, decoder, read_tar};

/// Header blocks of tar, and the least of its end mark.
const BLOCK: usize = 512;
/// The mode of directories that the archive does not list.
const IMPLIED_MODE: u32 = 0o755;
/// How many things that were left out are named.
const MOST_NOTES: usize = 20;

/// How much an archive may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Bytes after decompression, headers included.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 10_000_000 }
    }
}

/// A context that was unpacked. Dropping it makes its directories removable, and leaves the
/// removing to whoever made the place.
#[derive(Debug)]
pub struct ContextArchive {
    directory: PathBuf,
    /// What was left out.
    notes: Vec<String>,
    /// Directories that their own owner may not change.
    closed: Vec<PathBuf>,
}

/// Why an archive did not become a context. `origin` is what the archive is called.
#[derive(Debug, Error)]
pub enum ContextArchiveError {
    /// There was nothing.
    #[error("the build context from {origin} is empty: not a single byte came")]
    Empty {
        /// The archive.
        origin: String,
    },
    /// It is text.
    #[error("the build context from {origin} is no tar archive but text, as of a Dockerfile")]
    Text {
        /// The archive.
        origin: String,
    },
    /// It is something else.
    #[error("the build context from {origin} is no tar archive{}", if *is_zip { " but a zip archive" } else { "" })]
    Foreign {
        /// The archive.
        origin: String,
        /// Whether it begins as zip archives do.
        is_zip: bool,
    },
    /// It ends too early.
    #[error("the build context from {origin} is truncated: it ends in the middle of the archive")]
    Truncated {
        /// The archive.
        origin: String,
    },
    /// It becomes too much.
    #[error("the build context from {origin} has more than {limit}")]
    TooLarge {
        /// The archive.
        origin: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// An entry is malformed or refused.
    #[error("the build context from {origin} cannot be unpacked")]
    Malformed {
        /// The archive.
        origin: String,
        /// Where and why.
        source: ArchiveError,
    },
    /// It cannot be read or decompressed.
    #[error("the build context from {origin} cannot be read")]
    Read {
        /// The archive.
        origin: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An entry cannot be made.
    #[error("{entry} of the build context from {origin} cannot be unpacked")]
    Entry {
        /// The archive.
        origin: String,
        /// The entry.
        entry: String,
        /// The cause.
        source: io::Error,
    },
    /// The build is to end.
    #[error("interrupted while unpacking the build context")]
    Interrupted,
}

impl ContextArchive {
    /// Unpacks the archive that `reader` yields (plain or compressed) into `directory`, which must
    /// be empty and nobody else's. `origin` is what errors call the archive.
    ///
    /// # Errors
    /// When it is no tar archive, malformed, too large, or cannot be written here.
    pub fn unpack(
        reader: impl Read + Send,
        origin: &str,
        directory: &Path,
        limits: ArchiveLimits,
        interrupt: &Interrupt,
    ) -> Result<Self, ContextArchiveError> {
        let mut reader = Watched { reader, interrupt };
        let mut start = Vec::with_capacity(BLOCK);
        let read = |source: io::Error| ContextArchiveError::Read {
            origin: origin.to_owned(),
            source: source.into(),
        };
        let first = reader.by_ref().take(BLOCK as u64).read_to_end(&mut start);
        if interrupt.is_set() {
            return Err(ContextArchiveError::Interrupted);
        }
        first.map_err(read)?;
        let failed = Failing { origin, start: &start, limits, interrupt };
        let whole = io::Cursor::new(&start).chain(reader);
        let decoded = decoder(whole, Sniff::Archive)
            .map_err(|error| failed.because(LayerError::Compression(error), 0))?;
        let mut bounded = Bounded { reader: decoded, total: 0, zeros: 0, limit: limits.bytes };
        let mut sink = Sink::new(directory, limits.entries);
        let outcome = read_tar(&mut bounded, Names::Archive, &mut sink);
        outcome.map_err(|error| failed.because(error, bounded.total))?;
        // A closed pipe would be an error to whoever writes, and the last bytes hold checksums.
        io::copy(&mut bounded, &mut io::sink()).map_err(|source| {
            failed.because(LayerError::Read { offset: bounded.total, source }, bounded.total)
        })?;
        if bounded.total == 0 {
            return Err(ContextArchiveError::Empty { origin: origin.to_owned() });
        }
        if bounded.zeros < BLOCK as u64 {
            return Err(ContextArchiveError::Truncated { origin: origin.to_owned() });
        }
        sink.finish().map_err(|(path, source)| ContextArchiveError::Entry {
            origin: origin.to_owned(),
            entry: path.to_string_lossy().into_owned(),
            source,
        })
    }

    /// Where it was unpacked.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What was left out, for the user.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl Drop for ContextArchive {
    fn drop(&mut self) {
        for place in &self.closed {
            // Parents come first; what cannot be opened now cannot be removed later, and is said then.
            let _ = fs_err::set_permissions(place, PermissionsExt::from_mode(0o700));
        }
    }
}

/// What is known when unpacking fails.
struct Failing<'a> {
    origin: &'a str,
    /// The first bytes as they came.
    start: &'a [u8],
    limits: ArchiveLimits,
    interrupt: &'a Interrupt,
}

impl Failing<'_> {
    fn because(&self, error: LayerError, total: u64) -> ContextArchiveError {
        let origin = self.origin.to_owned();
        if self.interrupt.is_set() {
            return ContextArchiveError::Interrupted;
        }
        match error {
            LayerError::Archive(error) if error.offset == 0 => match error.problem {
                ArchiveProblem::Checksum | ArchiveProblem::Truncated => self.foreign(),
                _ => ContextArchiveError::Malformed { origin, source: error },
            },
            LayerError::Archive(error) if error.problem == ArchiveProblem::Truncated => {
                ContextArchiveError::Truncated { origin }
            }
            LayerError::Archive(source) => ContextArchiveError::Malformed { origin, source },
            LayerError::Read { source, .. } | LayerError::Entry { source, .. }
                if Excess::of(&source).is_some() =>
            {
                let limit = match Excess::of(&source) {
                    Some(Excess::Entries) => format!("{} entries", self.limits.entries),
                    _ => format!("{} bytes when decompressed", self.limits.bytes),
                };
                ContextArchiveError::TooLarge { origin, limit }
            }
            LayerError::Read { source, .. } | LayerError::Entry { source, .. }
                if source.kind() == io::ErrorKind::UnexpectedEof =>
            {
                ContextArchiveError::Truncated { origin }
            }
            LayerError::Entry { entry, source } => {
                ContextArchiveError::Entry { origin, entry, source }
            }
            LayerError::Read { source, .. }
                if total == 0 && source.kind() == io::ErrorKind::Other =>
            {
                ContextArchiveError::Read { origin, source: source.into() }
            }
            other => ContextArchiveError::Read { origin, source: other.into() },
        }
    }

    /// What does not begin as a tar does.
    fn foreign(&self) -> ContextArchiveError {
        let origin = self.origin.to_owned();
        let text = self.start.utf8_chunks().next();
        // The last character may be cut.
        let is_text = text.is_some_and(|chunk| {
            chunk.valid().len() + 4 > self.start.len()
                && !chunk.valid().chars().any(|c| c.is_control() && !c.is_ascii_whitespace())
        });
        match (self.start, is_text) {
            ([], _) => ContextArchiveError::Empty { origin },
            (_, true) => ContextArchiveError::Text { origin },
            (start, false) => {
                ContextArchiveError::Foreign { origin, is_zip: start.starts_with(b"PK\x03\x04") }
            }
        }
    }
}

/// Which limit was passed.
#[derive(Clone, Copy, Debug, Error)]
#[error("more than may be unpacked")]
enum Excess {
    Bytes,
    Entries,
}

impl Excess {
    fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }
}

/// Reads until the build is to end.
struct Watched<'a, R> {
    reader: R,
    interrupt: &'a Interrupt,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.interrupt.is_set() {
            true => Err(io::Error::other("interrupted")),
            false => self.reader.read(buffer),
        }
    }
}

/// The archive's own bytes, counted.
struct Bounded<R> {
    reader: R,
    total: u64,
    /// How many zeros came last: the end mark is at least a block of them.
    zeros: u64,
    limit: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.total += read as u64;
        let tail = buffer[..read].iter().rev().take_while(|byte| **byte == 0).count();
        self.zeros = if tail == read { self.zeros + tail as u64 } else { tail as u64 };
        if self.total > self.limit {
            return Err(io::Error::other(Excess::Bytes));
        }
        Ok(read)
    }
}

/// Makes the entries below a directory.
struct Sink<'a> {
    root: &'a Path,
    left: u64,
    /// Modes and times, which are set in the end: making an entry needs and changes them.
    directories: BTreeMap<Vec<u8>, (u32, i64)>,
    /// The directory whose way was looked at last. No directory ever stops being one here.
    seen: Vec<u8>,
    notes: Vec<String>,
    omitted: usize,
}

impl<'a> Sink<'a> {
    fn new(root: &'a Path, entries: u64) -> Self {
        Self {
            root,
            left: entries,
            directories: BTreeMap::new(),
            seen: Vec::new(),
            notes: Vec::new(),
            omitted: 0,
        }
    }

    fn place(&self, path: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(path))
    }

    /// Makes sure that everything above `path` is a directory; those that are not there are made
    /// if `time` is given, which they get.
    fn way_to(&mut self, path: &[u8], time: Option<i64>) -> io::Result<()> {
        let parent = &path[..path.iter().rposition(|&byte| byte == b'/').unwrap_or(0)];
        if parent == self.seen {
            return Ok(());
        }
        let ends = (0..=parent.len()).filter(|&at| at == parent.len() || parent[at] == b'/');
        for end in ends.filter(|&end| end > 0) {
            let above = &parent[..end];
            let place = self.place(above);
            match (fs_err::symlink_metadata(&place), time) {
                (Ok(metadata), _) if metadata.is_dir() => {}
                (Ok(metadata), _) => {
                    let what = if metadata.is_symlink() { "a symbolic link" } else { "a file" };
                    let above = String::from_utf8_lossy(above);
                    return Err(io::Error::other(format!("{above} on its way is {what}")));
                }
                (Err(error), Some(time)) if error.kind() == io::ErrorKind::NotFound => {
                    fs_err::create_dir(&place)?;
                    self.directories.insert(above.to_vec(), (IMPLIED_MODE, time));
                }
                (Err(error), _) => return Err(error),
            }
        }
        self.seen = parent.to_vec();
        Ok(())
    }

    /// Removes what an earlier entry of the same name left, as tar does.
    fn make_room(&self, place: &Path) -> io::Result<()> {
        match fs_err::symlink_metadata(place) {
            Ok(metadata) if metadata.is_dir() => {
                Err(io::Error::other("a directory is there already"))
            }
            Ok(_) => fs_err::remove_file(place),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn directory(&mut self, entry: &Entry) -> io::Result<()> {
        if entry.path.is_empty() {
            return Ok(());
        }
        let place = self.place(&entry.path);
        match fs_err::symlink_metadata(&place) {
            Ok(metadata) if metadata.is_dir() => {}
            _ => {
                self.make_room(&place)?;
                fs_err::create_dir(&place)?;
            }
        }
        self.directories.insert(entry.path.clone(), (entry.mode, entry.mtime));
        Ok(())
    }

    fn file(&self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        let place = self.place(&entry.path);
        self.make_room(&place)?;
        let mut file = fs_err::OpenOptions::new().write(true).create_new(true).open(&place)?;
        io::copy(content, &mut file)?;
        file.set_permissions(PermissionsExt::from_mode(entry.mode))?;
        let time = FileTime::from_unix_time(entry.mtime, 0);
        filetime::set_file_handle_times(file.file(), Some(time), Some(time))
    }

    fn symlink(&self, entry: &Entry, target: &[u8]) -> io::Result<()> {
        let place = self.place(&entry.path);
        self.make_room(&place)?;
        fs_err::os::unix::fs::symlink(OsStr::from_bytes(target), &place)?;
        let time = FileTime::from_unix_time(entry.mtime, 0);
        filetime::set_symlink_file_times(&place, time, time)
    }

    fn hard_link(&mut self, entry: &Entry, target: &[u8]) -> io::Result<()> {
        if entry.path == target {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(target);
        let absent = || io::Error::other(format!("it links to {shown}, which did not come before"));
        self.way_to(target, None).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => absent(),
            _ => error,
        })?;
        let (original, place) = (self.place(target), self.place(&entry.path));
        match fs_err::symlink_metadata(&original) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(io::Error::other(format!("it links to {shown}, a directory")));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(absent()),
            Err(error) => return Err(error),
        }
        self.make_room(&place)?;
        fs_err::hard_link(original, place)
    }

    fn leave_out(&mut self, entry: &Entry, what: &str) {
        let path = String::from_utf8_lossy(&entry.path);
        if self.notes.len() < MOST_NOTES {
            self.notes.push(format!("{} is left out: it is {what}", path.escape_debug()));
        } else {
            self.omitted += 1;
        }
    }

    /// Gives the directories their modes and times, the deepest first.
    fn finish(mut self) -> Result<ContextArchive, (PathBuf, io::Error)> {
        let mut closed = Vec::new();
        for (path, (mode, mtime)) in self.directories.iter().rev() {
            let place = self.place(path);
            let time = FileTime::from_unix_time(*mtime, 0);
            filetime::set_file_times(&place, time, time)
                .and_then(|()| fs_err::set_permissions(&place, PermissionsExt::from_mode(*mode)))
                .map_err(|error| (PathBuf::from(OsStr::from_bytes(path)), error))?;
            if mode & 0o700 != 0o700 {
                closed.push(place);
            }
        }
        closed.reverse();
        if self.omitted > 0 {
            self.notes.push(format!("{} more devices and named pipes are left out", self.omitted));
        }
        Ok(ContextArchive { directory: self.root.to_owned(), notes: self.notes, closed })
    }
}

impl EntrySink for Sink<'_> {
    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        self.left = self.left.checked_sub(1).ok_or_else(|| io::Error::other(Excess::Entries))?;
        match &entry.kind {
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {
                self.leave_out(entry, "a device");
                return Ok(());
            }
            Kind::Fifo => {
                self.leave_out(entry, "a named pipe");
                return Ok(());
            }
            _ => self.way_to(&entry.path, Some(entry.mtime))?,
        }
        match &entry.kind {
            Kind::Directory => self.directory(entry),
            Kind::File { .. } => self.file(entry, content),
            Kind::Symlink { target } => self.symlink(entry, target),
            Kind::HardLink { target } => self.hard_link(entry, target),
            _ => Err(io::Error::other("it is not a file, directory or link")),
        }
    }
}

#[cfg(test)]
mod tests;
