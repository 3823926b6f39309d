//! What stands in a step's `/proc` on disk.
//!
//! Whoever lists the directory, goes there first or comes through a link of the image (such as
//! `/etc/mtab`) asks the kernel, not init, and finds these: copies from the start of the step of
//! what is the same for everybody. `self/fd` is missing on purpose: a program that closes all files
//! listed there must not find that there are none, but that it cannot know.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags, fchmod, mkdirat, openat};

use super::injection::Injection;
use super::names::MountList;
use crate::init::copying::write_all;
use crate::wire::{Failure, OrFail as _};

const DIRECTORIES: [&str; 4] = ["self", "thread-self", "sys", "sys/kernel"];
const FILES: [&str; 9] = [
    "cpuinfo",
    "filesystems",
    "loadavg",
    "meminfo",
    "stat",
    "sys/kernel/osrelease",
    "sys/kernel/ostype",
    "uptime",
    "version",
];
/// Much more than any of them has.
const MAX_FILE: u64 = 1 << 20;

/// Fills the empty directory `proc` of a step.
pub(in crate::init) fn fill(proc: impl AsFd, injection: &Injection) -> Result<(), Failure> {
    let filled = || -> io::Result<()> {
        for name in DIRECTORIES {
            mkdirat(&proc, name, Mode::from_raw_mode(0o555))?;
        }
        for name in FILES {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            // A file that the pod lacks or hides, the step lacks.
            if let Ok(file) = openat(&injection.proc, name, flags, Mode::empty()) {
                copy(file.into(), &proc, name)?;
            }
        }
        for name in ["mounts", "self/mounts"] {
            let mounts = injection.reopen(injection.mounts(MountList::Mounts))?;
            copy(mounts.into(), &proc, name)?;
        }
        Ok(())
    };
    filled().or_fail(|| "cannot fill the step's /proc".into())
}

fn copy(from: File, proc: impl AsFd, name: &str) -> io::Result<()> {
    let mut content = Vec::new();
    from.take(MAX_FILE).read_to_end(&mut content)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let to = openat(proc, name, flags, Mode::RUSR)?;
    write_all(to.as_fd(), &content)?;
    Ok(fchmod(&to, Mode::from_raw_mode(0o444))?)
}
