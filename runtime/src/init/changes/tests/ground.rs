//! Where a step happens in tests: upon a mounted overlay, and in a plain copy of the same tree.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::thread::UnshareFlags;
use rustix::time::{ClockId, clock_gettime};

use super::listing::{Listing, list};
use super::script::{CLAMP, Content};
use crate::entry::{Entry, EntrySink};
use crate::init::changes::{Ignored, Walked, emit, emit_walked, take_snapshot};
use crate::init::{namespace, unpack};
use crate::step::ChangeStats;
use crate::wire::{EntryReader, EntryWriter};

/// Runs a test in a thread that has its own mounts, where the machine lets it.
pub(super) fn in_own_mounts(test: impl FnOnce() + Send) {
    let run = || {
        if let Err(error) = namespace::unshare(UnshareFlags::NEWNS) {
            eprintln!("skipped: cannot make a mount namespace: {error}");
            return;
        }
        let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", flags).unwrap();
        test();
    };
    if let Err(panic) = std::thread::scope(|scope| scope.spawn(run).join()) {
        std::panic::resume_unwind(panic);
    }
}

/// What a step left and what was emitted of it.
#[derive(Debug)]
pub(super) struct Emitted {
    pub(super) left: Listing,
    pub(super) entries: Vec<Content>,
    pub(super) stats: ChangeStats,
    /// What was emitted when it was read once more.
    pub(super) again: Vec<Content>,
}

/// Directories of one case.
pub(super) struct Ground {
    work: tempfile::TempDir,
    /// What the walks before and after a step ignore.
    pub(super) ignored: (Ignored, Ignored),
}

impl Ground {
    pub(super) fn new() -> Self {
        let ground = Self { work: tempfile::tempdir().unwrap(), ignored: Default::default() };
        for name in ["empty", "upper", "work", "seen"] {
            fs::create_dir(ground.at(name)).unwrap();
        }
        ground
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// Does things upon an overlay.
    pub(super) fn overlay(&self, lowers: &[PathBuf], act: impl FnOnce(&Path)) -> Emitted {
        let (upper, seen) = (self.at("upper"), self.at("seen"));
        let mounted = Mounted::over(lowers, Some((&upper, &self.at("work"))), &seen);
        act(&seen);
        let left = list(&seen, CLAMP);
        drop(mounted);
        let read = || taken(|sink| emit(&upper, lowers.to_vec(), Some(CLAMP), sink).unwrap());
        let (entries, stats) = read();
        Emitted { left, entries, stats, again: read().0 }
    }

    /// Does things in a copy of what the layers show.
    pub(super) fn tree(
        &self,
        lowers: &[PathBuf],
        in_next_tick: bool,
        act: impl FnOnce(&Path),
    ) -> Emitted {
        let (root, seen, snapshot) = (self.at("tree"), self.at("seen"), self.at("snapshot"));
        let mounted = Mounted::over(lowers, None, &seen);
        // Its exit code may tell of a name that an overlay lists and does not have (see `list`).
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        Command::new("cp").arg("-a").arg(seen.join(".")).arg(&root).output().unwrap();
        drop(mounted);
        if in_next_tick {
            // So that what is found is found by what was touched, not by doubt.
            next_tick();
        }
        take_snapshot(&root, &self.ignored.0, &snapshot).unwrap();
        act(&root);
        let left = list(&root, CLAMP);
        let walked = || Walked {
            root: &root,
            snapshot: &snapshot,
            ignored: &self.ignored.1,
            lowers: lowers.to_vec(),
            clamp_mtime: Some(CLAMP),
        };
        let read = || taken(|sink| emit_walked(walked(), sink).unwrap());
        let (entries, stats) = read();
        Emitted { left, entries, stats, again: read().0 }
    }

    /// What layers show with the entries unpacked on top.
    pub(super) fn with_layer(
        &self,
        lowers: &[PathBuf],
        entries: &[Content],
        name: &str,
    ) -> Listing {
        let place = self.at(name);
        unpacked(&place, lowers, entries).unwrap();
        self.with_top(lowers, &place)
    }

    pub(super) fn with_top(&self, lowers: &[PathBuf], top: &Path) -> Listing {
        let (seen, all) = (self.at("seen"), [lowers, &[top.to_owned()]].concat());
        let _mounted = Mounted::over(&all, None, &seen);
        list(&seen, CLAMP)
    }
}

/// Waits until the clock that inodes are stamped with has gone on.
fn next_tick() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = (i64::try_from(now.as_secs()).unwrap(), i64::from(now.subsec_nanos()));
    loop {
        let stamp = clock_gettime(ClockId::RealtimeCoarse);
        if (stamp.tv_sec, stamp.tv_nsec) > now {
            return;
        }
        std::thread::yield_now();
    }
}

pub(super) fn unpacked(
    place: &Path,
    lowers: &[PathBuf],
    entries: &[Content],
) -> Result<(), String> {
    let mut bytes = Vec::new();
    let mut writer = EntryWriter::new(&mut bytes);
    for (entry, content) in entries {
        writer.entry(entry, &mut content.as_slice()).unwrap();
    }
    writer.finish().unwrap();
    drop(writer);
    let mut reader = EntryReader::new(bytes.as_slice());
    let unpacked = unpack::unpack(place, Some(lowers.to_vec()), &mut reader);
    unpacked.map(drop).map_err(|failure| failure.action)
}

fn taken(emit: impl FnOnce(&mut dyn EntrySink) -> ChangeStats) -> (Vec<Content>, ChangeStats) {
    let mut entries = Vec::new();
    let mut sink = |entry: &Entry, content: &mut dyn Read| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        entries.push((entry.clone(), bytes));
        Ok(())
    };
    let stats = emit(&mut sink);
    (entries, stats)
}

/// An overlay, until it is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// Layers are listed bottom first.
    fn over(lowers: &[PathBuf], upper_and_work: Option<(&Path, &Path)>, at: &'a Path) -> Self {
        let layers: Vec<_> = lowers.iter().rev().map(|path| path.to_str().unwrap()).collect();
        let upper_and_work = upper_and_work.map_or(String::new(), |(upper, work)| {
            format!(",index=off,upperdir={},workdir={}", upper.display(), work.display())
        });
        let options = format!("userxattr,lowerdir={}{upper_and_work}", layers.join(":"));
        let options = std::ffi::CString::new(options).unwrap();
        mount("overlay", at, "overlay", MountFlags::empty(), options.as_c_str()).unwrap();
        Self(at)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        unmount(self.0, UnmountFlags::DETACH).unwrap();
    }
}
