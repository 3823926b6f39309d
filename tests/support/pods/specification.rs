//! The container's `config.json` (runtime-spec 1.0), as the kubelet and a runtime would write it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::denial::Denial;
use super::environment::{Environment, SHIFT};
use super::pod::{SHARED_MEMORY, TOKEN_PATH, VOLUME};
use super::seccomp;

/// Hidden with `procMount: Default`.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Read-only with `procMount: Default`.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// The ids of a pod with its own user namespace.
const IDS: u32 = 65536;

/// What a container is made of.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) environment: Environment,
    /// Mechanisms that are refused on top.
    pub(crate) denied: Vec<Denial>,
    /// The root file system.
    pub(crate) root: PathBuf,
    /// The directory behind the volume.
    pub(crate) volume: PathBuf,
    /// The directory behind the service account's.
    pub(crate) account: PathBuf,
    /// Other files: on the node, in the container, whether it may write.
    pub(crate) binds: Vec<(PathBuf, String, bool)>,
    pub(crate) env: Vec<String>,
    /// Whether the node's loopback device is the pod's.
    pub(crate) node_network: bool,
}

impl Container {
    /// The configuration that runs `command`.
    pub(crate) fn specification(&self, command: &[String]) -> Value {
        let environment = &self.environment;
        let (uid, gid) = environment.user;
        let groups: Vec<u32> = environment.volume_group.into_iter().collect();
        let mut linux = json!({
            "namespaces": self.namespaces(),
            "resources": {"devices": [{"allow": environment.privileged, "access": "rwm"}]},
        });
        if environment.masked {
            linux["maskedPaths"] = json!(MASKED);
            linux["readonlyPaths"] = json!(READ_ONLY);
        }
        if environment.user_namespace {
            let map = json!([{"containerID": 0, "hostID": SHIFT, "size": IDS}]);
            linux["uidMappings"] = map.clone();
            linux["gidMappings"] = map;
        }
        if let Some(profile) = self.filter() {
            linux["seccomp"] = profile;
        }
        json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false, "cwd": "/", "args": command, "env": self.env,
                "user": {"uid": uid, "gid": gid, "additionalGids": groups},
                "capabilities": capabilities(environment),
                "noNewPrivileges": environment.no_new_privileges, "oomScoreAdj": 0,
            },
            "root": {"path": self.root, "readonly": false}, "hostname": "pod",
            "mounts": self.mounts(), "linux": linux,
        })
    }

    fn filter(&self) -> Option<Value> {
        let profile = seccomp::profile(&self.environment);
        if self.denied.is_empty() {
            return profile;
        }
        let mut profile = profile.unwrap_or_else(seccomp::open);
        self.denied.iter().for_each(|denial| denial.apply(&mut profile));
        Some(profile)
    }

    fn namespaces(&self) -> Vec<Value> {
        let mut kinds = vec!["pid", "ipc", "uts", "mount"];
        if !self.node_network {
            kinds.push("network");
        }
        if self.environment.user_namespace {
            kinds.push("user");
        }
        kinds.into_iter().map(|kind| json!({"type": kind})).collect()
    }

    fn mounts(&self) -> Vec<Value> {
        let fresh = |at: &str, kind: &str, options: &[&str]| json!({"destination": at, "type": kind, "source": kind, "options": options});
        let quiet = ["nosuid", "noexec", "nodev"];
        let bound = |from: &Path, at: &str, writable: bool| {
            let access = if writable { "rw" } else { "ro" };
            json!({
                "destination": at, "type": "bind", "source": from, "options": ["rbind", access],
            })
        };
        let mut mounts = vec![
            fresh("/proc", "proc", &quiet),
            fresh("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            fresh(
                "/dev/pts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            ),
            fresh("/dev/mqueue", "mqueue", &quiet),
            fresh("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            self.sys(),
            fresh(SHARED_MEMORY, "tmpfs", &["mode=1777", "size=2g"]),
            bound(Path::new("/etc/resolv.conf"), "/etc/resolv.conf", false),
            bound(&self.account, parent(TOKEN_PATH), false),
            bound(&self.volume, VOLUME, true),
        ];
        mounts.extend(self.binds.iter().map(|(from, at, writable)| bound(from, at, *writable)));
        mounts
    }

    /// A network namespace that is not the pod's own user namespace's lets no new sysfs in.
    fn sys(&self) -> Value {
        let mut options = vec!["nosuid", "noexec", "nodev"];
        if !self.environment.privileged {
            options.push("ro");
        }
        if self.node_network {
            options.push("rbind");
            return json!({
                "destination": "/sys", "type": "bind", "source": "/sys", "options": options,
            });
        }
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": options})
    }
}

fn capabilities(environment: &Environment) -> Value {
    let named = |set: &[&str]| -> Vec<String> {
        set.iter().map(|capability| format!("CAP_{capability}")).collect()
    };
    let held = named(environment.capabilities);
    json!({
        "bounding": named(environment.bounding), "effective": held, "permitted": held,
        "inheritable": [], "ambient": [],
    })
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').expect("an absolute path").0
}
