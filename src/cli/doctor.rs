//! `longshore doctor`.

use std::path::PathBuf;

use clap::Args;

/// The arguments of `longshore doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Dockerfile whose RUN instructions are looked at
    #[arg(conflicts_with = "file")]
    pub dockerfile: Option<PathBuf>,
    /// The same as DOCKERFILE
    #[arg(long, short = 'f', value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How RUN steps are executed: auto, overlay, chroot, none
    #[arg(long, value_name = "RUNG", default_value = "auto")]
    pub runtime: String,
    /// Directory for downloads and unpacked layers, as for a build
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Answer with one JSON object
    #[arg(long)]
    pub json: bool,
}
