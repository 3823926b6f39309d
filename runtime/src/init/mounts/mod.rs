//! `RUN --mount`: takes what is to be mounted, finds where, and attaches it.
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

pub(super) use points::{Placed, place};
pub(super) use sources::{EMPTY, take};

use std::path::Path;

use crate::wire::{Failure, FailureKind};

/// The failure of the mount with this target, which the author of the Dockerfile can do something
/// about.
fn refused(target: &Path, reason: impl Into<String>) -> Failure {
    Failure {
        kind: FailureKind::Mount,
        action: target.display().to_string(),
        errno: 0,
        detail: reason.into(),
    }
}
