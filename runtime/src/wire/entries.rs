//! A layer's entries as frames.
//!
//! An entry is one frame; the content of a file follows in chunks that add up to its size. A layer
//! that stops without its end frame was cut short, whatever the reason, and is an error.

use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Read, Write};

use super::codec::{Body, Cursor, garbled};
use super::{MAX_CHUNK, Tag, receive, send};
use crate::entry::{Entry, EntrySink, Kind};

/// Longest path or link target that travels; the kernel takes 4096 bytes in one call.
const MAX_PATH: usize = 32 << 10;

/// Sends entries.
#[derive(Debug)]
pub(crate) struct EntryWriter<W: Write> {
    to: BufWriter<W>,
    chunk: Vec<u8>,
    /// Writing to the other side failed; it most likely has a reply that says why.
    pub(crate) broken: bool,
}

impl<W: Write> EntryWriter<W> {
    pub(crate) fn new(to: W) -> Self {
        Self { to: BufWriter::with_capacity(MAX_CHUNK, to), chunk: Vec::new(), broken: false }
    }

    /// Marks the layer as complete.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.frame(Tag::LayerEnd, &[])?;
        let flushed = self.to.flush();
        self.broken |= flushed.is_err();
        flushed
    }

    /// Sends what is still buffered.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// Drops what is still buffered instead of sending it to a side that has stopped.
    pub(crate) fn abandon(self) {
        drop(self.to.into_parts());
    }

    fn frame(&mut self, tag: Tag, body: &[u8]) -> io::Result<()> {
        let sent = send(&mut self.to, tag, body);
        self.broken |= sent.is_err();
        sent
    }

    fn content(&mut self, entry: &Entry, size: u64, content: &mut dyn Read) -> io::Result<()> {
        let mut chunk = std::mem::take(&mut self.chunk);
        let mut left = size;
        while left > 0 {
            chunk.clear();
            let want = left.min(MAX_CHUNK as u64);
            let got = content.take(want).read_to_end(&mut chunk)? as u64;
            if got == 0 {
                let path = String::from_utf8_lossy(&entry.path);
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("the content of {path} ends {left} bytes early"),
                ));
            }
            self.frame(Tag::Chunk, &chunk)?;
            left -= got;
        }
        self.chunk = chunk;
        Ok(())
    }
}

impl<W: Write> EntrySink for EntryWriter<W> {
    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        check(entry)?;
        self.frame(Tag::Entry, &encode(entry))?;
        match entry.kind {
            Kind::File { size } => self.content(entry, size, content),
            _ => Ok(()),
        }
    }
}

/// Receives entries.
#[derive(Debug)]
pub(crate) struct EntryReader<R: Read> {
    from: BufReader<R>,
    body: Vec<u8>,
    /// Bytes of `body` that the content's reader has taken.
    taken: usize,
    /// Bytes of content that have not arrived.
    left: u64,
}

impl<R: Read> EntryReader<R> {
    pub(crate) fn new(from: R) -> Self {
        let from = BufReader::with_capacity(MAX_CHUNK, from);
        Self { from, body: Vec::new(), taken: 0, left: 0 }
    }

    /// Skips what is left of the last entry's content and returns the next entry; an `Err` holds
    /// the frame that is no entry, with its body.
    pub(crate) fn next(&mut self) -> io::Result<Result<Entry, (Tag, Vec<u8>)>> {
        while self.left > 0 {
            self.chunk()?;
        }
        self.taken = 0;
        let tag = receive(&mut self.from, &mut self.body)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if tag != Tag::Entry {
            return Ok(Err((tag, std::mem::take(&mut self.body))));
        }
        let entry = decode(&self.body)?;
        check(&entry)?;
        self.body.clear();
        if let Kind::File { size } = entry.kind {
            self.left = size;
        }
        Ok(Ok(entry))
    }

    fn chunk(&mut self) -> io::Result<()> {
        self.taken = 0;
        match receive(&mut self.from, &mut self.body)? {
            Some(Tag::Chunk) if self.body.is_empty() => Err(garbled("empty chunk")),
            Some(Tag::Chunk) if self.body.len() as u64 <= self.left => {
                self.left -= self.body.len() as u64;
                Ok(())
            }
            Some(Tag::Chunk) => Err(garbled("content is longer than its entry says")),
            Some(_) => Err(garbled("content is shorter than its entry says")),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// Yields the content of the last entry.
impl<R: Read> Read for EntryReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.body.len() {
            if self.left == 0 {
                return Ok(0);
            }
            self.chunk()?;
        }
        let count = buffer.len().min(self.body.len() - self.taken);
        buffer[..count].copy_from_slice(&self.body[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

pub(super) fn encode(entry: &Entry) -> Vec<u8> {
    let mut body = Body::default();
    body.bytes(&entry.path).small(entry.mode).small(entry.uid).small(entry.gid);
    body.signed(entry.mtime);
    match &entry.kind {
        Kind::Directory => body.byte(0),
        Kind::File { size } => body.byte(1).number(*size),
        Kind::Symlink { target } => body.byte(2).bytes(target),
        Kind::HardLink { target } => body.byte(3).bytes(target),
        Kind::CharDevice { major, minor } => body.byte(4).small(*major).small(*minor),
        Kind::BlockDevice { major, minor } => body.byte(5).small(*major).small(*minor),
        Kind::Fifo => body.byte(6),
        Kind::Whiteout => body.byte(7),
        Kind::Opaque => body.byte(8),
    };
    body.count(entry.xattrs.len());
    for (name, value) in &entry.xattrs {
        body.bytes(name).bytes(value);
    }
    body.0
}

pub(super) fn decode(body: &[u8]) -> io::Result<Entry> {
    let mut cursor = Cursor(body);
    let path = cursor.bytes()?;
    let (mode, uid, gid) = (cursor.small()?, cursor.small()?, cursor.small()?);
    let mtime = cursor.signed()?;
    let kind = match cursor.byte()? {
        0 => Kind::Directory,
        1 => Kind::File { size: cursor.number()? },
        2 => Kind::Symlink { target: cursor.bytes()? },
        3 => Kind::HardLink { target: cursor.bytes()? },
        4 => Kind::CharDevice { major: cursor.small()?, minor: cursor.small()? },
        5 => Kind::BlockDevice { major: cursor.small()?, minor: cursor.small()? },
        6 => Kind::Fifo,
        7 => Kind::Whiteout,
        8 => Kind::Opaque,
        _ => return Err(garbled("unknown kind of entry")),
    };
    let xattrs: BTreeMap<_, _> =
        cursor.list(|cursor| Ok((cursor.bytes()?, cursor.bytes()?)))?.into_iter().collect();
    cursor.end()?;
    Ok(Entry { path, kind, mode, uid, gid, mtime, xattrs })
}

/// Checks what [`crate::entry`] promises about paths and modes, on the way out and on the way in.
fn check(entry: &Entry) -> io::Result<()> {
    let refuse = |why: &str| {
        let path = String::from_utf8_lossy(&entry.path);
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("entry {path:?} {why}")))
    };
    if !is_relative(&entry.path) {
        return refuse("has a path that is not plainly below the root");
    }
    if entry.path.is_empty() && !matches!(entry.kind, Kind::Directory | Kind::Opaque) {
        return refuse("replaces the root");
    }
    if entry.mode > 0o7777 {
        return refuse("has more than permission bits in its mode");
    }
    match &entry.kind {
        Kind::HardLink { target } if target.is_empty() || !is_relative(target) => {
            refuse("is a hard link to a path that is not plainly below the root")
        }
        Kind::Symlink { target }
            if target.is_empty() || target.len() > MAX_PATH || target.contains(&0) =>
        {
            refuse("is a symbolic link with a target that no file system takes")
        }
        _ => Ok(()),
    }
}

fn is_relative(path: &[u8]) -> bool {
    path.is_empty()
        || path.len() <= MAX_PATH
            && !path.contains(&0)
            && path
                .split(|byte| *byte == b'/')
                .all(|component| !matches!(component, b"" | b"." | b".."))
}
