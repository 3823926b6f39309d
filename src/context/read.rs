//! Reading files of a directory: entries by their id, and small files by name.
//!
//! What is guaranteed: a link that is there when an entry is opened is not followed, in no
//! component; a link put there between two looks is noticed, since the opened file must be the one
//! that was looked at; and whatever was opened, the bytes must have the entry's id.

use std::ffi::OsStr;
use std::io::{self, Cursor, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use fs_err::File;

use super::{BlobIdHasher, ContextEntry, ContextError, ObjectId};
use crate::ignore_rules::IgnoreRules;

/// How much of an ignore file is read.
const IGNORE_FILE_LIMIT: u64 = 4 << 20;
/// Files up to this size are checked before their first byte is given out.
const WHOLE_LIMIT: u64 = 256 << 10;
/// The place of a context-relative path.
pub(super) fn join(root: &Path, path: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(path))
}

/// Tells whether everything above `path` is a directory, and no link to one.
pub(super) fn parents_are_directories(root: &Path, path: &[u8]) -> bool {
    let mut parents = (0..path.len()).filter(|&at| path[at] == b'/').map(|at| &path[..at]);
    parents.all(|parent| {
        fs_err::symlink_metadata(join(root, parent)).is_ok_and(|metadata| metadata.is_dir())
    })
}

/// Opens a regular file below `root`, following no link.
pub(super) fn open_file(root: &Path, path: &[u8]) -> Result<File, ContextError> {
    let place = join(root, path);
    let fail = |error| ContextError::read(&place, error);
    for at in (0..path.len()).filter(|&at| path[at] == b'/') {
        let parent = join(root, &path[..at]);
        let metadata = fs_err::symlink_metadata(&parent).map_err(fail)?;
        if !metadata.is_dir() {
            return Err(ContextError::Changed { path: place });
        }
    }
    let seen = fs_err::symlink_metadata(&place).map_err(fail)?;
    if !seen.is_file() {
        return Err(ContextError::Changed { path: place });
    }
    let file = File::open(&place).map_err(fail)?;
    let opened = file.metadata().map_err(fail)?;
    if (seen.dev(), seen.ino()) != (opened.dev(), opened.ino()) {
        return Err(ContextError::Changed { path: place });
    }
    Ok(file)
}

/// The id and size that a file's content has as a blob.
pub(super) fn identify(root: &Path, path: &[u8]) -> Result<(ObjectId, u64), ContextError> {
    let mut file = open_file(root, path)?;
    let place = join(root, path);
    let fail = |error| ContextError::read(&place, error);
    let size = file.metadata().map_err(fail)?.len();
    let mut hasher = BlobIdHasher::new(size);
    let mut buffer = vec![0; usize::try_from(size.clamp(1, 64 << 10)).unwrap_or(64 << 10)];
    let mut seen = 0;
    loop {
        match file.read(&mut buffer).map_err(fail)? {
            0 => break,
            count => {
                hasher.update(&buffer[..count]);
                seen += count as u64;
            }
        }
    }
    if seen != size {
        return Err(ContextError::Changed { path: place });
    }
    Ok((hasher.finish(), size))
}

/// Opens the content of an entry in the work tree; see [`super::ContextSource::open`].
pub(super) fn open_entry(
    root: &Path,
    entry: &ContextEntry,
) -> Result<Box<dyn Read + Send>, ContextError> {
    let place = join(root, &entry.path);
    let file = open_file(root, &entry.path)?;
    let mut reader = Verified::new(file, entry, place.clone());
    if entry.size > WHOLE_LIMIT {
        return Ok(Box::new(reader));
    }
    let mut content = Vec::new();
    match reader.read_to_end(&mut content) {
        Ok(_) => Ok(Box::new(Cursor::new(content))),
        Err(error) => Err(match error.downcast::<ContextError>() {
            Ok(error) => error,
            Err(error) => ContextError::read(&place, error),
        }),
    }
}

/// A reader that gives the last byte only when all bytes have the expected id.
struct Verified<R> {
    inner: R,
    hasher: Option<BlobIdHasher>,
    expected: ObjectId,
    remaining: u64,
    path: PathBuf,
}

impl<R: Read> Verified<R> {
    fn new(inner: R, entry: &ContextEntry, path: PathBuf) -> Self {
        let hasher = Some(BlobIdHasher::new(entry.size));
        Self { inner, hasher, expected: entry.object, remaining: entry.size, path }
    }

    fn changed(&self) -> io::Error {
        io::Error::other(ContextError::Changed { path: self.path.clone() })
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buffer)?;
        self.remaining = self.remaining.checked_sub(count as u64).ok_or_else(|| self.changed())?;
        if count == 0 && self.remaining != 0 {
            return Err(self.changed());
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        // Whoever knows the size reads no further than that.
        if self.remaining == 0
            && let Some(hasher) = self.hasher.take()
            && hasher.finish() != self.expected
        {
            return Err(self.changed());
        }
        Ok(count)
    }
}

/// Reads a small file below `directory`: links are followed as long as they stay inside.
///
/// # Errors
/// When it is not there, is not a regular file, lies outside, or has more than `limit` bytes.
pub fn read_file(directory: &Path, path: &[u8], limit: u64) -> Result<Vec<u8>, ContextError> {
    let place = join(directory, path);
    let fail = |error| ContextError::read(&place, error);
    let root = fs_err::canonicalize(directory).map_err(fail)?;
    let real = fs_err::canonicalize(&place).map_err(fail)?;
    if !real.starts_with(&root) {
        return Err(ContextError::Outside { path: place });
    }
    read_limited(&real, limit)
}

/// Loads the ignore rules for a Dockerfile: those of `<dockerfile>.dockerignore` if it exists, else
/// of `.dockerignore` in the context, else none. Also returns which file it was.
///
/// The Dockerfile may lie outside the context; a file named after it is then read there.
///
/// # Errors
/// When the file exists but cannot be read, or has an invalid line.
pub fn load_ignore_rules(
    context: &Path,
    dockerfile: &Path,
) -> Result<(IgnoreRules, Option<PathBuf>), ContextError> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    let own = PathBuf::from(own);
    let common = context.join(".dockerignore");
    let (path, text) = match read_limited(&own, IGNORE_FILE_LIMIT) {
        Ok(text) => (own, text),
        Err(error) if error.is_not_found() => {
            match read_file(context, b".dockerignore", IGNORE_FILE_LIMIT) {
                Ok(text) => (common, text),
                Err(error) if error.is_not_found() => return Ok((IgnoreRules::none(), None)),
                Err(error) => return Err(error),
            }
        }
        Err(error) => return Err(error),
    };
    let rules = IgnoreRules::parse(&path.to_string_lossy(), &text)?;
    Ok((rules, Some(path)))
}

/// Reads a small file that the user named by its place on disk, as a Dockerfile outside the context.
///
/// # Errors
/// When it is not there, is not a regular file, or has more than `limit` bytes.
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, ContextError> {
    let fail = |error| ContextError::read(path, error);
    // Looked at first, since opening a FIFO would wait for a writer.
    if !fs_err::metadata(path).map_err(fail)?.is_file() {
        return Err(fail(io::Error::other("it is not a regular file")));
    }
    let mut text = Vec::new();
    let file = File::open(path).map_err(fail)?;
    file.take(limit + 1).read_to_end(&mut text).map_err(fail)?;
    if text.len() as u64 > limit {
        return Err(ContextError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(text)
}
