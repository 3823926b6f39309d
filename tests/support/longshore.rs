//! The program under test.

use super::command::{Outcome, Run};
use super::sandbox::Sandbox;

/// `longshore` with nothing but the sandbox around it.
pub(crate) fn longshore(sandbox: &Sandbox) -> Run {
    sandbox
        .at_home(Run::new(env!("CARGO_BIN_EXE_longshore")))
        .env("LONGSHORE_HOME", sandbox.path("state"))
        .env("LONGSHORE_WORK_DIR", sandbox.path("work"))
}

/// `longshore executor`, which is kaniko's command line.
pub(crate) fn executor(sandbox: &Sandbox) -> Run {
    longshore(sandbox).arg("executor")
}

/// Returns the pinned reference that `longshore build` prints last:
/// `NAME: REFERENCE@sha256:DIGEST`.
pub(crate) fn built_reference(outcome: &Outcome) -> String {
    let last = outcome.stdout.lines().last().unwrap_or_default();
    let (_, reference) = last.split_once(": ").unwrap_or_default();
    assert!(reference.contains("@sha256:"), "no reference at the end\n{}", outcome.report());
    reference.to_owned()
}
