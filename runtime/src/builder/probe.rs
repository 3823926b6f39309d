//! Finds out what this pod allows, by doing it in processes that are thrown away.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::unistd::Uid;

use super::process::InitProcess;
use super::sandbox::OWN_EXECUTABLE;
use crate::Error;
use crate::capabilities::{Capabilities, Map, Mechanism};
use crate::wire::{Order, Reply, World};

/// What was found, by work directory; a pod does not change while it runs.
static FOUND: Mutex<BTreeMap<PathBuf, Capabilities>> = Mutex::new(BTreeMap::new());

/// Tries the kernel's mechanisms, the overlay in `work_root`, which must exist.
///
/// The answer is kept for the life of the process. When init itself cannot be started, nothing
/// works: all mechanisms are reported as missing.
pub fn probe(work_root: &Path) -> Capabilities {
    let key = std::path::absolute(work_root).unwrap_or_else(|_| work_root.to_owned());
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    found
        .entry(key)
        .or_insert_with_key(|work_root| {
            probe_with(Path::new(OWN_EXECUTABLE), work_root).unwrap_or_else(|error| Capabilities {
                diagnosis: Some(error.to_string()),
                ..nothing()
            })
        })
        .clone()
}

/// The same with another executable as init, and without keeping the answer.
pub(super) fn probe_with(program: &Path, work_root: &Path) -> Result<Capabilities, Error> {
    let mut caps = nothing();
    let order = Order::Probe { work_root: work_root.to_owned() };
    let mut process = InitProcess::start(program, World::Namespaces, &order)?;
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
            Ok(caps)
        }
        other => Err(process.unexpected(other)),
    }
}

fn nothing() -> Capabilities {
    Capabilities { uid: Uid::effective().as_raw(), ..Capabilities::default() }
}
