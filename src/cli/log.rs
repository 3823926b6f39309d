//! Flags of the log.

use clap::{Args, ValueEnum};

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
