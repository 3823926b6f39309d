//! A file system that stamps with whole seconds: what is touched in the second of the snapshot
//! looks the same afterwards, and is found by doubt.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use super::ground::in_own_mounts;
use crate::entry::Entry;
use crate::init::changes::{Ignored, Walked, emit_walked, take_snapshot};

#[test]
fn what_is_touched_in_the_second_of_the_snapshot_is_found() {
    in_own_mounts(|| {
        let work = tempfile::tempdir().unwrap();
        let volume = work.path().join("volume");
        fs::create_dir(&volume).unwrap();
        if let Err(reason) = mount_coarse(&work.path().join("image"), &volume) {
            eprintln!("skipped: cannot mount an ext2 file system: {reason}");
            return;
        }
        // A second may end in between, and then nothing is in doubt.
        let found = (0..100).find_map(|number| touched(&volume.join(number.to_string())));
        run("umount", &[volume.to_str().unwrap()]).unwrap();
        assert_eq!(found.unwrap(), ["dir ", "dir/new new", "dir/same bbbb"]);
    });
}

/// What is emitted of a file that is rewritten and one that is new; `None` if their stamps tell.
fn touched(work: &Path) -> Option<Vec<String>> {
    let (tree, lower, snapshot) = (work.join("tree"), work.join("lower"), work.join("snapshot"));
    for root in [&lower, &tree] {
        fs::create_dir_all(root.join("dir")).unwrap();
        fs::write(root.join("dir/same"), "aaaa").unwrap();
    }
    let stamps = || {
        ["dir", "dir/same"].map(|path| {
            let stat = fs::metadata(tree.join(path)).unwrap();
            (stat.ctime(), stat.ctime_nsec(), stat.mtime(), stat.size(), stat.ino())
        })
    };
    let ignored = Ignored::default();
    take_snapshot(&tree, &ignored, &snapshot).unwrap();
    let before = stamps();
    assert!(before.iter().all(|stamp| stamp.1 == 0), "the file system is coarse");
    fs::write(tree.join("dir/same"), "bbbb").unwrap();
    fs::write(tree.join("dir/new"), "new").unwrap();
    if stamps() != before {
        return None;
    }
    let mut lines = Vec::new();
    let mut sink = |entry: &Entry, content: &mut dyn Read| {
        let mut text = String::new();
        content.read_to_string(&mut text)?;
        lines.push(format!("{} {text}", String::from_utf8_lossy(&entry.path)));
        Ok(())
    };
    let walked = Walked {
        root: &tree,
        snapshot: &snapshot,
        ignored: &ignored,
        lowers: vec![lower],
        clamp_mtime: None,
    };
    emit_walked(walked, &mut sink).unwrap();
    Some(lines)
}

/// Mounts a new file system whose inodes have no room for fractions of a second.
fn mount_coarse(image: &Path, at: &Path) -> Result<(), String> {
    let file = fs::File::create(image).unwrap();
    file.set_len(8 << 20).unwrap();
    let (image, at) = (image.to_str().unwrap(), at.to_str().unwrap());
    run("mkfs.ext2", &["-q", "-F", "-I", "128", image])?;
    run("mount", &["-o", "loop", image, at])
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
