//! The program: arguments to settings to a command to an exit code.

fn main() {}
