//! The program: arguments to settings to a command to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    longshore_runtime::enter_if_init();
    // Before anything is read that a step must not see. Where it fails, it is one defence less.
    let _ = longshore_runtime::harden_builder();
    ExitCode::from(longshore::commands::run(std::env::args_os().collect()))
}
