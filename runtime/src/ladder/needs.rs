//! What a step may ask for besides a root file system.

use std::collections::BTreeSet;
use std::fmt;

/// One thing that not every rung can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// `RUN --network=none`.
    OwnNetwork,
    /// `RUN --mount=type=bind`.
    BindMount,
    /// `RUN --mount=type=cache`.
    CacheMount,
    /// `RUN --mount=type=tmpfs`.
    TmpfsMount,
    /// `RUN --mount=type=secret` as a file.
    SecretFile,
    /// `RUN --mount=type=ssh`.
    SshAgent,
    /// A user, a group or an owner of files with this id.
    Id(u32),
}

/// Everything that a step asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs(BTreeSet<Need>);

impl Needs {
    /// Those of a plain step.
    pub fn none() -> Self {
        Self::default()
    }

    /// The needs, in order.
    pub fn iter(&self) -> impl Iterator<Item = Need> {
        self.0.iter().copied()
    }
}

impl FromIterator<Need> for Needs {
    fn from_iter<I: IntoIterator<Item = Need>>(needs: I) -> Self {
        Self(needs.into_iter().collect())
    }
}

impl Need {
    /// A word for programs, which stays the same.
    pub const fn code(self) -> &'static str {
        match self {
            Self::OwnNetwork => "own-network",
            Self::BindMount => "bind-mount",
            Self::CacheMount => "cache-mount",
            Self::TmpfsMount => "tmpfs-mount",
            Self::SecretFile => "secret-file",
            Self::SshAgent => "ssh-agent",
            Self::Id(_) => "id",
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnNetwork => f.write_str("a network of its own"),
            Self::BindMount => f.write_str("a bind mount"),
            Self::CacheMount => f.write_str("a cache mount"),
            Self::TmpfsMount => f.write_str("a tmpfs mount"),
            Self::SecretFile => f.write_str("a secret in a file"),
            Self::SshAgent => f.write_str("the ssh agent"),
            Self::Id(id) => write!(f, "the id {id}"),
        }
    }
}
