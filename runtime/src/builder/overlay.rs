//! The rung `overlay-full`, seen from the builder.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::executor::{Executor, Feed, Output};
use super::lending;
use super::orders::{Orders, absolute, absolute_all, run_order};
use super::scratch;
use crate::Error;
use crate::entry::EntrySink;
use crate::step::{ChangeStats, StepExit, StepSpec, UnpackStats};
use crate::wire::{Order, World};

/// Steps over an overlay in a user namespace with many ids.
#[derive(Debug)]
pub(super) struct Overlay {
    orders: Orders,
    fresh_proc: bool,
}

impl Overlay {
    pub(super) fn new(init: PathBuf, fresh_proc: bool) -> Self {
        Self { orders: Orders::new(init, World::Namespaces), fresh_proc }
    }
}

impl Executor for Overlay {
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
        let order = run_order(step, mounts, self.fresh_proc)?;
        self.orders.run(order, step.timeout, output, interrupt)
    }

    fn changes(&self, step: &StepSpec, sink: &mut dyn EntrySink) -> Result<ChangeStats, Error> {
        let order = Order::Changes {
            upper: absolute(&scratch::upper(&step.scratch))?,
            lowers: absolute_all(&step.lowers)?,
            clamp_mtime: step.clamp_mtime,
        };
        self.orders.changes(&order, sink)
    }

    fn keep(&self, step: &StepSpec, dest: &Path) -> Result<(), Error> {
        self.rename(&scratch::upper(&step.scratch), dest)
    }

    fn keep_unchanged(&self, _step: &StepSpec) -> Result<(), Error> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.orders.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        self.orders.remove(path)
    }
}
