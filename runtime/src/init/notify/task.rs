//! What the kernel tells of a process, proc_pid_status(5), and acting in its name.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd;

use nix::unistd::{Gid as FileGid, Uid as FileUid, setfsgid, setfsuid};
use rustix::fs::{Mode, OFlags, openat};
use rustix::thread::{Gid, set_thread_groups};

/// More than the file has.
const MAX_STATUS: u64 = 64 << 10;

/// The part of a process's status that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// The process that the thread belongs to.
    pub(super) process: u32,
    /// The parent of that.
    pub(super) parent: u32,
    /// Its real ids.
    pub(super) real: Ids,
    /// What it accesses files as.
    pub(super) files: Ids,
    /// Its supplementary groups.
    pub(super) groups: Vec<u32>,
}

/// A user and a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Status {
    /// Reads the status in a process's directory.
    pub(super) fn read(directory: impl AsFd) -> io::Result<Self> {
        let file = openat(directory, "status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = Vec::new();
        File::from(file).take(MAX_STATUS).read_to_end(&mut text)?;
        Self::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let numbers = |field: &[u8]| {
            let line = text.split(|byte| *byte == b'\n').find(|line| line.starts_with(field))?;
            let numbers = std::str::from_utf8(&line[field.len()..]).ok()?;
            numbers
                .split_ascii_whitespace()
                .map(|number| number.parse().ok())
                .collect::<Option<Vec<u32>>>()
        };
        let one = |field: &[u8]| numbers(field)?.first().copied();
        // Real, effective, saved, file system. The name, which is first, has no line end in it.
        let (uids, gids) = (numbers(b"Uid:")?, numbers(b"Gid:")?);
        let ids = |at: usize| Some(Ids { uid: *uids.get(at)?, gid: *gids.get(at)? });
        Some(Self {
            process: one(b"Tgid:")?,
            parent: one(b"PPid:")?,
            real: ids(0)?,
            files: ids(3)?,
            groups: numbers(b"Groups:")?,
        })
    }
}

/// While it lives, this thread accesses files as another process does.
#[derive(Debug)]
pub(super) struct InNameOf<'a> {
    own: &'a Status,
    groups_changed: bool,
}

impl<'a> InNameOf<'a> {
    /// Takes the ids of `task`, of which the kernel takes the capabilities over files away when it
    /// is not root; `own` is what to go back to.
    pub(super) fn begin(task: &Status, own: &'a Status) -> io::Result<Self> {
        let mut guard = Self { own, groups_changed: false };
        if task.groups != own.groups {
            set_groups(&task.groups)?;
            guard.groups_changed = true;
        }
        // These calls return what was before and no error; so it is looked at what there is.
        set_file_ids(task.files);
        if set_file_ids(NO_IDS) == task.files {
            Ok(guard)
        } else {
            Err(io::Error::from_raw_os_error(libc::EPERM))
        }
    }
}

impl Drop for InNameOf<'_> {
    fn drop(&mut self) {
        set_file_ids(self.own.files);
        if self.groups_changed {
            // The own groups could be left, so they can be taken again.
            let _ = set_groups(&self.own.groups);
        }
    }
}

/// Ids that nobody has.
const NO_IDS: Ids = Ids { uid: u32::MAX, gid: u32::MAX };

/// Sets what this thread accesses files as, if it may, and returns what it was.
fn set_file_ids(ids: Ids) -> Ids {
    let gid = setfsgid(FileGid::from_raw(ids.gid)).as_raw();
    let uid = setfsuid(FileUid::from_raw(ids.uid)).as_raw();
    Ids { uid, gid }
}

fn set_groups(groups: &[u32]) -> io::Result<()> {
    let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    Ok(set_thread_groups(&groups)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_by_its_labels() {
        let text = b"Name:\tPPid: 7\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t12\nNgid:\t0\n\
                     Pid:\t13\nPPid:\t3\nTracerPid:\t0\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n\
                     FDSize:\t64\nGroups:\t0 33 \nNStgid:\t12\n";
        let expected = Status {
            process: 12,
            parent: 3,
            real: Ids { uid: 1, gid: 5 },
            files: Ids { uid: 4, gid: 8 },
            groups: vec![0, 33],
        };
        assert_eq!(Status::parse(text), Some(expected));
        for broken in [&text[..40], b"", b"Tgid:\tx\n"] {
            assert_eq!(Status::parse(broken), None);
        }
    }
}
