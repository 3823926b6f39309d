//! The product's voice: one closed set of events, said to a human or as JSON lines.
//!
//! Events go to standard error, results (one line an image) to standard output, so that a script
//! can read the result of a build that logs. Nothing else in the program prints.

mod event;
mod human;
mod json;
mod voice;

pub use event::{Bytes, Event, Outcome, StepStream};
pub use voice::{Format, Level, Voice, log_libraries};
