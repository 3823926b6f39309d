//! What keeps a rung from a pod, or from a step.

use std::fmt;

use super::Rung;
use super::needs::{Need, Needs};
use crate::capabilities::{Capabilities, Map, Privileges};

/// Ids that `newuidmap` maps with the usual line of `/etc/subuid`, and the builder's own.
const SUBORDINATE_IDS: u32 = 65536;

/// One thing that a rung needs and a pod may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// New user namespaces are refused: by a seccomp profile, as a rule.
    UserNamespace,
    /// A namespace would hold one id only: neither root nor subordinate ids.
    Ids,
    /// `mount` is refused inside the namespace: by AppArmor, as a rule.
    Mount,
    /// The work directory is on the container's own overlay.
    OverlayUpper,
    /// `chroot` is refused.
    Chroot,
    /// Files cannot be given to other ids, or processes take them.
    ForeignIds,
    /// `CAP_DAC_OVERRIDE`, `CAP_FOWNER`, `CAP_FSETID` or `CAP_SETPCAP` is missing.
    Privileges,
    /// Device nodes can neither be made nor stood in for.
    Devices,
    /// System calls cannot be answered by another process.
    Notification,
    /// The rung cannot give a step what it asks for.
    Need(Need),
}

/// What keeps `rung` from executing a step with these `needs`.
pub(super) fn of(rung: Rung, caps: &Capabilities, needs: &Needs) -> Vec<Lack> {
    let lacks: Vec<Option<Lack>> = match rung {
        Rung::OverlayFull => overlay(caps, true),
        Rung::OverlayOne => {
            let mut lacks = overlay(caps, false);
            lacks.push((!caps.seccomp_notify).then_some(Lack::Notification));
            lacks
        }
        Rung::Chroot => chroot(caps),
        Rung::Translate => vec![(!caps.seccomp_notify).then_some(Lack::Notification)],
        Rung::None => vec![],
    };
    let ungiven = needs.iter().filter(|need| !gives(rung, caps, *need)).map(Lack::Need);
    lacks.into_iter().flatten().chain(ungiven).collect()
}

fn overlay(caps: &Capabilities, many: bool) -> Vec<Option<Lack>> {
    let has_many = match caps.map {
        Map::Full { len } => len > 1,
        Map::Helper => true,
        Map::One | Map::No => false,
    };
    // Without a namespace the map was not tried; who can write it shows all the same.
    let could = caps.uid == 0 && caps.effective.contains(Privileges::MAP_IDS);
    let lacks_ids = many && !has_many && (caps.user_namespace || !could);
    vec![
        (!caps.user_namespace).then_some(Lack::UserNamespace),
        lacks_ids.then_some(Lack::Ids),
        (caps.user_namespace && !caps.mount).then_some(Lack::Mount),
        (caps.mount && !caps.overlay_upper || caps.volume.unfit).then_some(Lack::OverlayUpper),
    ]
}

fn chroot(caps: &Capabilities) -> Vec<Option<Lack>> {
    let foreign_files = caps.effective.contains(Privileges::FOREIGN_FILES);
    vec![
        (!caps.chroot).then_some(Lack::Chroot),
        (!(caps.chown && caps.set_ids)).then_some(Lack::ForeignIds),
        (!foreign_files).then_some(Lack::Privileges),
        (!(caps.mknod || caps.add_fd)).then_some(Lack::Devices),
    ]
}

/// Whether a rung that works in the pod gives a step what it asks for.
fn gives(rung: Rung, caps: &Capabilities, need: Need) -> bool {
    match (rung, need) {
        (Rung::None, _) => false,
        (Rung::OverlayFull, Need::OwnNetwork) => caps.network_namespace || !caps.user_namespace,
        (Rung::OverlayFull, Need::Id(id)) => match caps.map {
            Map::Full { len } => id < len,
            Map::Helper => id <= SUBORDINATE_IDS,
            Map::One | Map::No => true,
        },
        (Rung::Chroot, Need::Id(id)) => id < caps.ids,
        (Rung::Chroot, Need::SecretFile) => caps.add_fd,
        (Rung::Chroot, need) => need != Need::OwnNetwork,
        (Rung::Translate, _) => false,
        (Rung::OverlayFull | Rung::OverlayOne, _) => true,
    }
}

impl Lack {
    /// A word for programs, which stays the same.
    pub const fn code(self) -> &'static str {
        match self {
            Self::UserNamespace => "user-namespace",
            Self::Ids => "ids",
            Self::Mount => "mount",
            Self::OverlayUpper => "overlay-upper",
            Self::Chroot => "chroot",
            Self::ForeignIds => "foreign-ids",
            Self::Privileges => "privileges",
            Self::Devices => "devices",
            Self::Notification => "notification",
            Self::Need(need) => need.code(),
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UserNamespace => "user namespaces are refused",
            Self::Mount => "mounts are refused inside a user namespace",
            Self::Ids => "only one user id can be mapped",
            Self::OverlayUpper => "the work directory cannot hold an overlay upper directory",
            Self::Chroot => "chroot is refused",
            Self::ForeignIds => "files and processes cannot get other ids",
            Self::Privileges => {
                "CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID or CAP_SETPCAP is missing"
            }
            Self::Devices => "device nodes are refused, and so is standing in for them",
            Self::Notification => "seccomp listeners are refused",
            Self::Need(need) => return write!(f, "it cannot give {need}"),
        })
    }
}
