//! The verbs: each wires the parts together. Nothing here computes; what is decided is decided in
//! the modules below, and what is said goes through `output`.

mod build;
mod doctor;
mod inputs;
mod lending;
mod outside;
mod places;
mod program;
mod stdin;

pub use program::run;
