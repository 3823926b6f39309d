//! The mounts of a RUN step: from the plan's words to directories, bytes and sockets.
//!
//! Files of the context are written as layers of their own, see `bound`; stages and images are
//! unpacked as for a step upon them. Secrets are in memory only.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_runtime::{Mount, MountKind, Owner, Rung, Sandbox, Secret, Tree};

use super::bound::Bound;
use super::caches::Caches;
use super::engine::{Built, Shared};
use super::error::BuildError;
use crate::dockerfile::{MountOwner, SCRIPTS};
use crate::plan::{BindSource, RunStep, StageSpec, Step, StepMount, StepMountKind};

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

/// Whether a sandbox mounts; elsewhere there are copies, and caches are in one place at a time.
pub(super) fn has_mounts(sandbox: &Sandbox) -> bool {
    sandbox.rung() != Rung::Chroot
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

/// The mounts of one step on their way.
pub(super) struct Mounting<'a> {
    pub(super) shared: &'a Shared,
    pub(super) caches: &'a Caches,
    /// Layers of the stages and images, in the order of the mounts.
    pub(super) unpacked: &'a [Vec<PathBuf>],
    /// What is bound of the context, by the number of the mount.
    pub(super) bound: &'a BTreeMap<usize, Arc<Bound>>,
}

impl Mounting<'_> {
    pub(super) fn prepare(&self, step: &RunStep) -> Mounted {
        let mut mounted = Mounted::default();
        mounted.mounts.extend(step.script.as_ref().map(|script| Mount {
            target: Path::new(SCRIPTS).join(&script.name),
            kind: MountKind::Script { content: script.text.clone().into_bytes() },
        }));
        let mut unpacked = self.unpacked.iter();
        for (number, mount) in step.mounts.iter().enumerate() {
            let layers = mount.from().and_then(|_| unpacked.next()).cloned().unwrap_or_default();
            let kind = match &mount.kind {
                StepMountKind::Bind { source, readwrite } => {
                    let tree = match source {
                        BindSource::Image { source, .. } => Tree { layers, subpath: source.into() },
                        BindSource::Context { .. } => {
                            self.bound.get(&number).expect("every source is written").tree()
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
        mounted
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
}

fn as_owner(owner: &MountOwner) -> Owner {
    Owner { uid: owner.uid, gid: owner.gid, mode: owner.mode }
}
