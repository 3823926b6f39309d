//! Files of the context as directories, for `RUN --mount=type=bind`.
//!
//! They are written by the sandbox, as a layer of their own and with the owners, modes and times that
//! a COPY would give them; once a build for all steps that bind the same, in a directory that is
//! removed with the engine. Of a builder that is killed, the next one removes it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use longshore_runtime::entry::{Entry, Kind};
use longshore_runtime::{Sandbox, Scratch, Tree};

use super::engine::Shared;
use super::error::BuildError;
use super::picks;
use super::tree::Content;
use super::unpacking::remove;
use crate::blocking::blocking;
use crate::context::{ContextSource, Selected, checksum};
use crate::plan::{BindSource, RunStep, StageId, StepMountKind, Times};

/// Name of what is bound, in its layer.
const NAME: &str = "bound";

/// Files of the context in a layer of their own.
#[derive(Debug)]
pub(super) struct Bound {
    sandbox: Arc<Sandbox>,
    scratch: Scratch,
}

impl Bound {
    /// What there is to be mounted.
    pub(super) fn tree(&self) -> Tree {
        Tree { layers: vec![self.layer()], subpath: NAME.into() }
    }

    fn layer(&self) -> PathBuf {
        self.scratch.path().join("layer")
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        remove(&self.sandbox, self.scratch.path());
    }
}

/// Writes what the mounts of a step bind of the context; by the number of the mount.
pub(super) async fn write(
    shared: &Arc<Shared>,
    stage: StageId,
    step: &RunStep,
    sandbox: &Arc<Sandbox>,
) -> Result<BTreeMap<usize, Arc<Bound>>, BuildError> {
    let times = shared.plan.stage(stage).times;
    let mut bound = BTreeMap::new();
    for (number, mount) in step.mounts.iter().enumerate() {
        let StepMountKind::Bind { source: BindSource::Context { context, selected }, .. } =
            &mount.kind
        else {
            continue;
        };
        let cell = shared.bound.cell(format!("{} {times:?}", checksum(selected)));
        let make = || async {
            let (context, selected) = (Arc::clone(context), selected.clone());
            let sandbox = Arc::clone(sandbox);
            blocking(move || make(context.as_ref(), &selected, times, sandbox)).await.map(Arc::new)
        };
        bound.insert(number, Arc::clone(cell.get_or_try_init(make).await?));
    }
    Ok(bound)
}

fn make(
    context: &dyn ContextSource,
    selected: &Selected,
    times: Times,
    sandbox: Arc<Sandbox>,
) -> Result<Bound, BuildError> {
    let scratch = sandbox.scratch().map_err(BuildError::of_sandbox)?;
    let bound = Bound { sandbox, scratch };
    let listings = [context.listing(&selected.root)?.unwrap_or_default()];
    let time = |own| times.of_context(own);
    let picks = picks::from_context(&listings, std::slice::from_ref(selected), time);
    let mut failure = None;
    let unpacked = bound.sandbox.unpack(&bound.layer(), &[], &mut |sink| {
        let mut first = BTreeMap::new();
        for item in picks.iter().flat_map(|pick| &pick.items) {
            let mut entry = below(&item.entry);
            if let Some(known) = item.group.and_then(|group| first.get(&group).cloned()) {
                entry.kind = Kind::HardLink { target: known };
                sink.entry(&entry, &mut io::empty())?;
                continue;
            }
            first.extend(item.group.map(|group| (group, entry.path.clone())));
            let Content::Context { entry: at, .. } = item.content else {
                sink.entry(&entry, &mut io::empty())?;
                continue;
            };
            let mut content = context.open(&listings[0].entries()[at]).map_err(|error| {
                let text = error.to_string();
                failure = Some(error);
                io::Error::other(text)
            })?;
            sink.entry(&entry, &mut content)?;
        }
        Ok(())
    });
    match (failure, unpacked) {
        (Some(error), Err(_)) => Err(error.into()),
        (_, Err(error)) => Err(BuildError::of_sandbox(error)),
        (_, Ok(_)) => Ok(bound),
    }
}

/// An entry as part of what is bound.
fn below(entry: &Entry) -> Entry {
    let mut path = NAME.as_bytes().to_vec();
    if !entry.path.is_empty() {
        path.push(b'/');
        path.extend_from_slice(&entry.path);
    }
    Entry { path, ..entry.clone() }
}
