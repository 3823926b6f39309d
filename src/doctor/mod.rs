//! What a pod can do for a build, from values to an answer for people and programs.
//!
//! - `diagnosis` puts together what the probe found, the rungs, and what would help;
//! - `steps` finds what the instructions of a Dockerfile need;
//! - `text` writes the answer for a terminal or an issue.
//!
//! Nothing here tries anything or reads a file: the probe is the runtime crate's.

mod diagnosis;
mod steps;
mod text;

pub use diagnosis::{Climb, Diagnosis, FileReport, PodReport, RungReport, StepReport, WorkReport};
pub use text::text;
