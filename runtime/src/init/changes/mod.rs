//! What a step changed, as the entries of a layer: the same entries on every rung.
//!
//! # The rule
//! A layer is the smallest difference of two trees, the parent's and the one that the step left.
//! The parent's tree is what an overlay shows of the layers below, whatever the step ran upon. An
//! entry is emitted
//! - for what is there, if and only if its type, mode, owner, modification time (whole seconds,
//!   both sides clamped), kept attributes, link target, device number or content are not what the
//!   parent's tree has at that path;
//! - for a directory above an emitted entry, with all its metadata;
//! - as a whiteout for what is gone: one for a directory, nothing below it. There are no opaque
//!   marks: a directory that was removed and made again has whiteouts for the children that are
//!   gone. A directory in place of something else, and the reverse, is its own entry alone:
//!   unpackers replace what is there unless both are directories.
//!
//! Order: by the names of a path, each compared bytewise; so a directory's children follow it at
//! once, before `NAME-1`.
//!
//! # Hard links
//! Names of one file belong together. If all of them are names of one file in the parent's tree
//! too, and equal it, none is emitted; otherwise all are, the first as the file and the others as
//! links to it. Names that are *not* linked any more and otherwise equal are not emitted; where the
//! tree could be kept, it is not called reusable then. An overlay copies one name of several when
//! it is changed, so there the other names of a file of the layers below are not part of the change
//! (as with every builder upon overlay), while a plain tree shows that they changed with it. This
//! is the one known difference between the rungs.
//!
//! # How
//! Two readers find *candidates*: `overlay` takes every name of an upper directory, `walk` compares
//! a tree with a `snapshot` of it. What is missed there is lost; what is found too much costs time
//! and nothing else, because `judge` compares every candidate with the layers below and decides.
//! `candidates` lie in a file in between: hard links must be known before the first of them.
//!
//! On the way the tree is made equal to what is emitted, so that the next step can have it: times
//! become whole seconds and are clamped, sockets and access control lists are removed.

mod candidates;
mod descent;
mod groups;
mod judge;
mod object;
mod overlay;
mod snapshot;
mod walk;

pub(super) use descent::{Descent, Ignored};
pub(super) use overlay::emit;
pub(super) use snapshot::take as take_snapshot;
pub(super) use walk::{Walked, emit as emit_walked};

#[cfg(test)]
mod tests;
