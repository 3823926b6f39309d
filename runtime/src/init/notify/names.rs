//! Which paths name a virtual file: the list of everything that can be injected.
//!
//! It is a list of what is allowed, not of what is forbidden: a path that is not here goes to the
//! kernel, which looks for it in the step's own root. So a name that is missing here costs a
//! program a file, never the pod a secret.
//!
//! Names are compared as text. A path with `..` in it is never virtual, and neither is one that
//! leads through a link of the image: both are the kernel's, and end inside the step's root.
//!
//! Left out on purpose: `mem`, `pagemap`, `syscall`, `stack` (windows into memory), `root`, `cwd`
//! and `exe` as files (ways out of the root), `attr/*`, `ns/*`, `uid_map` for writing, everything
//! that is a directory, and of `/proc/sys` whatever tells more than sizes and names.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::LazyLock;

/// A virtual file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A file of the whole system, below `/proc`.
    System(&'static str),
    /// A file of a process or thread, below its directory in `/proc`.
    Process(Whose, &'static str, Access),
    /// What the task has open under this number.
    Open(u32),
    /// The same, by a name that is a link in the step's own root.
    Standard(u32),
    /// What the kernel knows of an open file.
    OpenInfo(u32),
    /// A link of a process that the kernel makes up; it can be read, but not gone through.
    Link(Whose, &'static str),
    /// The mounts as the step should see them.
    Mounts(MountList),
    /// A device.
    Device(&'static str),
    /// A file of the injection, by its place in the list.
    Given(usize),
}

/// Whose directory in `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The process that makes the call.
    Own,
    /// The thread that makes the call.
    OwnThread,
    /// Another thread of the process that makes the call.
    Thread(u32),
    /// Any process; whether it is one of the step is to be found out.
    Other(u32),
}

/// How a file may be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// For reading.
    Read,
    /// Also for writing.
    Write,
}

/// A list of mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MountList {
    /// proc_pid_mounts(5).
    Mounts,
    /// proc_pid_mountinfo(5).
    Mountinfo,
}

/// Files of the whole system, below `/proc`.
const SYSTEM: [&str; 47] = [
    "cgroups",
    "cmdline",
    "cpuinfo",
    "devices",
    "diskstats",
    "filesystems",
    "loadavg",
    "meminfo",
    "misc",
    "partitions",
    "stat",
    "swaps",
    "uptime",
    "version",
    "vmstat",
    "sys/fs/aio-max-nr",
    "sys/fs/file-max",
    "sys/fs/inotify/max_user_instances",
    "sys/fs/inotify/max_user_watches",
    "sys/fs/nr_open",
    "sys/fs/pipe-max-size",
    "sys/kernel/arch",
    "sys/kernel/cap_last_cap",
    "sys/kernel/domainname",
    "sys/kernel/hostname",
    "sys/kernel/ngroups_max",
    "sys/kernel/osrelease",
    "sys/kernel/ostype",
    "sys/kernel/overflowgid",
    "sys/kernel/overflowuid",
    "sys/kernel/pid_max",
    "sys/kernel/random/boot_id",
    "sys/kernel/random/entropy_avail",
    "sys/kernel/random/poolsize",
    "sys/kernel/random/uuid",
    "sys/kernel/seccomp/actions_avail",
    "sys/kernel/shmall",
    "sys/kernel/shmmax",
    "sys/kernel/shmmni",
    "sys/kernel/threads-max",
    "sys/kernel/version",
    "sys/net/core/somaxconn",
    "sys/net/ipv4/ip_local_port_range",
    "sys/net/ipv6/conf/all/disable_ipv6",
    "sys/vm/max_map_count",
    "sys/vm/overcommit_memory",
    "sys/vm/swappiness",
];

/// Files of the network, which is that of the process that asks.
const NETWORK: [&str; 11] = [
    "net/arp",
    "net/dev",
    "net/if_inet6",
    "net/ipv6_route",
    "net/route",
    "net/snmp",
    "net/sockstat",
    "net/tcp",
    "net/tcp6",
    "net/udp",
    "net/udp6",
];

/// Files of any process of the step.
const PROCESS: [&str; 17] = [
    "cgroup",
    "cmdline",
    "comm",
    "environ",
    "io",
    "limits",
    "maps",
    "oom_adj",
    "oom_score",
    "oom_score_adj",
    "personality",
    "sched",
    "schedstat",
    "smaps_rollup",
    "stat",
    "statm",
    "status",
];

/// Files that only the process itself needs.
const OWN: [&str; 12] = [
    "auxv",
    "coredump_filter",
    "gid_map",
    "loginuid",
    "numa_maps",
    "sessionid",
    "setgroups",
    "smaps",
    "timens_offsets",
    "timerslack_ns",
    "uid_map",
    "wchan",
];

/// Files that a process may write about itself; the kernel checks the writer each time.
const OWN_WRITABLE: [&str; 4] = ["comm", "coredump_filter", "oom_score_adj", "timerslack_ns"];

/// Links that the kernel makes up.
const LINKS: [&str; 3] = ["cwd", "exe", "root"];

/// Devices that do the same for everybody.
const DEVICES: [&str; 5] = ["full", "null", "random", "urandom", "zero"];

/// The open files that have names of their own.
const STANDARD: [(&str, u32); 3] = [("stderr", 2), ("stdin", 0), ("stdout", 1)];

/// Returns what the absolute path `path` names; `given` are the paths of the injected files.
pub(super) fn name<P: AsRef<Path>>(path: &[u8], given: &[P]) -> Option<Name> {
    let first = components(path).next()?;
    if !path.starts_with(b"/") || leads_back(path) || names_directory(path) {
        return None;
    }
    match first {
        b"proc" => in_proc(&joined(path)).or_else(|| find_given(path, given)),
        b"dev" => in_dev(&joined(path)).or_else(|| find_given(path, given)),
        _ => find_given(path, given),
    }
}

/// Whether a relative path may name a virtual file, if it starts in the right directory. Most
/// paths are relative and name none; to know where they start costs more than all the rest.
pub(super) fn may_be_virtual<P: AsRef<Path>>(path: &[u8], given: &[P]) -> bool {
    if leads_back(path) || names_directory(path) {
        return false;
    }
    let Some(last) = components(path).last() else { return false };
    number(last).is_some()
        || LEAVES.contains(last)
        || given
            .iter()
            .any(|path| path.as_ref().file_name().is_some_and(|leaf| leaf.as_bytes() == last))
}

/// The last parts of all listed names.
static LEAVES: LazyLock<BTreeSet<&'static [u8]>> = LazyLock::new(|| {
    let standard = STANDARD.iter().map(|(name, _)| name);
    let listed = SYSTEM.iter().chain(&NETWORK).chain(&PROCESS).chain(&OWN).chain(&LINKS);
    let leaf = |name: &&'static str| name.rsplit('/').next().unwrap_or(name).as_bytes();
    listed.chain(&DEVICES).chain(&["mounts", "mountinfo"]).chain(standard).map(leaf).collect()
});

fn in_proc(path: &[u8]) -> Option<Name> {
    let rest = path.strip_prefix(b"proc/")?;
    if let Some(name) = known(&SYSTEM, rest) {
        return Some(Name::System(name));
    }
    // Links of the real /proc.
    if rest == b"mounts" {
        return Some(Name::Mounts(MountList::Mounts));
    }
    if let Some(name) = known(&NETWORK, rest) {
        return Some(Name::Process(Whose::Own, name, Access::Read));
    }
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    let (dir, rest) = (&rest[..slash], &rest[slash + 1..]);
    match dir {
        b"self" => of_own(Whose::Own, rest),
        b"thread-self" => of_own(Whose::OwnThread, rest),
        _ => of_other(number(dir)?, rest),
    }
}

fn of_own(whose: Whose, path: &[u8]) -> Option<Name> {
    if let Some(rest) = path.strip_prefix(b"fd/") {
        return number(rest).map(Name::Open);
    }
    if let Some(rest) = path.strip_prefix(b"fdinfo/") {
        return number(rest).map(Name::OpenInfo);
    }
    if let (Whose::Own, Some(rest)) = (whose, path.strip_prefix(b"task/")) {
        let slash = rest.iter().position(|byte| *byte == b'/')?;
        let thread = Whose::Thread(number(&rest[..slash])?);
        return of_own(thread, &rest[slash + 1..]).filter(|name| matches!(name, Name::Process(..)));
    }
    of_any(whose, path).or_else(|| {
        let name = known(&OWN, path).or_else(|| known(&NETWORK, path))?;
        let access = if OWN_WRITABLE.contains(&name) { Access::Write } else { Access::Read };
        Some(Name::Process(whose, name, access))
    })
}

fn of_other(process: u32, path: &[u8]) -> Option<Name> {
    match of_any(Whose::Other(process), path)? {
        Name::Process(whose, name, _) => Some(Name::Process(whose, name, Access::Read)),
        name => Some(name),
    }
}

fn of_any(whose: Whose, path: &[u8]) -> Option<Name> {
    if let Some(name) = known(&LINKS, path) {
        return Some(Name::Link(whose, name));
    }
    if let Some(name) = known(&PROCESS, path) {
        let access = if OWN_WRITABLE.contains(&name) { Access::Write } else { Access::Read };
        return Some(Name::Process(whose, name, access));
    }
    match path {
        b"mounts" => Some(Name::Mounts(MountList::Mounts)),
        b"mountinfo" => Some(Name::Mounts(MountList::Mountinfo)),
        _ => None,
    }
}

fn in_dev(path: &[u8]) -> Option<Name> {
    let rest = path.strip_prefix(b"dev/")?;
    if let Some(rest) = rest.strip_prefix(b"fd/") {
        return number(rest).map(Name::Open);
    }
    let standard = STANDARD.iter().find(|(name, _)| name.as_bytes() == rest);
    standard
        .map(|(_, number)| Name::Standard(*number))
        .or_else(|| known(&DEVICES, rest).map(Name::Device))
}

fn known(names: &[&'static str], path: &[u8]) -> Option<&'static str> {
    names.iter().copied().find(|name| name.as_bytes() == path)
}

fn find_given<P: AsRef<Path>>(path: &[u8], given: &[P]) -> Option<Name> {
    given
        .iter()
        .position(|known| components(known.as_ref().as_os_str().as_bytes()).eq(components(path)))
        .map(Name::Given)
}

/// A number as the kernel writes it: no sign, no leading zero.
fn number(text: &[u8]) -> Option<u32> {
    let is_plain = match text {
        [] => false,
        [_] => true,
        [first, ..] => *first != b'0',
    };
    if !is_plain || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u32 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number <= i32::MAX.unsigned_abs()).then_some(number)
}

fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."))
}

fn leads_back(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|part| part == b"..")
}

fn names_directory(path: &[u8]) -> bool {
    path.ends_with(b"/") || path.ends_with(b"/.")
}

fn joined(path: &[u8]) -> Vec<u8> {
    components(path).collect::<Vec<_>>().join(&b'/')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Access::{Read, Write};
    use super::Whose::{Other, Own, OwnThread, Thread};
    use super::*;

    const GIVEN: [&str; 2] = ["/run/secrets/token", "/dev/key"];

    #[test]
    fn paths_name_what_is_listed() {
        for (path, expected) in [
            ("/proc/cpuinfo", Name::System("cpuinfo")),
            ("//proc/./cpuinfo", Name::System("cpuinfo")),
            ("/proc/sys/kernel/osrelease", Name::System("sys/kernel/osrelease")),
            ("/proc/self/maps", Name::Process(Own, "maps", Read)),
            ("/proc/self//status", Name::Process(Own, "status", Read)),
            ("/proc/self/comm", Name::Process(Own, "comm", Write)),
            ("/proc/self/uid_map", Name::Process(Own, "uid_map", Read)),
            ("/proc/thread-self/stat", Name::Process(OwnThread, "stat", Read)),
            ("/proc/self/task/12/comm", Name::Process(Thread(12), "comm", Write)),
            ("/proc/12/stat", Name::Process(Other(12), "stat", Read)),
            ("/proc/12/oom_score_adj", Name::Process(Other(12), "oom_score_adj", Read)),
            ("/proc/net/if_inet6", Name::Process(Own, "net/if_inet6", Read)),
            ("/proc/self/net/tcp", Name::Process(Own, "net/tcp", Read)),
            ("/proc/mounts", Name::Mounts(MountList::Mounts)),
            ("/proc/self/mountinfo", Name::Mounts(MountList::Mountinfo)),
            ("/proc/12/mounts", Name::Mounts(MountList::Mounts)),
            ("/proc/self/fd/0", Name::Open(0)),
            ("/proc/self/fdinfo/7", Name::OpenInfo(7)),
            ("/proc/self/exe", Name::Link(Own, "exe")),
            ("/proc/12/exe", Name::Link(Other(12), "exe")),
            ("/dev/fd/63", Name::Open(63)),
            ("/dev/stdin", Name::Standard(0)),
            ("/dev/stderr", Name::Standard(2)),
            ("/dev/null", Name::Device("null")),
            ("/run/secrets/token", Name::Given(0)),
            ("/run//./secrets/token", Name::Given(0)),
            ("/dev/key", Name::Given(1)),
        ] {
            assert_eq!(name(path.as_bytes(), &GIVEN), Some(expected), "{path}");
        }
    }

    #[test]
    fn everything_else_is_the_kernel_s() {
        for path in [
            "",
            "/",
            ".",
            "proc/cpuinfo",
            "/proc",
            "/proc/",
            "/proc/self",
            "/proc/self/",
            "/proc/self/maps/",
            "/proc/self/maps/.",
            "/proc/self/../1/environ",
            "/proc/../proc/self/maps",
            "/proc/self/mem",
            "/proc/self/fd",
            "/proc/self/fd/",
            "/proc/self/fd/03",
            "/proc/self/fd/+3",
            "/proc/self/fd/-1",
            "/proc/self/fd/3/etc/passwd",
            "/proc/self/fd/99999999999",
            "/proc/self/root/etc/shadow",
            "/proc/self/cwd/x",
            "/proc/self/exe/x",
            "/proc/self/ns/user",
            "/proc/self/task/12/fd/3",
            "/proc/self/task/12/task/13/comm",
            "/proc/self/task/12/../../../1/environ",
            "/proc/thread-self/task/12/comm",
            "/proc/12/fd/3",
            "/proc/12/mem",
            "/proc/12/auxv",
            "/proc/12/task/12/environ",
            "/proc/012/stat",
            "/proc/kcore",
            "/proc/keys",
            "/proc/sysrq-trigger",
            "/proc/sys/kernel/core_pattern",
            "/dev",
            "/dev/mem",
            "/dev/kmsg",
            "/dev/tty",
            "/dev/fd/x",
            "/dev/../proc/cpuinfo",
            "/run/secrets",
            "/run/secrets/tokens",
            "/run/secrets/token/",
            "/procs/cpuinfo",
        ] {
            assert_eq!(name(path.as_bytes(), &GIVEN), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_path_that_leads_back_or_is_a_directory_is_virtual(
            parts in prop::collection::vec(
                prop::sample::select(vec!["proc", "self", "1", "..", "fd", "maps", "", ".", "dev"]),
                0..7,
            ),
            absolute in any::<bool>(),
        ) {
            let path = format!("{}{}", if absolute { "/" } else { "" }, parts.join("/"));
            if name(path.as_bytes(), &GIVEN).is_some() {
                prop_assert!(path.starts_with('/') && !parts.contains(&".."));
                prop_assert!(!matches!(parts.last(), Some(&"" | &".")));
                prop_assert!(may_be_virtual(path.as_bytes(), &GIVEN));
            }
        }
    }

    #[test]
    fn every_listed_name_is_found_from_its_directory() {
        for path in ["cpuinfo", "null", "status", "3", "token", "secrets/token", "./mounts"] {
            assert!(may_be_virtual(path.as_bytes(), &GIVEN), "{path}");
        }
        for path in ["", ".", "..", "main.c", "status/", "../null", "-3", "tokens"] {
            assert!(!may_be_virtual(path.as_bytes(), &GIVEN), "{path}");
        }
    }
}
