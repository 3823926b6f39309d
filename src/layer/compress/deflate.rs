//! One block of a deflate stream (RFC 1951): what cannot shrink is stored, the rest is zlib-rs's.
//!
//! A compressor spends more time on noise (archives, images, keys) than on anything else, and gains
//! nothing. So a block is probed first: bytes that are spread evenly, and whose beginning the
//! compressor itself cannot shrink, are stored as they are. Text never gets as far as the second
//! question.
//!
//! Invariants: the bytes depend on block, dictionary, level and place only, and the probe counts
//! in integers; no block becomes longer than [`stored_len`] of it.

use std::io;

use flate2::{Compress, FlushCompress, Status};

/// The most that one stored block holds (RFC 1951, 3.2.4).
const STORED_MOST: usize = 0xffff;

/// Pieces of a block that the probe looks at, and the bytes of each.
const PIECES: usize = 32;
const PIECE: usize = 1024;

/// The beginning of a block that is compressed on trial.
const TRIAL: usize = 32 * 1024;

/// Appends one block to a stream that stands at a byte's border, and ends at one.
pub(super) fn compress(
    level: u32,
    block: &[u8],
    dictionary: &[u8],
    last: bool,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let start = out.len();
    if level > 0 && !is_noise(level, block, dictionary)? {
        deflate(level, block, dictionary, last, out)?;
        if out.len() - start <= stored_len(block.len()) {
            return Ok(());
        }
        out.truncate(start);
    }
    store(block, last, out);
    Ok(())
}

/// Bytes of `length` bytes that are stored.
const fn stored_len(length: usize) -> usize {
    let blocks = length.div_ceil(STORED_MOST);
    length + 5 * if blocks == 0 { 1 } else { blocks }
}

/// Stored blocks: a byte with the flag of the last block, the length, its complement, the bytes.
fn store(block: &[u8], last: bool, out: &mut Vec<u8>) {
    let mut rest = block;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(STORED_MOST));
        let length = u16::try_from(piece.len()).expect("split at the most that fits");
        out.push(u8::from(last && after.is_empty()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(piece);
        rest = after;
        if rest.is_empty() {
            return;
        }
    }
}

fn deflate(
    level: u32,
    block: &[u8],
    dictionary: &[u8],
    last: bool,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    // A new state for each block: one that is only reset keeps its old window, and setting a
    // dictionary hashes one byte behind its end (seen in zlib-rs 0.6.8), so the bytes would depend
    // on which blocks a thread had before.
    let mut deflate = Compress::new(flate2::Compression::new(level), false);
    if !dictionary.is_empty() {
        deflate.set_dictionary(dictionary)?;
    }
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    loop {
        let taken = usize::try_from(deflate.total_in()).expect("a block fits memory");
        let status = deflate.compress_vec(&block[taken..], out, flush)?;
        let all_in = deflate.total_in() == block.len() as u64;
        let complete = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            // A flush is complete when it left room in the output.
            _ => all_in && out.len() < out.capacity(),
        };
        if complete {
            return Ok(());
        }
        out.reserve(64 * 1024);
    }
}

/// Whether compressing the block is labour lost.
fn is_noise(level: u32, block: &[u8], dictionary: &[u8]) -> io::Result<bool> {
    if block.len() < 2 * TRIAL || !is_even(block) {
        return Ok(false);
    }
    // Even bytes may still be repeated bytes, which only the compressor finds.
    let beginning = &block[..TRIAL];
    let mut trial = Vec::with_capacity(TRIAL + TRIAL / 8);
    deflate(level, beginning, dictionary, false, &mut trial)?;
    Ok(trial.len() >= TRIAL - TRIAL / 64)
}

/// Whether the byte values in pieces all over the block are about equally frequent.
///
/// The sum of the squared frequencies is n²/256 for bytes in perfect balance, about n more for
/// random ones; a sixteenth more than that bounds what any code for single bytes can gain to 1.1 %
/// (the order-2 entropy is then 7.91 bits, and Shannon's is larger).
fn is_even(block: &[u8]) -> bool {
    let mut counts = [0_u64; 256];
    let stride = block.len() / PIECES;
    for piece in block.chunks(stride.max(1)).take(PIECES) {
        for &byte in &piece[..piece.len().min(PIECE)] {
            counts[usize::from(byte)] += 1;
        }
    }
    let total: u64 = counts.iter().sum();
    let squares: u64 = counts.iter().map(|count| count * count).sum();
    256 * squares <= total * total + total * total / 16 + 256 * total
}
