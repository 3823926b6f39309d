//! RUN: a command in the sandbox, and the layer of what it changed.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use longshore_runtime::entry::EntrySink;
use longshore_runtime::{Network, Sandbox, StepExit, StepSpec, Stream};

use super::bound::{self, Bound};
use super::caches::Caches;
use super::engine::Shared;
use super::error::BuildError;
use super::mounting::{self, Beside, Mounting};
use super::sending;
use super::step_hints::End;
use super::unpacking::{remove, take};
use crate::blocking::blocking;
use crate::dockerfile::RunNetwork;
use crate::layer::{LayerBlob, LayerError};
use crate::output::{Event, StepStream, Voice};
use crate::plan::{RunStep, StageId};
use crate::storage::Layer;

/// The hostname that a step sees; a constant, so that it cannot make layers differ.
const HOSTNAME: &str = "longshore";
/// How many of a failed step's last lines the error repeats.
const LAST_LINES: usize = 10;
/// Longer lines are said in pieces (bytes).
const LINE_LIMIT: usize = 16 << 10;

/// Runs a step upon `parent` and returns the layer of its changes.
pub(super) async fn run(
    shared: &Arc<Shared>,
    stage: StageId,
    (step, beside): (&RunStep, Beside),
    parent: &[Layer],
    sandbox: &Arc<Sandbox>,
) -> Result<LayerBlob, BuildError> {
    let spec = shared.plan.stage(stage);
    if spec.platform.architecture != shared.options.host.architecture {
        return Err(BuildError::ForeignPlatform {
            platform: spec.platform.to_string(),
            host: shared.options.host.to_string(),
        });
    }
    let lowers = shared.layers.unpacked(parent, sandbox).await?;
    let unpacked = mounting::unpack(shared, &beside.from, sandbox).await?;
    let bound = bound::write(shared, stage, step, sandbox).await?;
    let job = Job {
        shared: Arc::clone(shared),
        sandbox: Arc::clone(sandbox),
        stage,
        label: spec.label.clone(),
        instruction: spec.instruction.clone(),
        clamp: spec.times.epoch,
        step: step.clone(),
        parent: parent.to_vec(),
        caches: beside.caches,
        unpacked,
        bound,
    };
    blocking(move || job.run(lowers)).await
}

struct Job {
    shared: Arc<Shared>,
    sandbox: Arc<Sandbox>,
    stage: StageId,
    label: String,
    instruction: String,
    clamp: Option<i64>,
    step: RunStep,
    parent: Vec<Layer>,
    caches: Caches,
    /// Layers of the stages and images that mounts name.
    unpacked: Vec<Vec<PathBuf>>,
    /// What mounts bind of the context, by their numbers.
    bound: BTreeMap<usize, Arc<Bound>>,
}

impl Job {
    fn run(&self, lowers: Vec<PathBuf>) -> Result<LayerBlob, BuildError> {
        let scratch = self.sandbox.scratch().map_err(BuildError::of_sandbox)?;
        let step = self.spec(lowers, scratch.path().to_owned());
        let layer = self.execute(&step).and_then(|()| self.layer(&step));
        remove(&self.sandbox, scratch.path());
        layer
    }

    fn spec(&self, lowers: Vec<PathBuf>, scratch: PathBuf) -> StepSpec {
        let mounting = Mounting {
            shared: &self.shared,
            caches: &self.caches,
            unpacked: &self.unpacked,
            bound: &self.bound,
        };
        let mounted = mounting.prepare(&self.step);
        let pairs = self.step.env.iter().chain(&self.step.proxies);
        let pairs = pairs.map(|(name, value)| (name.into(), value.into()));
        StepSpec {
            lowers,
            scratch,
            argv: self.step.argv.iter().map(OsString::from).collect(),
            env: pairs.chain(mounted.env).collect(),
            cwd: PathBuf::from(&self.step.cwd),
            user: self.step.user.clone(),
            hostname: HOSTNAME.to_owned(),
            network: match self.step.network {
                RunNetwork::Default | RunNetwork::Host => Network::Host,
                RunNetwork::None => Network::None,
            },
            clamp_mtime: self.clamp,
            secret_env: mounted.secret_env,
            mounts: mounted.mounts,
            timeout: self.shared.options.run_timeout,
        }
    }

    fn execute(&self, step: &StepSpec) -> Result<(), BuildError> {
        let mut lines = Lines::new(self.shared.voice, self.label.clone());
        let mut output = |stream, bytes: &[u8]| lines.take(stream, bytes);
        let exit = self.sandbox.run(step, &mut output, self.shared.interrupt.flag());
        lines.finish();
        let last_lines: Vec<String> = lines.last.into();
        match exit.map_err(|error| self.failed(error, &last_lines))? {
            StepExit { code: 0, .. } => Ok(()),
            StepExit { code, .. } => Err(BuildError::Step {
                instruction: self.instruction.clone(),
                code,
                hints: self.hints(code, &last_lines),
                last_lines,
            }),
        }
    }

    fn hints(&self, code: i32, last_lines: &[String]) -> Vec<String> {
        let work_dir = self.shared.work.root().display().to_string();
        let (step, available) = (&self.step, self.sandbox.available().ok());
        let platform = self.shared.options.host.to_string();
        End { code, last_lines, step, platform, work_dir, available }.hints()
    }

    fn failed(&self, error: longshore_runtime::Error, last_lines: &[String]) -> BuildError {
        let spec = self.shared.plan.stage(self.stage);
        match error {
            longshore_runtime::Error::Mount { ref target, ref reason } => {
                mounting::impossible(spec, &self.step, target, reason)
                    .unwrap_or_else(|| BuildError::of_sandbox(error))
            }
            longshore_runtime::Error::TimedOut { limit } => {
                let (instruction, last_lines) = (self.instruction.clone(), last_lines.to_vec());
                BuildError::TimedOut { instruction, limit, last_lines }
            }
            longshore_runtime::Error::UnknownUser { user, reason } => {
                let instruction = self.instruction.clone();
                BuildError::UnknownUser { instruction, user, reason }
            }
            // Other steps may well be possible.
            longshore_runtime::Error::Refused(refusal) => {
                let refusal_text = format!("{}: {refusal}", spec.place);
                BuildError::NoRung { refusal: refusal_text, hint: refusal.hint() }
            }
            other => BuildError::of_sandbox(other),
        }
    }

    fn layer(&self, step: &StepSpec) -> Result<LayerBlob, BuildError> {
        let (mut failure, mut stats) = (None, None);
        let mut produce = |sink: &mut dyn EntrySink| match self.sandbox.changes(step, sink) {
            Ok(found) => {
                stats = Some(found);
                Ok(())
            }
            Err(error) => {
                let text = error.to_string();
                failure = Some(error);
                Err(std::io::Error::other(text))
            }
        };
        let written = sending::write(&self.shared, self.stage, &mut produce);
        let blob = match (failure, written) {
            (Some(error), Err(BuildError::Layer(LayerError::Write { .. }))) => {
                return Err(BuildError::of_sandbox(error));
            }
            // The sandbox only repeats that its entries were not wanted any more.
            (_, written) => written?,
        };
        if let Some(stats) = stats {
            self.say_dropped(stats.dropped_xattrs, stats.skipped_sockets);
            match (stats.reusable, blob.is_empty()) {
                (true, false) => self.keep(step, &blob)?,
                (true, true) => self.keep_unchanged(step),
                (false, _) => {}
            }
        }
        Ok(blob)
    }

    /// Keeps the upper directory as the unpacked layer, so that the next RUN needs no unpacking.
    fn keep(&self, step: &StepSpec, blob: &LayerBlob) -> Result<(), BuildError> {
        let mut stack = self.parent.clone();
        stack.push(self.shared.layer(blob));
        let place = self.shared.layers.unpacked_path(&stack);
        take(&place, || self.sandbox.keep(step, &place))
    }

    /// Lets the next RUN have what this one ran in; without, it makes its own.
    fn keep_unchanged(&self, step: &StepSpec) {
        if let Err(error) = self.sandbox.keep_unchanged(step) {
            tracing::debug!("[{}] cannot hand on the root of the step: {error}", self.label);
        }
    }

    fn say_dropped(&self, xattrs: u64, sockets: u64) {
        if xattrs + sockets > 0 {
            let label = &self.label;
            let message = format!(
                "[{label}] {xattrs} extended attributes and {sockets} sockets are not part of the layer"
            );
            self.shared.voice.say(&Event::Detail { message });
        }
    }
}

/// Turns the output of a step into lines.
struct Lines {
    voice: Voice,
    label: String,
    partial: [Vec<u8>; 2],
    last: VecDeque<String>,
}

impl Lines {
    fn new(voice: Voice, label: String) -> Self {
        Self { voice, label, partial: Default::default(), last: VecDeque::new() }
    }

    fn take(&mut self, stream: Stream, bytes: &[u8]) {
        for &byte in bytes {
            let partial = &mut self.partial[stream as usize];
            if byte != b'\n' {
                partial.push(byte);
            }
            if byte == b'\n' || partial.len() >= LINE_LIMIT {
                self.say(stream);
            }
        }
    }

    fn finish(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !self.partial[stream as usize].is_empty() {
                self.say(stream);
            }
        }
    }

    fn say(&mut self, stream: Stream) {
        let bytes = std::mem::take(&mut self.partial[stream as usize]);
        let line = String::from_utf8_lossy(&bytes).trim_end_matches('\r').to_owned();
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.clone());
        let stream = match stream {
            Stream::Stdout => StepStream::Out,
            Stream::Stderr => StepStream::Err,
        };
        self.voice.say(&Event::StepOutput { stage: self.label.clone(), stream, line });
    }
}
