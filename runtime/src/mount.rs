//! What a step sees besides its image: the plain values of `RUN --mount`.
//!
//! Targets are absolute paths in the root of the step; what they are mounted on is made where the
//! image lacks it, and is never part of the layer.

use std::fmt;
use std::path::PathBuf;

/// Something mounted for one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where; absolute. Links on the way are followed inside the root.
    pub target: PathBuf,
    /// What.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory of unpacked layers.
    Bind {
        /// What is shown.
        tree: Tree,
        /// Whether the step may write; what it writes is thrown away with the step.
        readwrite: bool,
    },
    /// A directory that outlives the step. It is made when missing.
    Cache {
        /// The directory; its parent must exist, in the file system of the scratch directory.
        /// Locking it is the caller's business.
        dir: PathBuf,
        /// What it gets when it is made.
        owner: Owner,
        /// What is copied into it when it is made.
        initial: Option<Tree>,
        /// Whether the step may only read.
        readonly: bool,
    },
    /// An empty directory in memory.
    Tmpfs {
        /// How many bytes it takes; `None` for the kernel's default, half of the memory.
        size: Option<u64>,
    },
    /// A file whose content is never written to a disk.
    Secret {
        /// What is in it.
        content: Secret,
        /// Whose it is.
        owner: Owner,
    },
    /// A socket behind which an ssh agent answers.
    SshAgent {
        /// The socket of the agent.
        socket: PathBuf,
        /// Who may connect, as owner and mode of the socket that the step sees.
        owner: Owner,
    },
    /// A program of root's that everybody may run and nobody may write.
    Script {
        /// What is in it.
        content: Vec<u8>,
    },
}

/// A place in a stack of unpacked layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Directories of the layers, bottom first.
    pub layers: Vec<PathBuf>,
    /// The file or directory in them; links are followed inside of the stack. Empty for its root.
    pub subpath: PathBuf,
}

/// Owner and mode, as the step sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The permission bits.
    pub mode: u32,
}

/// Bytes that nobody may see; `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// A secret with this content.
    pub fn new(content: impl Into<Vec<u8>>) -> Self {
        Self(content.into())
    }

    /// The content.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
