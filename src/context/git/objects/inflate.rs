//! Reading files at positions, and inflating what is there.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use flate2::bufread::ZlibDecoder;
use flate2::{Decompress, FlushDecompress};

use super::error::malformed;

/// How much compressed data is read at a time.
const INPUT: u64 = 32 << 10;
/// What a header that is read ahead of a stream takes at most.
const LEAST_INPUT: u64 = 512;

/// The bytes of a file between two positions.
#[derive(Debug)]
pub(super) struct Span {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Span {
    pub(super) fn new(file: Arc<File>, at: u64, end: u64) -> Self {
        Self { file, at, end }
    }
}

impl Read for Span {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// The content of a zlib stream that must have exactly the size it is said to have.
#[derive(Debug)]
pub(super) struct Inflated {
    decoder: ZlibDecoder<BufReader<Span>>,
    remaining: u64,
}

impl Inflated {
    /// The content of the stream at the beginning of `span`.
    pub(super) fn new(span: Span, size: u64) -> Self {
        // Data that does not shrink grows by some bytes only.
        let input = size.saturating_add(LEAST_INPUT).min(INPUT);
        let input = BufReader::with_capacity(usize::try_from(input).unwrap_or(0), span);
        Self { decoder: ZlibDecoder::new(input), remaining: size }
    }

    /// Passes over a header, which does not count as content, up to a nought byte.
    pub(super) fn with_header(span: Span, limit: usize) -> io::Result<(Vec<u8>, Self)> {
        let mut inflated = Self::new(span, u64::MAX);
        let mut header = Vec::new();
        let mut byte = [0];
        loop {
            match inflated.decoder.read(&mut byte)? {
                0 => return Err(malformed("its header has no end")),
                _ if byte[0] == 0 => return Ok((header, inflated)),
                _ => header.push(byte[0]),
            }
            if header.len() > limit {
                return Err(malformed("its header has no end"));
            }
        }
    }

    /// Says how much content there is, where it was not known before.
    pub(super) fn expect(&mut self, size: u64) {
        self.remaining = size;
    }
}

impl Read for Inflated {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.remaining == 0 {
            return match self.decoder.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(malformed("it is longer than its header says")),
            };
        }
        let wanted = buffer.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        let count = self.decoder.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(malformed("it ends early"));
        }
        self.remaining -= count as u64;
        Ok(count)
    }
}

thread_local! {
    /// Making one takes longer than what it is needed for.
    static PEEKER: RefCell<Decompress> = RefCell::new(Decompress::new(true));
}

/// The first bytes of a zlib stream, as many as come from its first bytes `input`.
pub(super) fn peek<'a>(input: &[u8], output: &'a mut [u8]) -> io::Result<&'a [u8]> {
    PEEKER.with_borrow_mut(|stream| {
        stream.reset(true);
        let outcome = stream.decompress(input, output, FlushDecompress::None);
        outcome.map_err(|_| malformed("its compressed data is damaged"))?;
        let count = usize::try_from(stream.total_out()).unwrap_or(0).min(output.len());
        Ok(&output[..count])
    })
}
