//! Compression of layers, deterministic for any number of threads, and decompression by magic.

mod decode;
mod deflate;
mod encode;
mod gzip;
#[cfg(test)]
mod tests;

pub use decode::{CompressionError, Format, Sniff, decoder};
pub use encode::{Compression, Compressor, ENCODER_VERSION};
pub use gzip::GZIP_BLOCK;
