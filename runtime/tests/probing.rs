//! The probe, the work directory, and what is left of dead builders.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_runtime::entry::EntrySink;
use longshore_runtime::{Choice, Error, Map, Rung, Sandbox, clean_leftovers, probe};

use crate::bench::Bench;

#[test]
fn the_probe_leaves_nothing_and_remembers() {
    let work = tempfile::tempdir().unwrap();
    let first = probe(work.path());
    assert_eq!(probe(work.path()), first);
    assert_eq!(std::fs::read_dir(work.path().join("scratch")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(work.path()).unwrap().count(), 1);
    if first.user_namespace {
        assert_ne!(first.map, Map::No);
    }
    for mechanism in first.failures.keys() {
        assert!(!mechanism.to_string().is_empty());
    }
}

#[test]
fn a_volume_with_a_group_does_not_leak_it() {
    let volume = tempfile::tempdir().unwrap();
    std::fs::set_permissions(volume.path(), std::fs::Permissions::from_mode(0o2777)).unwrap();
    // Only root can make the group a foreign one; the setgid bit alone is worth the test too.
    let _ = std::os::unix::fs::chown(volume.path(), None, Some(4711));
    let sandbox = match Sandbox::open(&volume.path().join("work"), Choice::Auto) {
        Ok(sandbox) => sandbox,
        Err(Error::Refused(refusal)) => return eprintln!("skipped: {refusal}"),
        Err(error) => panic!("{error:?}"),
    };
    let scratch = sandbox.scratch().unwrap();
    for path in [volume.path().join("work").as_path(), scratch.path()] {
        let metadata = std::fs::metadata(path).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o755, "{}", path.display());
        assert_eq!(metadata.gid(), rustix::process::getegid().as_raw());
    }
}

#[test]
fn no_runtime_opens_anywhere_and_runs_nothing() {
    let work = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::open(work.path(), Choice::None).unwrap();
    assert_eq!(sandbox.rung(), Rung::None);
    assert!(matches!(sandbox.remove(work.path()), Err(Error::NoSteps)));
}

#[test]
fn another_executable_can_be_init() {
    let Some(bench) = Bench::new() else { return };
    let own = std::env::current_exe().unwrap();
    let work = bench.root.path().join("work");
    assert_ne!(Sandbox::with_init(&own, &work, Choice::Auto).unwrap().rung(), Rung::None);
    let error = Sandbox::with_init(Path::new("/bin/busybox"), &work, Choice::Auto).unwrap_err();
    assert!(matches!(error, Error::Died { .. }), "{error:?}");
    let error = Sandbox::with_init(Path::new("/no/such/init"), &work, Choice::Auto).unwrap_err();
    assert!(matches!(error, Error::NoProcess { .. }), "{error:?}");
}

/// Removes leftovers until there was one. A process that another test starts at this moment has a
/// copy of every open file until it is executed, and with it the lock of `scratch`.
fn clean(work: &Path, scratch: &Path) -> u64 {
    for _ in 0..1000 {
        match clean_leftovers(work).unwrap() {
            0 => std::fs::File::open(scratch.with_extension("lock")).unwrap().lock().unwrap(),
            removed => return removed,
        }
    }
    0
}

#[test]
fn leftovers_of_the_dead_are_removed_and_the_living_stay() {
    let Some(bench) = Bench::new() else { return };
    let root = [bench.busybox()];
    let work = bench.root.path().join("work");
    let living = bench.sh(&root, "mkdir -m 0 /closed; chown 7:7 /closed");
    let dead = bench.sandbox.scratch().unwrap();
    let path = dead.path().to_owned();
    std::fs::create_dir(path.join("upper")).unwrap();
    drop(dead);
    assert_eq!(clean(&work, &path), 1);
    assert!(!path.exists() && living.step.scratch.exists());
    let scratch = living.step.scratch.clone();
    drop(living);
    assert_eq!(clean(&work, &scratch), 1);
    assert!(!scratch.exists());
    assert_eq!(std::fs::read_dir(work.join("scratch")).unwrap().count(), 0);
    assert_eq!(clean_leftovers(&work.join("none")).unwrap(), 0);
}

#[test]
fn what_works_in_a_scratch_directory_holds_it() {
    let Some(bench) = Bench::new() else { return };
    let scratch = bench.sandbox.scratch().unwrap();
    let place = File::open(scratch.path()).unwrap();
    let mut held = None;
    let mut feed = |_: &mut dyn EntrySink| {
        // By its first answer init has said that it works there.
        while place.try_lock().is_ok() {
            place.unlock()?;
            std::thread::yield_now();
        }
        held = Some(true);
        Ok(())
    };
    bench.sandbox.unpack(&scratch.path().join("layer"), &[], &mut feed).unwrap();
    assert_eq!(held, Some(true));
    // It has ended when it has answered, or a moment later.
    place.lock().unwrap();
}

#[test]
fn nothing_is_removed_while_what_a_dead_builder_has_started_lives() {
    let Some(bench) = Bench::new() else { return };
    let work = bench.root.path().join("work");
    let dead = bench.sandbox.scratch().unwrap();
    let path = dead.path().to_owned();
    std::fs::create_dir(path.join("layer")).unwrap();
    drop(dead);
    let place = File::open(&path).unwrap();
    place.lock_shared().unwrap();
    let (removing, is_free) = (Barrier::new(2), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let janitor = scope.spawn(|| {
            removing.wait();
            (clean(&work, &path), is_free.load(Ordering::SeqCst))
        });
        removing.wait();
        assert!(path.join("layer").exists());
        is_free.store(true, Ordering::SeqCst);
        place.unlock().unwrap();
        assert_eq!(janitor.join().unwrap(), (1, true));
    });
    assert!(!path.exists() && !path.with_extension("dead").exists());
}

#[test]
fn what_a_killed_janitor_has_left_is_removed_by_the_next() {
    let Some(bench) = Bench::new() else { return };
    let work = bench.root.path().join("work");
    let scratch = work.join("scratch");
    std::fs::create_dir_all(scratch.join("1-1.dead/tree")).unwrap();
    std::fs::write(scratch.join("1-1.lock"), "").unwrap();
    assert_eq!(clean_leftovers(&work).unwrap(), 1);
    assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0);
}
