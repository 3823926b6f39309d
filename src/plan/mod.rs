//! Planning: from a Dockerfile and a context to stages whose digests are all known before
//! anything is built.
//!
//! [`resolve`] is the only part that reaches out (base manifests and configs); the rest is pure.
//! Invariants: a stage's inputs have smaller ids than the stage; stages with the same digest are
//! one stage; a digest depends on everything that can change the stage's layer and on nothing else
//! (the table is in `digest`).

mod ahead;
mod base_cache;
mod copying;
mod digest;
mod graph;
mod lower;
mod metadata;
mod resolve;
mod scope;
mod stage;
#[cfg(test)]
pub(crate) mod tests;

pub use ahead::Ahead;
pub use base_cache::BaseCache;
pub use digest::Inputs;
pub use graph::{Graph, ImageSource, Source, graph, stage_name};
pub use lower::{ImageRequest, PlanError, lower};
pub use resolve::{Base, ResolveError, resolve};
pub use scope::{DEFAULT_PATH, Given, Scope};
pub use stage::{
    BaseId, CopyKind, CopySource, CopyStep, FileTimes, HistoryStep, ImagePlan, InlineFile, Parent,
    Place, Plan, RunStep, StageId, StageSpec, Step, Times, WorkdirStep,
};
