//! The two readers: rows for each, and generated trees and steps through both.

mod coarse;
mod ground;
mod listing;
mod property;
mod rows;
mod script;

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::object::stood_for;
use super::*;
use crate::entry::{Entry, Kind};
use crate::step::ChangeStats;

/// Emits `upper` over `lowers` as one line an entry.
fn emitted(upper: &Path, lowers: &[&Path], clamp: Option<i64>) -> (Vec<String>, ChangeStats) {
    let mut lines = Vec::new();
    let mut sink = |entry: &Entry, content: &mut dyn Read| {
        let mut text = String::new();
        content.read_to_string(&mut text)?;
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        lines.push(match &entry.kind {
            Kind::File { size } => format!("{path} {size} {text}"),
            Kind::HardLink { target } => format!("{path} = {}", String::from_utf8_lossy(target)),
            Kind::Symlink { target } => format!("{path} -> {}", String::from_utf8_lossy(target)),
            Kind::Directory => format!("{path}/"),
            kind => format!("{path} {kind:?}"),
        });
        Ok(())
    };
    let lowers = lowers.iter().map(|lower| lower.to_path_buf()).collect();
    let stats = emit(upper, lowers, clamp, &mut sink).unwrap();
    (lines, stats)
}

#[test]
fn a_directorys_content_follows_it_at_once() {
    let work = tempfile::tempdir().unwrap();
    for dir in ["a", "a-dir", "a/deep/er"] {
        fs::create_dir_all(work.path().join(dir)).unwrap();
    }
    for file in ["a/x", "a.txt", "a/deep/er/y", "a/deep.z", "b"] {
        fs::write(work.path().join(file), file).unwrap();
    }
    let (lines, stats) = emitted(work.path(), &[], None);
    let paths: Vec<&str> =
        lines.iter().map(|line| line.split(' ').next().unwrap().trim_end_matches('/')).collect();
    assert_eq!(
        paths,
        ["a", "a/deep", "a/deep/er", "a/deep/er/y", "a/deep.z", "a/x", "a-dir", "a.txt", "b"]
    );
    assert_eq!((stats.entries, stats.reusable), (lines.len() as u64, true));
}

#[test]
fn the_first_name_of_a_hard_link_carries_the_content() {
    let work = tempfile::tempdir().unwrap();
    fs::write(work.path().join("m"), "text").unwrap();
    for name in ["z", "c"] {
        fs::hard_link(work.path().join("m"), work.path().join(name)).unwrap();
    }
    symlink("nowhere", work.path().join("l")).unwrap();
    let (lines, _) = emitted(work.path(), &[], None);
    assert_eq!(lines, ["c 4 text", "l -> nowhere", "m = c", "z = c"]);
}

#[test]
fn a_socket_is_skipped_and_removed() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("dir");
    fs::create_dir(&dir).unwrap();
    drop(UnixListener::bind(dir.join("socket")).unwrap());
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    fs::File::open(&dir).unwrap().set_modified(long_ago).unwrap();
    let (lines, stats) = emitted(work.path(), &[], None);
    assert_eq!((stats.skipped_sockets, stats.reusable), (1, true));
    assert_eq!(lines, ["dir/"]);
    assert!(!dir.join("socket").exists());
    assert_eq!(fs::metadata(&dir).unwrap().modified().unwrap(), long_ago);
}

#[test]
fn later_times_are_clamped_on_disk_too() {
    use std::os::unix::fs::MetadataExt as _;
    let work = tempfile::tempdir().unwrap();
    fs::create_dir(work.path().join("dir")).unwrap();
    fs::write(work.path().join("dir/file"), "").unwrap();
    let mut times = Vec::new();
    let mut sink = |entry: &Entry, _: &mut dyn Read| {
        times.push(entry.mtime);
        Ok(())
    };
    emit(work.path(), Vec::new(), Some(1000), &mut sink).unwrap();
    assert_eq!(times, [1000, 1000]);
    for path in ["dir", "dir/file"] {
        let stat = fs::metadata(work.path().join(path)).unwrap();
        assert_eq!((stat.mtime(), stat.mtime_nsec()), (1000, 0), "{path}");
    }
}

#[test]
fn stand_ins_parse_or_stay_files() {
    for (value, expected) in [
        ("c 1 3", Some(Kind::CharDevice { major: 1, minor: 3 })),
        ("b 8 0", Some(Kind::BlockDevice { major: 8, minor: 0 })),
        ("c 1", None),
        ("c 1 3 5", None),
        ("x 1 3", None),
        ("", None),
    ] {
        assert_eq!(stood_for(value.as_bytes().to_vec()), expected, "{value}");
    }
}
