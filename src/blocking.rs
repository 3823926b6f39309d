//! The one door from async code to blocking work (git, tar, deflate, hashing, files, processes).
//!
//! Invariant: nothing else calls `spawn_blocking`. A panic in the work continues in the caller;
//! work is not cancelled by dropping the future, so long work polls an [`Interrupt`].

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once when the build is to end early; shared by everything that may take long.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks all work to end.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether work is to end.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The flag itself, for crates that take a plain one.
    pub fn flag(&self) -> &AtomicBool {
        &self.0
    }
}

/// Runs `work` on a thread of its own and waits for it.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => resume_unwind(error.into_panic()),
    }
}
