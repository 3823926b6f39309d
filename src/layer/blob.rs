//! Layers as files: entries → tar → diff id → compression → digest → spool file, in one pass.
//!
//! A layer is written under a temporary name and renamed to `DIR/sha256/HEX` when it is complete,
//! which is the place of a blob in an OCI layout (OCI image layout spec, "Blobs"). The file can be
//! read while it grows, and one that is limited holds only a window of a longer layer, which has to
//! be read then. Nothing here decides what is in a layer, and nothing is uploaded here.

use std::fs::Permissions;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use fs_err as fs;
use longshore_runtime::entry::{Entry, EntrySink};
use tempfile::TempPath;

use super::{
    Compression, Compressor, LayerError, Names, Sniff, TarStats, TarWriter, decoder, read_tar,
};
use crate::blocking::Interrupt;
use crate::hashing::BlobHasher;
use crate::model::{DiffId, Digest};
use crate::ring::{RingFull, RingReader, RingWriter};

/// Bytes of compressed output that are written at a time.
const WRITE_BUFFER: usize = 128 * 1024;

/// A finished layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerBlob {
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// Digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// How many they are.
    pub size: u64,
    /// Bytes of the uncompressed tar.
    pub uncompressed_size: u64,
    /// The OCI media type.
    pub media_type: &'static str,
    /// The file; `None` for a layer longer than its file could be, which its reader has.
    pub path: Option<PathBuf>,
    /// How many entries it has.
    pub entries: u64,
}

impl LayerBlob {
    /// Whether the layer changes nothing.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }
}

/// A file that a layer is to be written to.
#[derive(Debug)]
pub struct LayerFile {
    dir: PathBuf,
    path: TempPath,
    ring: RingWriter,
}

impl LayerFile {
    /// A new file below `dir` that never has more than `limit` bytes.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn create(
        dir: &Path,
        limit: Option<u64>,
        interrupt: Interrupt,
    ) -> Result<Self, LayerError> {
        let (file, path) =
            temporary(dir).map_err(|source| LayerError::Write { dir: dir.to_owned(), source })?;
        let ring = RingWriter::new(file, limit.unwrap_or(u64::MAX), interrupt);
        Ok(Self { dir: dir.to_owned(), path, ring })
    }

    /// Reads the compressed bytes while they are written. A layer longer than the limit needs the
    /// reader, and waits for it.
    pub fn reader(&self) -> RingReader {
        self.ring.reader()
    }

    /// Writes the layer whose entries `produce` pushes, in canonical order; see [`write_layer`].
    ///
    /// # Errors
    /// [`LayerError::TooLong`] when it is longer than the limit and nobody reads it, and for the
    /// reasons of [`write_layer`].
    pub fn write(
        self,
        compression: Compression,
        threads: usize,
        interrupt: &AtomicBool,
        produce: &mut dyn FnMut(&mut dyn EntrySink) -> io::Result<()>,
    ) -> Result<LayerBlob, LayerError> {
        let Self { dir, path, ring } = self;
        let written = (|| {
            let compressor = Compressor::new(compression, threads, Spool::new(ring))?;
            let (compressor, tar) = write_tar(compressor, interrupt, produce)?;
            let (digest, size, whole) = compressor.finish()?.finish()?;
            let media_type = compression.media_type();
            let path = if whole { Some(keep(&dir, path, &digest)?) } else { None };
            let Tar { diff_id, uncompressed_size, entries } = tar;
            Ok(LayerBlob { digest, diff_id, size, uncompressed_size, media_type, path, entries })
        })();
        written.map_err(|source: io::Error| {
            let full = source.get_ref().and_then(|inner| inner.downcast_ref::<RingFull>());
            match (interrupt.load(Ordering::Relaxed), full) {
                (true, _) => LayerError::Interrupted,
                (false, Some(RingFull { capacity })) => LayerError::TooLong { limit: *capacity },
                (false, None) => LayerError::Write { dir, source },
            }
        })
    }
}

/// Writes the layer whose entries `produce` pushes, in canonical order, into `dir/sha256/`.
///
/// The bytes depend on the entries and the compression only. `interrupt` is looked at with every
/// write.
///
/// # Errors
/// When `produce` fails, an entry cannot be in a layer, the disk is full, or the flag is set;
/// nothing is left behind then.
pub fn write_layer(
    dir: &Path,
    compression: Compression,
    threads: usize,
    interrupt: &AtomicBool,
    produce: &mut dyn FnMut(&mut dyn EntrySink) -> io::Result<()>,
) -> Result<LayerBlob, LayerError> {
    let file = LayerFile::create(dir, None, Interrupt::default())?;
    file.write(compression, threads, interrupt, produce)
}

/// Reads a stored layer; see [`read_layer_from`].
///
/// # Errors
/// When the file cannot be opened, and for the reasons of [`read_layer_from`].
pub fn read_layer(
    path: &Path,
    expected: Option<DiffId>,
    sink: &mut dyn EntrySink,
) -> Result<TarStats, LayerError> {
    let file = fs::File::open(path)
        .map_err(|source| LayerError::Open { path: path.to_owned(), source })?;
    read_layer_from(file, expected, sink)
}

/// Reads a layer as it lies in a registry: decompresses it, hands its entries to `sink`, compares
/// the diff id. `reader` is read to its end.
///
/// # Errors
/// When the layer cannot be read, is malformed, the sink fails, or the diff id is another one. What
/// the sink has taken until then must not be used.
pub fn read_layer_from(
    reader: impl Read + Send,
    expected: Option<DiffId>,
    sink: &mut dyn EntrySink,
) -> Result<TarStats, LayerError> {
    let mut tar = Hashing { reader: decoder(reader, Sniff::Layer)?, hasher: BlobHasher::new() };
    let stats = read_tar(&mut tar, Names::Layer, sink)?;
    // The padding after the end mark belongs to the diff id.
    let drained = io::copy(&mut tar, &mut io::sink());
    let (digest, offset) = tar.hasher.finish();
    drained.map_err(|source| LayerError::Read { offset, source })?;
    let found = DiffId(digest);
    match expected {
        Some(expected) if expected != found => Err(LayerError::DiffId { expected, found }),
        _ => Ok(stats),
    }
}

/// What is known of the tar once it is written.
struct Tar {
    diff_id: DiffId,
    uncompressed_size: u64,
    entries: u64,
}

fn write_tar<W: Write>(
    output: W,
    interrupt: &AtomicBool,
    produce: &mut dyn FnMut(&mut dyn EntrySink) -> io::Result<()>,
) -> io::Result<(W, Tar)> {
    let uncompressed = Uncompressed { output, hasher: BlobHasher::new(), interrupt };
    let mut tar = TarWriter::new(uncompressed);
    let mut watching = Watching { tar: &mut tar, failed: None };
    produce(&mut watching)?;
    watching.check()?;
    let entries = tar.entries();
    let Uncompressed { output, hasher, .. } = tar.finish()?;
    let (digest, uncompressed_size) = hasher.finish();
    Ok((output, Tar { diff_id: DiffId(digest), uncompressed_size, entries }))
}

fn interrupted() -> io::Error {
    io::Error::other("interrupted")
}

/// Refuses everything after the first failure, so that a producer that swallowed an error cannot
/// leave half an entry in a finished layer.
struct Watching<'a, W: Write> {
    tar: &'a mut TarWriter<W>,
    failed: Option<String>,
}

impl<W: Write> Watching<'_, W> {
    fn check(&self) -> io::Result<()> {
        match &self.failed {
            Some(first) => Err(io::Error::other(format!("an entry failed before: {first}"))),
            None => Ok(()),
        }
    }
}

impl<W: Write> EntrySink for Watching<'_, W> {
    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        self.check()?;
        self.tar.entry(entry, content).inspect_err(|error| self.failed = Some(error.to_string()))
    }
}

/// The uncompressed side: hashes what passes and looks at the interrupt flag.
struct Uncompressed<'a, W> {
    output: W,
    hasher: BlobHasher,
    interrupt: &'a AtomicBool,
}

impl<W: Write> Write for Uncompressed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.interrupt.load(Ordering::Relaxed) {
            return Err(interrupted());
        }
        let taken = self.output.write(bytes)?;
        self.hasher.update(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// The compressed side: hashes what passes into the file.
struct Spool {
    ring: BufWriter<RingWriter>,
    hasher: BlobHasher,
}

impl Spool {
    fn new(ring: RingWriter) -> Self {
        let ring = BufWriter::with_capacity(WRITE_BUFFER, ring);
        Self { ring, hasher: BlobHasher::new() }
    }

    /// Digest and size, and whether the file is the whole of it.
    fn finish(self) -> io::Result<(Digest, u64, bool)> {
        let ring = self.ring.into_inner().map_err(io::IntoInnerError::into_error)?;
        let (digest, size) = self.hasher.finish();
        Ok((digest, size, ring.complete(digest)))
    }
}

/// A new file under a temporary name; it is deleted with the returned path.
fn temporary(dir: &Path) -> io::Result<(fs::File, TempPath)> {
    fs::create_dir_all(dir)?;
    // Blobs may lie in a layout that others read; the umask still counts.
    let readable = Permissions::from_mode(0o644);
    let mut builder = tempfile::Builder::new();
    builder.prefix(".layer-").permissions(readable);
    let file = builder.tempfile_in(dir)?;
    let (file, path) = file.into_parts();
    Ok((fs::File::from_parts(file, path.to_path_buf()), path))
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.ring.write(bytes)?;
        self.hasher.update(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.ring.flush()
    }
}

/// Gives the file its final name; a file of that name has the same bytes.
fn keep(dir: &Path, path: TempPath, digest: &Digest) -> io::Result<PathBuf> {
    let blobs = dir.join("sha256");
    fs::create_dir_all(&blobs)?;
    let kept = blobs.join(digest.hex());
    path.persist(&kept).map_err(|error| error.error)?;
    Ok(kept)
}

/// Hashes what is read.
struct Hashing<R> {
    reader: R,
    hasher: BlobHasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
#[path = "blob_tests.rs"]
mod tests;
