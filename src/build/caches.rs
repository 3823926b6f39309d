//! The directories of `RUN --mount=type=cache`: kept in the work directory, shared by its builds.
//!
//! `caches/HEX` is a cache, HEX the framed hash (kind `cache-mount`) of its id, of owner and mode,
//! and of what it holds when it is new: so a cache whose declaration changes is another one.
//! `caches/HEX.1` and so on are those of steps that wanted HEX for themselves while it was in use
//! (`sharing=private`). A flock(2) on `NAME.lock` is held by every step that uses NAME, exclusively
//! but for `sharing=shared` where it can be mounted; elsewhere a cache is in the root of one step at
//! a time, and `shared` is as good as `locked`. The kernel frees the lock when a builder dies. The directories are made by
//! the sandbox, whole or not at all, and may be removed whenever no build runs.
//!
//! Invariant: a step takes its locks in the order of their names, before it waits for anything
//! else, so builders cannot wait for each other in a circle.

use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::engine::Shared;
use super::error::BuildError;
use crate::blocking::blocking;
use crate::dockerfile::Sharing;
use crate::hashing::framed;
use crate::output::Event;
use crate::plan::{Plan, StageId, Step, StepMountKind};

/// How often is looked whether a cache is free.
const LOOK: Duration = Duration::from_millis(50);
/// As many steps can have a private copy of one cache at a time.
const COPIES: usize = 1000;

/// The caches of one step, locked; by the number of the mount.
#[derive(Debug, Default)]
pub(super) struct Caches {
    directories: BTreeMap<usize, PathBuf>,
    _locks: Vec<Lock>,
}

/// A lock that is let go at once when dropped, also while a process that is just being started has
/// a copy of the file.
#[derive(Debug)]
struct Lock(fs_err::File);

impl Drop for Lock {
    fn drop(&mut self) {
        // The kernel frees it at the latest when the builder ends.
        let _ = self.0.file().unlock();
    }
}

impl Caches {
    /// Waits for the caches of a stage; a stage without any waits for nothing. `can_share` is
    /// whether several steps can use one at the same time.
    pub(super) async fn lock(
        shared: &Shared,
        stage: StageId,
        can_share: bool,
    ) -> Result<Self, BuildError> {
        let wanted = wanted(&shared.plan, stage);
        let mut caches = Self::default();
        for (name, (sharing, mounts)) in wanted {
            let sharing = match sharing {
                Sharing::Shared if !can_share => Sharing::Locked,
                sharing => sharing,
            };
            let place = shared.work.cache(&name);
            let (directory, lock) = wait(shared, stage, place, sharing).await?;
            caches._locks.extend(lock);
            caches.directories.extend(mounts.into_iter().map(|mount| (mount, directory.clone())));
        }
        Ok(caches)
    }

    /// Whether a stage has any.
    pub(super) fn are_wanted(plan: &Plan, stage: StageId) -> bool {
        !wanted(plan, stage).is_empty()
    }

    /// The directory of a mount.
    pub(super) fn directory(&self, mount: usize) -> Option<&Path> {
        self.directories.get(&mount).map(PathBuf::as_path)
    }
}

/// The caches of a stage by name: the strictest way of sharing, and the numbers of the mounts.
fn wanted(plan: &Plan, stage: StageId) -> BTreeMap<String, (Sharing, Vec<usize>)> {
    let mut wanted: BTreeMap<String, (Sharing, Vec<usize>)> = BTreeMap::new();
    let Step::Run(step) = &plan.stage(stage).step else { return wanted };
    for (number, mount) in step.mounts.iter().enumerate() {
        let StepMountKind::Cache { sharing, .. } = &mount.kind else { continue };
        let (strictest, mounts) =
            wanted.entry(name(plan, &mount.kind)).or_insert((*sharing, Vec::new()));
        if *strictest == Sharing::Shared {
            *strictest = *sharing;
        }
        mounts.push(number);
    }
    wanted
}

/// The name of a cache's directory.
fn name(plan: &Plan, kind: &StepMountKind) -> String {
    let StepMountKind::Cache { id, initial, owner, .. } = kind else {
        unreachable!("only caches have a directory")
    };
    let owner = format!("{}:{} {:o}", owner.uid, owner.gid, owner.mode);
    let (content, path) = match initial {
        Some((from, path)) => (plan.content(*from), path.as_str()),
        None => (String::new(), ""),
    };
    framed("cache-mount", [id.as_str(), &owner, &content, path]).to_string()
}

/// Waits for the right to use the cache at `place`, or at a copy of it.
async fn wait(
    shared: &Shared,
    stage: StageId,
    place: PathBuf,
    sharing: Sharing,
) -> Result<(PathBuf, Option<Lock>), BuildError> {
    let mut said = false;
    loop {
        let wanted = place.clone();
        if let Some(taken) = blocking(move || take(&wanted, sharing)).await {
            return Ok(taken);
        }
        if !std::mem::replace(&mut said, true) {
            let label = &shared.plan.stage(stage).label;
            let message = format!("[{label}] waits for a cache that another step has locked");
            shared.voice.say(&Event::Detail { message });
        }
        if shared.interrupt.is_set() {
            return Err(BuildError::Interrupted);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Tries once; `None` when somebody else has it.
fn take(place: &Path, sharing: Sharing) -> Option<(PathBuf, Option<Lock>)> {
    let copies = if sharing == Sharing::Private { COPIES } else { 1 };
    (0..copies).find_map(|number| {
        let place = match number {
            0 => place.to_owned(),
            number => place.with_extension(number.to_string()),
        };
        let path = lock_path(&place);
        let opened =
            fs_err::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let locked = opened.map_err(TryLockError::Error).and_then(|file| {
            let locked = match sharing {
                Sharing::Shared => file.file().try_lock_shared(),
                Sharing::Private | Sharing::Locked => file.file().try_lock(),
            };
            locked.map(|()| Lock(file))
        });
        match locked {
            Ok(lock) => Some((place, Some(lock))),
            Err(TryLockError::WouldBlock) => None,
            // Without locks, steps of this machine share as if they all said so.
            Err(TryLockError::Error(error)) => {
                tracing::debug!("cannot lock {}: {error}", path.display());
                Some((place, None))
            }
        }
    })
}

/// `NAME.lock`, for a name that may have a dot.
fn lock_path(place: &Path) -> PathBuf {
    let mut path = place.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_shared_locked_or_copied() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("abc");
        let name = |taken: &(PathBuf, Option<Lock>)| {
            taken.0.file_name().unwrap().to_str().unwrap().to_owned()
        };
        let first = take(&place, Sharing::Shared).unwrap();
        let second = take(&place, Sharing::Shared).unwrap();
        assert_eq!((name(&first), name(&second)), ("abc".into(), "abc".into()));
        assert!(take(&place, Sharing::Locked).is_none());
        let private = take(&place, Sharing::Private).unwrap();
        let another = take(&place, Sharing::Private).unwrap();
        assert_eq!((name(&private), name(&another)), ("abc.1".into(), "abc.2".into()));
        drop((first, second));
        let locked = take(&place, Sharing::Locked).unwrap();
        assert!(take(&place, Sharing::Shared).is_none());
        drop(locked);
        assert_eq!(name(&take(&place, Sharing::Private).unwrap()), "abc");
    }
}
