//! A client of the OCI distribution API: manifests, blobs, uploads, mounts, tokens, mirrors.
//!
//! Purpose: everything longshore says to a registry goes through [`Registry`]. It speaks the OCI
//! distribution specification 1.1 ("the spec" below), Docker's token authentication and, for
//! credentials, the `config.json` of the Docker CLI (also containers' `auth.json`).
//!
//! It does not interpret manifests, does not choose a platform from an index, does not read the
//! environment (proxy variables are read by the HTTP library), and starts no processes.
//!
//! Invariants:
//! - every byte that is handed out was checked against the digest it was asked by;
//! - no blob is ever held in memory: files are streamed in pieces of at most 256 KiB;
//! - credentials go to the registry's own origin and to the token service it names, never further
//!   (redirects, upload locations on other hosts), and never into errors or logs;
//! - retries happen in `retry` only, with one predicate ([`RegistryError::is_transient`]).
//!
//! Schemes: a registry is spoken to over HTTPS. For hosts that the options call insecure, and for
//! loopback hosts (`localhost`, `127.0.0.0/8`, `[::1]`), the first contact tries HTTPS and falls
//! back to plain HTTP when no TLS connection comes about; a certificate that is not trusted is
//! never a reason to fall back.

mod answer;
mod arrival;
mod auth;
mod challenge;
mod client;
mod credentials;
mod download;
mod error;
mod keyring;
mod location;
mod manifests;
mod mirrors;
mod options;
mod partial;
mod pipe;
mod resolve;
mod retry;
mod secret;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod upload;
mod web;

pub use arrival::{Arrival, Follower};
pub use client::{Registry, Side};
pub use error::{Answer, NetworkError, RegistryError};
pub use manifests::{ManifestHead, RawManifest};
pub use mirrors::{Mirror, MirrorError};
pub use options::{ClientCertificate, RegistryOptions};
pub use pipe::{BlobReader, BlobWriter, blob_pipe};
pub use resolve::{Resolved, ResolvedHead};
pub use secret::Secret;
pub use upload::{BlobFile, Pushed};
pub use web::WebClients;
