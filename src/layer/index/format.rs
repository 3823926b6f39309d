//! The stored form of a layer index, version 1: one zstd frame over
//!
//! ```text
//! "longshore layer index 1\n"
//! diff id                         32 bytes
//! entries                         count, then each: path kind mode uid gid, and for the kind
//!                                 0 directory: -   1 file: -   2 symlink: target
//!                                 3 hard link: target   4 other: -
//! whiteouts, opaque               each: count, then paths
//! etc/passwd, etc/group           each: 0, or 1 and the bytes
//! ```
//!
//! Numbers are LEB128; bytes come after their length; a path is the number of bytes it shares with
//! the path before it in its list, and the bytes of the rest. Lists are sorted bytewise.
//!
//! Reading is strict and bounded: lists that are not sorted, paths that are not clean, what no layer
//! can have, bytes left over, more than [`INDEX_LIMIT`] bytes, and frames that need a larger window
//! than [`WINDOW_LOG`] are refused. So an index that was read obeys the same rules as one that was
//! made of a layer, whoever wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use thiserror::Error;

use super::layer_index::{ACCOUNTS_LIMIT, IndexEntry, IndexKind, LayerIndex};
use crate::layer::path::{PATH_LIMIT, is_clean};
use crate::model::{DiffId, Digest};

/// The most that is taken, in bytes before compression: some five million paths.
pub const INDEX_LIMIT: u64 = 128 << 20;

/// The largest window that is given to the decompressor, as a power of two: 8 MiB. The level that is
/// written with needs 2 MiB.
const WINDOW_LOG: u32 = 23;

const MODE_BITS: u32 = 0o7777;

const MAGIC: &[u8] = b"longshore layer index 1\n";

/// The zstd level; part of the format, as equal indexes have equal bytes.
const LEVEL: i32 = 3;

/// Why a stored index was refused.
#[derive(Debug, Error)]
pub enum IndexError {
    /// It is not a zstd frame, or too large.
    #[error("a layer index cannot be decompressed")]
    Compression(#[source] io::Error),
    /// It does not begin as version 1 does.
    #[error("not a layer index of version 1")]
    Version,
    /// It belongs to another layer.
    #[error("the layer index is of layer {found}, not of {expected}")]
    Layer {
        /// The layer that was asked for.
        expected: DiffId,
        /// The layer that the index names.
        found: DiffId,
    },
    /// It is not what was written.
    #[error("malformed layer index: {0}")]
    Malformed(&'static str),
}

impl LayerIndex {
    /// Reads what [`LayerIndex::to_bytes`] wrote for the layer `diff_id`.
    ///
    /// # Errors
    /// When the bytes are no such index, or that of another layer.
    pub fn from_bytes(bytes: &[u8], diff_id: DiffId) -> Result<Self, IndexError> {
        let raw = decompressed(bytes).map_err(IndexError::Compression)?;
        if raw.len() as u64 > INDEX_LIMIT {
            return Err(IndexError::Malformed("too large"));
        }
        let body = raw.strip_prefix(MAGIC).ok_or(IndexError::Version)?;
        let mut input = Input(body);
        let digest = input.bytes(32)?.try_into().expect("32 bytes were asked for");
        let found = DiffId(Digest::from_bytes(digest));
        if found != diff_id {
            return Err(IndexError::Layer { expected: diff_id, found });
        }
        let index = Self {
            entries: input.list(|input, path, entries: &mut BTreeMap<_, _>| {
                entries.insert(path, input.entry()?);
                Ok(())
            })?,
            whiteouts: input.paths()?,
            opaque: input.paths()?,
            passwd: input.accounts()?,
            group: input.accounts()?,
        };
        if input.0.is_empty() { Ok(index) } else { Err(IndexError::Malformed("bytes left over")) }
    }
}

/// At most one byte more than the limit.
fn decompressed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut raw = Vec::new();
    let mut decoder = zstd::Decoder::new(bytes)?;
    decoder.window_log_max(WINDOW_LOG)?;
    decoder.take(INDEX_LIMIT + 1).read_to_end(&mut raw)?;
    Ok(raw)
}

pub(super) fn encode(index: &LayerIndex, diff_id: DiffId) -> Vec<u8> {
    let mut raw = MAGIC.to_vec();
    raw.extend_from_slice(diff_id.0.as_bytes());
    put_number(&mut raw, index.entries.len() as u64);
    let mut last: &[u8] = &[];
    for (path, entry) in &index.entries {
        put_path(&mut raw, last, path);
        put_entry(&mut raw, entry);
        last = path;
    }
    for set in [&index.whiteouts, &index.opaque] {
        put_number(&mut raw, set.len() as u64);
        let mut last: &[u8] = &[];
        for path in set {
            put_path(&mut raw, last, path);
            last = path;
        }
    }
    for accounts in [&index.passwd, &index.group] {
        put_number(&mut raw, u64::from(accounts.is_some()));
        accounts.iter().for_each(|bytes| put_bytes(&mut raw, bytes));
    }
    zstd::bulk::compress(&raw, LEVEL).expect("compression into memory does not fail")
}

fn put_number(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits fit a byte");
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_path(out: &mut Vec<u8>, last: &[u8], path: &[u8]) {
    let shared = last.iter().zip(path).take_while(|(a, b)| a == b).count();
    put_number(out, shared as u64);
    put_bytes(out, &path[shared..]);
}

fn put_entry(out: &mut Vec<u8>, entry: &IndexEntry) {
    out.push(match entry.kind {
        IndexKind::Directory => 0,
        IndexKind::File => 1,
        IndexKind::Symlink { .. } => 2,
        IndexKind::HardLink { .. } => 3,
        IndexKind::Other => 4,
    });
    for value in [entry.mode, entry.uid, entry.gid] {
        put_number(out, u64::from(value));
    }
    match &entry.kind {
        IndexKind::Symlink { target } | IndexKind::HardLink { target } => put_bytes(out, target),
        IndexKind::Directory | IndexKind::File | IndexKind::Other => {}
    }
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], IndexError> {
        let (bytes, rest) =
            self.0.split_at_checked(count).ok_or(IndexError::Malformed("truncated"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64, IndexError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.bytes(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(IndexError::Malformed("a number does not fit"))
    }

    fn small(&mut self) -> Result<u32, IndexError> {
        u32::try_from(self.number()?).map_err(|_| IndexError::Malformed("a number does not fit"))
    }

    fn sized(&mut self, limit: u64) -> Result<&'a [u8], IndexError> {
        let length = self.number()?;
        match usize::try_from(length) {
            Ok(length) if length as u64 <= limit => self.bytes(length),
            _ => Err(IndexError::Malformed("a value is too long")),
        }
    }

    /// Reads a list of paths, each followed by what `read` takes.
    fn list<T: Default>(
        &mut self,
        mut read: impl FnMut(&mut Self, Vec<u8>, &mut T) -> Result<(), IndexError>,
    ) -> Result<T, IndexError> {
        let mut all = T::default();
        let mut last: Option<Vec<u8>> = None;
        for _ in 0..self.number()? {
            let path = self.path(last.as_deref().unwrap_or_default())?;
            if last.as_ref().is_some_and(|last| *last >= path) {
                return Err(IndexError::Malformed("paths are not sorted"));
            }
            read(self, path.clone(), &mut all)?;
            last = Some(path);
        }
        Ok(all)
    }

    fn paths(&mut self) -> Result<BTreeSet<Vec<u8>>, IndexError> {
        self.list(|_, path, paths: &mut BTreeSet<_>| {
            paths.insert(path);
            Ok(())
        })
    }

    fn path(&mut self, last: &[u8]) -> Result<Vec<u8>, IndexError> {
        let shared = usize::try_from(self.number()?).ok();
        let shared = shared.and_then(|count| last.get(..count));
        let mut path = shared.ok_or(IndexError::Malformed("a path shares too much"))?.to_vec();
        path.extend_from_slice(self.sized(PATH_LIMIT as u64)?);
        if is_clean(&path) { Ok(path) } else { Err(IndexError::Malformed("a path is not clean")) }
    }

    fn entry(&mut self) -> Result<IndexEntry, IndexError> {
        let kind = self.bytes(1)?[0];
        let (mode, uid, gid) = (self.small()?, self.small()?, self.small()?);
        if mode > MODE_BITS {
            return Err(IndexError::Malformed("a mode has more than permissions"));
        }
        let kind = match kind {
            0 => IndexKind::Directory,
            1 => IndexKind::File,
            2 => IndexKind::Symlink { target: self.target(|target| !target.contains(&0))? },
            3 => IndexKind::HardLink { target: self.target(is_clean)? },
            4 => IndexKind::Other,
            _ => return Err(IndexError::Malformed("an unknown kind of entry")),
        };
        Ok(IndexEntry { kind, mode, uid, gid })
    }

    fn target(&mut self, obeys: impl FnOnce(&[u8]) -> bool) -> Result<Vec<u8>, IndexError> {
        let target = self.sized(PATH_LIMIT as u64)?;
        match obeys(target) {
            true => Ok(target.to_vec()),
            false => Err(IndexError::Malformed("a link's target is not allowed")),
        }
    }

    fn accounts(&mut self) -> Result<Option<Vec<u8>>, IndexError> {
        match self.number()? {
            0 => Ok(None),
            1 => Ok(Some(self.sized(ACCOUNTS_LIMIT)?.to_vec())),
            _ => Err(IndexError::Malformed("neither absent nor present")),
        }
    }
}
