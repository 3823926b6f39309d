//! The integration tests, in one binary.
//!
//! They drive the program through its command line and look at what it has done with other
//! programs: Debian's `docker-registry`, `skopeo`, `runc` and `buildah`. `tests/run` installs them.

mod support;

mod bad_input;
mod committed;
mod compression;
mod contexts;
mod crashes;
mod cross_reading;
mod differential;
mod doors;
mod endings;
mod executor;
mod executor_registries;
mod faults;
mod fixtures_work;
mod flags;
mod fuzz;
mod heredocs;
mod indexes;
mod large_layers;
mod lfs;
mod log;
mod noop;
mod pods;
mod project;
mod real_job;
mod registries;
mod reproducible;
mod root_trees;
mod run_mounts;
mod tidy;
mod unpacking;
