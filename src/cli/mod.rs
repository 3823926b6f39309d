//! The command line: clap types only, one file a verb. What the values mean is decided in
//! `settings`; nothing here reads the environment or a file.

mod build;
mod doctor;
mod executor;
mod log;
mod parse;
mod program;
mod steps;

pub use build::{BuildArgs, RegistryArgs};
pub use doctor::DoctorArgs;
pub use executor::{AcceptedArgs, ExecutorArgs, ExecutorRegistryArgs, truth};
pub use log::{LogArgs, LogFormat};
pub use parse::{Refusal, is_executor, parse, wants_json};
pub use program::{Cli, ExecutorCli, Verb};
pub use steps::StepArgs;
