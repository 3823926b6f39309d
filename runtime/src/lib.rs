//! Runs the steps of an image build in whatever pod it finds itself in.
//!
//! The crate knows no tokio, no registry, no git and no Kubernetes: it is blocking, takes plain
//! values and speaks [`entry::Entry`] on both sides.

pub mod entry;
