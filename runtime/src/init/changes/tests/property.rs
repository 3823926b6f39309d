//! Any step upon any layers: what it left is what the layers show with the emitted one on top, and
//! an overlay and a plain tree give the same.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::thread::UnshareFlags;
use rustix::time::{ClockId, clock_gettime};

use super::listing::{Listing, linked_files, list, unlinked};
use super::script::{CLAMP, Content, Op, layer, op};
use crate::entry::{Entry, EntrySink as _, Kind};
use crate::init::changes::{Ignored, Walked, emit, emit_walked, take_snapshot};
use crate::init::{namespace, unpack};
use crate::step::ChangeStats;
use crate::wire::{EntryReader, EntryWriter};

/// Runs a test for generated layers and steps in a thread that has its own mounts.
fn for_generated(test: impl Fn(&Ground, Vec<Vec<Content>>, Vec<Op>) -> TestCaseResult + Sync) {
    let run = || {
        let own = namespace::unshare(UnshareFlags::NEWNS);
        if let Err(error) = own {
            eprintln!("skipped: cannot make a mount namespace: {error}");
            return;
        }
        let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", flags).unwrap();
        // PROPTEST_CASES makes it more.
        let default = Config::default();
        let cases = (default.cases / 8).max(1);
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..default });
        let input = (vec(layer(), 1..4), vec(op(), 0..16));
        let result = runner.run(&input, |(layers, ops)| test(&Ground::new(), layers, ops));
        if let Err(error) = result {
            panic!("{error}");
        }
    };
    std::thread::scope(|scope| scope.spawn(run).join()).unwrap();
}

#[test]
fn both_readers_emit_the_same_and_all_of_it() {
    for_generated(|ground, mut layers, ops| {
        for layer in &mut layers {
            layer.retain(|(entry, _)| !matches!(entry.kind, Kind::HardLink { .. }));
        }
        let lowers = ground.layers(&layers);
        let (done, of_overlay) = ground.overlay(&lowers, &ops, true)?;
        let of_tree = ground.tree(&lowers, &done)?;
        prop_assert_eq!(of_overlay, of_tree);
        Ok(())
    });
}

#[test]
fn trees_with_hard_links_come_back() {
    for_generated(|ground, layers, ops| {
        let lowers = ground.layers(&layers);
        ground.overlay(&lowers, &ops, false)?;
        ground.tree(&lowers, &ops)?;
        Ok(())
    });
}

/// Where one case happens.
struct Ground(tempfile::TempDir);

impl Ground {
    fn new() -> Self {
        let ground = Self(tempfile::tempdir().unwrap());
        for name in ["empty", "upper", "work", "seen"] {
            fs::create_dir(ground.at(name)).unwrap();
        }
        ground
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Unpacks layers, without the entries that cannot be.
    fn layers(&self, layers: &[Vec<Content>]) -> Vec<PathBuf> {
        let mut lowers = vec![self.at("empty")];
        for layer in layers {
            let place = self.at(&format!("layer{}", lowers.len()));
            let mut entries = layer.clone();
            while let Err(failure) = unpacked(&place, &lowers, &entries) {
                let before = entries.len();
                entries.retain(|(entry, _)| {
                    let path = String::from_utf8_lossy(&entry.path);
                    !failure.contains(&format!("{path:?}"))
                });
                assert!(entries.len() < before, "{failure}");
                fs::remove_dir_all(&place).unwrap();
            }
            lowers.push(place);
        }
        lowers
    }

    /// Does things upon an overlay; returns what could be done, and what was emitted.
    fn overlay(
        &self,
        lowers: &[PathBuf],
        ops: &[Op],
        compare_links: bool,
    ) -> Result<(Vec<Op>, Vec<Content>), TestCaseError> {
        let (upper, seen) = (self.at("upper"), self.at("seen"));
        let mounted = Mounted::over(lowers, Some((&upper, &self.at("work"))), &seen);
        let done: Vec<Op> = ops.iter().filter(|op| op.apply(&seen).is_ok()).cloned().collect();
        let left = list(&seen, CLAMP);
        drop(mounted);
        let (entries, stats) =
            taken(|sink| emit(&upper, lowers.to_vec(), Some(CLAMP), sink).unwrap());
        prop_assert!(stats.reusable);
        let (again, _) = taken(|sink| emit(&upper, lowers.to_vec(), Some(CLAMP), sink).unwrap());
        prop_assert_eq!(&entries, &again);
        let from_layer = self.with_layer(lowers, &entries, "overlaid");
        let from_upper = self.with_top(lowers, &upper);
        prop_assert_eq!(&from_layer, &from_upper);
        if compare_links {
            prop_assert_eq!(linked_files(from_layer), linked_files(left));
        } else {
            prop_assert_eq!(unlinked(from_layer), unlinked(left));
        }
        Ok((done, entries))
    }

    /// Does things in a copy of what the layers show; returns what was emitted.
    fn tree(&self, lowers: &[PathBuf], ops: &[Op]) -> Result<Vec<Content>, TestCaseError> {
        let (root, seen, snapshot) = (self.at("tree"), self.at("seen"), self.at("snapshot"));
        let mounted = Mounted::over(lowers, None, &seen);
        // Its exit code may tell of a name that an overlay lists and does not have (see `list`).
        Command::new("cp").arg("-a").arg(&seen).arg(&root).output().unwrap();
        drop(mounted);
        if ops.len().is_multiple_of(2) {
            // So that what is found is found by what was touched, not by doubt.
            next_tick();
        }
        let ignored = Ignored::default();
        take_snapshot(&root, &ignored, &snapshot).unwrap();
        for op in ops {
            // What cannot be done is not done.
            let _ = op.apply(&root);
        }
        let left = list(&root, CLAMP);
        let walked = || Walked {
            root: &root,
            snapshot: &snapshot,
            ignored: &ignored,
            lowers: lowers.to_vec(),
            clamp_mtime: Some(CLAMP),
        };
        let (entries, stats) = taken(|sink| emit_walked(walked(), sink).unwrap());
        let (again, _) = taken(|sink| emit_walked(walked(), sink).unwrap());
        prop_assert_eq!(&entries, &again);
        prop_assert_eq!(&list(&root, CLAMP), &left);
        let from_layer = self.with_layer(lowers, &entries, "walked");
        if stats.reusable {
            prop_assert_eq!(from_layer, left);
        } else {
            prop_assert_eq!(unlinked(from_layer), unlinked(left));
        }
        Ok(entries)
    }

    /// What layers show with the entries unpacked on top.
    fn with_layer(&self, lowers: &[PathBuf], entries: &[Content], name: &str) -> Listing {
        let place = self.at(name);
        unpacked(&place, lowers, entries).unwrap();
        self.with_top(lowers, &place)
    }

    fn with_top(&self, lowers: &[PathBuf], top: &Path) -> Listing {
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

fn unpacked(place: &Path, lowers: &[PathBuf], entries: &[Content]) -> Result<(), String> {
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

fn taken(
    emit: impl FnOnce(&mut dyn crate::entry::EntrySink) -> ChangeStats,
) -> (Vec<Content>, ChangeStats) {
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
