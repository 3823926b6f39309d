//! Which class of failure an error of the modules is, and what to do about it.

use super::{Failure, Kind};
use crate::build::{BuildError, ContextArchiveError, WorkDirError};
use crate::context::remote::RemoteError;
use crate::context::{ContextError, LfsError};
use crate::dockerfile::ParseError;
use crate::ignore_rules::IgnoreError;
use crate::layer::LayerError;
use crate::plan::{PlanError, ResolveError};
use crate::project::ProjectError;
use crate::registry::RegistryError;
use crate::storage::StorageError;
use crate::sync::SyncError;

/// Exit code of a step that took too long, as timeout(1) has it.
const TIMED_OUT: i32 = 124;
const MORE_ROOM: &str = "--work-dir names a directory with more room";
const MORE_SPOOL: &str = "raise --spool-limit, if the work directory has room for the layer";
const TAKER: &str =
    "a registry takes a layer while it is made: --repo names one, or executor's --destination";

impl From<ParseError> for Failure {
    fn from(error: ParseError) -> Self {
        Self::new(Kind::BuildFile, error)
    }
}

impl From<ProjectError> for Failure {
    fn from(error: ProjectError) -> Self {
        Self::new(Kind::BuildFile, error)
    }
}

impl From<IgnoreError> for Failure {
    fn from(error: IgnoreError) -> Self {
        Self::new(Kind::BuildFile, error)
    }
}

impl From<ContextError> for Failure {
    fn from(error: ContextError) -> Self {
        match error {
            ContextError::Ignore(error) => error.into(),
            ContextError::LfsPointer { .. } => Self::new(Kind::Context, error)
                .hint("git lfs pull fetches the files before the build; in a checkout or a bare repository, --allow-filters does so during it"),
            ContextError::Lfs { ref source, .. } => {
                let (kind, hint, lines) = lfs(source);
                let quoted: String = lines.iter().map(|line| format!("\n  | {line}")).collect();
                let failure = match quoted.as_str() {
                    "" => Self::new(kind, error),
                    quoted => Self::new(kind, anyhow::anyhow!("{error}: {source}{quoted}")),
                };
                hint.into_iter().fold(failure, |failure, hint| failure.hint(hint))
            }
            other => Self::new(Kind::Context, other),
        }
    }
}

/// The class of a failure to fetch from Git LFS, what to do about it, and what the program said.
fn lfs(error: &LfsError) -> (Kind, Option<&'static str>, &[String]) {
    match error {
        LfsError::Start(_) => (
            Kind::Unable,
            Some("install git-lfs and git, or fetch the files before the build with git lfs pull"),
            &[],
        ),
        LfsError::Failed { last_lines, .. } => (
            Kind::Context,
            Some(
                "git-lfs takes server and credentials from the settings of git; git lfs pull should work there, too",
            ),
            last_lines,
        ),
        LfsError::Unchanged => (
            Kind::Context,
            Some(
                "lfs.fetchexclude or lfs.fetchinclude may leave the file out; exclude it in .dockerignore, or fetch it before the build",
            ),
            &[],
        ),
        LfsError::Differs { .. } => (
            Kind::Context,
            Some(
                "the file is damaged where git-lfs has it from; git lfs fsck finds what is damaged here",
            ),
            &[],
        ),
        LfsError::Pointer(_) | LfsError::Output(_) => (Kind::Context, None, &[]),
        LfsError::Interrupted => (Kind::Bug, None, &[]),
    }
}

impl From<ContextArchiveError> for Failure {
    fn from(error: ContextArchiveError) -> Self {
        match error {
            ContextArchiveError::Entry { .. } if is_disk_full(&error) => {
                Self::new(Kind::Unable, error).hint(MORE_ROOM)
            }
            ContextArchiveError::Interrupted => Self::new(Kind::Bug, error),
            ContextArchiveError::Empty { .. } => Self::new(Kind::Context, error)
                .hint("pipe a tar archive into it, as in: tar -c . | longshore build -"),
            ContextArchiveError::Text { .. } => Self::new(Kind::Context, error).hint(
                "give the directory and name the Dockerfile with -f, or pipe a tar archive that has it inside",
            ),
            ContextArchiveError::Truncated { .. } => {
                Self::new(Kind::Context, error).hint("did the program that writes it fail?")
            }
            _ => Self::new(Kind::Context, error),
        }
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        if is_disk_full(&error) {
            return Self::new(Kind::Unable, error).hint(MORE_ROOM);
        }
        let (kind, hint) = remote(&error);
        let failure = Self::new(kind, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

fn remote(error: &RemoteError) -> (Kind, Option<&'static str>) {
    match error {
        RemoteError::Unauthorized { .. } => (
            Kind::RegistryAuth,
            Some(
                "for https, GIT_TOKEN, or GIT_USERNAME and GIT_PASSWORD, give credentials; ssh has its own keys",
            ),
        ),
        RemoteError::RepositoryNotFound { .. } => (
            Kind::RegistryRefused,
            Some(
                "is the address right? Many servers hide a private repository from who gives no credentials",
            ),
        ),
        RemoteError::RefNotFound { .. } => (
            Kind::RegistryRefused,
            Some("a commit is named by all its 40 digits, a branch or tag by its name"),
        ),
        RemoteError::CommitRefused { .. } => (
            Kind::RegistryRefused,
            Some(
                "was it pushed? Else name a branch or tag that is at this commit, or let the server allow it (uploadpack.allowReachableSHA1InWant)",
            ),
        ),
        RemoteError::NoCommit { .. }
        | RemoteError::NoDirectory { .. }
        | RemoteError::NotACommit { .. }
        | RemoteError::Refused { .. } => (Kind::RegistryRefused, None),
        RemoteError::Unreachable { .. } => (
            Kind::RegistryUnreachable,
            Some(
                "is the address right, and the server up? --registry-certificate HOST=FILE trusts a private certificate authority; ssh needs the host in known_hosts",
            ),
        ),
        RemoteError::Stalled { .. }
        | RemoteError::Broken { .. }
        | RemoteError::Garbage { .. }
        | RemoteError::Unsound { .. } => (Kind::RegistryUnreachable, None),
        RemoteError::Client { .. } => (Kind::Usage, None),
        RemoteError::Ssh { .. } => (Kind::Unable, Some("is the program ssh installed?")),
        RemoteError::Store { .. } => (Kind::Unable, None),
    }
}

impl From<SyncError> for Failure {
    fn from(error: SyncError) -> Self {
        Self::new(Kind::Synchronization, error)
            .hint("LONGSHORE_HOME names the directory of the locks; --synchronization none builds without")
    }
}

impl From<WorkDirError> for Failure {
    fn from(error: WorkDirError) -> Self {
        Self::new(Kind::Unable, error)
            .hint("name a directory that can be written with --work-dir; in a pod, one on an emptyDir volume")
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Dockerfile(error) => (*error).into(),
            PlanError::Context(error) => error.into(),
        }
    }
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Registry(error) => error.into(),
            other => Self::new(Kind::RegistryRefused, other),
        }
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Registry(error) => error.into(),
            StorageError::Layout { .. } => Self::new(Kind::Unable, error)
                .hint("the layout lies below LONGSHORE_HOME; --repo keeps stages in a registry"),
            StorageError::NotALayout { .. } | StorageError::BlobMissing { .. } => {
                Self::new(Kind::Unable, error).hint("remove what is damaged; it is built again")
            }
        }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        if is_disk_full(&error) {
            return Self::new(Kind::Unable, error).hint(MORE_ROOM);
        }
        let (kind, hint) = registry(&error);
        let failure = Self::new(kind, error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

fn registry(error: &RegistryError) -> (Kind, Option<&'static str>) {
    match error {
        RegistryError::Option { .. } | RegistryError::Certificate { .. } => (Kind::Usage, None),
        RegistryError::Credentials { .. } | RegistryError::Helper { .. } => {
            (Kind::RegistryAuth, None)
        }
        RegistryError::Unauthorized { .. } | RegistryError::Denied { .. } => (
            Kind::RegistryAuth,
            Some(
                "credentials are read from $REGISTRY_AUTH_FILE, and from config.json in $DOCKER_CONFIG or ~/.docker",
            ),
        ),
        RegistryError::Untrusted { .. } => (
            Kind::RegistryUnreachable,
            Some("--registry-certificate HOST=FILE trusts a private certificate authority"),
        ),
        RegistryError::Unreachable { .. } => (
            Kind::RegistryUnreachable,
            Some(
                "is the name right, and the registry up? --insecure-registry HOST speaks plain HTTP",
            ),
        ),
        RegistryError::Stalled { .. } => (Kind::RegistryUnreachable, None),
        RegistryError::Io { .. } => (Kind::Unable, None),
        RegistryError::Garbage { .. } => (
            Kind::RegistryUnreachable,
            Some("what answers there may not be a container registry, or a proxy is in between"),
        ),
        RegistryError::NotFound { .. } => {
            (Kind::RegistryRefused, Some("are name and tag right, and is it the right registry?"))
        }
        _ => (Kind::RegistryRefused, None),
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Instruction(error) => (*error).into(),
            BuildError::Context(error) => error.into(),
            BuildError::Registry(error) => error.into(),
            BuildError::Storage(error) => error.into(),
            BuildError::Sync(error) => error.into(),
            BuildError::WorkDir(error) => error.into(),
            BuildError::Step { code, ref last_lines, ref hints, .. } => {
                let text = anyhow::anyhow!("{error}{}", quoted(last_lines));
                let failure = Self::new(Kind::Run(code), text);
                hints.iter().fold(failure, |failure, hint| failure.hint(hint))
            }
            BuildError::TimedOut { ref last_lines, .. } => {
                let text = anyhow::anyhow!("{error}{}", quoted(last_lines));
                Self::new(Kind::Run(TIMED_OUT), text)
                    .hint("--run-timeout says how long a RUN step may take")
            }
            BuildError::NoRung { ref hint, .. } => {
                let hint = hint.clone();
                Self::new(Kind::Unable, error).hint(hint)
            }
            BuildError::UnknownUser { .. } => Self::new(Kind::BuildFile, error)
                .hint("add the user in a RUN step before USER, or give USER a number"),
            BuildError::ForeignPlatform { .. } => Self::new(Kind::Unable, error)
                .hint("build on a machine of that architecture, or copy what RUN would make"),
            BuildError::Image(error) => Self::new(Kind::RegistryRefused, error),
            BuildError::Sandbox(_) | BuildError::File { .. } if is_disk_full(&error) => {
                Self::new(Kind::Unable, error).hint(MORE_ROOM)
            }
            BuildError::Sandbox(_) | BuildError::File { .. } => Self::new(Kind::Unable, error),
            BuildError::Layer(ref source) if is_disk_full(source) => {
                Self::new(Kind::Unable, error).hint(MORE_ROOM)
            }
            BuildError::Layer(LayerError::TooLong { .. }) => {
                Self::new(Kind::Unable, error).hint(TAKER).hint(MORE_SPOOL)
            }
            BuildError::NotTaken { ref source, .. } => {
                let (kind, hint) = registry(source);
                let failure = Self::new(kind, error).hint(MORE_SPOOL);
                hint.into_iter().fold(failure, |failure, hint| failure.hint(hint))
            }
            BuildError::Layer(_) => Self::new(Kind::Unable, error),
            BuildError::Interrupted => Self::new(Kind::Bug, error),
        }
    }
}

/// The last lines of a step, as a quotation.
fn quoted(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n  | {line}")).collect()
}

fn is_disk_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull) {
            return true;
        }
        cause = error.source();
    }
    false
}
