//! Building: one demand-driven function, [`Engine::obtain`], that looks a stage up or else awaits
//! its inputs, builds it and publishes it.
//!
//! Invariants: every stage is obtained at most once a build; no permit is held while waiting for
//! another stage or for a lock; a pointer is written after its stage and a stage after its blobs;
//! what is reported is what the pointer says, not what was pushed.

mod accounts;
mod archive;
mod bound;
mod caches;
mod context_archive;
mod copy;
mod deliver;
mod descent;
mod engine;
mod error;
mod extract;
mod indexes;
mod layers;
mod mounting;
mod picks;
mod placement;
mod publish;
mod run;
mod sending;
mod step_hints;
#[cfg(test)]
mod tests;
mod tree;
mod unpacking;
mod work_dir;

pub use context_archive::{ArchiveLimits, ContextArchive, ContextArchiveError};
pub use deliver::{Delivered, Delivery, Destination, deliver};
pub use engine::{Built, Engine, EngineOptions, Surroundings};
pub use error::{BuildError, TOO_FEW_PROCESSES};
pub use mounting::Lent;
pub use work_dir::{BuildDir, WorkDir, WorkDirError};
