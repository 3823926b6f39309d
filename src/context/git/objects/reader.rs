//! An object's content, checked against its id.

use std::io::{self, Read};
use std::path::PathBuf;

use sha1::{Digest as _, Sha1};

use super::delta::Patched;
use super::error::malformed;
use super::inflate::Inflated;
use super::{ObjectError, ObjectKind};
use crate::context::ObjectId;

/// Where content comes from.
#[derive(Debug)]
pub(super) enum Content {
    /// It was stored as a whole.
    Whole(Box<Inflated>),
    /// It was stored as a difference to another object.
    Patched(Box<Patched>),
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Whole(inflated) => inflated.read(buffer),
            Self::Patched(patched) => patched.read(buffer),
        }
    }
}

/// The content of an object. The last byte comes only when all had the object's id.
#[derive(Debug)]
pub(in crate::context::git) struct ObjectReader {
    /// What the object is.
    pub(in crate::context::git) kind: ObjectKind,
    /// How long it is.
    pub(in crate::context::git) size: u64,
    id: ObjectId,
    path: PathBuf,
    content: Content,
    remaining: u64,
    /// Taken when the id was checked.
    hasher: Option<Sha1>,
}

/// An object's place and facts, before it is read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: ObjectId,
    pub(super) path: PathBuf,
    pub(super) kind: ObjectKind,
    pub(super) size: u64,
}

impl ObjectReader {
    pub(super) fn new(found: Found, content: Content) -> Self {
        let Found { id, path, kind, size } = found;
        let mut hasher = Sha1::new();
        hasher.update(format!("{kind} {size}\0"));
        Self { kind, size, id, path, content, remaining: size, hasher: Some(hasher) }
    }

    fn advance(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        let Some(hasher) = &mut self.hasher else {
            return Ok(count);
        };
        hasher.update(&buffer[..count]);
        self.remaining = self
            .remaining
            .checked_sub(count as u64)
            .ok_or_else(|| malformed("it is longer than its header says"))?;
        match (self.remaining, count) {
            (0, _) => self.check()?,
            (_, 0) => return Err(malformed("it ends early")),
            _ => {}
        }
        Ok(count)
    }

    /// Checks the end and the id.
    fn check(&mut self) -> io::Result<()> {
        let id = self.hasher.take().map(|hasher| ObjectId::from_bytes(hasher.finalize().into()));
        if self.content.read(&mut [0])? != 0 {
            return Err(malformed("it is longer than its header says"));
        }
        match id == Some(self.id) {
            true => Ok(()),
            false => Err(malformed("its content has another id")),
        }
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.advance(buffer).map_err(|source| {
            let (id, path) = (self.id, self.path.clone());
            io::Error::new(source.kind(), ObjectError::Unreadable { id, path, source })
        })
    }
}
