//! Heredocs (`<<EOF`) of `RUN`, `COPY` and `ADD` (Dockerfile reference, "Here-Documents").
//!
//! A heredoc is a word outside of quotes: digits, `<<`, maybe `-`, a delimiter. Its body follows the
//! line, up to a line that is the delimiter. In `RUN` the shell reads it, but a heredoc that is the
//! whole command is the script itself: for the shell, or for the interpreter that it names with `#!`,
//! and then it is a file that the shell runs. In `COPY` and `ADD` it is a file named like its
//! delimiter.

use std::ops::Range;

use super::ast::{Command, Heredoc};
use super::diagnostics::{Complaints, Spanned};
use super::fragment::Fragment;
use super::instruction::Statement;
use super::json_form;
use super::lines::Reader;

/// Where a step finds its script, as with BuildKit, whose scripts may know.
pub const SCRIPTS: &str = "/dev/pipes";

/// The opening of a heredoc.
#[derive(Debug)]
struct Opening<'a> {
    fragment: Fragment<'a>,
    /// Where it stands in the arguments.
    range: Range<usize>,
    delimiter: String,
    quoted: bool,
    strip_tabs: bool,
    /// White space between `<<` and the delimiter: then it may as well be a shift of numbers.
    spaced: bool,
}

/// A heredoc that was read.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// Where its opening stands in the arguments.
    pub(super) range: Range<usize>,
    name: Spanned<String>,
    /// As it stands in the file, with its line breaks.
    raw: String,
    quoted: bool,
    strip_tabs: bool,
}

impl Body {
    /// The text without the tabs that `<<-` takes away.
    fn text(&self) -> String {
        match self.strip_tabs {
            true => {
                self.raw.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
            }
            false => self.raw.clone(),
        }
    }

    /// The file that it is in `COPY` and `ADD`, and as a script.
    pub(super) fn file(&self) -> Heredoc {
        Heredoc { name: self.name.clone(), text: self.text(), expands: !self.quoted }
    }
}

/// Reads the heredocs of a statement; nothing if one is wrong, about which it complains.
pub(super) fn read(
    statement: &Statement<'_>,
    reader: &mut Reader<'_>,
    complaints: &mut Complaints,
) -> Option<Vec<Body>> {
    let inner;
    let statement = if statement.name == "ONBUILD" {
        inner = Statement::of(statement.arguments, statement.escape);
        &inner
    } else {
        statement
    };
    let takes_heredocs = matches!(statement.name.as_str(), "RUN" | "COPY" | "ADD");
    if !takes_heredocs || json_form::is_json(statement.arguments) {
        return Some(Vec::new());
    }
    let mut bodies = Vec::new();
    for opening in openings(statement.arguments) {
        let Opening { fragment, range, delimiter, quoted, strip_tabs, spaced } = opening;
        match reader.heredoc(&delimiter, strip_tabs) {
            Some(raw) => {
                let name = Spanned { value: delimiter, span: fragment.span() };
                bodies.push(Body { range, name, raw: raw.to_owned(), quoted, strip_tabs });
            }
            None if spaced => {}
            None => {
                // As far as anyone can tell, everything that follows belongs to it.
                reader.skip_rest();
                let message = "the heredoc has no end";
                let hint =
                    format!("its last line is {delimiter}, with nothing before or behind it");
                return complaints.add_hinted(fragment.span(), message.to_owned(), Some(hint));
            }
        }
    }
    Some(bodies)
}

/// The command of a `RUN` with heredocs: a script, if there is nothing else, or what the shell reads
/// with the bodies behind it, as they stand in the file. A script that names its interpreter is a
/// file besides.
pub(super) fn command(arguments: Fragment<'_>, bodies: &[Body]) -> (Command, Option<Heredoc>) {
    let text = arguments.text();
    match bodies {
        [only] if only.range == (0..text.len()) => {
            let script = only.file();
            if !script.text.starts_with("#!") {
                return (Command::Shell(script.text), None);
            }
            (Command::Shell(format!("{SCRIPTS}/{}", script.name.value)), Some(script))
        }
        _ => (Command::Shell(with_bodies(text, bodies)), None),
    }
}

/// Complains about a heredoc that is a file and has a name that no file has.
pub(super) fn check_names(files: &[Heredoc], complaints: &mut Complaints) -> Option<()> {
    let is_name = |text: &str| !matches!(text, "." | "..") && !text.contains(['/', '\0']);
    match files.iter().find(|file| !is_name(&file.name.value)) {
        Some(odd) => {
            let message = format!("{:?} is no name of a file", odd.name.value);
            let hint = "the delimiter of a heredoc is the name of the file that it makes";
            complaints.add(odd.name.span, message, hint)
        }
        None => Some(()),
    }
}

/// A line and the bodies behind it.
pub(super) fn with_bodies(line: &str, bodies: &[Body]) -> String {
    let mut text = line.to_owned();
    for body in bodies {
        text.push('\n');
        text.push_str(&body.raw);
        text.push_str(&body.name.value);
    }
    text
}

/// The parts of the arguments between the openings.
pub(super) fn around<'a>(arguments: Fragment<'a>, bodies: &[Body]) -> Vec<Fragment<'a>> {
    let starts = std::iter::once(0).chain(bodies.iter().map(|body| body.range.end));
    let end = arguments.text().len();
    let ends = bodies.iter().map(|body| body.range.start).chain([end]);
    starts.zip(ends).map(|(start, end)| arguments.slice(start..end)).collect()
}

fn openings(fragment: Fragment<'_>) -> Vec<Opening<'_>> {
    let text = fragment.text();
    let mut openings = Vec::new();
    let mut position = 0;
    while position < text.len() {
        let Some(length) = word_length(&text[position..]) else { return Vec::new() };
        let word = &text[position..position + length];
        let range = position..position + length;
        openings.extend(opening(fragment.slice(range.clone()), range, word));
        let after = &text[position + length..];
        position = text.len() - after.trim_start().len();
    }
    openings
}

fn opening<'a>(fragment: Fragment<'a>, range: Range<usize>, word: &str) -> Option<Opening<'a>> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (rest, strip_tabs) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
    let delimiter = rest.trim_start();
    if delimiter.contains('<') {
        return None;
    }
    let spaced = delimiter.len() < rest.len();
    let (written, delimiter) = (delimiter, unquote(delimiter));
    let quoted = written != delimiter;
    let opening = Opening { fragment, range, delimiter, quoted, strip_tabs, spaced };
    (!opening.delimiter.is_empty()).then_some(opening)
}

/// The bytes of the first word; white space in quotes and behind `<<` belongs to it.
///
/// `None` for a quote that is not closed: then the line is the shell's to judge.
fn word_length(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (None, character) if character.is_whitespace() => return Some(at),
            (quote, '\\') if quote != Some('\'') => {
                characters.next();
            }
            (Some(open), character) if open == character => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None, '<') if text[..at].ends_with('<') => {
                while characters.next_if(|(_, next)| next.is_whitespace()).is_some() {}
            }
            _ => {}
        }
    }
    quote.is_none().then_some(text.len())
}

fn unquote(text: &str) -> String {
    let mut plain = String::new();
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (quote, '\\') if quote != Some('\'') => plain.extend(characters.next()),
            (Some(open), character) if open == character => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (_, character) => plain.push(character),
        }
    }
    plain
}
