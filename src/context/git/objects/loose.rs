//! Objects that lie alone in a file: a zlib stream of `<kind> <size>\0` and the content.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ObjectKind;
use super::error::malformed;
use super::inflate::{Inflated, Span};
use crate::context::ObjectId;

/// What a header takes at most; git's own limit.
const HEADER_LIMIT: usize = 32;

/// A loose object whose header was read.
#[derive(Debug)]
pub(super) struct Loose {
    pub(super) kind: ObjectKind,
    pub(super) size: u64,
    pub(super) content: Inflated,
}

/// Where an object lies below a directory of objects.
pub(super) fn place(directory: &Path, id: ObjectId) -> PathBuf {
    let hex = id.to_string();
    directory.join(&hex[..2]).join(&hex[2..])
}

/// Reads the header of the object in a file.
pub(super) fn open(file: Arc<File>) -> io::Result<Loose> {
    let (header, mut content) = Inflated::with_header(Span::new(file, 0, u64::MAX), HEADER_LIMIT)?;
    let (kind, size) = parse(&header).ok_or_else(|| malformed("its header is malformed"))?;
    content.expect(size);
    Ok(Loose { kind, size, content })
}

fn parse(header: &[u8]) -> Option<(ObjectKind, u64)> {
    let space = header.iter().position(|&byte| byte == b' ')?;
    let kind = ObjectKind::named(&header[..space])?;
    let digits = &header[space + 1..];
    // `parse` would take a sign.
    let size = digits.first().filter(|first| first.is_ascii_digit()).map(|_| digits)?;
    Some((kind, std::str::from_utf8(size).ok()?.parse().ok()?))
}
