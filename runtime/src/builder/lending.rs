//! The mounts of a step on their way to init: absolute paths, and agents that answer.

use super::agent::Agent;
use super::orders::{absolute, absolute_all};
use crate::Error;
use crate::mount::{Mount, MountKind};
use crate::step::StepSpec;

/// The mounts of a step as init takes them, and the agents that answer as long as they are kept.
pub(super) fn prepare(step: &StepSpec) -> Result<(Vec<Mount>, Vec<Agent>), Error> {
    let (mut mounts, mut agents) = (step.mounts.clone(), Vec::new());
    for mount in &mut mounts {
        match &mut mount.kind {
            MountKind::Bind { tree, .. } => tree.layers = absolute_all(&tree.layers)?,
            MountKind::Cache { dir, initial, .. } => {
                *dir = absolute(dir)?;
                if let Some(tree) = initial {
                    tree.layers = absolute_all(&tree.layers)?;
                }
            }
            MountKind::SshAgent { socket, .. } => {
                let name = format!("agent{}", agents.len());
                let agent = Agent::lend(&step.scratch, &name, socket)?;
                *socket = absolute(agent.path())?;
                agents.push(agent);
            }
            MountKind::Tmpfs { .. } | MountKind::Secret { .. } | MountKind::Script { .. } => {}
        }
    }
    Ok((mounts, agents))
}
