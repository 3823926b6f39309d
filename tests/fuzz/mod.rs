//! Fuzzing of what reads bytes of unknown origin: the tar reader, the layer index and the
//! Dockerfile parser.
//!
//! What a target checks is in `bodies`. The ordinary suite runs it on the corpora and on mutations
//! of them (`corpora`); libFuzzer runs it through `fuzz_targets`, a workspace of its own, with
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz tar_reader` at the top of the repository.

mod bodies;
mod corpora;
