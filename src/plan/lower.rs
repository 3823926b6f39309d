//! Lowering: the instructions of a Dockerfile to stages and an image (pure).
//!
//! Instructions that only change the config fold into what follows; RUN, COPY, ADD and WORKDIR
//! become stages. Everything an instruction's words mean is decided here, so that building never
//! expands a variable.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::digest::{self, Common};
use super::graph::{Graph, ImageSource, Source, stage_name};
use super::metadata;
use super::scope::{Given, Scope};
use super::stage::{
    BaseId, CopyKind, CopySource, CopyStep, HistoryStep, ImagePlan, Parent, Place, Plan, RunStep,
    StageId, StageSpec, Step, Times, WorkdirStep,
};
use crate::context::{ContextError, ContextSource, SelectError, Wildcards, select};
use crate::dockerfile::{
    ArgDeclaration, Command, Dockerfile, ExpandError, Instruction, InstructionKind, ParseError,
    Span, Spanned, expand, octal_mode, parse_trigger, remote_source,
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

/// Whether the image may copy from its build context, so that the context has to be listed.
/// ONBUILD triggers of bases count through `bases`.
pub fn needs_context(request: &ImageRequest, plan: &Plan) -> bool {
    let copies = |kind: &InstructionKind| match kind {
        InstructionKind::Copy(copy) => copy.from.is_none(),
        InstructionKind::Add(_) => true,
        _ => false,
    };
    let stages = request.graph.from.iter().enumerate().filter(|(_, from)| from.is_some());
    let own = stages.flat_map(|(index, _)| &request.dockerfile.stages[index].instructions);
    own.map(|instruction| &instruction.kind).any(|kind| match kind {
        InstructionKind::OnBuild(trigger) => copies(&trigger.instruction.kind),
        kind => copies(kind),
    }) || plan.bases.iter().any(|base| !base.config.config.on_build.is_empty())
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

struct Lowering<'a> {
    plan: &'a mut Plan,
    bases: &'a BTreeMap<ImageSource, BaseId>,
    request: &'a ImageRequest,
    done: BTreeMap<usize, Cursor>,
    /// The stages that are being lowered, each needed by the one before it.
    open: Vec<usize>,
    count: usize,
}

/// An instruction and where errors about it point; triggers of a base point at the FROM.
struct Line<'a> {
    instruction: &'a Instruction,
    at: Option<Span>,
}

impl Line<'_> {
    fn span(&self) -> Span {
        self.at.unwrap_or(self.instruction.span)
    }

    fn word(&self, word: &Spanned<String>) -> Span {
        self.at.unwrap_or(word.span)
    }
}

impl Lowering<'_> {
    fn stage(&mut self, index: usize) -> Result<Cursor, PlanError> {
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
            InstructionKind::Run { command } => self.run(cursor, line, command),
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

    fn run(&mut self, cursor: &mut Cursor, line: &Line<'_>, command: &Command) -> Option<StageId> {
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
        };
        let parent = self.plan.content(cursor.top);
        let inputs = digest::run(self.common(cursor, &parent), &step);
        Some(self.add(cursor, line, Step::Run(step), inputs))
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

    fn copy(
        &mut self,
        index: usize,
        cursor: &mut Cursor,
        line: &Line<'_>,
    ) -> Result<Option<StageId>, PlanError> {
        let dockerfile = &self.request.dockerfile;
        let (kind, sources, destination, chown, chmod) = match &line.instruction.kind {
            InstructionKind::Copy(c) => {
                (CopyKind::Copy, &c.sources, &c.destination, &c.chown, &c.chmod)
            }
            InstructionKind::Add(a) => {
                (CopyKind::Add, &a.sources, &a.destination, &a.chown, &a.chmod)
            }
            _ => return Ok(None),
        };
        let from = self.request.graph.copy_source(dockerfile, index, line.instruction)?;
        let words = self.sources(cursor, line, kind, sources)?;
        let target = self.expand(&cursor.scope, line, destination)?;
        let into_directory = words.len() > 1 || metadata::names_directory(&target);
        let chown = self.expand_option(cursor, line, chown)?.filter(|owner| !owner.is_empty());
        let chmod = self.mode(cursor, line, chmod)?;
        let source = self.copy_source(from, line, sources, &words)?;
        let destination = metadata::join(&metadata::workdir(&cursor.image), &target);
        let step = CopyStep { kind, source, destination, into_directory, chown, chmod };
        let parent = self.plan.content(cursor.top);
        let inputs = digest::copy(self.common(cursor, &parent), self.plan, &step, &words);
        Ok(Some(self.add(cursor, line, Step::Copy(step), inputs)))
    }

    fn copy_source(
        &mut self,
        from: Option<Source>,
        line: &Line<'_>,
        sources: &[Spanned<String>],
        words: &[String],
    ) -> Result<CopySource, PlanError> {
        let from = match from {
            None => {
                let context = Arc::clone(&self.request.context);
                let bytes: Vec<Vec<u8>> =
                    words.iter().map(|word| word.clone().into_bytes()).collect();
                let selected = select(context.entries()?, &bytes, Wildcards::default())
                    .map_err(|error| self.nothing_matches(line, sources, words, &error))?;
                if selected.is_empty() {
                    let span = sources.first().map_or(line.span(), |word| line.word(word));
                    let message =
                        format!("no file of the build context matches {}", words.join(" "));
                    return Err(self.request.dockerfile.error(span, message, None).into());
                }
                return Ok(CopySource::Context { context, selected });
            }
            Some(Source::Scratch) => Parent::Scratch,
            Some(Source::Stage(stage)) => {
                self.check_trigger(line, stage)?;
                self.stage(stage)?.top
            }
            Some(Source::Image(image)) => {
                Parent::Base(*self.bases.get(&*image).ok_or_else(|| {
                    let message = "COPY --from an image is not supported in an ONBUILD trigger yet";
                    self.request.dockerfile.error(line.span(), message, None)
                })?)
            }
        };
        Ok(CopySource::Image { from, sources: words.to_vec() })
    }

    /// Refuses what the graph could not know of: a stage that only a trigger of the base image
    /// names, or one that needs the stage that runs the trigger.
    fn check_trigger(&self, line: &Line<'_>, stage: usize) -> Result<(), ParseError> {
        if self.request.graph.from[stage].is_some() && !self.open.contains(&stage) {
            return Ok(());
        }
        let name = stage_name(&self.request.dockerfile, stage);
        let text = &line.instruction.text;
        let message = format!(
            "the base image has the ONBUILD trigger {text:?}, but the stage {name} cannot be built before this one"
        );
        let hint = "move the stage above this FROM, and let a COPY --from refer to it".to_owned();
        Err(self.request.dockerfile.error(line.span(), message, Some(hint)))
    }

    fn nothing_matches(
        &self,
        line: &Line<'_>,
        sources: &[Spanned<String>],
        words: &[String],
        error: &SelectError,
    ) -> ParseError {
        let word = match error {
            SelectError::NothingMatches { source_word, .. }
            | SelectError::Pattern { source_word, .. }
            | SelectError::DanglingLink { source_word, .. }
            | SelectError::Links { source_word } => Some(source_word),
            SelectError::Submodule { .. } => None,
        };
        let at = word.and_then(|word| words.iter().position(|known| known == word));
        let span = at.and_then(|at| sources.get(at)).map_or(line.span(), |word| line.word(word));
        let context = &self.request.context;
        let hint = word.and_then(|word| {
            // What is no file has a note that begins with its path.
            let notes = context.notes().ok()?;
            let note = notes.iter().find(|note| note.starts_with(&format!("{word} is ")));
            context.why_absent(word.as_bytes()).or_else(|| note.cloned())
        });
        self.request.dockerfile.error(span, error.to_string(), hint)
    }

    /// The sources of a COPY or ADD, expanded.
    fn sources(
        &self,
        cursor: &Cursor,
        line: &Line<'_>,
        kind: CopyKind,
        sources: &[Spanned<String>],
    ) -> Result<Vec<String>, PlanError> {
        let mut words = Vec::new();
        for source in sources {
            let word = self.expand(&cursor.scope, line, source)?;
            if kind == CopyKind::Add && remote_source(&word).is_some() {
                let message = format!(
                    "ADD of {word:?}, which is not a file of the context, is not supported yet"
                );
                let hint = "download it in a RUN step, or put it into the context".to_owned();
                return Err(self
                    .request
                    .dockerfile
                    .error(line.word(source), message, Some(hint))
                    .into());
            }
            words.push(word);
        }
        Ok(words)
    }

    fn mode(
        &self,
        cursor: &Cursor,
        line: &Line<'_>,
        chmod: &Option<Spanned<String>>,
    ) -> Result<Option<u32>, PlanError> {
        let Some(word) = chmod else { return Ok(None) };
        let text = self.expand(&cursor.scope, line, word)?;
        if text.is_empty() {
            return Ok(None);
        }
        match octal_mode(&text) {
            Some(mode) => Ok(Some(mode)),
            None => {
                let message = format!("--chmod={text} is not an octal mode such as 0755");
                Err(self.request.dockerfile.error(line.word(word), message, None).into())
            }
        }
    }

    fn expand_option(
        &self,
        cursor: &Cursor,
        line: &Line<'_>,
        word: &Option<Spanned<String>>,
    ) -> Result<Option<String>, ParseError> {
        word.as_ref().map(|word| self.expand(&cursor.scope, line, word)).transpose()
    }

    fn expand(
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

    fn common<'c>(&self, cursor: &'c Cursor, parent: &'c str) -> Common<'c> {
        Common { parent, platform: &cursor.platform, epoch: self.request.times.epoch }
    }

    /// Adds a stage, or finds the one that does the same.
    fn add(
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
                    times: self.request.times,
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
