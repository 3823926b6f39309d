//! The task that makes a call, and the processes that it may know of.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Mode, OFlags, openat, readlinkat};

use super::names::Whose;
use super::task::Status;

/// More ancestors than any process has.
const MAX_ANCESTORS: usize = 4096;

/// A task that waits for an answer. Its directories were opened while it was known to wait, so
/// they are its own, whatever becomes of its number.
#[derive(Debug)]
pub(super) struct Caller {
    thread: OwnedFd,
    pub(super) process: OwnedFd,
    pub(super) status: Status,
    number: u32,
}

impl Caller {
    /// Opens the directories of the thread `number` below `proc`. The caller of this must see
    /// afterwards that the thread still waits, before it uses anything of it.
    pub(super) fn open(proc: impl AsFd, number: u32) -> io::Result<Self> {
        let thread = directory(&proc, &number.to_string())?;
        let status = Status::read(&thread)?;
        let process = directory(&proc, &status.process.to_string())?;
        Ok(Self { thread, process, status, number })
    }

    /// Opens the directory of a process or thread; `None` when it is not for the step to know.
    pub(super) fn directory_of(&self, whose: Whose, proc: impl AsFd) -> Option<OwnedFd> {
        match whose {
            Whose::Own => self.process.try_clone().ok(),
            Whose::OwnThread => directory(&self.process, &format!("task/{}", self.number)).ok(),
            Whose::Thread(number) => directory(&self.process, &format!("task/{number}")).ok(),
            Whose::Other(number) if number == self.status.process => self.process.try_clone().ok(),
            Whose::Other(number) => {
                let found = directory(&proc, &number.to_string()).ok()?;
                is_of_step(&found, &proc).then_some(found)
            }
        }
    }

    /// Where a relative path starts, as a path inside the step's root.
    pub(super) fn start_of(&self, directory: i32) -> Option<Vec<u8>> {
        let link = match directory {
            libc::AT_FDCWD => "cwd".to_owned(),
            number => format!("fd/{number}"),
        };
        self.inside(&readlinkat(&self.thread, link, Vec::new()).ok()?.into_bytes())
            .filter(|path| path.starts_with(b"/"))
    }

    /// What a link of the process says, as the step should see it.
    pub(super) fn link(&self, directory: impl AsFd, link: &str) -> Option<Vec<u8>> {
        self.inside(&readlinkat(directory, link, Vec::new()).ok()?.into_bytes())
    }

    /// Turns a path of the pod into one of the step; `None` is outside its root. What is no path
    /// (`pipe:[7]`) has no place, and what is of `/proc` or `/dev` has the same name inside.
    fn inside(&self, target: &[u8]) -> Option<Vec<u8>> {
        let root = readlinkat(&self.process, "root", Vec::new()).ok()?.into_bytes();
        inside(target, &root)
    }
}

fn inside(target: &[u8], root: &[u8]) -> Option<Vec<u8>> {
    if !target.starts_with(b"/") {
        return (!target.starts_with(b"(unreachable)")).then(|| target.to_owned());
    }
    if root == b"/" {
        return Some(target.to_owned());
    }
    let is_everybody_s = [b"/proc/".as_slice(), b"/dev/", b"/memfd:"];
    match target.strip_prefix(root) {
        Some(b"") => Some(b"/".to_vec()),
        Some(rest) if rest.starts_with(b"/") => Some(rest.to_owned()),
        _ => {
            is_everybody_s.iter().any(|start| target.starts_with(start)).then(|| target.to_owned())
        }
    }
}

fn directory(base: impl AsFd, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(base, std::ffi::OsStr::from_bytes(path.as_bytes()), flags, Mode::empty())?)
}

/// Whether the process is a descendant of init: never init itself, the builder, or another's.
///
/// The ancestors are read twice, because numbers are used again: a process whose parents were the
/// same both times had them all the while.
fn is_of_step(process: &OwnedFd, proc: impl AsFd) -> bool {
    let ancestors = || {
        let mut parent = Status::read(process).ok()?.parent;
        let mut seen = Vec::new();
        while parent != std::process::id() {
            if parent <= 1 || seen.len() >= MAX_ANCESTORS {
                return None;
            }
            seen.push(parent);
            parent = Status::read(directory(&proc, &parent.to_string()).ok()?).ok()?.parent;
        }
        Some(seen)
    };
    let first: Option<Vec<u32>> = ancestors();
    first.is_some() && first == ancestors()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_as_they_are_inside() {
        for (target, root, expected) in [
            ("/work/s1/root/bin/sh", "/work/s1/root", Some("/bin/sh")),
            ("/work/s1/root", "/work/s1/root", Some("/")),
            ("/work/s1/rooted/x", "/work/s1/root", None),
            ("/etc/shadow", "/work/s1/root", None),
            ("/dev/null", "/work/s1/root", Some("/dev/null")),
            ("/memfd:given (deleted)", "/work/s1/root", Some("/memfd:given (deleted)")),
            ("/bin/sh", "/", Some("/bin/sh")),
            ("pipe:[7]", "/work", Some("pipe:[7]")),
            ("(unreachable)/etc", "/", None),
        ] {
            let found = inside(target.as_bytes(), root.as_bytes());
            assert_eq!(found.as_deref(), expected.map(str::as_bytes), "{target} {root}");
        }
    }
}
