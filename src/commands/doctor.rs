//! `longshore doctor`: what this pod allows, and what that means for a Dockerfile.

use std::path::Path;

use longshore_runtime::probe;

use super::{inputs, places};
use crate::dockerfile::{self, Dockerfile};
use crate::doctor::{Diagnosis, text};
use crate::failure::{Failure, Kind, Outcome};
use crate::settings::DoctorSettings;

/// Looks, and answers on standard output; returns the exit code.
///
/// The work directory is the one that a build would take, and is made as a build makes it.
pub(super) fn doctor(settings: &DoctorSettings) -> Outcome<u8> {
    let file = settings.dockerfile.as_deref().map(read).transpose()?;
    let work = places::open_work_dir(&settings.work_dirs)?;
    let caps = probe(work.root());
    let file = settings.dockerfile.as_deref().zip(file.as_ref());
    let diagnosis = Diagnosis::new(&caps, work.root(), settings.runtime, file);
    let answer = match settings.json {
        true => serde_json::to_string_pretty(&diagnosis)
            .map_err(|error| Failure::new(Kind::Bug, error))?,
        false => text(&diagnosis),
    };
    let written = settings.voice.result(answer.trim_end());
    written.map_err(|error| Failure::new(Kind::Unable, error))?;
    Ok(if diagnosis.possible { 0 } else { Kind::Unable.exit_code() })
}

fn read(path: &Path) -> Outcome<Dockerfile> {
    Ok(dockerfile::parse(&path.display().to_string(), &inputs::text(path)?)?)
}
