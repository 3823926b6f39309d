//! Finds out what this pod allows, by doing it in processes that are thrown away.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::unistd::Uid;

use super::id_map;
use super::process::InitProcess;
use super::sandbox::OWN_EXECUTABLE;
use super::scratch::Scratch;
use super::volume::may_hold_upper;
use crate::Error;
use crate::capabilities::{Capabilities, Map, Mechanism, Privileges, Volume};
use crate::wire::{Order, Reply, World};

/// What was found, by work directory; a pod does not change while it runs.
static FOUND: Mutex<BTreeMap<PathBuf, Capabilities>> = Mutex::new(BTreeMap::new());

/// Tries the kernel's mechanisms, the overlay in `work_root`, which must exist.
///
/// The answer is kept for the life of the process. When init itself cannot be started, nothing
/// works: all mechanisms are reported as missing.
pub fn probe(work_root: &Path) -> Capabilities {
    probe_once(work_root).unwrap_or_else(|error| {
        let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
        let diagnosis = Some(format!("{error}{}", source.unwrap_or_default()));
        Capabilities { diagnosis, ..known(work_root) }
    })
}

/// The same, with what kept init from being started.
pub(super) fn probe_once(work_root: &Path) -> Result<Capabilities, Error> {
    let key = std::path::absolute(work_root).unwrap_or_else(|_| work_root.to_owned());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(caps) = found.get(&key) {
        return Ok(caps.clone());
    }
    let caps = probe_with(Path::new(OWN_EXECUTABLE), &key)?;
    found.insert(key, caps.clone());
    Ok(caps)
}

/// The same with another executable as init, and without keeping the answer.
pub(super) fn probe_with(program: &Path, work_root: &Path) -> Result<Capabilities, Error> {
    let mut caps = known(work_root);
    // What is made in a directory that has a lock is removed by others when this process is killed.
    // Where there can be none, the trials tell why.
    let place = Scratch::new(work_root).ok();
    let tried_in = place.as_ref().map_or(work_root, Scratch::path);
    let order = Order::Probe { work_root: tried_in.to_owned() };
    let found = ask(program, &order, &mut caps);
    if let Some(place) = &place {
        // Init leaves it empty, as a rule; else it is a leftover.
        let _ = std::fs::remove_dir(place.path());
    }
    found.map(|()| caps)
}

/// Has init try everything.
fn ask(program: &Path, order: &Order, caps: &mut Capabilities) -> Result<(), Error> {
    let mut process = InitProcess::start(program, World::Namespaces, order)?;
    let reply = match process.map_ids() {
        Ok(Ok(map)) => {
            caps.map = map;
            process.reply()?
        }
        // Only the own id can be mapped, which init does by itself.
        Err(Error::IdMap { reason }) => {
            caps.map = Map::One;
            caps.diagnosis = Some(reason);
            process.reply()?
        }
        Ok(Err(reply)) => reply,
        Err(error) => return Err(error),
    };
    match reply {
        Reply::Probed { tried, landlock_abi } => {
            for (mechanism, errno) in tried {
                if let Some(mechanism) = Mechanism::ALL.get(usize::from(mechanism)) {
                    caps.note(*mechanism, i32::try_from(errno).unwrap_or(i32::MAX));
                }
            }
            caps.landlock_abi = (landlock_abi > 0).then_some(landlock_abi);
            if !caps.user_namespace {
                caps.map = Map::No;
            }
            Ok(())
        }
        other => Err(process.unexpected(other)),
    }
}

/// What is known without trying anything.
fn known(work_root: &Path) -> Capabilities {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    Capabilities {
        uid: Uid::effective().as_raw(),
        ids: id_map::own_length(&map).unwrap_or(1),
        volume: volume(work_root),
        ..of_status(&status)
    }
}

/// Reads `/proc/self/status`, proc_pid_status(5).
fn of_status(status: &str) -> Capabilities {
    let field = |name: &str| {
        let mut lines = status.lines().filter_map(|line| line.strip_prefix(name));
        lines.find_map(|rest| rest.strip_prefix(':')).map_or("", str::trim)
    };
    let set = |name| Privileges::of_bits(u64::from_str_radix(field(name), 16).unwrap_or(0));
    let is_set = |name| !matches!(field(name), "" | "0");
    Capabilities {
        effective: set("CapEff"),
        bounding: set("CapBnd"),
        no_new_privileges: is_set("NoNewPrivs"),
        filtered: is_set("Seccomp"),
        ..Capabilities::default()
    }
}

fn volume(work_root: &Path) -> Volume {
    let mode = std::fs::metadata(work_root).map_or(0, |metadata| metadata.mode());
    Volume { unfit: !may_hold_upper(work_root), setgid: mode & 0o2000 != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_process_is_understood() {
        let caps = of_status(
            "Name:\tx\nCapPrm:\t0\nCapEff:\t00000000a80425fb\nCapBnd:\t0000000000040000\n\
             NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n",
        );
        assert!(caps.effective.contains(Privileges::ENGINE_DEFAULT));
        assert_eq!(caps.bounding.names(), ["SYS_CHROOT"]);
        assert!(caps.no_new_privileges && caps.filtered);
        assert_eq!(of_status(""), Capabilities::default());
    }
}
