//! One mechanism taken away: a rule added to whatever filter a pod has.

use serde_json::{Value, json};

/// `CLONE_NEWUSER`.
const NEW_USER: u64 = 0x1000_0000;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const NEW_LISTENER: u64 = 8;
/// `SECCOMP_IOCTL_NOTIF_ADDFD`.
const ADD_FD: u64 = 0x4018_2103;
/// EPERM.
const REFUSED: u64 = 1;

/// A mechanism that a test takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// New user namespaces.
    UserNamespace,
    /// Mounting anything.
    Mount,
    /// `chroot`.
    Chroot,
    /// Seccomp filters with a listener.
    Notify,
    /// Descriptors put into processes that wait for a listener.
    AddFd,
    /// Device nodes.
    Mknod,
}

/// The conditions on arguments under which calls are refused, and those under which they are not.
struct Conditions {
    names: &'static [&'static str],
    refused: Option<Value>,
    allowed: Option<Value>,
}

impl Denial {
    fn conditions(self) -> Conditions {
        let all = |names| Conditions { names, refused: None, allowed: None };
        let masked = |index: u64, mask: u64, value: u64| json!({"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"});
        match self {
            Self::UserNamespace => Conditions {
                names: &["unshare"],
                refused: Some(masked(0, NEW_USER, NEW_USER)),
                allowed: Some(masked(0, NEW_USER, 0)),
            },
            Self::Mount => all(&["mount", "move_mount", "fsmount", "open_tree", "mount_setattr"]),
            Self::Chroot => all(&["chroot"]),
            Self::Notify => Conditions {
                names: &["seccomp"],
                refused: Some(masked(1, NEW_LISTENER, NEW_LISTENER)),
                allowed: Some(masked(1, NEW_LISTENER, 0)),
            },
            Self::AddFd => {
                let compare = |op: &str| json!({"index": 1, "value": ADD_FD, "op": op});
                Conditions {
                    names: &["ioctl"],
                    refused: Some(compare("SCMP_CMP_EQ")),
                    allowed: Some(compare("SCMP_CMP_NE")),
                }
            }
            Self::Mknod => all(&["mknod", "mknodat"]),
        }
    }

    /// Adds the rule to `profile`, be it a list of what is allowed or of what is refused.
    pub(crate) fn apply(self, profile: &mut Value) {
        let Conditions { names, refused, allowed } = self.conditions();
        let refuses = profile["defaultAction"] == "SCMP_ACT_ALLOW";
        let rules = profile["syscalls"].as_array_mut().expect("a profile has rules");
        if refuses {
            let mut rule = json!({
                "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": REFUSED,
            });
            if let Some(condition) = refused {
                rule["args"] = json!([condition]);
            }
            rules.push(rule);
            return;
        }
        let mut removed = false;
        for rule in rules.iter_mut() {
            let listed = rule["names"].as_array_mut().expect("a rule names calls");
            let before = listed.len();
            listed.retain(|name| !names.iter().any(|denied| name == denied));
            removed |= listed.len() < before;
        }
        rules.retain(|rule| rule["names"].as_array().is_some_and(|names| !names.is_empty()));
        if let (true, Some(condition)) = (removed, allowed) {
            rules.push(json!({
                "names": names, "action": "SCMP_ACT_ALLOW", "args": [condition],
            }));
        }
    }
}
