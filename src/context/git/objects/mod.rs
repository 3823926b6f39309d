//! Git's object store, read with bounded memory.
//!
//! [`Store`] finds an object among loose files and packs and streams its content. Nothing is mapped
//! and nothing that is resident grows with an object: files are read at positions, whole objects
//! are inflated while they are read, and of a deltified object only the base is needed at random: in
//! memory when it is small, else in an unnamed file of the scratch directory, which holds two
//! objects at most at a time. Of pack indexes 4 MiB are held in memory; the others stay on disk but
//! for their 1 KiB fan-out tables.
//!
//! Not here: writing, looking for shortened ids, SHA-256 repositories, and fetching what a partial
//! clone lacks. A multi-pack index is not needed, as every pack keeps its own.
//!
//! Invariants:
//! - A reader gives out the last byte of an object only after the whole had the object's id; a
//!   caller must read to the end before it uses what it got. Sizes that lie, truncated packs, deltas
//!   that reach beyond their base, chains without an end and indexes that lie are errors that name
//!   the object and the file. The sizes that [`Store::header`] and [`Store::size`] tell come
//!   from headers alone.
//! - Work and memory before the first byte are bounded by what is stored, never by a number in it.
//!
//! Formats: git's "gitformat-pack" (packs, their indexes of version 1 and 2, deltas) and
//! "gitformat-loose".

mod bases;
mod delta;
mod error;
mod inflate;
mod kind;
mod loose;
mod pack;
mod pack_index;
mod reader;
mod store;

pub(super) use error::ObjectError;
pub(super) use kind::ObjectKind;
pub(super) use pack::Ahead;
pub(super) use reader::ObjectReader;
pub(super) use store::{Snapshot, Store};

#[cfg(test)]
pub(super) mod tests;
