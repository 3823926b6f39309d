//! Where a build works and where its images go: project, storage, locks, work directory,
//! destinations.

use std::path::PathBuf;

use crate::blocking::blocking;
use crate::build::{Destination, WorkDir, WorkDirError};
use crate::failure::{Failure, Outcome};
use crate::model::Repository;
use crate::project::ProjectName;
use crate::registry::Registry;
use crate::settings::{BuildSettings, StorageChoice, Target};
use crate::storage::{LayoutStorage, RepoStorage, Storage};
use crate::sync::{Address, LocalLocks, Synchronization};

/// The name of a project that nothing names.
const UNNAMED: &str = "default";

/// The project: named, else the one of the project file, else the slug of the repository.
pub(super) fn project(settings: &BuildSettings, of_file: Option<ProjectName>) -> String {
    let of_repo = || match &settings.storage {
        StorageChoice::Repo(repo) => ProjectName::slug_of(&repo.to_string()),
        StorageChoice::Layout | StorageChoice::None => None,
    };
    let named = settings.project.clone().or(of_file).or_else(of_repo);
    named.map_or_else(|| UNNAMED.to_owned(), |name| name.as_str().to_owned())
}

/// Opens the storage of stages.
pub(super) async fn storage(
    settings: &BuildSettings,
    registry: &Registry,
    project: &str,
) -> Outcome<Option<Storage>> {
    match &settings.storage {
        StorageChoice::None => Ok(None),
        StorageChoice::Repo(repo) => Ok(Some(repo_storage(registry, repo))),
        StorageChoice::Layout => {
            let directory = settings.home.join("layouts").join(project);
            Ok(Some(layout_storage(directory).await?))
        }
    }
}

/// Opens the locks.
pub(super) fn locks(settings: &BuildSettings) -> (Synchronization, Address) {
    match settings.synchronization.unwrap_or(Address::Local) {
        Address::Local => {
            let locks = LocalLocks::new(settings.home.join("service/locks"));
            (Synchronization::Local(locks), Address::Local)
        }
        Address::None => (Synchronization::None, Address::None),
    }
}

/// Opens the first work directory that can be used, those before others whose volume may hold
/// what RUN changes on the best rung: the container's own file system mostly cannot.
pub(super) async fn work_dir(settings: &BuildSettings) -> Outcome<WorkDir> {
    let candidates = settings.work_dirs.clone();
    let opened = blocking(move || {
        let mut failure: Option<WorkDirError> = None;
        let (fit, others): (Vec<_>, Vec<_>) = candidates
            .into_iter()
            .partition(|candidate| longshore_runtime::may_hold_upper(candidate));
        for candidate in fit.into_iter().chain(others) {
            match WorkDir::open(&candidate) {
                Ok(work) => return Ok(work),
                Err(error) => failure = Some(failure.unwrap_or(error)),
            }
        }
        Err(failure)
    });
    opened.await.map_err(|failure| match failure {
        Some(error) => error.into(),
        None => Failure::usage("no work directory is named; give one with --work-dir"),
    })
}

/// Opens the destinations of the one image that is built, or of none.
pub(super) async fn destinations(
    settings: &BuildSettings,
    registry: &Registry,
    storage: Option<&Storage>,
) -> Outcome<Vec<Destination>> {
    let mut destinations = Vec::new();
    for target in &settings.targets {
        let (storage, tag) = match target {
            Target::Archive(path, references) => {
                let names = references.iter().map(ToString::to_string).collect();
                let path = path.clone();
                destinations.push(Destination::Archive { path, names });
                continue;
            }
            Target::Tag(tag) => match storage {
                Some(storage) => (storage.clone(), tag.clone()),
                None => return Err(Failure::usage(format!("--tag {tag} needs a --repo"))),
            },
            Target::Reference(reference) => {
                if reference.digest.is_some() {
                    let message = format!("{reference} has a digest; a destination has a tag");
                    return Err(Failure::usage(message));
                }
                let tag = reference.tag.clone().unwrap_or_else(|| "latest".to_owned());
                (repo_storage(registry, &reference.repository), tag)
            }
            Target::Layout(path) => (layout_storage(path.clone()).await?, "latest".to_owned()),
        };
        destinations.push(Destination::Tag { storage, tag });
    }
    Ok(destinations)
}

/// The first repository of a registry among the destinations.
pub(super) fn repository(destinations: &[Destination]) -> Option<RepoStorage> {
    destinations.iter().find_map(|destination| match destination {
        Destination::Tag { storage: Storage::Repo(repo), .. } => Some(repo.clone()),
        Destination::Tag { .. } | Destination::Archive { .. } => None,
    })
}

fn repo_storage(registry: &Registry, repo: &Repository) -> Storage {
    Storage::Repo(RepoStorage::new(registry.clone(), repo.clone()))
}

async fn layout_storage(directory: PathBuf) -> Outcome<Storage> {
    Ok(Storage::Layout(blocking(move || LayoutStorage::open(directory)).await?))
}
