//! Layer indexes: what must be known of a base image without unpacking it.
//!
//! A [`LayerIndex`] is made while one layer streams past; an [`IndexArtifact`] is how storage keeps
//! it; a [`MergedIndex`] is a stack of them, as the image's file system would look.
//!
//! An index names files, their sizes, owners and modes, but has no digests of their content: what
//! is taken out of a layer is verified by the layer's own digests.

mod artifact;
mod format;
mod layer_index;
mod merged;
mod resolve;

pub use artifact::{
    ARTIFACT_MANIFEST, ArtifactBlob, ArtifactError, EMPTY_CONFIG, IndexArtifact, STORED_LIMIT,
    index_tag, read_artifact,
};
pub use format::{INDEX_LIMIT, IndexError};
pub use layer_index::{IndexEntry, IndexKind, IndexSink, IndexTee, LayerIndex};
pub use merged::{AccountsFile, Found, MergedIndex};
pub use resolve::LoopError;

#[cfg(test)]
mod tests;
