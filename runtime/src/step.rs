//! The plain values of one step: what to run, how it ended, what it changed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::ladder::{Need, Needs};
use crate::mount::{Mount, MountKind, Secret};

/// One command to run over a stack of unpacked layers.
#[derive(Clone, Debug)]
pub struct StepSpec {
    /// Directories of the unpacked layers, bottom first.
    pub lowers: Vec<PathBuf>,
    /// A directory of this step alone, on a volume that takes an overlay upper directory;
    /// see [`crate::Sandbox::scratch`].
    pub scratch: PathBuf,
    /// The command and its arguments; a command without a slash is looked up in `PATH`.
    pub argv: Vec<OsString>,
    /// The whole environment. `HOME` is added when missing.
    pub env: Vec<(OsString, OsString)>,
    /// More of the environment, which wins and which nothing shows.
    pub secret_env: Vec<(OsString, Secret)>,
    /// Working directory inside the root; made (root, 0755) when missing, as part of the layer.
    pub cwd: PathBuf,
    /// `USER` as in a Dockerfile: empty, `name`, `uid`, `name:group`, `uid:gid`.
    pub user: String,
    /// Host name that the step sees.
    pub hostname: String,
    /// Which network the step has.
    pub network: Network,
    /// Modification times later than this are set to it when the changes are read.
    pub clamp_mtime: Option<i64>,
    /// What is mounted besides the image.
    pub mounts: Vec<Mount>,
    /// How long the step may take; then it is ended as by an interrupt.
    pub timeout: Option<Duration>,
}

/// Which network a step has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The network of the builder.
    #[default]
    Host,
    /// Only a loopback device of its own.
    None,
}

impl StepSpec {
    /// Returns what the step needs beyond running a command over its layers.
    pub fn needs(&self) -> Needs {
        let network = (self.network == Network::None).then_some(Need::OwnNetwork);
        let mounts = self.mounts.iter().filter_map(|mount| match mount.kind {
            MountKind::Bind { .. } => Some(Need::BindMount),
            MountKind::Cache { .. } => Some(Need::CacheMount),
            MountKind::Tmpfs { .. } => Some(Need::TmpfsMount),
            MountKind::Secret { .. } => Some(Need::SecretFile),
            MountKind::SshAgent { .. } => Some(Need::SshAgent),
            // Every rung that runs steps has it.
            MountKind::Script { .. } => None,
        });
        network.into_iter().chain(mounts).collect()
    }
}

/// Where a chunk of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a step ended and what it cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepExit {
    /// Exit code; 128 + n when signal n ended the command, 127 when there is no such command,
    /// 126 when it cannot be executed.
    pub code: i32,
    /// CPU time in user mode of all processes of the step.
    pub user_seconds: f64,
    /// CPU time in the kernel of all processes of the step.
    pub system_seconds: f64,
    /// Resident memory of the largest process, in bytes.
    pub max_rss: u64,
}

/// What unpacking one layer left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UnpackStats {
    /// Entries taken.
    pub entries: u64,
    /// Extended attributes of namespaces that are not kept (anything but `user.` and
    /// `security.capability`).
    pub skipped_xattrs: u64,
    /// Device nodes that the kernel refused to make; an empty file stands in for each, and
    /// becomes the device again when a later step's changes are read.
    pub stand_in_devices: u64,
}

/// What reading the changes of one step found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChangeStats {
    /// Entries emitted.
    pub entries: u64,
    /// Extended attributes dropped: ACLs and labels.
    pub dropped_xattrs: u64,
    /// Sockets, which no layer can hold.
    pub skipped_sockets: u64,
    /// The upper directory now equals the emitted layer, so it may serve as a lower directory.
    pub reusable: bool,
}
