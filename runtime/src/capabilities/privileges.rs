//! Linux capabilities as a set of bits, capabilities(7).

use std::fmt;

use serde::{Serialize, Serializer};

/// Capabilities of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privileges(u64);

/// Names by number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

impl Privileges {
    /// None.
    pub const NONE: Self = Self(0);
    /// `CAP_SETGID`, `CAP_SETUID` and `CAP_SETFCAP`: what writing a map of many ids takes.
    pub const MAP_IDS: Self = Self(1 << 6 | 1 << 7 | 1 << 31);
    /// `CAP_SYS_CHROOT`.
    pub const CHROOT: Self = Self(1 << 18);
    /// `CAP_CHOWN`.
    pub const CHOWN: Self = Self(1);
    /// `CAP_SETGID` and `CAP_SETUID`.
    pub const SET_IDS: Self = Self(1 << 6 | 1 << 7);
    /// `CAP_MKNOD`.
    pub const MKNOD: Self = Self(1 << 27);
    /// What steps in a directory of their own take besides: `CAP_DAC_OVERRIDE`, `CAP_FOWNER` and
    /// `CAP_FSETID` for files of all owners, `CAP_SETPCAP` to take `CAP_SYS_CHROOT` from a step.
    pub const FOREIGN_FILES: Self = Self(1 << 1 | 1 << 3 | 1 << 4 | 1 << 8);
    /// What container engines give root by default.
    pub const ENGINE_DEFAULT: Self = Self(0xA804_25FB);

    /// The set with these bits.
    pub const fn of_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Whether all of `other` are in the set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The names, by number, without the prefix `CAP_`; newer ones are numbers.
    pub fn names(self) -> Vec<String> {
        let name = |at: u32| {
            let known = usize::try_from(at).ok().and_then(|at| NAMES.get(at));
            known.map_or_else(|| at.to_string(), |name| (*name).to_owned())
        };
        (0..u64::BITS).filter(|at| self.0 & (1 << at) != 0).map(name).collect()
    }
}

impl fmt::Display for Privileges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join(", "))
    }
}

impl Serialize for Privileges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.names().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_have_the_kernels_names() {
        for (set, names) in [
            (Privileges::NONE, vec![]),
            (Privileges::MAP_IDS, vec!["SETGID", "SETUID", "SETFCAP"]),
            (Privileges::CHROOT, vec!["SYS_CHROOT"]),
            (Privileges::CHOWN, vec!["CHOWN"]),
            (Privileges::MKNOD, vec!["MKNOD"]),
            (Privileges::FOREIGN_FILES, vec!["DAC_OVERRIDE", "FOWNER", "FSETID", "SETPCAP"]),
            (Privileges::of_bits(1 << 63 | 1 << 40), vec!["CHECKPOINT_RESTORE", "63"]),
        ] {
            assert_eq!(set.names(), names);
        }
        let default = Privileges::ENGINE_DEFAULT;
        assert_eq!(default.names().len(), 14);
        assert!(default.contains(Privileges::FOREIGN_FILES));
        assert!(!default.contains(Privileges::of_bits(1 << 21)));
        assert_eq!(default.without(default).with(Privileges::CHOWN), Privileges::CHOWN);
    }
}
