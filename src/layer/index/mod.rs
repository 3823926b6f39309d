//! Layer indexes: what must be known of a base image without unpacking it.
//!
//! A [`LayerIndex`] is made while one layer streams past and is stored next to it; a
//! [`MergedIndex`] is a stack of them, as the image's file system would look.

mod format;
mod layer_index;
mod merged;
mod resolve;

pub use format::{INDEX_LIMIT, IndexError};
pub use layer_index::{IndexEntry, IndexKind, IndexSink, LayerIndex};
pub use merged::{AccountsFile, Found, MergedIndex};
pub use resolve::LoopError;

#[cfg(test)]
mod tests;
