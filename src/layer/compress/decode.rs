//! Decompression, chosen by the first bytes.
//!
//! Media types of pulled layers are not always true, and the magic numbers of the formats exclude
//! each other, so only the bytes decide (gzip: RFC 1952; zstd: RFC 8878; xz file format 1.1;
//! bzip2). Anything else is taken as plain.
//!
//! Whatever a stream claims, its decoder holds no more than a fixed bound: 32 KiB of window for
//! gzip, 900 KB of block for bzip2, 128 MiB for zstd and xz, and that only if the stream both asks
//! for it and fills it. How much comes out is for the reader of the content to bound.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use thiserror::Error;

/// What an xz stream may ask for; `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 128 << 20;

/// The window that a zstd frame may ask for, as a power of two: 128 MiB, what the program `zstd`
/// takes without being asked. Levels up to 19 have at most 8 MiB.
const ZSTD_WINDOW: u32 = 27;

/// Which compressions are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniff {
    /// What layers have: gzip, zstd or nothing.
    Layer,
    /// What archives in a build context have: bzip2 and xz as well.
    Archive,
}

/// Why nothing can be decompressed here.
#[derive(Debug, Error)]
pub enum CompressionError {
    /// The first bytes could not be read.
    #[error("cannot read the first bytes")]
    Start(#[source] io::Error),
    /// A decoder could not be made.
    #[error("cannot start the {format} decoder")]
    Decoder {
        /// The format.
        format: Format,
        /// The cause.
        source: io::Error,
    },
}

/// A compression as found in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// The xz file format.
    Xz,
    /// bzip2.
    Bzip2,
    /// None of the known ones.
    Plain,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Plain => "plain",
        })
    }
}

impl Format {
    fn of(start: &[u8], sniff: Sniff) -> Self {
        let archive = sniff == Sniff::Archive;
        match start {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            // Data frames, and the skippable frames that seekable files begin with.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] if archive => Self::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] if archive => Self::Bzip2,
            _ => Self::Plain,
        }
    }
}

/// Decompresses `reader` according to its first bytes; several members or frames in a row are one
/// content.
///
/// # Errors
/// When the first bytes cannot be read or a decoder cannot be made. Malformed content is an error
/// of the returned reader.
pub fn decoder<'a>(
    mut reader: impl Read + Send + 'a,
    sniff: Sniff,
) -> Result<Box<dyn Read + Send + 'a>, CompressionError> {
    let mut start = Vec::with_capacity(6);
    reader.by_ref().take(6).read_to_end(&mut start).map_err(CompressionError::Start)?;
    let format = Format::of(&start, sniff);
    let input = BufReader::with_capacity(64 * 1024, io::Cursor::new(start).chain(reader));
    open(input, format).map_err(|source| CompressionError::Decoder { format, source })
}

fn open<'a>(
    input: impl BufRead + Send + 'a,
    format: Format,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match format {
        Format::Gzip => Box::new(MultiGzDecoder::new(input)),
        Format::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
        Format::Xz => {
            let concatenated = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, concatenated)?;
            Box::new(XzDecoder::new_stream(input, stream))
        }
        Format::Bzip2 => Box::new(MultiBzDecoder::new(input)),
        Format::Plain => Box::new(input),
    })
}
