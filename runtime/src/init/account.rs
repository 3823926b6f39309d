//! Who a step runs as: `USER` of a Dockerfile, looked up in the image's passwd(5) and group(5).
//!
//! The rules are Docker's: a number needs no entry; a user without a group gets the groups of its
//! entry and those that list it; a user with a group gets only that one.

use std::fs::File;
use std::io::{self, Read as _};

use crate::wire::{Failure, FailureKind};

/// Larger files are cut: no image needs more, and the memory is bounded.
const MAX_FILE: u64 = 4 << 20;

/// The ids of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups; the first is `gid`.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// Looks up `user` in the root file system.
pub(super) fn find(user: &str) -> Result<Account, Failure> {
    resolve(user, &database("/etc/passwd"), &database("/etc/group")).map_err(|reason| Failure {
        kind: FailureKind::UnknownUser,
        action: user.to_owned(),
        errno: 0,
        detail: reason,
    })
}

fn resolve(user: &str, passwd: &str, group: &str) -> Result<Account, String> {
    let (name, group_name) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number: Option<u32> = name.parse().ok();
    let entry = records(passwd)
        .find(|record| {
            field(record, 0) == name || number.is_some() && number_in(record, 2) == number
        })
        .filter(|record| number_in(record, 2).is_some());
    let uid = match (&entry, number) {
        (Some(entry), _) => number_in(entry, 2).expect("filtered above"),
        (None, Some(number)) => number,
        // As in BuildKit, also where an image has no such file.
        (None, None) if name == "root" => 0,
        (None, None) => return Err(format!("/etc/passwd has no user {name}")),
    };
    let own_gid = entry.as_ref().and_then(|entry| number_in(entry, 3)).unwrap_or(0);
    let gid = group_name.map_or(Ok(own_gid), |group_name| gid_of(group_name, group))?;
    let mut groups = vec![gid];
    if let (None, Some(entry)) = (group_name, &entry) {
        groups.extend(groups_of(field(entry, 0), group).filter(|listed| *listed != gid));
    }
    let home = entry.as_ref().map_or("", |entry| field(entry, 5));
    let home = if home.is_empty() { "/" } else { home };
    Ok(Account { uid, gid, groups, home: home.to_owned() })
}

fn gid_of(name: &str, group: &str) -> Result<u32, String> {
    let number: Option<u32> = name.parse().ok();
    records(group)
        .filter(|record| {
            field(record, 0) == name || number.is_some() && number_in(record, 2) == number
        })
        .find_map(|record| number_in(&record, 2))
        .or(number)
        .ok_or_else(|| format!("/etc/group has no group {name}"))
}

/// The groups that list `user` as a member.
fn groups_of<'a>(user: &'a str, group: &'a str) -> impl Iterator<Item = u32> + 'a {
    records(group)
        .filter(move |record| field(record, 3).split(',').any(|member| member == user))
        .filter_map(|record| number_in(&record, 2))
}

fn records(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .map(|line| line.trim().split(':').collect::<Vec<_>>())
        .filter(|record| !record[0].is_empty() && !record[0].starts_with('#'))
}

fn field<'a>(record: &[&'a str], at: usize) -> &'a str {
    record.get(at).copied().unwrap_or("")
}

fn number_in(record: &[&str], at: usize) -> Option<u32> {
    field(record, at).parse().ok()
}

/// The text of a file of the image; an image that lacks it, or has something else there, has
/// nobody in it.
fn database(path: &str) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_FILE).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# comment\n\n\
                          app:x:1000:1001:App:/home/app:/bin/sh\nodd:x:y:z::\n7:x:70:71::/seven:\n\
                          nohome:x:5:6:::\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:root,app\napp:x:1001:\nwww:x:33:app\nbad:x:q:app\n";

    #[test]
    fn users_resolve_as_docker_does() {
        for (user, uid, gid, groups, home) in [
            ("", 0, 0, vec![0, 4], "/root"),
            ("root", 0, 0, vec![0, 4], "/root"),
            ("app", 1000, 1001, vec![1001, 4, 33], "/home/app"),
            ("1000", 1000, 1001, vec![1001, 4, 33], "/home/app"),
            ("app:www", 1000, 33, vec![33], "/home/app"),
            ("app:50", 1000, 50, vec![50], "/home/app"),
            ("app:", 1000, 1001, vec![1001, 4, 33], "/home/app"),
            ("4242", 4242, 0, vec![0], "/"),
            ("4242:4", 4242, 4, vec![4], "/"),
            ("7", 70, 71, vec![71], "/seven"),
            ("nohome", 5, 6, vec![6], "/"),
        ] {
            let expected = Account { uid, gid, groups, home: home.to_owned() };
            assert_eq!(resolve(user, PASSWD, GROUP), Ok(expected), "{user}");
        }
    }

    #[test]
    fn who_is_not_there_is_named() {
        for (user, reason) in [
            ("nobody", "/etc/passwd has no user nobody"),
            ("odd", "/etc/passwd has no user odd"),
            ("app:nogroup", "/etc/group has no group nogroup"),
            ("app:bad", "/etc/group has no group bad"),
            ("-1", "/etc/passwd has no user -1"),
        ] {
            assert_eq!(resolve(user, PASSWD, GROUP), Err(reason.to_owned()), "{user}");
        }
    }

    #[test]
    fn an_image_without_accounts_has_root() {
        let expected = Account { uid: 0, gid: 0, groups: vec![0], home: "/".into() };
        assert_eq!(resolve("", "", ""), Ok(expected.clone()));
        assert_eq!(resolve("root", "", ""), Ok(expected));
    }
}
