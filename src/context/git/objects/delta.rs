//! Applying deltas while they are read.
//!
//! A delta is the sizes of the base and of the result, then instructions: copy a part of the base,
//! or insert bytes that follow ("Deltified representation" in git's "gitformat-pack").

use std::io::{self, BufRead as _, BufReader, Read};

use super::bases::{Base, BaseReader};
use super::error::malformed;
use super::inflate::Inflated;

/// How much of a delta is inflated at a time.
const BUFFER: usize = 8 << 10;
/// What the two sizes take at most.
pub(super) const SIZES: usize = 20;

/// The sizes of a delta's base and result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) base: u64,
    pub(super) result: u64,
}

impl Sizes {
    /// Reads them from the beginning of a delta.
    pub(super) fn parse(mut bytes: impl Read) -> io::Result<Self> {
        let base = size(&mut bytes)?;
        let result = size(&mut bytes)?;
        Ok(Self { base, result })
    }
}

/// Reads a number of seven bits a byte, the lowest first.
fn size(mut bytes: impl Read) -> io::Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = u64::from(next(&mut bytes)?);
        let part = byte & 0x7F;
        if part.leading_zeros() < shift {
            break;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(malformed("a size in its delta is too large"))
}

fn next(mut bytes: impl Read) -> io::Result<u8> {
    let mut byte = [0];
    match bytes.read_exact(&mut byte) {
        Ok(()) => Ok(byte[0]),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(malformed("its delta ends early"))
        }
        Err(error) => Err(error),
    }
}

/// What is left of an instruction.
#[derive(Clone, Copy, Debug)]
enum Instruction {
    Copy { at: u64, length: u64 },
    Insert { length: u64 },
}

/// The result of a delta.
#[derive(Debug)]
pub(super) struct Patched {
    base: BaseReader,
    delta: BufReader<Inflated>,
    current: Instruction,
    remaining: u64,
}

impl Patched {
    /// Applies `delta` to `base`; the result must have the size that was found before.
    pub(super) fn new(base: Base, delta: Inflated, expected: Sizes) -> io::Result<Self> {
        let mut delta = BufReader::with_capacity(BUFFER, delta);
        if Sizes::parse(&mut delta)? != expected {
            return Err(malformed("its delta changed while it was read"));
        }
        if expected.base != base.size() {
            return Err(malformed("its delta is for a base of another size"));
        }
        let current = Instruction::Insert { length: 0 };
        Ok(Self { base: BaseReader::new(base), delta, current, remaining: expected.result })
    }

    /// Reads the next instruction; nothing at the end.
    fn instruction(&mut self) -> io::Result<Option<Instruction>> {
        if self.delta.fill_buf()?.is_empty() {
            return match self.remaining {
                0 => Ok(None),
                _ => Err(malformed("its delta makes less than it says")),
            };
        }
        let instruction = match next(&mut self.delta)? {
            0 => return Err(malformed("its delta has an instruction that is not known")),
            code @ 1..0x80 => Instruction::Insert { length: code.into() },
            code => self.copy(code)?,
        };
        let (Instruction::Copy { length, .. } | Instruction::Insert { length }) = instruction;
        let left = self.remaining.checked_sub(length);
        self.remaining = left.ok_or_else(|| malformed("its delta makes more than it says"))?;
        Ok(Some(instruction))
    }

    fn copy(&mut self, code: u8) -> io::Result<Instruction> {
        let mut field = |bits: std::ops::Range<u32>| {
            let start = bits.start;
            bits.filter(|bit| code & (1 << bit) != 0).try_fold(0, |value, bit| {
                let byte = u64::from(next(&mut self.delta)?);
                Ok::<_, io::Error>(value | byte << (8 * (bit - start)))
            })
        };
        let at = field(0..4)?;
        let length = match field(4..7)? {
            0 => 0x1_0000,
            length => length,
        };
        match at + length <= self.base.size() {
            true => Ok(Instruction::Copy { at, length }),
            false => Err(malformed("its delta copies from beyond the end of its base")),
        }
    }
}

impl Read for Patched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            let most = |length: u64| usize::try_from(length).unwrap_or(usize::MAX);
            let count = match &mut self.current {
                Instruction::Insert { length: 0 } | Instruction::Copy { length: 0, .. } => {
                    match self.instruction()? {
                        Some(instruction) => self.current = instruction,
                        None => break,
                    }
                    continue;
                }
                Instruction::Copy { at, length } => {
                    let wanted = rest.len().min(most(*length));
                    let count = self.base.read_at(&mut rest[..wanted], *at)?;
                    *at += count as u64;
                    *length -= count as u64;
                    count
                }
                Instruction::Insert { length } => {
                    let wanted = rest.len().min(most(*length));
                    let count = self.delta.read(&mut rest[..wanted])?;
                    *length -= count as u64;
                    count
                }
            };
            if count == 0 {
                return Err(malformed("its delta ends early"));
            }
            filled += count;
        }
        Ok(filled)
    }
}
