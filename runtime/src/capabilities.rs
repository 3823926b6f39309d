//! What this pod lets its processes do: plain values, filled in by [`crate::probe`].

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

pub use self::privileges::Privileges;

mod privileges;

/// What works in this pod, found out by doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// The user id of the builder.
    pub uid: u32,
    /// How many user ids the pod has.
    pub ids: u32,
    /// What the builder may do.
    pub effective: Privileges,
    /// What a program that the builder starts may gain.
    pub bounding: Privileges,
    /// No program gains anything: `allowPrivilegeEscalation: false`.
    pub no_new_privileges: bool,
    /// Some system calls are filtered.
    pub filtered: bool,
    /// What the work directory lies on.
    pub volume: Volume,
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
    /// Files can be given to other ids without a namespace.
    pub chown: bool,
    /// Processes can take other ids without a namespace.
    pub set_ids: bool,
    /// Device nodes can be made, and opened, without a namespace.
    pub mknod: bool,
    /// System calls can be answered by another process.
    pub seccomp_notify: bool,
    /// Files can be opened on behalf of a process whose call is answered.
    pub add_fd: bool,
    /// `clone3` exists, which filters cannot look into.
    pub clone3: bool,
    /// Version of Landlock.
    pub landlock_abi: Option<u32>,
    /// The errno of everything that was tried and failed.
    pub failures: BTreeMap<Mechanism, i32>,
    /// Why no more ids could be mapped, or why nothing could be tried at all.
    pub diagnosis: Option<String>,
}

/// What the work directory lies on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Nothing that takes an overlay: the container's own root file system, as a rule.
    pub unfit: bool,
    /// What is made in it gets its group (`fsGroup`).
    pub setgid: bool,
}

/// How trying a mechanism ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// It works.
    Works,
    /// It failed with this errno.
    Failed(i32),
    /// What it needs failed before.
    Untried,
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
    /// `chown` to another id in the pod.
    Chown = 9,
    /// Taking other ids and groups in the pod.
    SetIds = 10,
    /// A file opened on behalf of a process whose system call is answered.
    AddFd = 11,
    /// `clone3` without any flag.
    Clone3 = 12,
}

impl Mechanism {
    /// All mechanisms, by their numbers.
    pub const ALL: [Self; 13] = [
        Self::UserNamespace,
        Self::Mount,
        Self::OverlayUpper,
        Self::PivotRoot,
        Self::FreshProc,
        Self::NetworkNamespace,
        Self::Chroot,
        Self::Mknod,
        Self::SeccompNotify,
        Self::Chown,
        Self::SetIds,
        Self::AddFd,
        Self::Clone3,
    ];
}

impl Capabilities {
    /// Notes that `mechanism` was tried; 0 means that it works.
    pub(crate) fn note(&mut self, mechanism: Mechanism, errno: i32) {
        *self.works_mut(mechanism) = errno == 0;
        if errno != 0 {
            self.failures.insert(mechanism, errno);
        }
    }

    /// How trying `mechanism` ended.
    pub fn trial(&self, mechanism: Mechanism) -> Trial {
        match self.failures.get(&mechanism) {
            Some(errno) => Trial::Failed(*errno),
            None if *self.clone().works_mut(mechanism) => Trial::Works,
            None => Trial::Untried,
        }
    }

    fn works_mut(&mut self, mechanism: Mechanism) -> &mut bool {
        match mechanism {
            Mechanism::UserNamespace => &mut self.user_namespace,
            Mechanism::Mount => &mut self.mount,
            Mechanism::OverlayUpper => &mut self.overlay_upper,
            Mechanism::PivotRoot => &mut self.pivot_root,
            Mechanism::FreshProc => &mut self.fresh_proc,
            Mechanism::NetworkNamespace => &mut self.network_namespace,
            Mechanism::Chroot => &mut self.chroot,
            Mechanism::Mknod => &mut self.mknod,
            Mechanism::SeccompNotify => &mut self.seccomp_notify,
            Mechanism::Chown => &mut self.chown,
            Mechanism::SetIds => &mut self.set_ids,
            Mechanism::AddFd => &mut self.add_fd,
            Mechanism::Clone3 => &mut self.clone3,
        }
    }
}

impl fmt::Display for Trial {
    /// `ok`, the name of the errno, or `not tried`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => f.write_str("ok"),
            Self::Failed(errno) => write!(f, "{:?}", nix::errno::Errno::from_raw(*errno)),
            Self::Untried => f.write_str("not tried"),
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
            Self::Chown => "chown to other ids",
            Self::SetIds => "taking other ids",
            Self::AddFd => "opening files for a process",
            Self::Clone3 => "clone3",
        })
    }
}
