//! The directories that an order works in, held for as long as init lives.
//!
//! A builder may be killed while its init works; then init dies too, but a moment later. Whoever
//! removes what a dead builder has left must not do so meanwhile: init could give the name of a
//! finished layer to a tree that is half removed. So init holds a shared flock(2) on the directory,
//! and the janitor (see `builder::scratch`) takes an exclusive one before it renames and removes.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::wire::{Failure, Order};

/// What is held; the kernel lets go of it when init ends.
#[derive(Debug)]
pub(super) struct Held {
    _places: Vec<File>,
}

/// Holds the places of `order`. One that is not there yet, or whose file system has no locks, is
/// not held.
pub(super) fn hold(order: &Order) -> Result<Held, Failure> {
    let mut places = Vec::new();
    for path in places_of(order).into_iter().flatten() {
        let Ok(place) = File::open(path) else { continue };
        if flock(&place, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK) {
            let action = format!("cannot use {}: it is being removed", path.display());
            return Err(Failure::new(action, Errno::WOULDBLOCK));
        }
        places.push(place);
    }
    Ok(Held { _places: places })
}

/// The scratch directory that an order works in is one of these.
fn places_of(order: &Order) -> [Option<&Path>; 2] {
    match order {
        Order::Probe { work_root } => [Some(work_root), None],
        Order::Unpack { dest: path, .. }
        | Order::Settle { from: path, .. }
        | Order::Move { from: path, .. }
        | Order::Changes { upper: path, .. } => [path.parent(), None],
        Order::Run(order) => [Some(&order.scratch), None],
        Order::Walk { scratch, .. } => [Some(scratch), None],
        // A whole scratch directory, or something in one.
        Order::Remove { path } => [Some(path), path.parent()],
    }
}
