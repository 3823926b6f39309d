//! The kinds of pods, by the names that the documentation of the ladder uses.

/// The capabilities that container engines give by default.
pub(crate) const DEFAULT: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// All that Linux has: what `privileged` gives. `SYS_RESOURCE` is left out, which machines that are
/// virtual themselves may lack.
const EVERY: &[&str] = &[
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

const NONE: &[&str] = &[];

/// Which system calls a pod may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// All: `seccompProfile.type: Unconfined`.
    Unconfined,
    /// `seccompProfile.type: RuntimeDefault`.
    RuntimeDefault,
    /// All but those that mount, which fail as AppArmor lets them fail.
    NoMounts,
}

/// One kind of pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Environment {
    /// Its name in the documentation.
    pub(crate) name: &'static str,
    /// User and group of the container.
    pub(crate) user: (u32, u32),
    /// Effective and permitted capabilities.
    pub(crate) capabilities: &'static [&'static str],
    /// The capabilities that a program may gain.
    pub(crate) bounding: &'static [&'static str],
    /// `allowPrivilegeEscalation: false`.
    pub(crate) no_new_privileges: bool,
    /// System calls.
    pub(crate) filter: Filter,
    /// `hostUsers: false`.
    pub(crate) user_namespace: bool,
    /// `procMount: Default`: parts of `/proc` and `/sys` are hidden or read-only.
    pub(crate) masked: bool,
    /// `fsGroup`: volumes are setgid directories of this group, which the container has besides its
    /// own and which no user namespace maps.
    pub(crate) volume_group: Option<u32>,
    /// Devices as on the node.
    pub(crate) privileged: bool,
    /// `newuidmap` with file capabilities, and lines in `/etc/subuid` and `/etc/subgid`.
    pub(crate) subordinate_ids: bool,
}

/// Root with the default capabilities and no filter: what Kubernetes gives if nothing is said.
const ROOT: Environment = Environment {
    name: "E1",
    user: (0, 0),
    capabilities: DEFAULT,
    bounding: DEFAULT,
    no_new_privileges: false,
    filter: Filter::Unconfined,
    user_namespace: false,
    masked: true,
    volume_group: None,
    privileged: false,
    subordinate_ids: false,
};

/// A plain user that cannot become anybody else.
const USER: Environment = Environment {
    name: "E3",
    user: (1000, 1000),
    capabilities: NONE,
    bounding: NONE,
    no_new_privileges: true,
    volume_group: Some(4711),
    ..ROOT
};

/// Root of a pod with `hostUsers: false`.
const USERNS: Environment =
    Environment { name: "E5", filter: Filter::RuntimeDefault, user_namespace: true, ..ROOT };

/// All kinds.
pub(crate) const ALL: &[Environment] = &[
    ROOT,
    Environment { name: "E1np", masked: false, ..ROOT },
    Environment { name: "E2", filter: Filter::RuntimeDefault, ..ROOT },
    USER,
    Environment {
        name: "E3b",
        bounding: DEFAULT,
        no_new_privileges: false,
        subordinate_ids: true,
        ..USER
    },
    Environment { name: "E4", filter: Filter::RuntimeDefault, ..USER },
    USERNS,
    Environment { name: "E5un", filter: Filter::Unconfined, ..USERNS },
    Environment { name: "E5u", filter: Filter::Unconfined, masked: false, ..USERNS },
    Environment { name: "E5a", capabilities: EVERY, bounding: EVERY, masked: false, ..USERNS },
    Environment {
        name: "E6",
        capabilities: EVERY,
        bounding: EVERY,
        masked: false,
        privileged: true,
        ..ROOT
    },
    Environment { name: "E7", filter: Filter::NoMounts, ..ROOT },
    Environment {
        name: "E8",
        user: (1_000_660_000, 0),
        filter: Filter::RuntimeDefault,
        volume_group: Some(1_000_660_000),
        ..USER
    },
];

impl Environment {
    /// The environment `name`.
    pub(crate) fn named(name: &str) -> Self {
        let found = ALL.iter().find(|environment| environment.name == name);
        *found.unwrap_or_else(|| panic!("there is no environment {name}"))
    }

    /// The id on the node of the container's id 0.
    pub(crate) fn shift(&self) -> u32 {
        if self.user_namespace { SHIFT } else { 0 }
    }
}

/// Where the ids of a pod with its own user namespace begin on the node.
pub(crate) const SHIFT: u32 = 100 << 16;
