//! Opens a virtual file on behalf of a task.
//!
//! # Why nothing can get out
//! - Only names of the list (`names`) get here, and of what they lead to only regular files,
//!   devices of the list and pipes are given: never a directory, from which a path could start.
//! - Files of `/proc` are opened below a directory that is pinned to the task (or, for another
//!   process of the step, below one that was checked after it was pinned), without following links
//!   and without going up.
//! - Init opens with the user, groups and, through them, the capabilities over files of the task,
//!   so the kernel refuses what it would refuse the task.
//! - `/proc/self/fd/N` *is* a link that is followed, the one that the kernel makes up: it leads to
//!   the very object that the step has open, and opening that again is checked against the object's
//!   own mode. On `/proc` that check is worth little, as root may write everything there; so
//!   what was injected from `/proc` can be opened again for reading only. Held files are sealed.
//! - Init never waits: pipes are opened without waiting, and nothing becomes its terminal.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::fs::{
    FileType, Mode, OFlags, ResolveFlags, Stat, fcntl_setfl, fstat, fstatfs, major, minor, openat,
    openat2,
};
use rustix::io::Errno;

use super::caller::Caller;
use super::injection::{Injection, PROC_SUPER_MAGIC};
use super::names::{Access, Name, Whose};

/// The devices that can be given, by their numbers.
const DEVICE_MAJOR: u32 = 1;
const DEVICE_MINORS: [u32; 5] = [3, 5, 7, 8, 9];
/// What of the flags of a call says how a file is used, not how it is found or made.
const USE: OFlags = OFlags::ACCMODE.union(OFlags::APPEND).union(OFlags::NONBLOCK);

/// Why there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The kernel shall look in the step's own root.
    NotVirtual,
    /// The call fails.
    Fails(Errno),
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Fails(errno)
    }
}

/// Opens what `name` names, as `flags` of open(2) say. The calling thread acts in the task's name.
pub(super) fn open(
    injection: &Injection,
    caller: &Caller,
    name: Name,
    flags: OFlags,
) -> Result<OwnedFd, Refusal> {
    let writes = flags & OFlags::ACCMODE != OFlags::RDONLY;
    let read_only = || if writes { Err(Errno::ACCESS) } else { Ok(()) };
    let directory = |whose| caller.directory_of(whose, &injection.proc).ok_or(Refusal::NotVirtual);
    match name {
        Name::System(file) => {
            read_only()?;
            below(&injection.proc, file, flags, FileType::RegularFile)
        }
        Name::Process(whose, file, access) => {
            if access == Access::Read {
                read_only()?;
            }
            below(directory(whose)?, file, flags, FileType::RegularFile)
        }
        Name::OpenInfo(number) => {
            read_only()?;
            let file = format!("fdinfo/{number}");
            below(directory(Whose::Own)?, &file, flags, FileType::RegularFile)
        }
        Name::Mounts(list) => {
            read_only()?;
            again(injection, injection.mounts(list), flags)
        }
        Name::Given(at) => {
            if writes {
                return Err(Errno::ROFS.into());
            }
            again(injection, &injection.files[at], flags)
        }
        Name::Device(device) => {
            let devices = injection.devices.as_ref().ok_or(Refusal::NotVirtual)?;
            let file = below(devices, device, flags, FileType::CharacterDevice)?;
            let number = fstat(&file)?.st_rdev;
            let is_listed = major(number) == DEVICE_MAJOR && DEVICE_MINORS.contains(&minor(number));
            if is_listed { Ok(file) } else { Err(Refusal::NotVirtual) }
        }
        Name::Open(number) | Name::Standard(number) => open_again(injection, caller, number, flags),
        // To go through it is to leave the root.
        Name::Link(..) => Err(Refusal::NotVirtual),
    }
}

/// Takes hold of what `name` names without opening it, to look at it; a link itself with `link`.
pub(super) fn hold(
    injection: &Injection,
    caller: &Caller,
    name: Name,
    link: OFlags,
) -> Result<OwnedFd, Refusal> {
    let directory = |whose| caller.directory_of(whose, &injection.proc).ok_or(Refusal::NotVirtual);
    let found = |base: &OwnedFd, file: &str| {
        openat2(base, file, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), down_only())
    };
    let through = |base: &OwnedFd, file: &str| {
        openat(base, file, OFlags::PATH | OFlags::CLOEXEC | link, Mode::empty())
    };
    let copy = |file: &OwnedFd| file.try_clone().map_err(|_| Errno::MFILE);
    let held = match name {
        Name::System(file) => found(&injection.proc, file)?,
        Name::Process(whose, file, _) => found(&directory(whose)?, file)?,
        Name::OpenInfo(number) => found(&caller.process, &format!("fdinfo/{number}"))?,
        Name::Mounts(list) => copy(injection.mounts(list))?,
        Name::Given(at) => copy(&injection.files[at])?,
        Name::Device(device) => {
            found(injection.devices.as_ref().ok_or(Refusal::NotVirtual)?, device)?
        }
        Name::Standard(_) if link.contains(OFlags::NOFOLLOW) => return Err(Refusal::NotVirtual),
        Name::Open(number) | Name::Standard(number) => {
            through(&caller.process, &format!("fd/{number}"))?
        }
        Name::Link(whose, file) => through(&directory(whose)?, file)?,
    };
    Ok(held)
}

/// Opens `file` below `base`, if it is of the right type.
fn below(base: impl AsFd, file: &str, flags: OFlags, kind: FileType) -> Result<OwnedFd, Refusal> {
    let flags = flags & USE | OFlags::CLOEXEC | OFlags::NOCTTY;
    let opened = openat2(base, file, flags, Mode::empty(), down_only())?;
    if type_of(&fstat(&opened)?) == kind { Ok(opened) } else { Err(Refusal::NotVirtual) }
}

fn down_only() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

/// Opens what the task has open under `number`.
fn open_again(
    injection: &Injection,
    caller: &Caller,
    number: u32,
    flags: OFlags,
) -> Result<OwnedFd, Refusal> {
    let link = format!("fd/{number}");
    let pinned = openat(&caller.process, link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    match type_of(&fstat(&pinned)?) {
        FileType::RegularFile | FileType::CharacterDevice | FileType::Fifo => {}
        FileType::Socket => return Err(Errno::NXIO.into()),
        _ => return Err(Errno::ACCESS.into()),
    }
    let writes = flags & OFlags::ACCMODE != OFlags::RDONLY;
    if writes && fstatfs(&pinned)?.f_type == PROC_SUPER_MAGIC {
        return Err(Errno::ACCESS.into());
    }
    again(injection, &pinned, flags)
}

/// Opens an open file once more, with a position of its own.
fn again(injection: &Injection, file: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Refusal> {
    let link = format!("self/fd/{}", file.as_raw_fd());
    let needed = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let asked = flags & (USE | OFlags::TRUNC);
    let opened = openat(&injection.proc, link, asked | needed, Mode::empty())?;
    if !flags.contains(OFlags::NONBLOCK) {
        fcntl_setfl(&opened, asked & OFlags::APPEND)?;
    }
    Ok(opened)
}

fn type_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}
