//! Why an operation of the crate failed.
//!
//! Texts are fragments that name the mechanism and the path; the errno is the source.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::ladder::Refusal;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This pod cannot run steps, or not in the way that was asked for.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The sandbox was opened with [`crate::Choice::None`].
    #[error("this build was told to run no steps")]
    NoSteps,
    /// The caller asked for the step to end.
    #[error("interrupted")]
    Interrupted,
    /// The file system of the work directory takes no overlay upper directory.
    #[error("{path} is on a file system that cannot hold an overlay upper directory", path = path.display())]
    NoOverlayUpper {
        /// The directory.
        path: PathBuf,
        /// What the mount answered.
        source: io::Error,
    },
    /// The step's user or group is not in the image.
    #[error("no such user {user:?} in the image: {reason}")]
    UnknownUser {
        /// The user as it was asked for.
        user: String,
        /// What was looked for and not found.
        reason: String,
    },
    /// A mount of the step is impossible.
    #[error("cannot mount {target}: {reason}", target = target.display())]
    Mount {
        /// The target, as it was asked for.
        target: PathBuf,
        /// What is in the way.
        reason: String,
    },
    /// The step took longer than it may.
    #[error("the step was ended because it took longer than {} seconds", limit.as_secs_f64())]
    TimedOut {
        /// How long it may take.
        limit: Duration,
    },
    /// A system call failed inside the sandbox.
    #[error("{action}")]
    Sandbox {
        /// What was tried, with its object: `cannot mount overlay at /work/s1`.
        action: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// A system call failed in the builder.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// No process can be started here, so nothing can be tried or run.
    #[error("cannot start {program}", program = program.display())]
    NoProcess {
        /// What was to be started.
        program: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The id maps of a new user namespace could not be written.
    #[error("cannot map user ids into the sandbox: {reason}")]
    IdMap {
        /// Which file or program refused, and why.
        reason: String,
    },
    /// The caller's source or sink of entries failed.
    #[error("cannot transfer the entries of a layer")]
    Entries(#[source] io::Error),
    /// The process in the sandbox ended without an answer, or answered nonsense.
    #[error("the sandbox process failed: {reason}")]
    Died {
        /// How it ended.
        reason: String,
    },
}

impl Error {
    /// An [`Error::Io`], for `map_err`.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
