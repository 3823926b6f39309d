//! The mounts of a RUN step: from the plan's words to directories, bytes and sockets.
//!
//! Files of the context are written into the step's scratch directory, as a layer of their own;
//! stages and images are unpacked as for a step upon them. Secrets are in memory only.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_runtime::entry::{Entry, Kind};
use longshore_runtime::{Mount, MountKind, Owner, Sandbox, Secret, Tree};

use super::caches::Caches;
use super::engine::{Built, Shared};
use super::error::BuildError;
use super::picks;
use super::tree::Content;
use crate::context::{ContextSource, Selected};
use crate::dockerfile::MountOwner;
use crate::plan::{BindSource, RunStep, StageId, StageSpec, Step, StepMount, StepMountKind};

/// Name of what is bound from the context, in a layer of its own.
const BOUND: &str = "bound";
/// The variable that tells ssh where an agent listens.
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";

/// What the command line lends to steps.
#[derive(Clone, Debug, Default)]
pub struct Lent {
    /// Secrets by id.
    pub secrets: BTreeMap<String, Secret>,
    /// Sockets of ssh agents by id.
    pub agents: BTreeMap<String, PathBuf>,
}

/// What a step takes files from besides its parent.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// The stages and images that its mounts name, in the order of the mounts.
    pub(super) from: Vec<Arc<Built>>,
    /// Its caches, locked.
    pub(super) caches: Caches,
}

/// What a step gets.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    pub(super) mounts: Vec<Mount>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) secret_env: Vec<(OsString, Secret)>,
}

/// Refuses a step that needs what was not lent, before anything is done for it.
pub(super) fn check(shared: &Shared, spec: &StageSpec) -> Result<(), BuildError> {
    let Step::Run(step) = &spec.step else { return Ok(()) };
    for mount in &step.mounts {
        let (missing, hint) = match &mount.kind {
            StepMountKind::Secret { id, required: true, .. }
                if !shared.lent.secrets.contains_key(id) =>
            {
                let hint = format!("give it with --secret id={id},src=FILE or env=VARIABLE");
                (format!("the secret {id:?}"), hint)
            }
            StepMountKind::Ssh { id, required: true, .. }
                if !shared.lent.agents.contains_key(id) =>
            {
                let hint = format!("give it with --ssh {id}=SOCKET");
                (format!("the ssh agent {id:?}"), hint)
            }
            _ => continue,
        };
        let message = format!("{missing} is required here, but was not given");
        return Err(refused(spec, mount, message, Some(hint)));
    }
    Ok(())
}

/// An error at the place of a mount.
fn refused(
    spec: &StageSpec,
    mount: &StepMount,
    message: String,
    hint: Option<String>,
) -> BuildError {
    spec.place.dockerfile.error(mount.span, message, hint).into()
}

/// An error of the sandbox about the mount at `target`, at its place in the Dockerfile.
pub(super) fn impossible(
    spec: &StageSpec,
    step: &RunStep,
    target: &Path,
    reason: &str,
) -> Option<BuildError> {
    let is_it = |mount: &&StepMount| mount.target.as_deref().map(Path::new) == Some(target);
    let mount = step.mounts.iter().find(is_it)?;
    let message = format!("cannot mount {}: {reason}", target.display());
    Some(refused(spec, mount, message, None))
}

/// Unpacks what mounts take from stages and images; for each of them its layers.
pub(super) async fn unpack(
    shared: &Shared,
    from: &[Arc<Built>],
    sandbox: &Arc<Sandbox>,
) -> Result<Vec<Vec<PathBuf>>, BuildError> {
    let mut unpacked = Vec::new();
    for built in from {
        unpacked.push(shared.layers.unpacked(&built.layers, sandbox).await?);
    }
    Ok(unpacked)
}

/// The mounts of one step on their way; blocking.
pub(super) struct Mounting<'a> {
    pub(super) shared: &'a Shared,
    pub(super) stage: StageId,
    pub(super) sandbox: &'a Sandbox,
    pub(super) scratch: &'a Path,
    pub(super) caches: &'a Caches,
    /// Layers of the stages and images, in the order of the mounts.
    pub(super) unpacked: &'a [Vec<PathBuf>],
}

impl Mounting<'_> {
    pub(super) fn prepare(&self, step: &RunStep) -> Result<Mounted, BuildError> {
        let mut mounted = Mounted::default();
        let mut unpacked = self.unpacked.iter();
        for (number, mount) in step.mounts.iter().enumerate() {
            let layers = mount.from().and_then(|_| unpacked.next()).cloned().unwrap_or_default();
            let kind = match &mount.kind {
                StepMountKind::Bind { source, readwrite } => {
                    let tree = match source {
                        BindSource::Image { source, .. } => Tree { layers, subpath: source.into() },
                        BindSource::Context { context, selected } => {
                            self.context(number, context.as_ref(), selected)?
                        }
                    };
                    Some(MountKind::Bind { tree, readwrite: *readwrite })
                }
                StepMountKind::Cache { initial, readonly, owner, .. } => Some(MountKind::Cache {
                    dir: self.caches.directory(number).expect("every cache is locked").into(),
                    owner: as_owner(owner),
                    initial: initial
                        .as_ref()
                        .map(|(_, path)| Tree { layers, subpath: path.into() }),
                    readonly: *readonly,
                }),
                StepMountKind::Tmpfs { size } => Some(MountKind::Tmpfs { size: *size }),
                StepMountKind::Secret { .. } | StepMountKind::Ssh { .. } => {
                    self.lend(mount, step, &mut mounted)
                }
            };
            let target = mount.target.as_ref().map(PathBuf::from);
            mounted.mounts.extend(target.zip(kind).map(|(target, kind)| Mount { target, kind }));
        }
        Ok(mounted)
    }

    /// A secret or an agent; nothing where it was not given.
    fn lend(&self, mount: &StepMount, step: &RunStep, mounted: &mut Mounted) -> Option<MountKind> {
        match &mount.kind {
            StepMountKind::Secret { id, env, owner, .. } => {
                let content = self.shared.lent.secrets.get(id)?.clone();
                if let Some(name) = env {
                    mounted.secret_env.push((name.into(), content.clone()));
                }
                Some(MountKind::Secret { content, owner: as_owner(owner) })
            }
            StepMountKind::Ssh { id, owner, .. } => {
                let socket = self.shared.lent.agents.get(id)?.clone();
                let is_set = step.env.contains_key(AGENT_VARIABLE)
                    || mounted.env.iter().any(|(name, _)| name == AGENT_VARIABLE);
                if let (Some(target), false) = (&mount.target, is_set) {
                    mounted.env.push((AGENT_VARIABLE.into(), target.into()));
                }
                Some(MountKind::SshAgent { socket, owner: as_owner(owner) })
            }
            _ => None,
        }
    }

    /// Writes a file or directory of the context, as a COPY would have it, into a layer.
    fn context(
        &self,
        number: usize,
        context: &dyn ContextSource,
        selected: &Selected,
    ) -> Result<Tree, BuildError> {
        let layer = self.scratch.join(format!("context{number}"));
        let listing = context.listing(&selected.root)?.unwrap_or_default();
        let times = self.shared.plan.stage(self.stage).times;
        let listings = [listing];
        let picks = picks::from_context(&listings, std::slice::from_ref(selected), |own| {
            times.of_context(own)
        });
        let mut failure = None;
        let unpacked = self.sandbox.unpack(&layer, &[], &mut |sink| {
            let mut first = BTreeMap::new();
            for item in picks.iter().flat_map(|pick| &pick.items) {
                let mut entry = below(&item.entry);
                if let Some(known) = item.group.and_then(|group| first.get(&group).cloned()) {
                    entry.kind = Kind::HardLink { target: known };
                    sink.entry(&entry, &mut io::empty())?;
                    continue;
                }
                first.extend(item.group.map(|group| (group, entry.path.clone())));
                match item.content {
                    Content::Context { entry: at, .. } => {
                        let opened = context.open(&listings[0].entries()[at]);
                        let mut content = opened.map_err(|error| {
                            let text = error.to_string();
                            failure = Some(error);
                            io::Error::other(text)
                        })?;
                        sink.entry(&entry, &mut content)?;
                    }
                    _ => sink.entry(&entry, &mut io::empty())?,
                }
            }
            Ok(())
        });
        match (failure, unpacked) {
            (Some(error), Err(_)) => Err(error.into()),
            (_, Err(error)) => Err(BuildError::of_sandbox(error)),
            (_, Ok(_)) => Ok(Tree { layers: vec![layer], subpath: BOUND.into() }),
        }
    }
}

/// An entry as part of what is bound.
fn below(entry: &Entry) -> Entry {
    let mut path = BOUND.as_bytes().to_vec();
    if !entry.path.is_empty() {
        path.push(b'/');
        path.extend_from_slice(&entry.path);
    }
    Entry { path, ..entry.clone() }
}

fn as_owner(owner: &MountOwner) -> Owner {
    Owner { uid: owner.uid, gid: owner.gid, mode: owner.mode }
}
