//! The JSON form of arguments: `["a", "b"]`.
//!
//! As in BuildKit, text that is not valid JSON is taken in its other form, but a valid array with
//! anything except strings in it is an error.

use super::ast::Command;
use super::diagnostics::{Complaints, Spanned};
use super::fragment::Fragment;
use super::words::plain_words;

/// Whether arguments are in JSON form.
#[derive(Debug)]
pub(super) enum JsonForm {
    /// They are not.
    Absent,
    /// They are, and these are the strings.
    Strings(Vec<Spanned<String>>),
}

/// Reads arguments that may be in JSON form.
pub(super) fn read(fragment: Fragment<'_>, complaints: &mut Complaints) -> Option<JsonForm> {
    let text = fragment.text();
    if !text.starts_with('[') {
        return Some(JsonForm::Absent);
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else {
        return Some(JsonForm::Absent);
    };
    let mut places = string_places(text).into_iter();
    let mut strings = Vec::new();
    for value in values {
        let serde_json::Value::String(value) = value else {
            return complaints.add(
                fragment.span(),
                "an array in JSON form must hold strings only",
                "put each word in double quotes",
            );
        };
        let place = places.next().map_or(fragment, |(start, end)| fragment.slice(start..end));
        strings.push(Spanned { value, span: place.span() });
    }
    Some(JsonForm::Strings(strings))
}

/// Whether arguments are an array of strings in JSON form.
pub(super) fn is_json(fragment: Fragment<'_>) -> bool {
    let text = fragment.text();
    text.starts_with('[') && serde_json::from_str::<Vec<String>>(text).is_ok()
}

/// Reads a command in either form.
pub(super) fn command(fragment: Fragment<'_>, complaints: &mut Complaints) -> Option<Command> {
    Some(match read(fragment, complaints)? {
        JsonForm::Absent => Command::Shell(fragment.text().to_owned()),
        JsonForm::Strings(words) => {
            Command::Exec(words.into_iter().map(|word| word.value).collect())
        }
    })
}

/// Reads a list of words in either form.
pub(super) fn list(
    fragment: Fragment<'_>,
    complaints: &mut Complaints,
) -> Option<Vec<Spanned<String>>> {
    Some(match read(fragment, complaints)? {
        JsonForm::Absent => plain_words(fragment),
        JsonForm::Strings(words) => words,
    })
}

/// Where the string literals of a valid flat array stand, without their quotes.
fn string_places(text: &str) -> Vec<(usize, usize)> {
    let mut places = Vec::new();
    let mut open = None;
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match (byte, open) {
            (b'\\', Some(_)) => {
                bytes.next();
            }
            (b'"', None) => open = Some(at + 1),
            (b'"', Some(start)) => {
                places.push((start, at));
                open = None;
            }
            _ => {}
        }
    }
    places
}
