//! Changes of a pod, and what the pod can do after one.
//!
//! What a change brings cannot be tried, so this is a prediction: everything works that the change
//! is made for, as long as nothing that was seen speaks against it.

use serde::Serialize;

use crate::capabilities::{Capabilities, Map, Mechanism, Privileges};

/// How many ids the node has.
const ALL_IDS: u32 = u32::MAX;

/// A change of a pod's specification, cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// An `emptyDir` volume for the work directory.
    EmptyDir,
    /// The capabilities that a runtime gives by default.
    DefaultCapabilities,
    /// User 0 in the container.
    RunAsRoot,
    /// No AppArmor profile.
    AppArmorUnconfined,
    /// No seccomp profile.
    SeccompUnconfined,
    /// Lines in `/etc/subuid` and `/etc/subgid`, and programs that may use them.
    SubordinateIds,
    /// User namespaces, allowed on the node.
    NodeNamespaces,
    /// All ids of the node, or more of them.
    MoreIds,
}

impl Change {
    pub(super) const ALL: [Self; 8] = [
        Self::EmptyDir,
        Self::DefaultCapabilities,
        Self::RunAsRoot,
        Self::AppArmorUnconfined,
        Self::SeccompUnconfined,
        Self::SubordinateIds,
        Self::NodeNamespaces,
        Self::MoreIds,
    ];

    /// How much it takes to get it allowed; powers of two, so that no number of cheap changes
    /// costs as much as the next dearer one.
    pub(super) const fn cost(self) -> u32 {
        1 << (self as u32)
    }

    /// What to do, as a clause.
    pub const fn text(self) -> &'static str {
        match self {
            Self::EmptyDir => {
                "mount an emptyDir volume and name it as the work directory (--work-dir)"
            }
            Self::DefaultCapabilities => {
                "leave the default capabilities in securityContext.capabilities (do not drop ALL)"
            }
            Self::RunAsRoot => "set securityContext.runAsUser: 0 and runAsNonRoot: false",
            Self::AppArmorUnconfined => "set securityContext.appArmorProfile.type: Unconfined",
            Self::SeccompUnconfined => "set securityContext.seccompProfile.type: Unconfined",
            Self::SubordinateIds => {
                "list the user in /etc/subuid and /etc/subgid of the image, with newuidmap and \
                 newgidmap installed with file capabilities, and set \
                 securityContext.allowPrivilegeEscalation: true"
            }
            Self::NodeNamespaces => {
                "allow user namespaces on the node (the sysctls user.max_user_namespaces, \
                 kernel.unprivileged_userns_clone and \
                 kernel.apparmor_restrict_unprivileged_userns)"
            }
            Self::MoreIds => {
                "give the container more ids: hostUsers: true in a pod; elsewhere lines in \
                 /etc/subuid and /etc/subgid for the user who starts it"
            }
        }
    }
}

/// What a pod can do after all of `changes`.
pub(super) fn after(before: &Capabilities, changes: &[Change]) -> Capabilities {
    let mut caps = before.clone();
    let has = |change| changes.contains(&change);
    if has(Change::DefaultCapabilities) {
        caps.bounding = caps.bounding.with(Privileges::ENGINE_DEFAULT);
    }
    if has(Change::SubordinateIds) {
        caps.bounding = caps.bounding.with(Privileges::SET_IDS);
        caps.no_new_privileges = false;
    }
    if has(Change::RunAsRoot) {
        caps.uid = 0;
    }
    if caps.uid == 0 && (has(Change::RunAsRoot) || has(Change::DefaultCapabilities)) {
        caps.effective = caps.effective.with(caps.bounding);
    }
    if has(Change::SeccompUnconfined) {
        caps.filtered = false;
        caps.seccomp_notify = true;
        caps.add_fd = true;
    }
    if has(Change::MoreIds) && caps.ids < ALL_IDS {
        caps.ids = ALL_IDS;
        caps.chown |= caps.effective.contains(Privileges::CHOWN);
        caps.set_ids |= caps.effective.contains(Privileges::SET_IDS);
    }
    let namespaces = (has(Change::SeccompUnconfined) && before.filtered)
        || (has(Change::NodeNamespaces) && !before.filtered);
    ids_after(before, &mut caps, changes);
    mounts_after(before, &mut caps, changes, namespaces);
    caps
}

/// What capabilities bring. One that was held already and did not help will not help now.
fn ids_after(before: &Capabilities, caps: &mut Capabilities, changes: &[Change]) {
    let unfiltered = changes.contains(&Change::SeccompUnconfined) && before.filtered;
    let gained = |set: Privileges| {
        caps.effective.contains(set) && (!before.effective.contains(set) || unfiltered)
    };
    let gains = [
        gained(Privileges::CHROOT),
        gained(Privileges::CHOWN),
        gained(Privileges::SET_IDS),
        // A node of a device stays refused in a pod with its own user namespace.
        gained(Privileges::MKNOD) && !before.effective.contains(Privileges::MKNOD),
    ];
    caps.chroot |= gains[0];
    caps.chown |= gains[1];
    caps.set_ids |= gains[2];
    caps.mknod |= gains[3];
}

fn mounts_after(
    before: &Capabilities,
    caps: &mut Capabilities,
    changes: &[Change],
    namespaces: bool,
) {
    let has = |change| changes.contains(&change);
    if namespaces && !before.user_namespace {
        caps.user_namespace = true;
        caps.mount = true;
        caps.network_namespace = true;
    }
    let refused = before.failures.get(&Mechanism::Mount).copied();
    // AppArmor answers EACCES; filters answer EPERM.
    let by_apparmor = refused == Some(libc::EACCES);
    if refused.is_some()
        && ((by_apparmor && has(Change::AppArmorUnconfined))
            || (!by_apparmor && has(Change::SeccompUnconfined) && before.filtered))
    {
        caps.mount = true;
    }
    if has(Change::EmptyDir) {
        caps.volume.unfit = false;
    }
    let on_volume = !caps.volume.unfit && (has(Change::EmptyDir) || !before.mount);
    caps.overlay_upper |= caps.mount && on_volume;
    if caps.user_namespace {
        if caps.uid == 0 && caps.effective.contains(Privileges::MAP_IDS) {
            caps.map = Map::Full { len: caps.ids };
        } else if has(Change::SubordinateIds) && caps.uid != 0 {
            caps.map = Map::Helper;
        } else if caps.map == Map::No {
            caps.map = Map::One;
        }
    }
}
