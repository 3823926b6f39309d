//! Lowering: the instructions of a Dockerfile to stages and an image (pure).
//!
//! Instructions that only change the config fold into what follows; RUN, COPY, ADD and WORKDIR
//! become stages. Everything an instruction's words mean is decided here, so that building never
//! expands a variable.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::digest::{self, Common};
use super::graph::{Graph, ImageSource, Source};
use super::metadata;
use super::mount::StepMount;
use super::scope::{Given, Scope};
use super::stage::{
    BaseId, HistoryStep, ImagePlan, InlineFile, Parent, Place, Plan, RunStep, StageId, StageSpec,
    Step, Times, WorkdirStep,
};
use crate::context::{ContextError, ContextSource};
use crate::dockerfile::{
    ArgDeclaration, Command, Dockerfile, ExpandError, Heredoc, Instruction, InstructionKind,
    ParseError, RunNetwork, Span, Spanned, expand, parse_trigger,
};
use crate::image::ImageConfig;
use crate::model::Platform;

/// What one image is planned from.
#[derive(Clone, Debug)]
pub struct ImageRequest {
    /// The image's name in the project.
    pub name: String,
    /// Its Dockerfile.
    pub dockerfile: Arc<Dockerfile>,
    /// The stages that its target needs.
    pub graph: Graph,
    /// Its build context.
    pub context: Arc<dyn ContextSource>,
    /// Arguments.
    pub given: Given,
    /// Which times its files get.
    pub times: Times,
    /// Labels to set besides the Dockerfile's.
    pub labels: BTreeMap<String, String>,
    /// The manifest format, as it enters the image's digest.
    pub format: String,
}

/// Why an image cannot be planned.
#[derive(Debug, Error)]
pub enum PlanError {
    /// The Dockerfile asks for something wrong.
    #[error(transparent)]
    Dockerfile(Box<ParseError>),
    /// The context cannot be read.
    #[error(transparent)]
    Context(#[from] ContextError),
}

impl From<ParseError> for PlanError {
    fn from(error: ParseError) -> Self {
        Self::Dockerfile(Box::new(error))
    }
}

/// Adds the image that `request` asks for to `plan`; its bases must be in the plan already.
///
/// # Errors
/// With the place in the Dockerfile, or when the context cannot be read.
pub fn lower(
    plan: &mut Plan,
    bases: &BTreeMap<ImageSource, BaseId>,
    request: &ImageRequest,
) -> Result<(), PlanError> {
    let (done, open) = (BTreeMap::new(), Vec::new());
    let mut lowering = Lowering { plan, bases, request, done, open, count: 0 };
    let target = lowering.stage(request.graph.target)?;
    lowering.deliver(target);
    Ok(())
}

/// The state of a Dockerfile stage after some of its instructions.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    pub(super) top: Parent,
    pub(super) base: Parent,
    pub(super) platform: Platform,
    pub(super) image: ImageConfig,
    pub(super) scope: Scope,
    pub(super) history: Vec<HistoryStep>,
    /// Whether this stage set CMD itself, so that ENTRYPOINT does not reset it.
    pub(super) cmd_is_own: bool,
}

pub(super) struct Lowering<'a> {
    pub(super) plan: &'a mut Plan,
    pub(super) bases: &'a BTreeMap<ImageSource, BaseId>,
    pub(super) request: &'a ImageRequest,
    pub(super) done: BTreeMap<usize, Cursor>,
    /// The stages that are being lowered, each needed by the one before it.
    pub(super) open: Vec<usize>,
    pub(super) count: usize,
}

/// An instruction and where errors about it point; triggers of a base point at the FROM.
pub(super) struct Line<'a> {
    pub(super) instruction: &'a Instruction,
    pub(super) at: Option<Span>,
}

impl Line<'_> {
    pub(super) fn span(&self) -> Span {
        self.at.unwrap_or(self.instruction.span)
    }

    pub(super) fn word(&self, word: &Spanned<String>) -> Span {
        self.at.unwrap_or(word.span)
    }
}

impl Lowering<'_> {
    pub(super) fn stage(&mut self, index: usize) -> Result<Cursor, PlanError> {
        if let Some(done) = self.done.get(&index) {
            return Ok(done.clone());
        }
        let dockerfile = Arc::clone(&self.request.dockerfile);
        self.open.push(index);
        let mut cursor = self.start(index)?;
        self.run_triggers(index, &mut cursor)?;
        for instruction in &dockerfile.stages[index].instructions {
            self.instruction(index, &mut cursor, &Line { instruction, at: None })?;
        }
        self.open.pop();
        self.done.insert(index, cursor.clone());
        Ok(cursor)
    }

    fn start(&mut self, index: usize) -> Result<Cursor, PlanError> {
        let platform = self.request.graph.platforms[index].clone();
        let from = self.request.graph.from[index].clone().expect("a needed stage has a source");
        let (top, image) = match from {
            Source::Stage(parent) => {
                let mut cursor = self.stage(parent)?;
                cursor.cmd_is_own = false;
                return Ok(cursor);
            }
            Source::Scratch => (Parent::Scratch, metadata::scratch(&platform)),
            Source::Image(image) => {
                let id = self.bases[&*image];
                (Parent::Base(id), metadata::inherited(&self.plan.base(id).config))
            }
        };
        let scope = Scope::with_env(&image.config.env);
        let history = Vec::new();
        Ok(Cursor { top, base: top, platform, image, scope, history, cmd_is_own: false })
    }

    /// Runs what the parent image left as ONBUILD, and forgets it.
    fn run_triggers(&mut self, index: usize, cursor: &mut Cursor) -> Result<(), PlanError> {
        let from = self.request.dockerfile.stages[index].from.span;
        for text in std::mem::take(&mut cursor.image.config.on_build) {
            let instruction = parse_trigger(&text).map_err(|error| {
                let message = format!("the base image has the ONBUILD trigger {text:?}: {error}");
                self.request.dockerfile.error(from, message, None)
            })?;
            self.instruction(index, cursor, &Line { instruction: &instruction, at: Some(from) })?;
        }
        Ok(())
    }

    fn instruction(
        &mut self,
        index: usize,
        cursor: &mut Cursor,
        line: &Line<'_>,
    ) -> Result<(), PlanError> {
        let stage = match &line.instruction.kind {
            InstructionKind::Run { command, script, options } => {
                let mounts = self.mounts(index, cursor, line, options)?;
                let command = (command, script.as_ref());
                Some(self.run(cursor, line, command, (options.network, mounts)))
            }
            InstructionKind::Copy(_) | InstructionKind::Add(_) => self.copy(index, cursor, line)?,
            InstructionKind::Workdir(path) => self.workdir(cursor, line, path)?,
            InstructionKind::Arg(declarations) => {
                for declaration in declarations {
                    self.declare(cursor, line, declaration)?;
                }
                None
            }
            _ => {
                let expand = |scope: &Scope, word: &Spanned<String>| self.expand(scope, line, word);
                let escape = self.request.dockerfile.directives.escape;
                metadata::apply(cursor, line.instruction, escape, &expand, &|span, message| {
                    self.request.dockerfile.error(line.at.unwrap_or(span), message, None)
                })?;
                None
            }
        };
        let text = line.instruction.text.clone();
        cursor.history.push(HistoryStep { text, stage });
        Ok(())
    }

    fn declare(
        &self,
        cursor: &mut Cursor,
        line: &Line<'_>,
        declaration: &ArgDeclaration,
    ) -> Result<(), PlanError> {
        let (name, given) = (&declaration.name.value, &self.request.given);
        let default = match &declaration.default {
            // A default that a given value replaces may be wrong, as in `${A:?give me}`.
            Some(word) if !given.build_args.contains_key(name) => {
                Some(self.expand(&cursor.scope, line, word)?)
            }
            _ => None,
        };
        let value = given.value(name, default, &self.request.graph.global);
        cursor.scope.set_arg(name, value);
        Ok(())
    }

    fn run(
        &mut self,
        cursor: &mut Cursor,
        line: &Line<'_>,
        (command, script): (&Command, Option<&Heredoc>),
        (network, mounts): (RunNetwork, Vec<StepMount>),
    ) -> StageId {
        let mut env = cursor.scope.run_env();
        if let Some(epoch) = self.request.times.epoch {
            env.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert_with(|| epoch.to_string());
        }
        let mut proxies = cursor.scope.proxies();
        proxies.extend(
            self.request.given.proxies().map(|(name, value)| (name.clone(), value.clone())),
        );
        proxies.retain(|name, _| !env.contains_key(name));
        let step = RunStep {
            argv: metadata::argv(&cursor.image, command),
            env,
            proxies,
            cwd: metadata::workdir(&cursor.image),
            user: cursor.image.config.user.clone(),
            network,
            mounts,
            script: script.map(|Heredoc { name, text, .. }| InlineFile {
                name: name.value.clone(),
                text: text.clone(),
            }),
        };
        let parent = self.plan.content(cursor.top);
        let inputs = digest::run(self.common(cursor, &parent), self.plan, &step);
        self.add(cursor, line, Step::Run(step), inputs)
    }

    fn workdir(
        &mut self,
        cursor: &mut Cursor,
        line: &Line<'_>,
        path: &Spanned<String>,
    ) -> Result<Option<StageId>, PlanError> {
        let path = self.expand(&cursor.scope, line, path)?;
        let path = metadata::join(&metadata::workdir(&cursor.image), &path);
        cursor.image.config.working_dir.clone_from(&path);
        if path == "/" {
            return Ok(None);
        }
        let step = WorkdirStep { path, user: cursor.image.config.user.clone() };
        let parent = self.plan.content(cursor.top);
        let inputs = digest::workdir(self.common(cursor, &parent), &step);
        Ok(Some(self.add(cursor, line, Step::Workdir(step), inputs)))
    }

    pub(super) fn expand_option(
        &self,
        cursor: &Cursor,
        line: &Line<'_>,
        word: &Option<Spanned<String>>,
    ) -> Result<Option<String>, ParseError> {
        word.as_ref().map(|word| self.expand(&cursor.scope, line, word)).transpose()
    }

    pub(super) fn expand(
        &self,
        scope: &Scope,
        line: &Line<'_>,
        word: &Spanned<String>,
    ) -> Result<String, ParseError> {
        let escape = self.request.dockerfile.directives.escape;
        expand(&word.value, escape, &|name| scope.lookup(name))
            .map(|expansion| expansion.text)
            .map_err(|error: ExpandError| {
                self.request.dockerfile.error(line.word(word), error.to_string(), None)
            })
    }

    pub(super) fn common<'c>(&self, cursor: &'c Cursor, parent: &'c str) -> Common<'c> {
        Common { parent, platform: &cursor.platform, epoch: self.request.times.epoch }
    }

    /// Adds a stage, or finds the one that does the same.
    pub(super) fn add(
        &mut self,
        cursor: &mut Cursor,
        line: &Line<'_>,
        step: Step,
        inputs: digest::Inputs,
    ) -> StageId {
        let digest = inputs.digest("stage");
        self.count += 1;
        let id = match self.plan.known.get(&digest) {
            Some(&known) => known,
            None => {
                let id = StageId(self.plan.stages.len());
                self.plan.stages.push(StageSpec {
                    parent: cursor.top,
                    base: cursor.base,
                    step,
                    platform: cursor.platform.clone(),
                    label: format!("{} {}", self.request.name, self.count),
                    instruction: line.instruction.text.clone(),
                    place: Place {
                        dockerfile: Arc::clone(&self.request.dockerfile),
                        span: line.span(),
                    },
                    times: self.request.times.of_stage(&digest),
                    inputs,
                    digest,
                    config: cursor.image.clone(),
                    history: cursor.history.clone(),
                });
                self.plan.known.insert(digest, id);
                id
            }
        };
        cursor.top = Parent::Stage(id);
        id
    }

    fn deliver(&mut self, mut cursor: Cursor) {
        cursor.image.config.labels.extend(self.request.labels.clone());
        let parent = self.plan.content(cursor.top);
        let config = cursor.image.to_bytes();
        let inputs = digest::image(self.common(&cursor, &parent), &config, &self.request.format);
        self.plan.images.push(ImagePlan {
            name: self.request.name.clone(),
            top: cursor.top,
            base: cursor.base,
            platform: cursor.platform,
            config: cursor.image,
            history: cursor.history,
            times: self.request.times,
            digest: inputs.digest("image"),
        });
    }
}
