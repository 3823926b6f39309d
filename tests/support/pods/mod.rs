//! Pods, simulated with `runc`: the security contexts that real clusters give to a container.
//!
//! - `environment`: the table of them;
//! - `denial`: one mechanism of the kernel taken away from any of them;
//! - `seccomp`: the system call filters, `RuntimeDefault` among them;
//! - `specification`: the container's `config.json`;
//! - `root`: the root file system;
//! - `pod`: running a command in one.

mod denial;
mod environment;
mod pod;
mod root;
mod seccomp;
mod specification;

pub(crate) use denial::Denial;
pub(crate) use environment::{ALL, Environment, Filter};
pub(crate) use pod::{CONTEXT, DOCKER_CONFIG, LONGSHORE, Pod, TOKEN_PATH, can_run, skipped};
