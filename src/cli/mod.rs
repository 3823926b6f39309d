//! The command line: clap types only, one file a verb. What the values mean is decided in
//! `settings`; nothing here reads the environment or a file.

mod build;
mod executor;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use build::{BuildArgs, RegistryArgs};
pub use executor::{AcceptedArgs, ExecutorArgs, ExecutorRegistryArgs};

/// Builds container images from a git repository in any pod: no daemon, no privilege
#[derive(Debug, Parser)]
#[command(name = "longshore", version, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Build the images of a project, or of one Dockerfile
    Build(Box<BuildArgs>),
    /// Build one image with kaniko's command line
    Executor(Box<ExecutorArgs>),
}

/// The program under its other name: `executor` behaves as `longshore executor`.
#[derive(Debug, Parser)]
#[command(name = "executor", version, disable_help_subcommand = true, max_term_width = 100)]
pub struct ExecutorCli {
    /// kaniko's flags.
    #[command(flatten)]
    pub args: ExecutorArgs,
}

/// How much is said, and in which form.
#[derive(Args, Debug)]
pub struct LogArgs {
    /// Say only warnings, failures and the result
    #[arg(long, conflicts_with_all = ["log_verbose", "log_debug"])]
    pub log_quiet: bool,
    /// Also say how things were decided
    #[arg(long)]
    pub log_verbose: bool,
    /// Also say what the libraries log
    #[arg(long)]
    pub log_debug: bool,
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    pub log_format: LogFormat,
}

/// The forms of the log.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum LogFormat {
    /// Plain lines
    #[default]
    Text,
    /// One JSON object a line
    Json,
}
