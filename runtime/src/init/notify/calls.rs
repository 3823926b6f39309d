//! Which calls init is told of, and what their arguments mean.
//!
//! Calls that cannot be about a virtual file are let through by the filter itself, at no cost:
//! opening directories, opening without access (`O_PATH`), making new files (`O_EXCL`), and asking
//! about an open file (`AT_EMPTY_PATH`).

use std::mem::size_of;

use super::memory::Memory;
use crate::init::seccomp::Told;

/// Flags of open(2) with which no virtual file is opened.
const NEVER_VIRTUAL: i32 = libc::O_DIRECTORY | libc::O_PATH | libc::O_EXCL;

/// The calls that open: a step without them has no virtual files at all.
#[cfg(target_arch = "x86_64")]
const OPENING: &[Told] = &[
    opening(libc::SYS_open, 1),
    always(libc::SYS_creat),
    opening(libc::SYS_openat, 2),
    always(libc::SYS_openat2),
];
#[cfg(not(target_arch = "x86_64"))]
const OPENING: &[Told] = &[opening(libc::SYS_openat, 2), always(libc::SYS_openat2)];

/// The calls that read links.
#[cfg(target_arch = "x86_64")]
const READING_LINKS: &[Told] = &[always(libc::SYS_readlink), always(libc::SYS_readlinkat)];
#[cfg(not(target_arch = "x86_64"))]
const READING_LINKS: &[Told] = &[always(libc::SYS_readlinkat)];

/// The calls that look at what a name leads to without opening it.
#[cfg(target_arch = "x86_64")]
const LOOKING: &[Told] = &[
    always(libc::SYS_stat),
    always(libc::SYS_access),
    looking(libc::SYS_newfstatat, 3),
    looking(libc::SYS_statx, 2),
    always(libc::SYS_faccessat),
    looking(libc::SYS_faccessat2, 3),
];
#[cfg(not(target_arch = "x86_64"))]
const LOOKING: &[Told] = &[
    looking(libc::SYS_newfstatat, 3),
    looking(libc::SYS_statx, 2),
    always(libc::SYS_faccessat),
    looking(libc::SYS_faccessat2, 3),
];

/// The calls that look also at what does not lead on, which is what walks over trees do.
#[cfg(target_arch = "x86_64")]
const WALKING: &[Told] = &[
    always(libc::SYS_stat),
    always(libc::SYS_lstat),
    always(libc::SYS_access),
    walking(libc::SYS_newfstatat, 3),
    walking(libc::SYS_statx, 2),
    always(libc::SYS_faccessat),
    walking(libc::SYS_faccessat2, 3),
];
#[cfg(not(target_arch = "x86_64"))]
const WALKING: &[Told] = &[
    walking(libc::SYS_newfstatat, 3),
    walking(libc::SYS_statx, 2),
    always(libc::SYS_faccessat),
    walking(libc::SYS_faccessat2, 3),
];

/// How much of what a step does with names is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::init) enum Extent {
    /// Opening, reading links, looking at what names lead to: enough for what is there anyway, such
    /// as `/proc`, and nearly free.
    Usual,
    /// Also lstat(2) and its kin: for files that are nowhere but in memory.
    All,
}

/// What a call wants, of which path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// The directory that a relative path starts from, or `AT_FDCWD`.
    pub(super) directory: i32,
    /// Where in the task's memory the path is.
    pub(super) path: u64,
    pub(super) wish: Wish,
}

/// What a call wants of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To open it.
    Open {
        /// As open(2) takes them.
        flags: i32,
    },
    /// To have what a link says.
    ReadLink {
        /// Where in the task's memory.
        to: u64,
        /// At most so many bytes.
        size: u64,
    },
    /// To have its `struct stat`.
    Stat {
        /// Where in the task's memory.
        to: u64,
        /// A link itself.
        no_follow: bool,
    },
    /// To have its `struct statx`.
    Statx {
        /// Where in the task's memory.
        to: u64,
        /// A link itself.
        no_follow: bool,
        /// Which fields.
        mask: u32,
    },
    /// To know whether it may be used.
    Access {
        /// As access(2) takes it.
        mode: i32,
    },
}

const fn always(call: libc::c_long) -> Told {
    Told { call, unless: None }
}

const fn opening(call: libc::c_long, flags: u8) -> Told {
    Told { call, unless: Some((flags, NEVER_VIRTUAL.cast_unsigned())) }
}

const fn looking(call: libc::c_long, flags: u8) -> Told {
    let not_on = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    Told { call, unless: Some((flags, not_on.cast_unsigned())) }
}

const fn walking(call: libc::c_long, flags: u8) -> Told {
    Told { call, unless: Some((flags, libc::AT_EMPTY_PATH.cast_unsigned())) }
}

/// The calls to be told of.
pub(super) fn told(extent: Extent) -> Vec<Told> {
    let looking = match extent {
        Extent::Usual => LOOKING,
        Extent::All => WALKING,
    };
    [OPENING, READING_LINKS, looking].concat()
}

impl Call {
    /// Reads the arguments of a call; `None` is one that cannot be about a virtual file.
    pub(super) fn read(data: &libc::seccomp_data, memory: &Memory) -> Option<Self> {
        let number = libc::c_long::from(data.nr);
        let arguments = &data.args;
        if number == libc::SYS_openat2 {
            return open_how(data, memory);
        }
        let at = |wish| Self { directory: int(arguments[0]), path: arguments[1], wish };
        let no_follow = |flags: u64| int(flags) & libc::AT_SYMLINK_NOFOLLOW != 0;
        let call = match number {
            libc::SYS_openat => at(Wish::Open { flags: int(arguments[2]) }),
            libc::SYS_readlinkat => at(Wish::ReadLink { to: arguments[2], size: arguments[3] }),
            libc::SYS_newfstatat => {
                at(Wish::Stat { to: arguments[2], no_follow: no_follow(arguments[3]) })
            }
            libc::SYS_statx => at(Wish::Statx {
                to: arguments[4],
                no_follow: no_follow(arguments[2]),
                mask: int(arguments[3]).cast_unsigned(),
            }),
            libc::SYS_faccessat | libc::SYS_faccessat2 => {
                at(Wish::Access { mode: int(arguments[2]) })
            }
            _ => return without_directory(data),
        };
        Some(call)
    }
}

/// The calls of old, which only some architectures have.
#[cfg(target_arch = "x86_64")]
fn without_directory(data: &libc::seccomp_data) -> Option<Call> {
    let arguments = &data.args;
    let wish = match libc::c_long::from(data.nr) {
        libc::SYS_open => Wish::Open { flags: int(arguments[1]) },
        libc::SYS_creat => Wish::Open { flags: libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC },
        libc::SYS_readlink => Wish::ReadLink { to: arguments[1], size: arguments[2] },
        libc::SYS_stat => Wish::Stat { to: arguments[1], no_follow: false },
        libc::SYS_lstat => Wish::Stat { to: arguments[1], no_follow: true },
        libc::SYS_access => Wish::Access { mode: int(arguments[1]) },
        _ => return None,
    };
    Some(Call { directory: libc::AT_FDCWD, path: arguments[0], wish })
}

#[cfg(not(target_arch = "x86_64"))]
fn without_directory(_: &libc::seccomp_data) -> Option<Call> {
    None
}

/// openat2(2), whose flags are in memory.
fn open_how(data: &libc::seccomp_data, memory: &Memory) -> Option<Call> {
    let [directory, path, how, size, ..] = data.args;
    let mut words = [0; size_of::<libc::open_how>()];
    // A later version of the structure begins with this one.
    if size < words.len() as u64 || memory.read(how, &mut words)? < words.len() {
        return None;
    }
    let word = |at: usize| {
        u64::from_ne_bytes(words[8 * at..][..8].try_into().expect("the slice has 8 bytes"))
    };
    let (flags, resolve) = (i32::try_from(word(0)).ok()?, word(2));
    // The way to a virtual file leaves the directory that these two confine to.
    let confined = resolve & (libc::RESOLVE_BENEATH | libc::RESOLVE_IN_ROOT) != 0;
    let call = Call { directory: int(directory), path, wish: Wish::Open { flags } };
    (!confined && flags & NEVER_VIRTUAL == 0).then_some(call)
}

/// An argument that is an `int`, of which the upper half of the register says nothing.
#[expect(clippy::cast_possible_truncation, reason = "the upper half is to be cut off")]
fn int(argument: u64) -> i32 {
    (argument as u32).cast_signed()
}
