//! Finds heredocs (`<<EOF`) in `RUN`, `COPY` and `ADD`, which this release refuses.
//!
//! A heredoc is a word outside of quotes: digits, `<<`, maybe `-`, a delimiter. Its body is skipped
//! so that it is not read as instructions.

use super::diagnostics::Complaints;
use super::fragment::Fragment;
use super::instruction::Statement;
use super::json_form;
use super::lines::Reader;

/// The opening of a heredoc.
#[derive(Debug)]
struct Opening<'a> {
    fragment: Fragment<'a>,
    delimiter: String,
    strip_tabs: bool,
    /// White space between `<<` and the delimiter: then it may as well be a shift of numbers.
    spaced: bool,
}

/// Complains about the heredocs of a statement and skips their bodies. Returns whether there were any.
pub(super) fn refuse(
    statement: &Statement<'_>,
    reader: &mut Reader<'_>,
    complaints: &mut Complaints,
) -> bool {
    let inner;
    let statement = if statement.name == "ONBUILD" {
        inner = Statement::of(statement.arguments, statement.escape);
        &inner
    } else {
        statement
    };
    let takes_heredocs = matches!(statement.name.as_str(), "RUN" | "COPY" | "ADD");
    if !takes_heredocs || json_form::is_json(statement.arguments) {
        return false;
    }
    let mut found = false;
    for opening in openings(statement.arguments) {
        let ended = reader.skip_heredoc(&opening.delimiter, opening.strip_tabs);
        if ended || !opening.spaced {
            found = true;
            let hint = match statement.name.as_str() {
                "RUN" => "join the commands with && and line continuations",
                _ => "put the text into a file of the context",
            };
            let message = "heredocs are not supported yet";
            complaints.note(opening.fragment.span(), message, hint);
        }
        if !ended && !opening.spaced {
            // The body reaches to the end of the file as far as anyone can tell.
            break;
        }
    }
    found
}

fn openings(fragment: Fragment<'_>) -> Vec<Opening<'_>> {
    let text = fragment.text();
    let mut openings = Vec::new();
    let mut position = 0;
    while position < text.len() {
        let Some(length) = word_length(&text[position..]) else { return Vec::new() };
        let word = &text[position..position + length];
        openings.extend(opening(fragment.slice(position..position + length), word));
        let after = &text[position + length..];
        position = text.len() - after.trim_start().len();
    }
    openings
}

fn opening<'a>(fragment: Fragment<'a>, word: &str) -> Option<Opening<'a>> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (rest, strip_tabs) = rest.strip_prefix('-').map_or((rest, false), |rest| (rest, true));
    let delimiter = rest.trim_start();
    if delimiter.contains('<') {
        return None;
    }
    let spaced = delimiter.len() < rest.len();
    let delimiter = unquote(delimiter);
    (!delimiter.is_empty()).then_some(Opening { fragment, delimiter, strip_tabs, spaced })
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
