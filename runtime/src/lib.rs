//! Runs the steps of an image build in whatever pod it finds itself in.
//!
//! The crate knows no tokio, no registry, no git and no Kubernetes: it is blocking, takes plain
//! values and speaks [`entry::Entry`] on both sides.
//!
//! # Bird's eye
//! Three processes take part in a step. The *builder* holds credentials and has threads. The
//! *init* is the same executable started anew under a hidden name (see [`enter_if_init`]): it has
//! one thread, an empty environment and one socket, moves into its own namespaces, supervises and
//! reaps. *RUN* is the command of the step, a child of init that sees only the root file system of
//! the image.
//!
//! - [`probe`] tries the kernel mechanisms by doing; [`choose`] maps what works to a [`Rung`];
//!   [`Sandbox`] executes on that rung through an [`Executor`].
//! - `builder/` is what runs in the builder: starting init, writing id maps, feeding entries.
//! - `init/` is what runs inside: unpacking, mounting, launching, supervising, emitting changes.
//! - `wire/` is the socket between the two.
//!
//! Invariant: layer trees are only ever read and written by init, inside the user namespace; so
//! owners are right whether the builder is root or has subordinate ids.
//!
//! Invariant: init has exactly one thread, so `fork` is an ordinary call there and only there.
//!
//! Invariant: when the builder dies, however it dies, init's socket closes and init ends the step.

pub mod entry;

mod builder;
mod capabilities;
mod error;
mod init;
mod ladder;
mod step;
mod wire;

pub use builder::{
    Executor, Sandbox, Scratch, clean_leftovers, harden_builder, may_hold_upper, probe,
};
pub use capabilities::{Capabilities, Map, Mechanism};
pub use error::Error;
pub use init::enter_if_init;
pub use ladder::{Choice, Lack, Refusal, Rung, choose};
pub use step::{ChangeStats, Network, StepExit, StepSpec, Stream, UnpackStats};
