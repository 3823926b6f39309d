//! The public face: a work directory, the rung that it can take, and the operations on it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::chroot::Chroot;
use super::executor::{Executor, Feed, Output};
use super::overlay::Overlay;
use super::probe::{probe, probe_once, probe_with};
use super::scratch::{self, Scratch};
use crate::entry::EntrySink;
use crate::ladder::{Choice, Needs, Rung, choose};
use crate::step::{ChangeStats, StepExit, StepSpec, UnpackStats};
use crate::{Capabilities, Error};

/// The executable of the calling process, also when its file is gone.
pub(super) const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// Runs steps in one work directory. Can be used from several threads at once.
#[derive(Debug)]
pub struct Sandbox {
    choice: Choice,
    rung: Rung,
    work_root: PathBuf,
    executor: Option<Box<dyn Executor>>,
    capabilities: Capabilities,
}

impl Sandbox {
    /// Opens the work directory `work_root`, makes it when missing, and takes the best rung that
    /// `choice` allows. The program must call [`crate::enter_if_init`] first thing in `main`.
    ///
    /// # Errors
    /// When the directory cannot be made, no process be started ([`Error::NoProcess`]), or no rung
    /// works ([`Error::Refused`]).
    pub fn open(work_root: &Path, choice: Choice) -> Result<Self, Error> {
        let work_root = scratch::make_work_root(work_root)?;
        // That nothing can be started is no want of the pod specification.
        let caps = match choice {
            Choice::None => probe(&work_root),
            _ => probe_once(&work_root)?,
        };
        Self::on(work_root, caps, choice, OWN_EXECUTABLE.into())
    }

    /// Like [`Sandbox::open`], with another executable as init; for programs, such as test
    /// harnesses, whose own `main` cannot call [`crate::enter_if_init`].
    ///
    /// # Errors
    /// As [`Sandbox::open`].
    pub fn with_init(init: &Path, work_root: &Path, choice: Choice) -> Result<Self, Error> {
        let work_root = scratch::make_work_root(work_root)?;
        let caps = probe_with(init, &work_root)?;
        Self::on(work_root, caps, choice, init.to_owned())
    }

    fn on(
        work_root: PathBuf,
        capabilities: Capabilities,
        choice: Choice,
        init: PathBuf,
    ) -> Result<Self, Error> {
        let rung = choose(&capabilities, &Needs::none(), choice)?;
        let executor: Option<Box<dyn Executor>> = match rung {
            Rung::OverlayFull => Some(Box::new(Overlay::new(init, capabilities.fresh_proc))),
            Rung::Chroot => Some(Box::new(Chroot::new(init, &work_root))),
            // `choose` names the others only in refusals; without steps nothing is executed.
            Rung::OverlayOne | Rung::Translate | Rung::None => None,
        };
        Ok(Self { choice, rung, work_root, executor, capabilities })
    }

    /// The rung that was taken.
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// What the probe found.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Makes the directory of one step, locked until it is dropped or the builder dies.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch(&self) -> Result<Scratch, Error> {
        Scratch::new(&self.work_root)
    }

    /// Unpacks one layer into the new directory `dest`, in the format of an overlay's lower
    /// directory. `lowers` are the unpacked layers below it, bottom first: directories that the
    /// layer does not mention but needs as parents take their metadata from there.
    ///
    /// # Errors
    /// When `feed` fails or the tree cannot be written; remove `dest` then.
    pub fn unpack(
        &self,
        dest: &Path,
        lowers: &[PathBuf],
        feed: &mut Feed<'_>,
    ) -> Result<UnpackStats, Error> {
        self.executor()?.unpack(dest, lowers, feed)
    }

    /// Unpacks one layer into the new directory `dest` before the layers below it are there, so
    /// that all layers of an image can be unpacked at the same time; `DEST.implied` beside it holds
    /// what [`Sandbox::settle`] needs to know. The two together give what [`Sandbox::unpack`] does.
    ///
    /// # Errors
    /// When `feed` fails or the tree cannot be written; remove `dest` and what is beside it then.
    pub fn unpack_apart(&self, dest: &Path, feed: &mut Feed<'_>) -> Result<UnpackStats, Error> {
        self.executor()?.unpack_apart(dest, feed)
    }

    /// Finishes `from`, which [`Sandbox::unpack_apart`] made, for a place above `lowers` (bottom
    /// first), and renames it to `to`.
    ///
    /// # Errors
    /// When the tree cannot be written, or the rename fails, as between file systems.
    pub fn settle(&self, from: &Path, lowers: &[PathBuf], to: &Path) -> Result<(), Error> {
        self.executor()?.settle(from, lowers, to)
    }

    /// Runs a step and blocks until its last process has ended. `output` takes what it prints.
    /// Once `interrupt` is set, the step's processes get SIGTERM and, 10 seconds later, SIGKILL.
    ///
    /// # Errors
    /// [`Error::Interrupted`]; [`Error::TimedOut`]; [`Error::Refused`]; [`Error::Mount`];
    /// [`Error::UnknownUser`]; or what could not be set up. A command that
    /// fails, or does not exist, is no error but an exit code.
    pub fn run(
        &self,
        step: &StepSpec,
        output: &mut Output<'_>,
        interrupt: &AtomicBool,
    ) -> Result<StepExit, Error> {
        let executor = self.executor()?;
        // Whether the rung that was taken gives the step what it asks for.
        choose(&self.capabilities, &step.needs(), self.choice)?;
        if interrupt.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        scratch::make_plain(&step.scratch)?;
        executor.run(step, output, interrupt)
    }

    /// Emits what a step changed: the smallest difference between the trees before and after it,
    /// the same entries on every rung. What was touched and is equal to what it was is not emitted;
    /// directories above something that is are; there are whiteouts and no
    /// [`crate::entry::Kind::Opaque`]. The order is that of the names of a path, each bytewise. The
    /// entry of the root itself is not emitted.
    ///
    /// What the step left is made equal to what is emitted: times lose their fraction of a second
    /// and are clamped, sockets and ACLs are removed, and so is what an overlay copied in vain.
    ///
    /// # Errors
    /// When the sink fails or the tree cannot be read.
    pub fn changes(&self, step: &StepSpec, sink: &mut dyn EntrySink) -> Result<ChangeStats, Error> {
        self.executor()?.changes(step, sink)
    }

    /// Moves the changes of a step, after [`Sandbox::changes`] said `reusable`, to `dest`, where
    /// they are a lower directory as if the emitted layer had been unpacked. Where steps run in a
    /// copy of their layers, the next step upon `dest` gets this one's.
    ///
    /// # Errors
    /// When the rename fails, as between file systems.
    pub fn keep(&self, step: &StepSpec, dest: &Path) -> Result<(), Error> {
        self.executor()?.keep(step, dest)
    }

    /// Like [`Sandbox::keep`] for a step that changed nothing, so that there is no layer.
    ///
    /// # Errors
    /// When the step's copy of its layers cannot be handed on.
    pub fn keep_unchanged(&self, step: &StepSpec) -> Result<(), Error> {
        self.executor()?.keep_unchanged(step)
    }

    /// Renames a layer directory. A builder that is not root may own the directory and still not
    /// be allowed to move it, when its mode (which is the image's) is read-only.
    ///
    /// # Errors
    /// When the rename fails, as between file systems.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.executor()?.rename(from, to)
    }

    /// The directory that holds the changes of a step.
    pub fn upper(step: &StepSpec) -> PathBuf {
        scratch::upper(&step.scratch)
    }

    /// Removes a tree that may have foreign owners and closed directories.
    ///
    /// # Errors
    /// When something in it cannot be removed; that it does not exist is no error.
    pub fn remove(&self, path: &Path) -> Result<(), Error> {
        self.executor()?.remove(path)
    }

    /// Returns how many bytes the volume of the work directory has left.
    ///
    /// # Errors
    /// When the volume does not tell.
    pub fn available(&self) -> Result<u64, Error> {
        let volume = rustix::fs::statvfs(&self.work_root)
            .map_err(|errno| Error::io("look at the volume of", &self.work_root)(errno.into()))?;
        Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
    }

    fn executor(&self) -> Result<&dyn Executor, Error> {
        match &self.executor {
            Some(executor) => Ok(executor.as_ref()),
            // The caller chose to run nothing; what would be lacking is beside the point.
            None => Err(Error::NoSteps),
        }
    }
}
