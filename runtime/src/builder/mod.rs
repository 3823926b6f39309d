//! What runs in the builder: it starts init, writes its id maps, and talks to it.
//!
//! The builder may have any number of threads. It never forks by itself and never touches a layer
//! tree; it only makes the directories around them.

mod agent;
mod chroot;
mod executor;
mod id_map;
mod lending;
mod orders;
mod overlay;
mod probe;
mod process;
mod roots;
mod sandbox;
mod scratch;
mod volume;

pub use executor::Executor;
pub use probe::probe;
pub use process::harden_builder;
pub use sandbox::Sandbox;
pub use scratch::{Scratch, clean_leftovers};
pub use volume::may_hold_upper;
