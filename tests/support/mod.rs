//! What the integration tests share: hermetic commands, real registries, base images, git
//! repositories, and the reading of built images.
//!
//! Nothing here knows how longshore works inside: its command line is the only way in.

pub(crate) mod base;
pub(crate) mod busybox;
pub(crate) mod command;
pub(crate) mod fake_registry;
pub(crate) mod flat;
pub(crate) mod git;
pub(crate) mod git_server;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod layout;
pub(crate) mod longshore;
pub(crate) mod normal;
pub(crate) mod pods;
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod registry;
pub(crate) mod runc;
pub(crate) mod sandbox;
pub(crate) mod slow_proxy;
pub(crate) mod stall;
pub(crate) mod tarball;
pub(crate) mod variables;

pub(crate) use git::Git;
pub(crate) use image::Image;
pub(crate) use longshore::{
    built_reference, executor, is_root, linked_executor, longshore, longshore_as_plain_user,
    longshore_on_tmpfs, longshore_through, longshore_with_one_id,
};
pub(crate) use registry::{Access, Registry};
pub(crate) use sandbox::Sandbox;
