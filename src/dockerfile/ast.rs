//! What a Dockerfile says, before any variable is expanded.
//!
//! Words that BuildKit expands later are kept as written, quotes and escapes included; pass them
//! to [`expand`](super::expand). Words of the exec form and of `SHELL` are final.

use std::time::Duration;

use super::diagnostics::{Diagnostic, ParseError, Span, Spanned, line_column};
use super::mount::MountFlag;

/// A Dockerfile that was read without an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// The name of the file, for messages.
    pub name: String,
    /// The text all spans refer to.
    pub source_text: String,
    /// The parser directives on top of the file.
    pub directives: Directives,
    /// The `ARG`s before the first `FROM`.
    pub global_args: Vec<ArgDeclaration>,
    /// The build stages; at least one.
    pub stages: Vec<Stage>,
}

/// The parser directives: comments on top of the file that change how it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The escape character: a backslash, or a backtick after `# escape=`.
    pub escape: char,
    /// `# syntax=`: the frontend asked for. Recorded only; no frontend is ever loaded.
    pub syntax: Option<Spanned<String>>,
    /// `# check=`: the checks asked for. Recorded only.
    pub check: Option<Spanned<String>>,
}

/// A build stage: a `FROM` and the instructions below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The name after `AS`, in lower case.
    pub name: Option<Spanned<String>>,
    /// The base as written, unexpanded.
    pub from: Spanned<String>,
    /// The value of `--platform`, unexpanded.
    pub platform: Option<Spanned<String>>,
    /// The instructions below the `FROM`.
    pub instructions: Vec<Instruction>,
    /// The `FROM` instruction.
    pub span: Span,
    /// The `FROM` instruction on one line.
    pub text: String,
}

/// An instruction of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The instruction from its keyword to its last character.
    pub span: Span,
    /// What it asks for.
    pub kind: InstructionKind,
    /// The instruction on one line with its keyword in upper case, for history and logs.
    pub text: String,
}

/// What an instruction asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstructionKind {
    /// `RUN`.
    Run {
        /// What to run.
        command: Command,
        /// The program that it runs, if that stands in the Dockerfile and names its interpreter; its
        /// variables are its own. The step finds it in [`SCRIPTS`](super::SCRIPTS).
        script: Option<Heredoc>,
        /// Its flags.
        options: RunOptions,
    },
    /// `COPY`.
    Copy(CopyFiles),
    /// `ADD` of files of the context.
    Add(AddFiles),
    /// `ENV`; names and values unexpanded.
    Env(Vec<Assignment>),
    /// `ARG`.
    Arg(Vec<ArgDeclaration>),
    /// `LABEL`; names and values unexpanded.
    Label(Vec<Assignment>),
    /// `WORKDIR`, unexpanded.
    Workdir(Spanned<String>),
    /// `USER`, unexpanded.
    User(Spanned<String>),
    /// `CMD`.
    Cmd(Command),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
    /// `EXPOSE`, unexpanded: see [`expand_words`](super::expand_words) and
    /// [`exposed_ports`](super::exposed_ports).
    Expose(Vec<Spanned<String>>),
    /// `VOLUME`, unexpanded.
    Volume(Vec<Spanned<String>>),
    /// `STOPSIGNAL`, unexpanded.
    StopSignal(Spanned<String>),
    /// `SHELL`; at least one word, final.
    Shell(Vec<String>),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `ONBUILD`.
    OnBuild(Box<Trigger>),
    /// `MAINTAINER`, final.
    Maintainer(Spanned<String>),
}

/// A command in one of its two forms; never expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A text for the shell of the stage.
    Shell(String),
    /// An argument vector, from a JSON array. Empty for `CMD []` and `ENTRYPOINT []`.
    Exec(Vec<String>),
}

/// The flags of a `RUN`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// `--mount`, in their order.
    pub mounts: Vec<MountFlag>,
    /// `--network`.
    pub network: RunNetwork,
}

/// The network of a `RUN`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunNetwork {
    /// That of the builder.
    #[default]
    Default,
    /// That of the builder as well, but said so.
    Host,
    /// Nothing but a loopback device.
    None,
}

/// A file that stands in the Dockerfile: of `COPY` or `ADD`, or a script of `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter, which is the file's name in a directory.
    pub name: Spanned<String>,
    /// The content; variables unexpanded.
    pub text: String,
    /// Whether variables are expanded, see [`expand_text`](super::expand_text): the delimiter is not
    /// quoted.
    pub expands: bool,
}

/// A `COPY`; all words unexpanded. The span of a flag's value is that of the whole flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFiles {
    /// `--from`: a stage's name or number, or an image. Not subject to expansion.
    pub from: Option<Spanned<String>>,
    /// `--chown`.
    pub chown: Option<Spanned<String>>,
    /// `--chmod`: octal, see [`octal_mode`](super::octal_mode); checked here unless it holds a variable.
    pub chmod: Option<Spanned<String>>,
    /// The sources; at least one, or a heredoc.
    pub sources: Vec<Spanned<String>>,
    /// The files that stand in the Dockerfile.
    pub heredocs: Vec<Heredoc>,
    /// The destination.
    pub destination: Spanned<String>,
}

/// An `ADD`; all words unexpanded. The span of a flag's value is that of the whole flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddFiles {
    /// `--chown`.
    pub chown: Option<Spanned<String>>,
    /// `--chmod`, as for [`CopyFiles::chmod`].
    pub chmod: Option<Spanned<String>>,
    /// The sources; at least one, or a heredoc. None is remote as written, but a variable may make
    /// one so: see [`remote_source`](super::remote_source).
    pub sources: Vec<Spanned<String>>,
    /// The files that stand in the Dockerfile.
    pub heredocs: Vec<Heredoc>,
    /// The destination.
    pub destination: Spanned<String>,
}

/// A pair of `ENV` or `LABEL`, unexpanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The name.
    pub name: Spanned<String>,
    /// The value.
    pub value: Spanned<String>,
}

/// A variable declared by `ARG`, unexpanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// The name.
    pub name: Spanned<String>,
    /// The default after `=`; `ARG a=` declares an empty one.
    pub default: Option<Spanned<String>>,
}

/// A `HEALTHCHECK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`: no check, not even an inherited one.
    None,
    /// `HEALTHCHECK CMD`.
    Check(HealthTest),
}

/// The check of a `HEALTHCHECK CMD`. An absent (or zero) option leaves the engine's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthTest {
    /// What to run.
    pub command: Command,
    /// `--interval`.
    pub interval: Option<Duration>,
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// `--start-period`.
    pub start_period: Option<Duration>,
    /// `--start-interval`.
    pub start_interval: Option<Duration>,
    /// `--retries`.
    pub retries: Option<u32>,
}

/// The instruction that an `ONBUILD` keeps for builds on top of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The instruction as the image's config keeps it: on one line, as written.
    pub text: Spanned<String>,
    /// The same, read.
    pub instruction: Instruction,
}

impl Dockerfile {
    /// Whether an `ARG` anywhere in the file declares `name`.
    pub fn declares(&self, name: &str) -> bool {
        let instructions = self.stages.iter().flat_map(|stage| &stage.instructions);
        let kinds = instructions.map(|instruction| match &instruction.kind {
            InstructionKind::OnBuild(trigger) => &trigger.instruction.kind,
            kind => kind,
        });
        let declared = kinds.filter_map(|kind| match kind {
            InstructionKind::Arg(declarations) => Some(declarations),
            _ => None,
        });
        declared.flatten().chain(&self.global_args).any(|argument| argument.name.value == name)
    }

    /// `FILE:LINE:COLUMN` of a place in this file.
    pub fn place(&self, span: Span) -> String {
        let (line, column) = line_column(&self.source_text, span.start);
        format!("{}:{line}:{column}", self.name)
    }

    /// Makes an error about this file that is shown like the parser's own.
    pub fn error(
        &self,
        span: Span,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> ParseError {
        ParseError {
            name: self.name.clone(),
            source_text: self.source_text.clone(),
            diagnostics: vec![Diagnostic { span, message: message.into(), hint }],
        }
    }

    /// Returns the line and the column, both from 1, of a byte offset; columns count characters.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        line_column(&self.source_text, offset)
    }

    /// Returns the index of the stage with this name, whatever the case of its letters.
    pub fn stage_by_name(&self, name: &str) -> Option<usize> {
        self.stages.iter().position(|stage| {
            stage.name.as_ref().is_some_and(|own| own.value.eq_ignore_ascii_case(name))
        })
    }

    /// Returns the index of the stage that a `COPY --from` or a target means: a name, or a number.
    ///
    /// A number that counts past the last stage gives `None`, as does the name of an image.
    pub fn stage_by_reference(&self, reference: &str) -> Option<usize> {
        self.stage_by_name(reference)
            .or_else(|| reference.parse().ok().filter(|&index: &usize| index < self.stages.len()))
    }
}
