//! `/etc/resolv.conf`, `/etc/hosts` and `/etc/hostname`: a step's own copies of the pod's.
//!
//! Copies, because a step may write to them; mounts, because what it writes is not of the layer.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::world::attach;
use crate::wire::{Failure, OrFail as _};

/// The names in `/etc`.
pub(super) const NAMES: [&str; 3] = ["resolv.conf", "hosts", "hostname"];
/// More than any such file has.
const MAX_FILE: u64 = 1 << 20;

/// A copy in the current directory, and later a mount.
#[derive(Debug)]
pub(super) struct PrivateFile {
    name: &'static str,
    mount: Option<OwnedFd>,
}

/// Makes the copies in the current directory.
pub(super) fn make(hostname: &str) -> io::Result<Vec<PrivateFile>> {
    contents(hostname)
        .into_iter()
        .map(|(name, content)| {
            fs::write(name, content)?;
            // Init has no mask; these files are for everybody to read.
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(name, fs::Permissions::from_mode(0o644))?;
            Ok(PrivateFile { name, mount: None })
        })
        .collect()
}

/// The names in `/etc` and what a step reads there.
pub(super) fn contents(hostname: &str) -> [(&'static str, Vec<u8>); 3] {
    let mut hosts = pod_file("/etc/hosts");
    if hosts.is_empty() {
        hosts.extend_from_slice(b"127.0.0.1\tlocalhost\n::1\tlocalhost\n");
    }
    if !hostname.is_empty() && !names(&hosts, hostname) {
        if !hosts.ends_with(b"\n") {
            hosts.push(b'\n');
        }
        hosts.extend_from_slice(format!("127.0.0.1\t{hostname}\n").as_bytes());
    }
    let hostname = if hostname.is_empty() {
        pod_file("/etc/hostname")
    } else {
        format!("{hostname}\n").into_bytes()
    };
    let [resolver, hosts_name, hostname_name] = NAMES;
    [(resolver, pod_file("/etc/resolv.conf")), (hosts_name, hosts), (hostname_name, hostname)]
}

impl PrivateFile {
    /// The name in `/etc`.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Takes the copy in the current directory as a mount.
    pub(super) fn take(&self) -> Result<Self, Failure> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let mount = open_tree(CWD, self.name, flags)
            .or_fail(|| format!("cannot take {} as a mount", self.name))?;
        Ok(Self { name: self.name, mount: Some(mount) })
    }

    /// Puts the mount into `/etc`.
    pub(super) fn attach(self) -> Result<(), Failure> {
        match self.mount {
            Some(mount) => attach(&mount, &format!("/etc/{}", self.name)),
            None => Ok(()),
        }
    }
}

/// The content of a file of the pod; a pod that lacks it has an empty one.
fn pod_file(path: &str) -> Vec<u8> {
    let mut content = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut content)) {
        Ok(_) => content,
        Err(_) => Vec::new(),
    }
}

/// Whether a hosts file, hosts(5), has this name.
fn names(hosts: &[u8], hostname: &str) -> bool {
    String::from_utf8_lossy(hosts)
        .lines()
        .filter_map(|line| line.split('#').next())
        .any(|line| line.split_ascii_whitespace().skip(1).any(|name| name == hostname))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_among_the_names_only() {
        let hosts = b"127.0.0.1 localhost\n10.0.0.7\tpod-a pod # other\n";
        for (name, expected) in
            [("localhost", true), ("pod", true), ("10.0.0.7", false), ("other", false)]
        {
            assert_eq!(names(hosts, name), expected, "{name}");
        }
    }
}
