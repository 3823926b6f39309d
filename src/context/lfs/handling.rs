//! What becomes of an entry that is a pointer.

use std::ffi::OsStr;
use std::io::{Cursor, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::pointer::POINTER_LIMIT;
use super::{LfsError, LfsPlace, LfsProgram, Pointer};
use crate::context::{ContextEntry, ContextError};
use crate::hashing::sha256;

/// What becomes of a file of a git context whose content is a Git LFS pointer.
#[derive(Clone, Debug, Default)]
pub enum LfsPointers {
    /// Opening it is an error.
    #[default]
    Refuse,
    /// It is content like any other.
    Keep,
    /// Its content is what `git-lfs` gives.
    Fetch(LfsProgram),
}

/// The content of an entry.
type Content = Box<dyn Read + Send>;

/// What an entry has.
enum Look {
    /// The text of a pointer.
    Pointer(Vec<u8>),
    /// Anything else.
    File(Content),
}

impl LfsPointers {
    /// The content that an entry has in a layer; `content` is what git or the disk has, and
    /// `place` is asked for where the program has to be started.
    pub(in crate::context) fn resolve(
        &self,
        entry: &ContextEntry,
        content: Content,
        place: impl FnOnce() -> LfsPlace,
    ) -> Result<Content, ContextError> {
        let program = match self {
            Self::Keep => return Ok(content),
            Self::Refuse => return refuse_pointer(entry, content),
            Self::Fetch(program) => program,
        };
        let text = match look(entry, content)? {
            Look::File(content) => return Ok(content),
            Look::Pointer(text) => text,
        };
        let fail = |source| ContextError::Lfs { path: path(entry), source };
        let pointer = Pointer::parse(&text).map_err(LfsError::from).map_err(fail)?;
        if pointer.size == 0 {
            return empty(&pointer).map_err(fail);
        }
        let running = program.start(&place(), &text).map_err(fail)?;
        Ok(Box::new(running.reader(pointer, &text, path(entry))))
    }

    /// How long that content is; `open` gives what git or the disk has.
    pub(in crate::context) fn length(
        &self,
        entry: &ContextEntry,
        open: impl FnOnce() -> Result<Content, ContextError>,
    ) -> Result<u64, ContextError> {
        if !matches!(self, Self::Fetch(_)) || entry.size >= POINTER_LIMIT {
            return Ok(entry.size);
        }
        let fail = |error| ContextError::Lfs { path: path(entry), source: LfsError::from(error) };
        match look(entry, open()?)? {
            Look::File(_) => Ok(entry.size),
            Look::Pointer(text) => Pointer::parse(&text).map(|pointer| pointer.size).map_err(fail),
        }
    }
}

/// Gives content back that is no pointer.
///
/// Stages are found by the ids of files, wherever these come from. If a pointer could be a file of a
/// layer in one context, another one in which it stands for a file would find that layer.
pub(in crate::context) fn refuse_pointer(
    entry: &ContextEntry,
    content: Content,
) -> Result<Content, ContextError> {
    match look(entry, content)? {
        Look::File(content) => Ok(content),
        Look::Pointer(_) => Err(ContextError::LfsPointer { path: path(entry) }),
    }
}

fn look(entry: &ContextEntry, mut content: Content) -> Result<Look, ContextError> {
    if entry.size >= POINTER_LIMIT {
        return Ok(Look::File(content));
    }
    let mut text = Vec::new();
    match content.read_to_end(&mut text) {
        Ok(_) if Pointer::is_one(entry.size, &text) => Ok(Look::Pointer(text)),
        Ok(_) => Ok(Look::File(Box::new(Cursor::new(text)))),
        Err(error) => Err(match error.downcast::<ContextError>() {
            Ok(error) => error,
            Err(error) => ContextError::read(&path(entry), error),
        }),
    }
}

/// A file of no bytes, which nobody reads.
fn empty(pointer: &Pointer) -> Result<Content, LfsError> {
    let found = sha256(b"");
    match found == pointer.digest {
        true => Ok(Box::new(std::io::empty())),
        false => Err(LfsError::Differs {
            found: format!("0 bytes with {found}"),
            expected: format!("0 bytes with {}", pointer.digest),
        }),
    }
}

fn path(entry: &ContextEntry) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&entry.path))
}
