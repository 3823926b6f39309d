//! Why a build failed.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::work_dir::WorkDirError;
use crate::context::ContextError;
use crate::dockerfile::ParseError;
use crate::image::ImageError;
use crate::layer::LayerError;
use crate::registry::RegistryError;
use crate::storage::StorageError;
use crate::sync::SyncError;

/// What to do where no process or thread can be started.
pub const TOO_FEW_PROCESSES: &str = "raise the limit of processes: the kubelet's podPidsLimit, the \
     container's pids limit, or `ulimit -u`";

/// Why a stage or image could not be obtained.
#[derive(Debug, Error)]
pub enum BuildError {
    /// An instruction turned out to be wrong only while it was carried out.
    #[error(transparent)]
    Instruction(Box<ParseError>),
    /// A RUN step failed.
    #[error("{instruction} failed with exit code {code}")]
    Step {
        /// The instruction on one line.
        instruction: String,
        /// The exit code; 128 plus the number for a signal.
        code: i32,
        /// The last lines of its output.
        last_lines: Vec<String>,
        /// What may be the matter.
        hints: Vec<String>,
    },
    /// A RUN step took longer than it may.
    #[error("{instruction} was ended because it took longer than {} seconds", limit.as_secs_f64())]
    TimedOut {
        /// The instruction on one line.
        instruction: String,
        /// How long it may take.
        limit: Duration,
        /// The last lines of its output.
        last_lines: Vec<String>,
    },
    /// RUN needs what this machine does not have.
    #[error("{refusal}")]
    NoRung {
        /// What is missing.
        refusal: String,
        /// What would have to change.
        hint: String,
    },
    /// RUN for another architecture than this machine's.
    #[error("RUN for {platform} cannot be executed on {host}")]
    ForeignPlatform {
        /// The stage's platform.
        platform: String,
        /// This machine's.
        host: String,
    },
    /// USER names somebody whom the image does not know.
    #[error("{instruction} cannot be run as {user:?}: {reason}")]
    UnknownUser {
        /// The instruction on one line.
        instruction: String,
        /// The user.
        user: String,
        /// What was looked for and not found.
        reason: String,
    },
    /// The sandbox failed.
    #[error("the sandbox of a RUN step failed")]
    Sandbox(#[source] longshore_runtime::Error),
    /// The context failed.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A layer failed.
    #[error(transparent)]
    Layer(LayerError),
    /// An image's manifest or config failed.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A layer that is not kept could not be sent while it was made.
    #[error(
        "the layer has more than {limit} compressed bytes, the limit of --spool-limit, and could \
         not be sent while it was made (attempt {attempt})"
    )]
    NotTaken {
        /// How many bytes may be kept.
        limit: u64,
        /// How often it was made.
        attempt: u32,
        /// Why the last upload failed.
        #[source]
        source: RegistryError,
    },
    /// A lock failed.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The work directory failed.
    #[error(transparent)]
    WorkDir(#[from] WorkDirError),
    /// A file of the work directory failed.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// The build was asked to end, or another stage failed.
    #[error("the build was interrupted")]
    Interrupted,
}

impl From<ParseError> for BuildError {
    fn from(error: ParseError) -> Self {
        Self::Instruction(Box::new(error))
    }
}

impl From<LayerError> for BuildError {
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::Interrupted => Self::Interrupted,
            other => Self::Layer(other),
        }
    }
}

impl BuildError {
    /// Tells apart what the sandbox says: a pod that cannot, a build that is to end, and faults.
    pub(super) fn of_sandbox(error: longshore_runtime::Error) -> Self {
        match error {
            longshore_runtime::Error::Refused(refusal) => {
                Self::NoRung { refusal: refusal.to_string(), hint: refusal.hint() }
            }
            longshore_runtime::Error::NoProcess { ref source, .. } => Self::NoRung {
                refusal: format!("RUN cannot be executed in this pod: {error}: {source}"),
                hint: match source.kind() {
                    std::io::ErrorKind::NotFound => {
                        "mount /proc, which RUN needs; every container runtime does so by itself"
                    }
                    std::io::ErrorKind::WouldBlock => TOO_FEW_PROCESSES,
                    _ => "let the container start programs from its own file system",
                }
                .to_owned(),
            },
            longshore_runtime::Error::Interrupted => Self::Interrupted,
            other => Self::Sandbox(other),
        }
    }
}
