//! The seam between the ladder's rungs and everything above them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use crate::Error;
use crate::entry::EntrySink;
use crate::step::{ChangeStats, StepExit, StepSpec, Stream, UnpackStats};

/// Pushes the entries of one layer into a sink.
pub(super) type Feed<'a> = dyn FnMut(&mut dyn EntrySink) -> io::Result<()> + 'a;

/// Takes what a step prints.
pub(super) type Output<'a> = dyn FnMut(Stream, &[u8]) + 'a;

/// One rung: how layers become directories, steps run and changes are read.
///
/// Every rung yields the same entries for the same step. All methods block.
pub trait Executor: fmt::Debug + Send + Sync {
    /// Unpacks the layer that `feed` pushes into the new directory `dest`, to lie above `lowers`.
    ///
    /// # Errors
    /// When `feed` fails, or the tree cannot be written; `dest` may be left half-made.
    fn unpack(
        &self,
        dest: &Path,
        lowers: &[PathBuf],
        feed: &mut Feed<'_>,
    ) -> Result<UnpackStats, Error>;

    /// Unpacks the layer that `feed` pushes into the new directory `dest`, whatever it will lie
    /// above; it is no layer before [`Executor::settle`].
    ///
    /// # Errors
    /// As [`Executor::unpack`].
    fn unpack_apart(&self, dest: &Path, feed: &mut Feed<'_>) -> Result<UnpackStats, Error>;

    /// Gives `from`, which was unpacked apart, what it takes from `lowers`, and renames it.
    ///
    /// # Errors
    /// When the tree cannot be written, or the rename fails.
    fn settle(&self, from: &Path, lowers: &[PathBuf], to: &Path) -> Result<(), Error>;

    /// Runs a step.
    ///
    /// # Errors
    /// When it cannot be started, its supervisor is lost, or `interrupt` is set.
    fn run(
        &self,
        step: &StepSpec,
        output: &mut Output<'_>,
        interrupt: &AtomicBool,
    ) -> Result<StepExit, Error>;

    /// Emits what a step changed.
    ///
    /// # Errors
    /// When the sink fails or the tree cannot be read.
    fn changes(&self, step: &StepSpec, sink: &mut dyn EntrySink) -> Result<ChangeStats, Error>;

    /// Moves the changes of a step to the layer directory `dest`, and hands on what the rung has
    /// to hand on to the next step.
    ///
    /// # Errors
    /// When the rename fails, as between file systems.
    fn keep(&self, step: &StepSpec, dest: &Path) -> Result<(), Error>;

    /// Hands on what the rung has to hand on of a step that changed nothing.
    ///
    /// # Errors
    /// When it cannot be handed on.
    fn keep_unchanged(&self, step: &StepSpec) -> Result<(), Error>;

    /// Renames a layer directory, whoever owns it.
    ///
    /// # Errors
    /// When the rename fails, as between file systems.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error>;

    /// Removes a tree, whoever owns what in it.
    ///
    /// # Errors
    /// When something in it cannot be removed; that the tree does not exist is no error.
    fn remove(&self, path: &Path) -> Result<(), Error>;
}
