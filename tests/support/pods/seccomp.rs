//! System call filters in the form of the runtime specification.
//!
//! No package of Debian has the profile that containerd and Docker call their default. It is made
//! here from the one of containers-common (`/usr/share/containers/seccomp.json`), which allows
//! more: what the default refuses without a capability is taken out, and what it has in addition
//! is put in.

use serde_json::{Value, json};

use super::environment::{Environment, Filter};

/// The profile of Debian's golang-github-containers-common.
pub(crate) const COMMON: &str = "/usr/share/containers/seccomp.json";

/// Refused without `CAP_SYS_ADMIN`.
const REFUSED: &[&str] = &[
    "unshare",
    "setns",
    "mount",
    "umount",
    "umount2",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "pivot_root",
    "keyctl",
    "mbind",
    "get_mempolicy",
    "set_mempolicy",
    "reboot",
    "syslog",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "pidfd_getfd",
    // Allowed below, with conditions.
    "clone",
    "clone3",
    "personality",
];

/// Refused whatever the capabilities.
const REFUSED_ALWAYS: &[&str] = &[
    "pivot_root",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    // Allowed below, with conditions.
    "personality",
];

/// Newer calls, which the default allows.
const ADDED: &[&str] = &[
    "fchmodat2",
    "futex_wait",
    "futex_wake",
    "futex_requeue",
    "futex_waitv",
    "cachestat",
    "mseal",
    "statmount",
    "listmount",
    "setxattrat",
    "getxattrat",
    "listxattrat",
    "removexattrat",
    "map_shadow_stack",
];

/// What `personality` may be set to.
const PERSONALITIES: [u64; 5] = [0, 8, 131_072, 131_080, 4_294_967_295];
/// The flags of `clone` that make namespaces.
const NEW_NAMESPACES: u64 = 0x7E02_0000;
const EPERM: u32 = 1;
const EACCES: u32 = 13;
const ENOSYS: u32 = 38;

/// The filter of an environment.
pub(crate) fn profile(environment: &Environment) -> Option<Value> {
    match environment.filter {
        Filter::Unconfined => None,
        Filter::NoMounts => Some(without_mounts()),
        Filter::RuntimeDefault => Some(runtime_default(environment.capabilities)),
    }
}

/// A filter that refuses nothing.
pub(crate) fn open() -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures(), "syscalls": []})
}

fn without_mounts() -> Value {
    let names =
        ["mount", "umount2", "pivot_root", "fsmount", "move_mount", "open_tree", "mount_setattr"];
    let mut profile = open();
    profile["syscalls"] = json!([{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": EACCES}]);
    profile
}

fn runtime_default(capabilities: &[&str]) -> Value {
    let text = fs_err::read_to_string(COMMON).expect("containers-common is installed");
    let common: Value = serde_json::from_str(&text).expect("JSON");
    let admin = capabilities.contains(&"SYS_ADMIN");
    let refused = if admin { REFUSED_ALWAYS } else { REFUSED };
    let rules = common["syscalls"].as_array().expect("a profile has rules");
    let mut allowed: Vec<Value> =
        rules.iter().filter_map(|rule| flatten(rule, capabilities, refused)).collect();
    allowed.push(json!({"names": ADDED, "action": "SCMP_ACT_ALLOW"}));
    allowed.extend(PERSONALITIES.map(|value| {
        json!({
            "names": ["personality"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}],
        })
    }));
    if !admin {
        let condition = json!({
            "index": 0, "value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ",
        });
        allowed.push(json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [condition]}));
        let clone3 = json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS});
        allowed.push(clone3);
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": EPERM,
        "architectures": architectures(), "syscalls": allowed,
    })
}

/// A rule of the common profile as it counts for these capabilities, if it allows anything.
fn flatten(rule: &Value, capabilities: &[&str], refused: &[&str]) -> Option<Value> {
    let texts = |value: &Value| -> Vec<String> {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect()
    };
    let held = |name: &String| {
        let name = name.strip_prefix("CAP_").unwrap_or(name);
        capabilities.contains(&name)
    };
    let ours = |arches: &[String]| arches.iter().any(|arch| ARCHES.contains(&arch.as_str()));
    let (includes, excludes) = (&rule["includes"], &rule["excludes"]);
    let included = texts(&includes["arches"]);
    if rule["action"] != "SCMP_ACT_ALLOW"
        || (!included.is_empty() && !ours(&included))
        || ours(&texts(&excludes["arches"]))
        || !texts(&includes["caps"]).iter().all(held)
        || texts(&excludes["caps"]).iter().any(held)
    {
        return None;
    }
    let mut names = texts(&rule["names"]);
    names.retain(|name| !refused.contains(&name.as_str()));
    if names.is_empty() {
        return None;
    }
    let mut flat = json!({"names": names, "action": "SCMP_ACT_ALLOW"});
    if rule["args"].as_array().is_some_and(|args| !args.is_empty()) {
        flat["args"] = rule["args"].clone();
    }
    Some(flat)
}

/// How the common profile calls this machine's architecture.
#[cfg(target_arch = "x86_64")]
const ARCHES: &[&str] = &["amd64", "x86"];
#[cfg(not(target_arch = "x86_64"))]
const ARCHES: &[&str] = &["arm64", "arm"];

fn architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        _ => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    }
}
