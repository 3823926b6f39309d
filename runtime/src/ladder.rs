//! Which rung of the ladder a pod can take: a pure function of what the probe found.
//!
//! [`Rung::OverlayFull`] and [`Rung::Chroot`] execute today. The other rungs are named, so that a refusal can say
//! what the pod would have been good for, but are never returned by [`choose`].

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::capabilities::{Capabilities, Map};

/// A way to run steps, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// User namespace with many ids, overlay, own root.
    OverlayFull,
    /// User namespace with one id, overlay, emulated owners.
    OverlayOne,
    /// `chroot` in a directory of its own.
    Chroot,
    /// Path translation by tracing.
    Translate,
    /// No steps are run.
    None,
}

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// The best rung that works.
    #[default]
    Auto,
    /// An overlay rung or nothing.
    Overlay,
    /// The chroot rung or nothing.
    Chroot,
    /// Never run a step.
    None,
}

/// Why this pod cannot run steps, and what would let it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Refusal {
    /// What the chosen rung needs and the pod lacks.
    pub lacks: Vec<Lack>,
    /// The rung that the pod could take once it is available.
    pub candidate: Rung,
    choice: Choice,
    uid: u32,
    diagnosis: Option<String>,
}

/// One thing that [`Rung::OverlayFull`] needs and a pod may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// `unshare` is refused: a seccomp profile, as a rule.
    UserNamespace,
    /// `mount` is refused inside the namespace: AppArmor, as a rule.
    Mount,
    /// The namespace holds one id only: neither root nor subordinate ids.
    Ids,
    /// The work directory is on the container's own overlay.
    OverlayUpper,
}

/// Chooses the rung for a pod.
///
/// # Errors
/// When no available rung works here, or the one asked for does not.
pub fn choose(caps: &Capabilities, choice: Choice) -> Result<Rung, Refusal> {
    let lacks = lacks(caps);
    match choice {
        Choice::None => Ok(Rung::None),
        Choice::Auto | Choice::Overlay if lacks.is_empty() => Ok(Rung::OverlayFull),
        Choice::Chroot if caps.uid == 0 && caps.chroot => Ok(Rung::Chroot),
        Choice::Auto if caps.uid == 0 && caps.chroot && !lacks.contains(&Lack::Ids) => {
            Ok(Rung::Chroot)
        }
        _ => Err(Refusal {
            lacks,
            candidate: candidate(caps, choice),
            choice,
            uid: caps.uid,
            diagnosis: caps.diagnosis.clone(),
        }),
    }
}

fn lacks(caps: &Capabilities) -> Vec<Lack> {
    if !caps.user_namespace {
        // Nothing else could be tried; ids are the one thing that is known to be missing too.
        let ids = (caps.uid != 0).then_some(Lack::Ids);
        return [Some(Lack::UserNamespace), ids].into_iter().flatten().collect();
    }
    let many = match caps.map {
        Map::Full { len } => len > 1,
        Map::Helper => true,
        Map::One | Map::No => false,
    };
    [
        (!many).then_some(Lack::Ids),
        (!caps.mount).then_some(Lack::Mount),
        (caps.mount && !caps.overlay_upper).then_some(Lack::OverlayUpper),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn candidate(caps: &Capabilities, choice: Choice) -> Rung {
    let overlay = caps.user_namespace && caps.mount && caps.overlay_upper;
    match choice {
        Choice::Chroot if caps.chroot => Rung::Chroot,
        Choice::Chroot | Choice::None => Rung::None,
        _ if overlay => Rung::OverlayOne,
        Choice::Overlay => Rung::None,
        Choice::Auto if caps.chroot => Rung::Chroot,
        Choice::Auto if caps.seccomp_notify => Rung::Translate,
        Choice::Auto => Rung::None,
    }
}

impl Refusal {
    fn text(&self) -> String {
        let lacks: Vec<String> = self.lacks.iter().map(Lack::to_string).collect();
        let mut lacks = lacks.join("; ");
        if let Some(diagnosis) = &self.diagnosis {
            lacks = format!("{lacks} [{diagnosis}]");
        }
        let reason = match (self.choice, self.candidate) {
            (Choice::Chroot, _) => "only root with CAP_SYS_CHROOT can change its root".into(),
            (_, Rung::None) => lacks,
            (_, rung) => format!("{lacks} (the {rung} runtime is not available yet)"),
        };
        format!("RUN cannot be executed in this pod: {reason}")
    }

    /// Returns the change of the pod specification that would let steps run.
    pub fn hint(&self) -> String {
        if self.choice == Choice::Chroot && self.lacks.is_empty() {
            return "this pod can run steps with the overlay runtime".into();
        }
        let lines: Vec<&str> = self.lacks.iter().map(|lack| lack.hint(self.uid)).collect();
        lines.join("\n")
    }
}

impl Lack {
    fn hint(self, uid: u32) -> &'static str {
        match self {
            Self::UserNamespace => {
                "set securityContext.seccompProfile.type: Unconfined on the container (and allow \
                 user namespaces on the node)"
            }
            Self::Mount => "set securityContext.appArmorProfile.type: Unconfined on the container",
            Self::Ids if uid == 0 => {
                "leave the default capabilities in securityContext.capabilities (SETUID, SETGID \
                 and SETFCAP are needed; do not drop ALL)"
            }
            Self::Ids => {
                "set securityContext.runAsUser: 0 and runAsNonRoot: false with the default \
                 capabilities; or keep the user, list it in /etc/subuid and /etc/subgid of the \
                 image with newuidmap and newgidmap installed, and set \
                 securityContext.allowPrivilegeEscalation: true"
            }
            Self::OverlayUpper => {
                "mount an emptyDir volume and name it as the work directory (--work-dir)"
            }
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
        })
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OverlayFull => "overlay-full",
            Self::OverlayOne => "overlay-one",
            Self::Chroot => "chroot",
            Self::Translate => "translate",
            Self::None => "none",
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Overlay => "overlay",
            Self::Chroot => "chroot",
            Self::None => "none",
        })
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Auto, Self::Overlay, Self::Chroot, Self::None]
            .into_iter()
            .find(|choice| choice.to_string() == text)
            .ok_or_else(|| format!("{text:?} is none of auto, overlay, chroot, none"))
    }
}

#[cfg(test)]
mod tests;
