//! Settings of `longshore doctor`.

use std::path::PathBuf;

use longshore_runtime::Choice;

use super::{Environment, runtime};
use crate::cli::DoctorArgs;
use crate::failure::Failure;
use crate::output::Voice;

/// Everything that a look at the pod needs to know from outside.
#[derive(Clone, Debug)]
pub struct DoctorSettings {
    /// What is said.
    pub voice: Voice,
    /// The Dockerfile to look at, if one was named.
    pub dockerfile: Option<PathBuf>,
    /// How RUN steps are to be executed.
    pub runtime: Choice,
    /// Work directories to try, in order.
    pub work_dirs: Vec<PathBuf>,
    /// Whether the answer is JSON.
    pub json: bool,
}

impl DoctorSettings {
    /// What the arguments of `longshore doctor` mean.
    ///
    /// # Errors
    /// When a value is wrong.
    pub fn of(args: DoctorArgs, environment: &Environment) -> Result<Self, Failure> {
        let work_dir = args.work_dir.or_else(|| environment.path("LONGSHORE_WORK_DIR"));
        Ok(Self {
            voice: Voice::default(),
            dockerfile: args.dockerfile.or(args.file),
            runtime: runtime(&args.runtime)?,
            work_dirs: work_dir.map_or_else(|| environment.work_dirs(), |dir| vec![dir]),
            json: args.json,
        })
    }
}
