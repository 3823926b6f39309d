//! `RUN --mount`: takes what is to be mounted, finds where, and attaches it.
//!
//! Where nothing can be mounted, `grafts` does the same another way and takes from here what does not
//! need a mount: the order of targets, and where they lead.
//!
//! - `sources`: everything that is mounted becomes a detached mount while the pod's root is there.
//! - `points`: where in the image each goes. Links are followed inside the image (`walk`), and what
//!   is missing goes into the stub layer, or into the mount that lies around it.
//! - `fill`: the first content of a cache directory.
//!
//! Invariant: a target is a path without links by the time it is mounted on, so nothing is ever
//! attached outside of the step's root.

mod fill;
mod points;
mod sources;
mod walk;

pub(super) use fill::fill;
pub(super) use points::{Placed, mismatch, place};
pub(super) use sources::{Taken, in_order, own, plain_directory, refused, take};
pub(super) use walk::follow;
