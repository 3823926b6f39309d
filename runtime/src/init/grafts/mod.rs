//! `RUN --mount` where nothing can be mounted: what a step is to see is moved into its root tree,
//! and moved out again when its last process has ended.
//!
//! - `sources`: what is to be seen is made complete in the scratch directory first: binds are
//!   copies, a tmpfs is a directory, a cache is the cache itself. Secrets are never on a disk: only
//!   the place of one is taken, by a socket that nobody listens to, and whoever answers the calls of
//!   the step gives the content.
//! - `placing`: where each goes is found as on the other rungs (`mounts`). What the image has there
//!   is moved aside, and put back afterwards; directories that are only the way there are removed
//!   again unless the step has put something of its own into them. Directories that this touches
//!   keep the times that the image, and then the step, gave them.
//! - `caches`: sees to it that a cache outlives a step that is killed, and shares no file with the
//!   tree.
//!
//! # What is different from a mount
//! - What is mounted read-only can be written by root. Nothing of it is kept.
//! - The size of a tmpfs is not kept to, and it is on disk.
//! - Names can be moved and linked between the image and what is mounted, where a mount answers
//!   `EXDEV`; and what is mounted can be removed or renamed itself, where a mount answers `EBUSY`.
//!   The layer never has any of it, and gets back what the image has in that place.
//! - A cache can be in one place at a time: who uses it, has it alone.

mod caches;
mod placing;
mod sources;

pub(crate) use caches::give_back;
pub(super) use placing::Grafts;
