//! The rung `chroot`, seen from the builder: steps in a tree that is made by copying, without any
//! namespace or mount.
//!
//! Layer directories are the same as on the other rungs. What is new are root trees: a step takes
//! over the tree that an earlier one left, if there is one for its parent (see `roots`), and hands
//! it on when its changes were read, so that a chain of steps copies its base once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::executor::{Executor, Feed, Output};
use super::lending;
use super::orders::{Orders, absolute, absolute_all, run_order};
use super::roots::{self, Roots};
use super::scratch;
use crate::Error;
use crate::entry::EntrySink;
use crate::init::{ASIDE, GRAFTS, TREE, give_back};
use crate::step::{ChangeStats, StepExit, StepSpec, UnpackStats};
use crate::wire::{Order, World};

/// Steps in root trees, as root of the pod.
#[derive(Debug)]
pub(super) struct Chroot {
    orders: Orders,
    roots: Roots,
}

impl Chroot {
    pub(super) fn new(init: PathBuf, work_root: &Path) -> Self {
        Self { orders: Orders::new(init, World::Pod), roots: Roots::new(work_root) }
    }

    /// Hands the tree of a step on as the view of `layers`, and removes what is too much then.
    fn hand_on(&self, step: &StepSpec, layers: &[PathBuf]) -> Result<(), Error> {
        self.roots.give(&step.scratch, &absolute_all(layers)?)?;
        self.keep_only(roots::KEPT, step).map(drop)
    }

    /// Removes all trees that wait for somebody, and what there is of the step's own; whether there
    /// is more room now.
    fn make_room(&self, step: &StepSpec) -> Result<bool, Error> {
        let has_room = self.keep_only(0, step)? > 0;
        for name in [TREE, ASIDE, GRAFTS] {
            self.orders.remove(&step.scratch.join(name))?;
        }
        Ok(has_room)
    }

    /// Removes the oldest trees but `count`; returns how many went.
    fn keep_only(&self, count: usize, step: &StepSpec) -> Result<usize, Error> {
        let surplus = self.roots.surplus(count, &step.scratch)?;
        surplus.iter().try_for_each(|tree| self.orders.remove(tree))?;
        Ok(surplus.len())
    }
}

/// Whether a step could not be set up for want of room; a step that fails itself is no error.
fn is_disk_full(error: &Error) -> bool {
    matches!(error, Error::Sandbox { source, .. } if source.raw_os_error() == Some(libc::ENOSPC))
}

impl Executor for Chroot {
    fn unpack(
        &self,
        dest: &Path,
        lowers: &[PathBuf],
        feed: &mut Feed<'_>,
    ) -> Result<UnpackStats, Error> {
        self.orders.unpack(dest, lowers, feed)
    }

    fn unpack_apart(&self, dest: &Path, feed: &mut Feed<'_>) -> Result<UnpackStats, Error> {
        self.orders.unpack_apart(dest, feed)
    }

    fn settle(&self, from: &Path, lowers: &[PathBuf], to: &Path) -> Result<(), Error> {
        self.orders.settle(from, lowers, to)
    }

    fn run(
        &self,
        step: &StepSpec,
        output: &mut Output<'_>,
        interrupt: &AtomicBool,
    ) -> Result<StepExit, Error> {
        let (mounts, _agents) = lending::prepare(step)?;
        let order = run_order(step, mounts, false)?;
        self.roots.take(&order.lowers, &step.scratch)?;
        let mut attempt = || {
            let ran = self.orders.run(order.clone(), step.timeout, output, interrupt);
            if ran.is_err() {
                // A tree that could not be put in order may have caches in it.
                give_back(&step.scratch);
            }
            ran
        };
        match attempt() {
            Err(error) if is_disk_full(&error) && self.make_room(step)? => attempt(),
            ran => ran,
        }
    }

    fn changes(&self, step: &StepSpec, sink: &mut dyn EntrySink) -> Result<ChangeStats, Error> {
        let order = Order::Walk {
            scratch: absolute(&step.scratch)?,
            lowers: absolute_all(&step.lowers)?,
            clamp_mtime: step.clamp_mtime,
        };
        self.orders.changes(&order, sink)
    }

    fn keep(&self, step: &StepSpec, dest: &Path) -> Result<(), Error> {
        let kept = self.rename(&scratch::upper(&step.scratch), dest);
        // Whoever was faster to make the same layer: the tree is its view all the same.
        if kept.is_err() && !dest.exists() {
            return kept;
        }
        let mut layers = step.lowers.clone();
        layers.push(dest.to_owned());
        self.hand_on(step, &layers)?;
        kept
    }

    fn keep_unchanged(&self, step: &StepSpec) -> Result<(), Error> {
        self.hand_on(step, &step.lowers)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        // Root of the pod may rename whatever it likes, so nobody else is needed.
        let action = format!("cannot rename {} to {}", from.display(), to.display());
        fs::rename(from, to).map_err(|source| Error::Sandbox { action, source })
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        // As a rule the tree was handed on and the layer kept, so that nothing is left.
        match fs::remove_dir(path) {
            Ok(()) => Ok(()),
            Err(_) => self.orders.remove(path),
        }
    }
}
