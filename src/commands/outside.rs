//! Contexts that are no directory: brought into the place of the build, where they are one.

use std::path::{Path, PathBuf};

use super::stdin::Piped;
use crate::blocking::{Interrupt, blocking};
use crate::build::{ArchiveLimits, BuildDir, ContextArchive};
use crate::context::ContextError;
use crate::context::remote::{self, ClientError, Doors, FetchedContext};
use crate::failure::{Failure, Kind, Outcome};
use crate::output::Event;
use crate::registry::WebClients;
use crate::settings::{ArchivePlace, BuildSettings, Origin, RemoteOrigin};

/// What was brought, for as long as the build needs it.
#[derive(Debug, Default)]
pub(super) struct Brought {
    archive: Option<ContextArchive>,
}

/// Brings the context if it is elsewhere, and points the settings to it.
pub(super) async fn bring(
    settings: &mut BuildSettings,
    place: &BuildDir,
    interrupt: &Interrupt,
) -> Outcome<Brought> {
    match settings.origin.clone() {
        Origin::Directory => Ok(Brought::default()),
        Origin::Archive { place: archive, below } => {
            let (target, interrupt) = (place.path().join("context"), interrupt.clone());
            let archive = blocking(move || unpack(&archive, &target, &interrupt)).await?;
            settings.context = sub_directory(archive.directory(), below.as_deref())?;
            settings.warnings.extend(archive.notes().iter().cloned());
            Ok(Brought { archive: Some(archive) })
        }
        Origin::Remote(origin) => {
            let fetched = fetch(settings, &origin, &place.path().join("context.git")).await?;
            let (commit, address) = (&fetched.commit, &origin.context.address);
            let message = format!("the context is commit {commit} of {address}");
            settings.voice.say(&Event::Detail { message });
            settings.context = fetched.directory;
            settings.revision = Some(fetched.commit);
            Ok(Brought::default())
        }
    }
}

async fn fetch(
    settings: &BuildSettings,
    origin: &RemoteOrigin,
    target: &Path,
) -> Outcome<FetchedContext> {
    let mut options = settings.registry.clone();
    options.skip_tls_verify_pull = false;
    if origin.skip_tls_verify {
        options.skip_tls_verify.extend(origin.context.address.web_host());
    }
    let clients = WebClients::new(options);
    let client = |host: &str| clients.client(host).map_err(ClientError::from);
    let doors = Doors { client: &client, ssh_environment: &origin.ssh_environment };
    Ok(remote::fetch(&origin.context, target, &doors).await?)
}

impl Brought {
    /// Lets the place of the build be removed.
    pub(super) fn leave(self) {
        drop(self.archive);
    }
}

fn unpack(archive: &ArchivePlace, target: &Path, interrupt: &Interrupt) -> Outcome<ContextArchive> {
    fs_err::create_dir(target).map_err(|error| Failure::new(Kind::Unable, error))?;
    let limits = ArchiveLimits::default();
    tracing::debug!(?archive, "unpacking the context");
    match archive {
        ArchivePlace::Stdin => {
            let piped = Piped::open(interrupt.clone()).ok_or_else(|| {
                Failure::usage("the build context is to come from standard input, a terminal")
                    .hint("pipe a tar archive into it, as in: tar -c . | longshore build -")
            })?;
            Ok(ContextArchive::unpack(piped, "standard input", target, limits, interrupt)?)
        }
        ArchivePlace::File(path) => {
            let fail = |source| ContextError::Read { path: path.clone(), source };
            // Looked at first, since opening a FIFO would wait for a writer.
            if !fs_err::metadata(path).map_err(fail)?.is_file() {
                return Err(fail(std::io::Error::other("it is not a regular file")).into());
            }
            let file = fs_err::File::open(path).map_err(fail)?;
            let origin = path.display().to_string();
            Ok(ContextArchive::unpack(file, &origin, target, limits, interrupt)?)
        }
    }
}

/// A directory of what was unpacked, links followed as long as they stay inside.
fn sub_directory(root: &Path, below: Option<&Path>) -> Outcome<PathBuf> {
    let Some(below) = below else { return Ok(root.to_owned()) };
    let place = root.join(below);
    let real = fs_err::canonicalize(&place).ok().filter(|real| real.is_dir());
    match real {
        None => Err(Failure::new(
            Kind::Context,
            anyhow::anyhow!("the build context has no directory {}", below.display()),
        )),
        Some(real) if !real.starts_with(root) => {
            Err(ContextError::Outside { path: below.to_owned() }.into())
        }
        Some(real) => Ok(real),
    }
}
