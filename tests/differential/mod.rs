//! Random projects built by longshore through each of its doors and by Debian's buildah, and
//! compared field by field.
//!
//! A seed makes a [`case::Case`]; a failing one is shrunk and printed as JSON. To keep it, write
//! the JSON to `tests/fixtures/differential/NAME.json`: every file there is built on every run.
//! `tests/run` tries a few fresh seeds, `tests/run --campaign N` many.

mod buildah;
mod case;
mod compare;
mod doors;
mod generator;
mod runs;
mod shrink;
mod steps;
