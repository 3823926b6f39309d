//! One instruction: its keyword, its flags, its arguments.

use super::ast::{ArgDeclaration, Assignment, Command, Instruction, InstructionKind, Trigger};
use super::diagnostics::{Complaints, Span, Spanned};
use super::flags::{self, Flags};
use super::fragment::Fragment;
use super::json_form::{self, JsonForm};
use super::words::{name_and_rest, plain_words, quoted_words, spanned};
use super::{copy, healthcheck, heredoc, ports};

/// All keywords, for suggestions.
const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// A logical line, cut into its parts.
#[derive(Clone, Debug)]
pub(super) struct Statement<'a> {
    /// The keyword in upper case.
    pub(super) name: String,
    /// The keyword as written.
    pub(super) keyword: Fragment<'a>,
    /// Everything after the keyword.
    rest: Fragment<'a>,
    /// The words starting with `--` between keyword and arguments.
    pub(super) flags: Fragment<'a>,
    /// What follows the flags, without white space around.
    pub(super) arguments: Fragment<'a>,
    /// The escape character.
    pub(super) escape: char,
    /// The heredocs that the arguments open.
    pub(super) heredocs: Vec<heredoc::Body>,
}

impl<'a> Statement<'a> {
    pub(super) fn of(line: Fragment<'a>, escape: char) -> Self {
        let (keyword, rest) = line.trim().split_first_word();
        let end = flags::length(rest.text());
        Self {
            name: keyword.text().to_ascii_uppercase(),
            keyword,
            rest,
            flags: rest.slice(0..end),
            arguments: rest.from(end).trim(),
            escape,
            heredocs: Vec::new(),
        }
    }

    pub(super) fn span(&self) -> Span {
        let (keyword, rest) = (self.keyword.span(), self.rest.span());
        Span {
            start: keyword.start,
            end: if self.rest.is_empty() { keyword.end } else { rest.end },
        }
    }

    /// The statement on one line, the keyword in upper case.
    pub(super) fn canonical_text(&self) -> String {
        format!("{} {}", self.name, self.rest.text()).trim_end().to_owned()
    }

    /// Complains that there are no arguments.
    pub(super) fn missing<T>(&self, complaints: &mut Complaints, what: &str) -> Option<T> {
        let message = format!("{} requires {what}", self.name);
        complaints.add(self.keyword.span(), message, None)
    }
}

/// Reads an instruction of a stage, that is: any but `FROM`.
pub(super) fn read(statement: &Statement<'_>, complaints: &mut Complaints) -> Option<Instruction> {
    let kind = kind(statement, complaints)?;
    Some(Instruction { span: statement.span(), kind, text: statement.canonical_text() })
}

/// Reads an instruction that may follow `ONBUILD`.
pub(super) fn trigger(
    statement: &Statement<'_>,
    complaints: &mut Complaints,
) -> Option<Instruction> {
    let place = statement.keyword.span();
    match statement.name.as_str() {
        "ONBUILD" => complaints.add(place, "ONBUILD may not follow ONBUILD", None),
        "FROM" | "MAINTAINER" => {
            let message = format!("{} is not allowed as an ONBUILD trigger", statement.name);
            complaints.add(place, message, None)
        }
        _ => read(statement, complaints),
    }
}

fn kind(statement: &Statement<'_>, complaints: &mut Complaints) -> Option<InstructionKind> {
    match statement.name.as_str() {
        "COPY" => return copy::copy(statement, complaints),
        "ADD" => return copy::add(statement, complaints),
        "HEALTHCHECK" => return healthcheck::read(statement, complaints),
        _ => {}
    }
    if !KEYWORDS.contains(&statement.name.as_str()) {
        return unknown(statement, complaints);
    }
    let supported = if statement.name == "RUN" { flags::RUN } else { flags::NONE };
    let flags = Flags::read(statement.flags, supported, complaints);
    let kind = plain_kind(statement, complaints);
    flags.and(kind)
}

/// The instructions that take no flag in this release.
fn plain_kind(statement: &Statement<'_>, complaints: &mut Complaints) -> Option<InstructionKind> {
    use InstructionKind as Kind;
    match statement.name.as_str() {
        "RUN" => run(statement, complaints),
        "CMD" => command(statement, complaints).map(Kind::Cmd),
        "ENTRYPOINT" => command(statement, complaints).map(Kind::Entrypoint),
        "ENV" => assignments(statement, complaints).map(Kind::Env),
        "LABEL" => assignments(statement, complaints).map(Kind::Label),
        "ARG" => arg(statement, complaints).map(Kind::Arg),
        "WORKDIR" => text(statement, complaints).map(Kind::Workdir),
        "USER" => text(statement, complaints).map(Kind::User),
        "STOPSIGNAL" => text(statement, complaints).map(Kind::StopSignal),
        "MAINTAINER" => text(statement, complaints).map(Kind::Maintainer),
        "EXPOSE" => expose(statement, complaints),
        "VOLUME" => volume(statement, complaints),
        "SHELL" => shell(statement, complaints),
        _ => on_build(statement, complaints),
    }
}

fn unknown(statement: &Statement<'_>, complaints: &mut Complaints) -> Option<InstructionKind> {
    let hint = nearest(&statement.name, KEYWORDS).map(|name| format!("did you mean {name}?"));
    let message = format!("unknown instruction: {}", statement.keyword.text().escape_debug());
    complaints.add_hinted(statement.keyword.span(), message, hint)
}

/// The candidate that a misspelt word most likely means.
pub(super) fn nearest(
    word: &str,
    candidates: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|&(distance, candidate)| distance <= candidate.len().div_ceil(3))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

fn run(statement: &Statement<'_>, complaints: &mut Complaints) -> Option<InstructionKind> {
    if !statement.heredocs.is_empty() {
        let Some(command) = heredoc::command(statement.arguments, &statement.heredocs) else {
            let message = "a heredoc that begins with #! is not supported yet";
            let hint = "name the interpreter before it: RUN python3 <<EOF";
            return complaints.add(statement.arguments.span(), message, hint);
        };
        return Some(InstructionKind::Run { command });
    }
    let command = command(statement, complaints)?;
    if command == Command::Exec(Vec::new()) {
        return statement.missing(complaints, "a command");
    }
    Some(InstructionKind::Run { command })
}

fn command(statement: &Statement<'_>, complaints: &mut Complaints) -> Option<Command> {
    if statement.arguments.is_empty() {
        let message = format!("{} requires a command", statement.name);
        let clears = matches!(statement.name.as_str(), "CMD" | "ENTRYPOINT");
        let hint = clears.then(|| format!("{} [] clears an inherited one", statement.name));
        return complaints.add_hinted(statement.keyword.span(), message, hint);
    }
    json_form::command(statement.arguments, complaints)
}

fn assignments(statement: &Statement<'_>, complaints: &mut Complaints) -> Option<Vec<Assignment>> {
    let words = quoted_words(statement.arguments, statement.escape);
    let Some(first) = words.first() else {
        return statement.missing(complaints, "at least one argument");
    };
    if !first.text.contains('=') {
        let Some((name, value)) = name_and_rest(statement.arguments) else {
            let message = format!("{} must have two arguments", statement.name);
            return complaints.add(first.fragment.span(), message, "write NAME=VALUE");
        };
        return Some(vec![Assignment { name, value }]);
    }
    let mut pairs = Some(Vec::new());
    for word in words {
        let pair = match word.split_assignment() {
            Some((name, value)) if !name.value.is_empty() => Some(Assignment { name, value }),
            Some(_) => {
                let message = format!("{} names can not be blank", statement.name);
                complaints.add(word.fragment.span(), message, None)
            }
            None => complaints.add(
                word.fragment.span(),
                format!("can't find = in {:?}", word.text),
                "the form is NAME=VALUE; a value with spaces needs quotes",
            ),
        };
        pairs = pairs.zip(pair).map(|(mut pairs, pair)| {
            pairs.push(pair);
            pairs
        });
    }
    pairs
}

fn arg(statement: &Statement<'_>, complaints: &mut Complaints) -> Option<Vec<ArgDeclaration>> {
    let words = quoted_words(statement.arguments, statement.escape);
    if words.is_empty() {
        return statement.missing(complaints, "at least one argument");
    }
    let mut declarations = Vec::new();
    for word in words {
        let declaration = match word.split_assignment() {
            Some((name, default)) => ArgDeclaration { name, default: Some(default) },
            None => ArgDeclaration { name: word.clone().spanned(), default: None },
        };
        if declaration.name.value.is_empty() {
            return complaints.add(word.fragment.span(), "ARG names can not be blank", None);
        }
        declarations.push(declaration);
    }
    Some(declarations)
}

fn text(statement: &Statement<'_>, complaints: &mut Complaints) -> Option<Spanned<String>> {
    if statement.arguments.is_empty() {
        return statement.missing(complaints, "exactly one argument");
    }
    Some(spanned(statement.arguments))
}

fn expose(statement: &Statement<'_>, complaints: &mut Complaints) -> Option<InstructionKind> {
    let words = plain_words(statement.arguments);
    if words.is_empty() {
        return statement.missing(complaints, "at least one argument");
    }
    let special = ['$', '\'', '"', statement.escape];
    let mut valid = true;
    for word in words.iter().filter(|word| !word.value.contains(special)) {
        if let Err(error) = ports::exposed_ports(&word.value) {
            valid = false;
            complaints.note(
                word.span,
                error.to_string(),
                "write PORT or FIRST-LAST, with /tcp, /udp or /sctp behind it",
            );
        }
    }
    valid.then_some(InstructionKind::Expose(words))
}

fn volume(statement: &Statement<'_>, complaints: &mut Complaints) -> Option<InstructionKind> {
    let volumes = json_form::list(statement.arguments, complaints)?;
    if volumes.is_empty() {
        return statement.missing(complaints, "at least one argument");
    }
    let blank = volumes.iter().find(|volume| volume.value.trim().is_empty());
    if let Some(blank) = blank {
        return complaints.add(blank.span, "a VOLUME can not be an empty string", None);
    }
    let trimmed = |word: Spanned<String>| Spanned { value: word.value.trim().to_owned(), ..word };
    Some(InstructionKind::Volume(volumes.into_iter().map(trimmed).collect()))
}

fn shell(statement: &Statement<'_>, complaints: &mut Complaints) -> Option<InstructionKind> {
    if statement.arguments.is_empty() {
        return statement.missing(complaints, "at least one argument");
    }
    match json_form::read(statement.arguments, complaints)? {
        JsonForm::Strings(words) if words.is_empty() => {
            statement.missing(complaints, "at least one argument")
        }
        JsonForm::Strings(words) => {
            Some(InstructionKind::Shell(words.into_iter().map(|word| word.value).collect()))
        }
        JsonForm::Absent => complaints.add(
            statement.arguments.span(),
            "SHELL requires the arguments to be in JSON form",
            "as in SHELL [\"/bin/bash\", \"-c\"]",
        ),
    }
}

fn on_build(statement: &Statement<'_>, complaints: &mut Complaints) -> Option<InstructionKind> {
    if statement.arguments.is_empty() {
        return statement.missing(complaints, "at least one argument");
    }
    let mut inner = Statement::of(statement.arguments, statement.escape);
    inner.heredocs.clone_from(&statement.heredocs);
    let instruction = trigger(&inner, complaints)?;
    let line = spanned(statement.arguments);
    let text = Spanned { value: heredoc::with_bodies(&line.value, &inner.heredocs), ..line };
    Some(InstructionKind::OnBuild(Box::new(Trigger { text, instruction })))
}
