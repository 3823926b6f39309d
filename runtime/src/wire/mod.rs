//! The socket between the builder and init.
//!
//! A conversation is: one [`Order`], a map handshake, then whatever the order streams (entries in
//! or out, an interrupt), then one [`Reply`]. Frames are a tag byte, a little-endian 32-bit length
//! and that many bytes; both sides bound every length before they allocate. The format is private
//! to one executable talking to itself: it has no version and nothing stores it.
//!
//! Invariant: no frame is larger than [`MAX_FRAME`], no content chunk than [`MAX_CHUNK`].

mod codec;
mod entries;
mod frame;
mod mounts;
mod order;
mod reply;
#[cfg(test)]
mod tests;

pub(crate) use entries::{EntryReader, EntryWriter};
pub(crate) use frame::{Tag, receive, send};
pub(crate) use order::{Order, RunOrder, World};
pub(crate) use reply::{Failure, FailureKind, OrFail, Reply};

/// Largest frame that either side takes.
pub(crate) const MAX_FRAME: usize = 8 << 20;
/// Largest piece of a file's content in one frame.
pub(crate) const MAX_CHUNK: usize = 128 << 10;
