//! What a RUN step sees besides its image, as the plan has it.

use std::fmt;
use std::sync::Arc;

use super::stage::Parent;
use crate::context::{ContextSource, Selected};
use crate::dockerfile::{MountOwner, Sharing, Span};

/// A mount of a RUN step.
#[derive(Clone, Debug)]
pub struct StepMount {
    /// Where, absolute; nothing for a secret that is a variable only.
    pub target: Option<String>,
    /// What.
    pub kind: StepMountKind,
    /// Where it is written.
    pub span: Span,
}

/// What is mounted.
#[derive(Clone, Debug)]
pub enum StepMountKind {
    /// Files.
    Bind {
        /// Which.
        source: BindSource,
        /// Whether the step may write, which changes nothing.
        readwrite: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// Its name.
        id: String,
        /// Who may use it at the same time.
        sharing: Sharing,
        /// What it holds when it is new: a directory of a stage or image.
        initial: Option<(Parent, String)>,
        /// Whether the step may only read.
        readonly: bool,
        /// What it gets when it is made.
        owner: MountOwner,
    },
    /// A directory in memory.
    Tmpfs {
        /// How many bytes it takes.
        size: Option<u64>,
    },
    /// A secret.
    Secret {
        /// Its name on the command line.
        id: String,
        /// The environment variable that it is put into.
        env: Option<String>,
        /// Whether the step cannot do without.
        required: bool,
        /// Of its file.
        owner: MountOwner,
    },
    /// The socket of an ssh agent.
    Ssh {
        /// Its name on the command line.
        id: String,
        /// Whether the step cannot do without.
        required: bool,
        /// Of the socket.
        owner: MountOwner,
    },
}

/// Where a bind mount has its files from.
#[derive(Clone)]
pub enum BindSource {
    /// The build context.
    Context {
        /// The context.
        context: Arc<dyn ContextSource>,
        /// The file or directory.
        selected: Selected,
    },
    /// Another stage or image.
    Image {
        /// The stage or image.
        from: Parent,
        /// The path in it.
        source: String,
    },
}

impl StepMount {
    /// The stage or image that the mount needs.
    pub fn from(&self) -> Option<Parent> {
        match &self.kind {
            StepMountKind::Bind { source: BindSource::Image { from, .. }, .. }
            | StepMountKind::Cache { initial: Some((from, _)), .. } => Some(*from),
            _ => None,
        }
    }
}

impl fmt::Debug for BindSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Context { selected, .. } => {
                f.debug_struct("Context").field("selected", selected).finish_non_exhaustive()
            }
            Self::Image { from, source } => {
                f.debug_struct("Image").field("from", from).field("source", source).finish()
            }
        }
    }
}
