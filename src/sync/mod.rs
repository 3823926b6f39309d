//! Synchronization: locks between builders of one project.
//!
//! Correctness never depends on a lock: stages are addressed by content and read back after
//! publishing. A lock saves work and settles ties. Lock names are those of werf's generic layout:
//! `PROJECT.DIGEST` around the publishing of a stage, `PROJECT.image/NAME` around moving tags.

mod address;
mod local;
mod locks;

pub use address::{Address, AddressError};
pub use local::LocalLocks;
pub use locks::{Held, Locks, SyncError, Synchronization};
