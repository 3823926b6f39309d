//! Git's index, read into little memory.
//!
//! [`read`] streams the file once and keeps what is below the context: of each file its id, its stat
//! data and its mode in a record of 44 bytes, and its path as what differs from the path before it,
//! so that a million files take some 55 to 65 MB. No entry has an allocation of its own, and what is
//! resident is bounded by the length of the file, whatever counts and lengths it claims.
//!
//! Not here: writing, what other entries mean beyond [`State`], split and sparse indexes (both are
//! [`IndexError::Unsupported`]), and SHA-256 repositories.
//!
//! Invariants:
//! - An index is taken as a whole or not at all: its checksum is compared unless it is absent
//!   (`index.skipHash`), and entries must be in git's order.
//!
//! Format: git's "gitformat-index", versions 2, 3 and 4.

mod error;
mod files;
mod input;
mod paths;
mod read;

use error::IndexError;
pub(super) use files::{Files, Stat, State, Time};
pub(super) use paths::Near;
pub(super) use read::read;

#[cfg(test)]
mod tests;
