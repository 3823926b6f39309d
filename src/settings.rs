//! Settings: what the flags and the environment mean together, checked.
//!
//! The only reader of the environment, which it reads once into a plain map; everything else here
//! is pure. Flags win over the environment.

mod build;
mod compression;
mod doctor;
mod environment;
mod executor;
mod origin;
mod registry;
mod steps;

use std::collections::BTreeMap;
use std::path::PathBuf;

use longshore_runtime::{Choice, Secret};

pub use doctor::DoctorSettings;
pub use environment::Environment;
pub use origin::{ArchivePlace, Origin, RemoteOrigin};
pub use steps::{SecretSource, StepSettings};

use crate::context::{GitDirectory, Owners};
use crate::failure::Failure;
use crate::layer::Compression;
use crate::model::{Platform, Reference, Repository};
use crate::output::Voice;
use crate::plan::FileTimes;
use crate::project::ProjectName;
use crate::registry::RegistryOptions;
use crate::sync::Address;

/// Which front door was used; it decides exit codes and a few defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `longshore build`.
    Build,
    /// `longshore executor`.
    Executor,
}

/// Where stages are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageChoice {
    /// The project's OCI layout below LONGSHORE_HOME.
    Layout,
    /// A registry repository.
    Repo(Repository),
    /// Nowhere.
    None,
}

/// Where an image goes besides the storage of its stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A tag in the storage of its stages.
    Tag(String),
    /// A reference in any registry.
    Reference(Reference),
    /// An OCI layout directory.
    Layout(PathBuf),
    /// A tar for `docker load`, which names the image by these references.
    Archive(PathBuf, Vec<Reference>),
}

/// Files that are written once an image is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResultFiles {
    /// The digest alone.
    pub digest: Option<PathBuf>,
    /// A line `REPOSITORY@DIGEST` for each destination.
    pub names: Option<PathBuf>,
    /// A line `REPOSITORY:TAG@DIGEST` for each destination.
    pub tagged_names: Option<PathBuf>,
    /// A JSON report.
    pub report: Option<PathBuf>,
}

/// Everything a build needs to know from outside.
#[derive(Clone, Debug)]
pub struct BuildSettings {
    /// Which front door was used.
    pub door: Door,
    /// What is said.
    pub voice: Voice,
    /// Where the context comes from.
    pub origin: Origin,
    /// The context's directory; of a context from elsewhere, where it lies once it is here.
    pub context: PathBuf,
    /// The Dockerfile, if one was named that need not lie in the context.
    pub dockerfile: Option<PathBuf>,
    /// The Dockerfile in a context from elsewhere, if one was named.
    pub inside: Option<String>,
    /// The images of the project to build; all if empty.
    pub images: Vec<String>,
    /// The Dockerfile stage to build.
    pub target: Option<String>,
    /// Values of ARGs.
    pub build_args: BTreeMap<String, String>,
    /// Labels to set.
    pub labels: BTreeMap<String, String>,
    /// The project, if it was named.
    pub project: Option<ProjectName>,
    /// Where stages are kept.
    pub storage: StorageChoice,
    /// Locks, if they were named.
    pub synchronization: Option<Address>,
    /// Where images go.
    pub targets: Vec<Target>,
    /// What is written in the end.
    pub files: ResultFiles,
    /// The platform of bases.
    pub platform: Platform,
    /// SOURCE_DATE_EPOCH.
    pub epoch: Option<i64>,
    /// The commit that counts instead of the worktree, if one does.
    pub revision: Option<String>,
    /// Whether the `.git` of a git context belongs to it.
    pub git_directory: GitDirectory,
    /// Whose repositories are used.
    pub owners: Owners,
    /// The environment of filters (`git-lfs`), if they may be run.
    pub filters: Option<Environment>,
    /// Which times files of the context get.
    pub file_times: FileTimes,
    /// How RUN steps are executed.
    pub runtime: Choice,
    /// How new layers are compressed.
    pub compression: Compression,
    /// Work directories to try, in order.
    pub work_dirs: Vec<PathBuf>,
    /// Compressed bytes of one layer that may lie in the work directory; `None` for all.
    pub spool_limit: Option<u64>,
    /// LONGSHORE_HOME.
    pub home: PathBuf,
    /// What RUN steps may use, and for how long.
    pub steps: StepSettings,
    /// How registries are spoken to.
    pub registry: RegistryOptions,
    /// What the user should be told first.
    pub warnings: Vec<String>,
}

/// Splits `NAME=VALUE`; `None` for the value when there is no `=`.
fn pair(text: &str) -> (&str, Option<&str>) {
    match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    }
}

fn runtime(text: &str) -> Result<Choice, Failure> {
    match text {
        "auto" => Ok(Choice::Auto),
        "overlay" => Ok(Choice::Overlay),
        "chroot" => Ok(Choice::Chroot),
        "none" => Ok(Choice::None),
        _ => Err(Failure::usage(format!(
            "--runtime {text:?} is none of auto, overlay, chroot, none"
        ))),
    }
}

/// The least spool: above what is small enough to be sent whole, with room to go back.
const LEAST_SPOOL: u64 = 32 << 20;

/// A number of bytes, with K, M, G or T for powers of 1024 (also as `Mi` or `MiB`).
fn spool_limit(text: &str) -> Result<u64, Failure> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_end_matches('B').trim_end_matches('i');
    let shift = ["", "K", "M", "G", "T"].iter().position(|known| *known == unit);
    let bytes = number
        .parse::<u64>()
        .ok()
        .zip(shift)
        .and_then(|(number, shift)| number.checked_mul(1 << (10 * shift)));
    let flag = format!("--spool-limit {text:?}");
    match bytes {
        Some(bytes) if bytes >= LEAST_SPOOL => Ok(bytes),
        Some(_) => Err(Failure::usage(format!("{flag} is less than 32M"))),
        None => Err(Failure::usage(format!("{flag} is not a number of bytes, as in 512M or 2G"))),
    }
}

fn platform(text: Option<&str>) -> Result<Platform, Failure> {
    text.map_or_else(|| Ok(Platform::host()), |text| text.parse().map_err(Failure::usage))
}

/// SOURCE_DATE_EPOCH: from `--build-arg`, else from the environment.
fn epoch(
    build_args: &BTreeMap<String, String>,
    environment: &Environment,
) -> Result<Option<i64>, Failure> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let text = build_args.get(NAME).map(String::as_str).or_else(|| environment.get(NAME));
    let number = |text: &str| {
        text.parse().ok().filter(|&seconds: &i64| seconds >= 0).ok_or_else(|| {
            Failure::usage(format!("{NAME}={text} is not a number of seconds since 1970"))
        })
    };
    text.filter(|text| !text.is_empty()).map(number).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spool_limits_have_units() {
        for (text, bytes) in [
            ("33554432", 32 << 20),
            ("512M", 512 << 20),
            ("512MiB", 512 << 20),
            ("2G", 2 << 30),
            ("2Gi", 2 << 30),
            ("1T", 1 << 40),
        ] {
            assert_eq!(spool_limit(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "M", "0", "31M", "1.5G", "2g", "-1G", "2GG", "99999999T", "2 G"] {
            assert!(spool_limit(text).is_err(), "{text}");
        }
    }
}
