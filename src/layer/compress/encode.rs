//! The compressions that layers are written with.

use std::fmt;
use std::io::{self, Write};

use zstd::stream::raw::CParameter;

use super::gzip::GzipWriter;

/// Raised when the bytes of any encoder change for the same input; part of what identifies stored
/// layers, never of a stage digest.
pub const ENCODER_VERSION: u32 = 2;

/// Bytes of one zstd job. Fixed, as the bytes depend on it; larger ones cost memory per thread.
const ZSTD_JOB: u32 = 2 << 20;

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip, one member.
    Gzip {
        /// 0 (stored) to 9.
        level: u32,
    },
    /// zstd, one frame.
    Zstd {
        /// 1 to 22.
        level: i32,
    },
    /// A plain tar.
    None,
}

impl Default for Compression {
    /// gzip, as every runtime reads it.
    fn default() -> Self {
        Self::GZIP
    }
}

impl Compression {
    /// gzip at the level where bytes and processor time are in balance (tests/bench/README.md).
    pub const GZIP: Self = Self::Gzip { level: 2 };

    /// zstd at its own default level.
    pub const ZSTD: Self = Self::Zstd { level: 3 };

    /// The media type of such a layer (OCI image spec, "media types").
    pub const fn media_type(&self) -> &'static str {
        match self {
            Self::Gzip { .. } => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd { .. } => "application/vnd.oci.image.layer.v1.tar+zstd",
            Self::None => "application/vnd.oci.image.layer.v1.tar",
        }
    }
}

/// Compresses what is written to it. The bytes depend on the input and the [`Compression`] only,
/// never on the number of threads or the sizes of the writes.
pub struct Compressor<W: Write + Send + 'static>(Encoder<W>);

enum Encoder<W: Write + Send + 'static> {
    Gzip(GzipWriter<W>),
    Zstd(Box<zstd::Encoder<'static, W>>),
    Plain(W),
}

impl<W: Write + Send + 'static> Compressor<W> {
    /// Starts compressing into `output` with `threads` workers (at least one).
    ///
    /// # Errors
    /// When the level does not exist, or threads cannot be started.
    pub fn new(compression: Compression, threads: usize, output: W) -> io::Result<Self> {
        // What is in flight grows with the threads, so their number is bounded: some 30 MiB each.
        let threads = match compression {
            Compression::Zstd { .. } => threads.clamp(1, 3),
            Compression::Gzip { .. } | Compression::None => threads.clamp(1, 12),
        };
        Ok(Self(match compression {
            Compression::Gzip { level } => Encoder::Gzip(GzipWriter::new(level, threads, output)?),
            Compression::Zstd { level } => {
                if !zstd::compression_level_range().contains(&level) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        format!("zstd has no compression level {level}"),
                    ));
                }
                let mut encoder = zstd::Encoder::new(output, level)?;
                // Zero workers give other bytes than one or more.
                encoder.multithread(u32::try_from(threads).expect("clamped above"))?;
                encoder.set_parameter(CParameter::JobSize(ZSTD_JOB))?;
                Encoder::Zstd(Box::new(encoder))
            }
            Compression::None => Encoder::Plain(output),
        }))
    }

    /// Ends the stream and returns the output.
    ///
    /// # Errors
    /// When compressing or writing failed at any time.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Encoder::Gzip(writer) => writer.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
            Encoder::Plain(output) => Ok(output),
        }
    }
}

impl<W: Write + Send + 'static> fmt::Debug for Compressor<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl<W: Write + Send + 'static> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Encoder::Gzip(writer) => writer.write(bytes),
            Encoder::Zstd(encoder) => encoder.write(bytes),
            Encoder::Plain(output) => output.write(bytes),
        }
    }

    /// Does nothing: a flush in the middle would change the bytes.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
