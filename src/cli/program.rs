//! The program's two faces: `longshore VERB`, and `executor`.

use clap::{Parser, Subcommand};

use super::{BuildArgs, DoctorArgs, ExecutorArgs};

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
    #[command(args_override_self = true)]
    Executor(Box<ExecutorArgs>),
    /// Say how RUN is executed here, and what would have to change
    Doctor(DoctorArgs),
}

/// The program under its other name: `executor` behaves as `longshore executor`.
#[derive(Debug, Parser)]
#[command(
    name = "executor",
    version,
    disable_help_subcommand = true,
    max_term_width = 100,
    args_override_self = true
)]
pub struct ExecutorCli {
    /// kaniko's flags.
    #[command(flatten)]
    pub args: ExecutorArgs,
}
