//! The id maps of a new user namespace, user_namespaces(7).
//!
//! A builder that may set ids maps every id that it has itself onto itself: each line of its own
//! map becomes one line, which also holds in nested namespaces. Any other user maps itself to 0
//! and its subordinate ids (subuid(5), subgid(5)) from 1 on, through `newuidmap` and `newgidmap`.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use nix::unistd::{Gid, Uid, User};

use crate::capabilities::Map;

/// Ids `first` to `first + count - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    first: u32,
    count: u32,
}

/// Writes both maps of the process `pid`, which has just made its user namespace.
///
/// # Errors
/// Says which file or program refused.
pub(super) fn write(pid: u32) -> Result<Map, String> {
    match write_own(pid) {
        Ok(len) => Ok(Map::Full { len }),
        Err(own) => match write_subordinate(pid) {
            Ok(()) => Ok(Map::Helper),
            Err(subordinate) => Err(format!("{own}; {subordinate}")),
        },
    }
}

/// Maps all ids of the builder onto themselves; returns how many user ids that are.
fn write_own(pid: u32) -> Result<u32, String> {
    let mut len = 0;
    for name in ["uid_map", "gid_map"] {
        let own = format!("/proc/self/{name}");
        let text = fs::read_to_string(&own).map_err(|error| format!("{own}: {error}"))?;
        let ranges = own_ranges(&text).ok_or_else(|| format!("{own} is not an id map"))?;
        if name == "uid_map" {
            len = length(&ranges);
        }
        let lines: String = ranges
            .iter()
            .map(|Range { first, count }| format!("{first} {first} {count}\n"))
            .collect();
        // The kernel takes a map in one write only.
        let path = format!("/proc/{pid}/{name}");
        fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(lines.as_bytes()))
            .map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(len)
}

fn write_subordinate(pid: u32) -> Result<(), String> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
    for (program, file, own) in [
        ("newuidmap", Path::new("/etc/subuid"), uid.as_raw()),
        ("newgidmap", Path::new("/etc/subgid"), gid.as_raw()),
    ] {
        let text = fs::read_to_string(file)
            .map_err(|error| format!("{file}: {error}", file = file.display()))?;
        let ranges = subordinate_ranges(&text, name.as_deref(), uid.as_raw());
        if ranges.is_empty() {
            return Err(format!("{} has no line for user {uid}", file.display()));
        }
        let output = Command::new(program)
            .arg(pid.to_string())
            .args(helper_arguments(own, &ranges).iter().map(u32::to_string))
            .output()
            .map_err(|error| format!("{program}: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(format!("{program}: {said} ({})", output.status));
        }
    }
    Ok(())
}

/// How many ids `/proc/self/uid_map` (its text) holds.
pub(super) fn own_length(text: &str) -> Option<u32> {
    own_ranges(text).map(|ranges| length(&ranges))
}

fn length(ranges: &[Range]) -> u32 {
    ranges.iter().fold(0, |sum: u32, range| sum.saturating_add(range.count))
}

/// Parses `/proc/self/uid_map`: the ids inside are the first column.
fn own_ranges(text: &str) -> Option<Vec<Range>> {
    let ranges: Option<Vec<Range>> = text
        .lines()
        .map(|line| {
            let mut columns = line.split_ascii_whitespace();
            let first = columns.next()?.parse().ok()?;
            let _outside = columns.next()?;
            Some(Range { first, count: columns.next()?.parse().ok()? })
        })
        .collect();
    ranges.filter(|ranges| !ranges.is_empty())
}

/// The ranges of a user in `/etc/subuid` or `/etc/subgid`; lines that do not parse are skipped, as
/// the programs that read these files do.
fn subordinate_ranges(text: &str, name: Option<&str>, uid: u32) -> Vec<Range> {
    let uid = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let who = fields.next()?;
            if Some(who) != name && who != uid {
                return None;
            }
            let first = fields.next()?.parse().ok()?;
            let count = fields.next()?.parse().ok()?;
            (count > 0).then_some(Range { first, count })
        })
        .collect()
}

/// `0 OWN 1`, then each range after the one before it.
fn helper_arguments(own: u32, ranges: &[Range]) -> Vec<u32> {
    let mut arguments = vec![0, own, 1];
    let mut next: u32 = 1;
    for range in ranges {
        // What does not fit the 32 bits of ids is left out.
        let count = range.count.min(u32::MAX - next);
        arguments.extend([next, range.first, count]);
        next += count;
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_nested_map_is_kept() {
        for (text, expected) in [
            ("         0          0 4294967295\n", Some(vec![(0, u32::MAX)])),
            ("0 1000 1\n1 100000 65535\n", Some(vec![(0, 1), (1, 65535)])),
            ("", None),
            ("0 x\n", None),
            ("0 1\n", None),
        ] {
            let got = own_ranges(text)
                .map(|ranges| ranges.iter().map(|range| (range.first, range.count)).collect());
            assert_eq!(got, expected, "{text:?}");
        }
    }

    #[test]
    fn subordinate_ranges_are_found_by_name_and_by_number() {
        let text = "other:1:2\nbuilder:100000:65536\n1000:300000:10\nbuilder:x:y\nbuilder:7:0\n";
        for (name, uid, expected) in [
            (Some("builder"), 1000, vec![(100_000, 65536), (300_000, 10)]),
            (Some("builder"), 5, vec![(100_000, 65536)]),
            (None, 1000, vec![(300_000, 10)]),
            (None, 5, vec![]),
        ] {
            let got: Vec<_> = subordinate_ranges(text, name, uid)
                .iter()
                .map(|range| (range.first, range.count))
                .collect();
            assert_eq!(got, expected, "{name:?} {uid}");
        }
    }

    #[test]
    fn subordinate_ranges_follow_the_own_id() {
        let ranges = [Range { first: 100_000, count: 65536 }, Range { first: 300_000, count: 10 }];
        assert_eq!(
            helper_arguments(1000, &ranges),
            [0, 1000, 1, 1, 100_000, 65536, 65537, 300_000, 10]
        );
        let huge = [Range { first: 1, count: u32::MAX }, Range { first: 2, count: 1 }];
        assert_eq!(helper_arguments(7, &huge)[3..6], [1, 1, u32::MAX - 1]);
    }
}
