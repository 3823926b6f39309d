//! Sorted paths in one array of bytes.
//!
//! Each path is stored as how many bytes it shares with the one before it and what follows them; the
//! first of each block of [`BLOCK`] shares nothing, so that blocks can be searched by halves.

use std::cmp::Ordering;

/// How many paths make a block.
const BLOCK: usize = 16;

/// Where a path was looked for.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::context::git) struct Near {
    block: usize,
}

/// Paths in the order of their bytes.
#[derive(Debug, Default)]
pub(super) struct Paths {
    bytes: Vec<u8>,
    /// Where the blocks begin.
    blocks: Vec<u64>,
    count: usize,
    /// The last path while there may come more.
    last: Vec<u8>,
}

impl Paths {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The last path that was added.
    pub(super) fn last(&self) -> Option<&[u8]> {
        (self.count > 0).then_some(&self.last)
    }

    /// Adds a path, which must be above the last one.
    pub(super) fn push(&mut self, path: &[u8]) {
        let shared = match self.count.is_multiple_of(BLOCK) {
            true => {
                self.blocks.push(self.bytes.len() as u64);
                0
            }
            false => common(&self.last, path),
        };
        let rest = &path[shared..];
        self.number(shared);
        self.number(rest.len());
        self.bytes.extend_from_slice(rest);
        self.last.truncate(shared);
        self.last.extend_from_slice(rest);
        self.count += 1;
    }

    /// Gives back memory that was set aside.
    pub(super) fn finish(&mut self) {
        self.bytes.shrink_to_fit();
        self.blocks.shrink_to_fit();
        self.last = Vec::new();
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity() + self.blocks.capacity() * size_of::<u64>()
    }

    /// Seven bits a byte, the lowest first.
    fn number(&mut self, mut value: usize) {
        while value > 0x7F {
            self.bytes.push((value & 0x7F) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// The number of a path, looked for first in the block of the last one that was, and after it.
    pub(super) fn find(&self, wanted: &[u8], near: &mut Near) -> Option<usize> {
        let begins_by = |block: usize| {
            let start = self.blocks.get(block);
            start.is_some_and(|&start| self.entry(start).1 <= wanted)
        };
        let block = match near.block {
            block if !begins_by(block) => None,
            block if !begins_by(block + 1) => Some(block),
            block if !begins_by(block + 2) => Some(block + 1),
            _ => None,
        };
        let search = || {
            let after = self.blocks.partition_point(|&start| self.entry(start).1 <= wanted);
            after.checked_sub(1)
        };
        let block = block.or_else(search)?;
        near.block = block;
        let mut at = self.blocks[block];
        // How much of the path is that of the last one looked at, which is below it.
        let mut matched = 0;
        for number in block * BLOCK..self.count.min((block + 1) * BLOCK) {
            let (shared, rest, next) = self.entry(at);
            at = next;
            match shared.cmp(&matched) {
                // It differs from the last where that differs from what is wanted, or later.
                Ordering::Greater => continue,
                // It is above the last in a byte that the last and what is wanted have in common.
                Ordering::Less => return None,
                Ordering::Equal => {}
            }
            let tail = &wanted[matched..];
            match rest.cmp(tail) {
                Ordering::Equal => return Some(number),
                Ordering::Greater => return None,
                Ordering::Less => matched += common(rest, tail),
            }
        }
        None
    }

    /// What an entry shares, what follows, and where the next one is.
    fn entry(&self, at: u64) -> (usize, &[u8], u64) {
        let at = usize::try_from(at).expect("positions of an array fit");
        let mut ahead = self.bytes[at..].iter();
        let shared = number(&mut ahead);
        let length = number(&mut ahead);
        let (rest, ahead) = ahead.as_slice().split_at(length);
        (shared, rest, (self.bytes.len() - ahead.len()) as u64)
    }
}

fn number(bytes: &mut std::slice::Iter<'_, u8>) -> usize {
    let mut value = 0;
    for (shift, byte) in (0..).step_by(7).zip(bytes) {
        value |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
