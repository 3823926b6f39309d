//! The program: arguments to settings to a command to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    longshore_runtime::enter_if_init();
    ExitCode::from(longshore::commands::run(std::env::args_os().collect()))
}
