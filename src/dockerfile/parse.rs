//! From logical lines to build stages.

use super::ast::{ArgDeclaration, Dockerfile, Instruction, InstructionKind, Stage};
use super::diagnostics::{Complaints, ParseError, Span, Spanned};
use super::flags::{self, Flags};
use super::instruction::{self, Statement};
use super::words::plain_words;
use super::{heredoc, lines};

/// Parses the text of a Dockerfile. The name is used in messages only.
///
/// # Errors
/// All that is wrong with the text, and all that this release does not support.
pub fn parse(name: &str, text: &str) -> Result<Dockerfile, ParseError> {
    let mut complaints = Complaints::default();
    let (mut reader, directives) = lines::Reader::new(text, &mut complaints);
    let mut file = File::default();
    while let Some(line) = reader.next_line() {
        let mut statement = Statement::of(line.whole(), directives.escape);
        match heredoc::read(&statement, &mut reader, &mut complaints) {
            None => file.skip(&statement, &mut complaints),
            Some(heredocs) => {
                statement.heredocs = heredocs;
                file.read(&statement, &mut complaints);
            }
        }
    }
    file.check_complete(text, &mut complaints);
    let mut diagnostics = complaints.diagnostics;
    if !diagnostics.is_empty() {
        diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
        return Err(ParseError {
            name: name.to_owned(),
            source_text: text.to_owned(),
            diagnostics,
        });
    }
    Ok(Dockerfile {
        name: name.to_owned(),
        source_text: text.to_owned(),
        directives,
        global_args: file.global_args,
        stages: file.stages,
    })
}

/// Parses an `ONBUILD` trigger as a base image's config keeps it: one instruction.
///
/// The escape character is a backslash, whatever the Dockerfile at hand says.
///
/// # Errors
/// As [`parse`], and when the text is not exactly one instruction that may be a trigger.
pub fn parse_trigger(text: &str) -> Result<Instruction, ParseError> {
    let mut complaints = Complaints::default();
    let (mut reader, directives) = lines::Reader::new(text, &mut complaints);
    let mut read = None;
    while let Some(line) = reader.next_line() {
        let mut statement = Statement::of(line.whole(), directives.escape);
        if read.is_some() {
            complaints.note(
                statement.keyword.span(),
                "an ONBUILD trigger is a single instruction",
                None,
            );
        } else if let Some(heredocs) = heredoc::read(&statement, &mut reader, &mut complaints) {
            statement.heredocs = heredocs;
            read = instruction::trigger(&statement, &mut complaints);
        }
    }
    if read.is_none() && complaints.diagnostics.is_empty() {
        let end = Span { start: 0, end: 0 };
        complaints.note(end, "the ONBUILD trigger is empty", None);
    }
    match read {
        Some(instruction) if complaints.diagnostics.is_empty() => Ok(instruction),
        _ => Err(ParseError {
            name: "ONBUILD trigger".to_owned(),
            source_text: text.to_owned(),
            diagnostics: complaints.diagnostics,
        }),
    }
}

/// What was read so far of a file.
#[derive(Debug, Default)]
struct File {
    global_args: Vec<ArgDeclaration>,
    stages: Vec<Stage>,
    /// Whether a `FROM` was seen, be it a broken one.
    in_stage: bool,
    /// Whether an instruction before the first `FROM` was complained about: once is enough.
    stray: bool,
    any: bool,
}

impl File {
    fn read(&mut self, statement: &Statement<'_>, complaints: &mut Complaints) {
        self.any = true;
        if statement.name == "FROM" {
            self.in_stage = true;
            if let Some(stage) = self.from(statement, complaints) {
                self.stages.push(stage);
            }
            return;
        }
        let instruction = instruction::read(statement, complaints);
        if self.in_stage {
            // Behind a broken FROM there may be no stage; the FROM's error is reported already.
            if let (Some(stage), Some(instruction)) = (self.stages.last_mut(), instruction) {
                stage.instructions.push(instruction);
            }
            return;
        }
        match instruction {
            Some(Instruction { kind: InstructionKind::Arg(args), .. }) => {
                self.global_args.extend(args);
            }
            Some(_) => self.stray(statement, complaints),
            None => {}
        }
    }

    /// Notes an instruction that was refused as a whole.
    fn skip(&mut self, statement: &Statement<'_>, complaints: &mut Complaints) {
        self.any = true;
        if !self.in_stage {
            self.stray(statement, complaints);
        }
    }

    fn stray(&mut self, statement: &Statement<'_>, complaints: &mut Complaints) {
        if !std::mem::replace(&mut self.stray, true) {
            complaints.note(
                statement.keyword.span(),
                "no build stage in current context",
                "only ARG may stand before the first FROM",
            );
        }
    }

    fn from(&self, statement: &Statement<'_>, complaints: &mut Complaints) -> Option<Stage> {
        let flags = Flags::read(statement.flags, flags::FROM, complaints);
        let words = plain_words(statement.arguments);
        let name = match words.as_slice() {
            [_] => None,
            [_, keyword, name] if keyword.value.eq_ignore_ascii_case("as") => {
                Some(self.stage_name(name, complaints)?)
            }
            _ => return wrong_from(statement, &words, complaints),
        };
        let mut flags = flags?;
        let from = words.into_iter().next()?;
        Some(Stage {
            name,
            from,
            platform: flags.take("platform"),
            instructions: Vec::new(),
            span: statement.span(),
            text: statement.canonical_text(),
        })
    }

    /// Checks a name: letters, digits, `-`, `_`, `.`, a letter first; no other stage has it.
    fn stage_name(
        &self,
        name: &Spanned<String>,
        complaints: &mut Complaints,
    ) -> Option<Spanned<String>> {
        let lower = name.value.to_ascii_lowercase();
        let valid = lower.starts_with(|c: char| c.is_ascii_lowercase())
            && lower.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !valid {
            let message = format!("invalid name for a build stage: {:?}", name.value);
            let hint = "a name has letters, digits, '-', '_' and '.', and starts with a letter";
            return complaints.add(name.span, message, hint);
        }
        let taken = |stage: &Stage| stage.name.as_ref().is_some_and(|own| own.value == lower);
        if self.stages.iter().any(taken) {
            let message = format!("duplicate build stage name {lower:?}");
            return complaints.add(name.span, message, "stage names are unique in a file");
        }
        Some(Spanned { value: lower, span: name.span })
    }

    fn check_complete(&self, text: &str, complaints: &mut Complaints) {
        let nothing_else = complaints.diagnostics.is_empty();
        if self.in_stage || !nothing_else {
            return;
        }
        let end = text.trim_end().len();
        let span = Span { start: end, end };
        let message =
            if self.any { "no build stage: there is no FROM" } else { "file with no instructions" };
        complaints.note(span, message, "a Dockerfile needs at least one FROM");
    }
}

fn wrong_from(
    statement: &Statement<'_>,
    words: &[Spanned<String>],
    complaints: &mut Complaints,
) -> Option<Stage> {
    let late_flag = words.iter().skip(1).any(|word| word.value.starts_with("--"));
    let comment = words.iter().any(|word| word.value.starts_with('#'));
    let hint = match () {
        () if late_flag => "flags come before the image: FROM --platform=... IMAGE [AS NAME]",
        () if comment => "a comment needs a line of its own",
        () => "write FROM IMAGE or FROM IMAGE AS NAME",
    };
    let span = if words.is_empty() { statement.keyword.span() } else { statement.arguments.span() };
    complaints.add(span, "FROM requires either one or three arguments", hint)
}
