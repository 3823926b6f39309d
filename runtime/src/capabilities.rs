//! What this pod lets its processes do: plain values, filled in by [`crate::probe`].

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// What works in this pod, found out by doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// The user id of the builder.
    pub uid: u32,
    /// A user namespace can be made.
    pub user_namespace: bool,
    /// Which ids such a namespace can hold.
    pub map: Map,
    /// File systems can be mounted inside it.
    pub mount: bool,
    /// The work directory takes an overlay upper directory.
    pub overlay_upper: bool,
    /// The root can be exchanged inside it; moving the mount is the way out when not.
    pub pivot_root: bool,
    /// A process namespace with its own `/proc` can be made inside it.
    pub fresh_proc: bool,
    /// A network namespace can be made inside it.
    pub network_namespace: bool,
    /// `chroot` works without a namespace.
    pub chroot: bool,
    /// Device nodes can be made without a namespace.
    pub mknod: bool,
    /// System calls can be answered by another process.
    pub seccomp_notify: bool,
    /// Version of Landlock.
    pub landlock_abi: Option<u32>,
    /// The errno of everything that was tried and failed.
    pub failures: BTreeMap<Mechanism, i32>,
    /// Why no more ids could be mapped, or why nothing could be tried at all.
    pub diagnosis: Option<String>,
}

/// Which ids a user namespace can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Map {
    /// All ids of the pod, written by the builder itself.
    Full {
        /// How many.
        len: u32,
    },
    /// The builder's id and its subordinate ones, written by `newuidmap` and `newgidmap`.
    Helper,
    /// Only the builder's own id.
    One,
    /// None.
    #[default]
    No,
}

/// One thing that the probe tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// `unshare` of user, mount, IPC and UTS namespaces.
    UserNamespace = 0,
    /// Mounting inside.
    Mount = 1,
    /// Overlay with its upper directory in the work directory.
    OverlayUpper = 2,
    /// `pivot_root` inside.
    PivotRoot = 3,
    /// A process namespace and its `/proc`.
    FreshProc = 4,
    /// A network namespace.
    NetworkNamespace = 5,
    /// `chroot` in the pod.
    Chroot = 6,
    /// `mknod` in the pod.
    Mknod = 7,
    /// A seccomp filter with a listener.
    SeccompNotify = 8,
}

impl Mechanism {
    pub(crate) const ALL: [Self; 9] = [
        Self::UserNamespace,
        Self::Mount,
        Self::OverlayUpper,
        Self::PivotRoot,
        Self::FreshProc,
        Self::NetworkNamespace,
        Self::Chroot,
        Self::Mknod,
        Self::SeccompNotify,
    ];
}

impl Capabilities {
    /// Notes that `mechanism` was tried; 0 means that it works.
    pub(crate) fn note(&mut self, mechanism: Mechanism, errno: i32) {
        let works = match mechanism {
            Mechanism::UserNamespace => &mut self.user_namespace,
            Mechanism::Mount => &mut self.mount,
            Mechanism::OverlayUpper => &mut self.overlay_upper,
            Mechanism::PivotRoot => &mut self.pivot_root,
            Mechanism::FreshProc => &mut self.fresh_proc,
            Mechanism::NetworkNamespace => &mut self.network_namespace,
            Mechanism::Chroot => &mut self.chroot,
            Mechanism::Mknod => &mut self.mknod,
            Mechanism::SeccompNotify => &mut self.seccomp_notify,
        };
        *works = errno == 0;
        if errno != 0 {
            self.failures.insert(mechanism, errno);
        }
    }
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { len } => write!(f, "full ({len} ids)"),
            Self::Helper => f.write_str("subordinate ids"),
            Self::One => f.write_str("one id"),
            Self::No => f.write_str("no"),
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserNamespace => "user namespace",
            Self::Mount => "mount",
            Self::OverlayUpper => "overlay upper directory",
            Self::PivotRoot => "pivot_root",
            Self::FreshProc => "own /proc",
            Self::NetworkNamespace => "network namespace",
            Self::Chroot => "chroot",
            Self::Mknod => "mknod",
            Self::SeccompNotify => "seccomp notification",
        })
    }
}
