//! Contexts in repositories elsewhere: one commit is fetched, without history and without checkout.
//!
//! What arrives is a repository with a single pack and a HEAD, which the rest of `context` reads as
//! it reads any other. This is a client of git's own protocol ("protocol-v2", "protocol-pack",
//! "protocol-http" and "protocol-common" of git's technical documentation): version 2, and version
//! 0 for servers that have no other or never hear of it (an ssh server that passes no environment
//! on). libgit2, which could do it too, would need transports registered with unsafe code.
//!
//! - [`RemoteAddress`]: what may be named, in docker's spelling. Pure.
//! - [`fetch`]: connects, finds the commit, stores the pack.
//!
//! Invariants:
//! - Credentials go to the host that they are for, never further (redirects), and never into
//!   errors, logs or the arguments of a program.
//! - The ids of all objects are computed from what came; what arrived is the commit that was asked
//!   for, or nothing is built.
//! - Nothing resident grows with the repository, but libgit2's index of the pack's objects; a list
//!   of references is read as it comes.
//! - No configuration of git or of the repository is read; `ssh` reads its own.
//!
//! Not here: submodules, LFS, bundles, the "dumb" HTTP protocol, SHA-256 repositories.

mod address;
mod connection;
mod credentials;
mod daemon;
mod error;
mod fetch;
mod http;
mod pack;
mod packets;
mod server;
mod ssh;

pub use address::{AddressError, RemoteAddress, Revision};
pub use connection::Doors;
pub use credentials::Credentials;
pub use error::RemoteError;
pub use fetch::{ClientError, FetchedContext, RemoteContext, fetch};
