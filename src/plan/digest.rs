//! What enters the digest of a stage and of an image: the one place.
//!
//! | input | RUN | COPY, ADD | WORKDIR | image |
//! |---|---|---|---|---|
//! | content digest of the parent (a base by its manifest digest) | x | x | x | x |
//! | platform | x | x | x | x |
//! | SOURCE_DATE_EPOCH, when given | x | x | x | x |
//! | argument vector with the shell, environment, working directory, user | x | | | |
//! | network, unless it is the default | x | | | |
//! | name and text of a script that stands in the Dockerfile | x | | | |
//! | mounts, each by its type, target and what the next table says | x | | | |
//! | sources, destination, whether it is a directory, `--chown`, `--chmod` | | x | | |
//! | checksum of the matched context entries, or content digest of `--from` | | x | | |
//! | name and expanded text of each heredoc | (in the argument vector) | x | | |
//! | path, user | | | x | |
//! | runtime config, author, image format | | | | x |
//!
//! Not: unused arguments, proxies, the Dockerfile's name and layout, labels and other metadata
//! (but for the image), times and owners of the checkout, the commit, the compressor.
//!
//! | mount | enters | does not |
//! |---|---|---|
//! | bind | checksum of the context's entries, or content digest of `from` and the path in it; `rw` | |
//! | cache | id, owner and mode, `ro`; content digest of `from` and the path in it | content, `sharing` |
//! | tmpfs | size | |
//! | secret | id, variable, owner and mode | value, `required`, whether it was given |
//! | ssh | id, owner and mode | the agent, `required`, whether it was given |
//!
//! A step without mounts, without a script and with the default network has the digest that it had
//! before there were any.
//!
//! Every input is framed as its name, its number of values, and the values; see `hashing`.

use super::mount::{BindSource, StepMount, StepMountKind};
use super::stage::{CopyKind, CopySource, CopyStep, InlineFile, Plan, RunStep, WorkdirStep};
use crate::context::checksum;
use crate::dockerfile::{MountOwner, RunNetwork};
use crate::hashing::Framed;
use crate::model::{Platform, StageDigest};

/// Named inputs of a digest, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs(Vec<(&'static str, Vec<Vec<u8>>)>);

/// What every digest starts with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Common<'a> {
    pub(super) parent: &'a str,
    pub(super) platform: &'a Platform,
    pub(super) epoch: Option<i64>,
}

impl Inputs {
    /// Adds an input with any number of values.
    pub fn add<V: AsRef<[u8]>>(&mut self, name: &'static str, values: impl IntoIterator<Item = V>) {
        let values = values.into_iter().map(|value| value.as_ref().to_vec()).collect();
        self.0.push((name, values));
    }

    /// The inputs by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &[Vec<u8>])> {
        self.0.iter().map(|(name, values)| (*name, values.as_slice()))
    }

    /// The digest in the domain `kind` (`stage` or `image`).
    pub fn digest(&self, kind: &str) -> StageDigest {
        let mut hash = Framed::new(kind);
        for (name, values) in &self.0 {
            hash.field(name).field((values.len() as u64).to_le_bytes());
            for value in values {
                hash.field(value);
            }
        }
        hash.finish()
    }

    fn common(instruction: &str, common: Common<'_>) -> Self {
        let mut inputs = Self::default();
        inputs.add("instruction", [instruction]);
        inputs.add("parent", [common.parent]);
        inputs.add("platform", [common.platform.to_string()]);
        inputs.add("epoch", common.epoch.map(|epoch| epoch.to_string()));
        inputs
    }
}

/// The inputs of a RUN step.
pub(super) fn run(common: Common<'_>, plan: &Plan, step: &RunStep) -> Inputs {
    let mut inputs = Inputs::common("RUN", common);
    inputs.add("argv", &step.argv);
    inputs.add("env", step.env.iter().map(|(name, value)| format!("{name}={value}")));
    inputs.add("cwd", [&step.cwd]);
    inputs.add("user", [&step.user]);
    match step.network {
        RunNetwork::Default => {}
        RunNetwork::Host => inputs.add("network", ["host"]),
        RunNetwork::None => inputs.add("network", ["none"]),
    }
    if let Some(InlineFile { name, text }) = &step.script {
        inputs.add("script", [name, text]);
    }
    step.mounts.iter().for_each(|mount| add_mount(&mut inputs, plan, mount));
    inputs
}

/// Adds a mount: its type, its target and what decides what the step sees there.
fn add_mount(inputs: &mut Inputs, plan: &Plan, mount: &StepMount) {
    let owner = |owner: &MountOwner| format!("{}:{} {:o}", owner.uid, owner.gid, owner.mode);
    let flag = |name: &str, set: bool| if set { name.to_owned() } else { String::new() };
    let (name, values) = match &mount.kind {
        StepMountKind::Bind { source, readwrite } => {
            let (content, path) = match source {
                BindSource::Context { selected, .. } => {
                    (checksum(selected).to_string(), String::new())
                }
                BindSource::Image { from, source } => (plan.content(*from), source.clone()),
            };
            ("mount-bind", vec![content, path, flag("rw", *readwrite)])
        }
        StepMountKind::Cache { id, initial, readonly, owner: o, sharing: _ } => {
            let (content, path) = match initial {
                Some((from, path)) => (plan.content(*from), path.clone()),
                None => Default::default(),
            };
            ("mount-cache", vec![id.clone(), owner(o), flag("ro", *readonly), content, path])
        }
        StepMountKind::Tmpfs { size } => {
            ("mount-tmpfs", vec![size.map(|size| size.to_string()).unwrap_or_default()])
        }
        StepMountKind::Secret { id, env, owner: o, required: _ } => {
            ("mount-secret", vec![id.clone(), env.clone().unwrap_or_default(), owner(o)])
        }
        StepMountKind::Ssh { id, owner: o, required: _ } => {
            ("mount-ssh", vec![id.clone(), owner(o)])
        }
    };
    let target = mount.target.clone().unwrap_or_default();
    inputs.add(name, std::iter::once(target).chain(values));
}

/// The inputs of a COPY or ADD step; `sources` are the words of the instruction, expanded.
pub(super) fn copy(common: Common<'_>, plan: &Plan, step: &CopyStep, sources: &[String]) -> Inputs {
    let instruction = match step.kind {
        CopyKind::Copy => "COPY",
        CopyKind::Add => "ADD",
    };
    let mut inputs = Inputs::common(instruction, common);
    inputs.add("sources", sources);
    inputs.add("destination", [&step.destination]);
    inputs.add("into-directory", step.into_directory.then_some("yes"));
    inputs.add("chown", &step.chown);
    inputs.add("chmod", step.chmod.map(|mode| format!("{mode:o}")));
    for InlineFile { name, text } in &step.inline {
        inputs.add("heredoc", [name, text]);
    }
    match &step.source {
        CopySource::Context { selected, .. } => {
            for selected in selected {
                inputs.add("root", [&selected.matched, &selected.root]);
                inputs.add("files", [checksum(selected).to_string()]);
            }
        }
        CopySource::Image { from, .. } => inputs.add("from", [plan.content(*from)]),
    }
    inputs
}

/// The inputs of a WORKDIR step.
pub(super) fn workdir(common: Common<'_>, step: &WorkdirStep) -> Inputs {
    let mut inputs = Inputs::common("WORKDIR", common);
    inputs.add("path", [&step.path]);
    inputs.add("user", [&step.user]);
    inputs
}

/// The inputs of a whole image.
pub(super) fn image(common: Common<'_>, config: &[u8], format: &str) -> Inputs {
    let mut inputs = Inputs::common("IMAGE", common);
    inputs.add("config", [config]);
    inputs.add("format", [format]);
    inputs
}
