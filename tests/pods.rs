//! longshore in pods: what `doctor` says in each kind, which rung RUN gets, what a step can reach,
//! and whether real jobs come out the same everywhere.

mod doctor;
mod examples;
mod isolation;
mod jobs;

use crate::support::pods::{self, Environment, can_run, skipped};

/// Runs `check` in a pod of every kind, two at a time.
fn in_every_pod(check: impl Fn(&Environment) + Sync) {
    in_each(pods::ALL, check);
}

/// Runs `check` for each of `cases`, two at a time; names the ones that fail.
fn in_each<T: Sync + std::fmt::Debug>(cases: &[T], check: impl Fn(&T) + Sync) {
    if let Err(reason) = can_run() {
        return skipped(&reason);
    }
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failed = std::sync::Mutex::new(Vec::new());
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(case)));
            if checked.is_err() {
                failed.lock().expect("pushing does not panic").push(format!("{case:?}"));
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let failed = failed.into_inner().expect("pushing does not panic");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
