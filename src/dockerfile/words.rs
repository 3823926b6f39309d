//! Words of an instruction: separated by white space, quoted, `name=value`.
//!
//! Quotes and escapes are only looked at to find where a word ends; they stay in the word, since
//! expansion needs them.

use super::diagnostics::Spanned;
use super::fragment::{Fragment, is_separator};

/// A word that may hold quotes and escapes.
#[derive(Clone, Debug)]
pub(super) struct Word<'a> {
    /// The word; unlike the fragment without an escape character at the end of the line.
    pub(super) text: String,
    pub(super) fragment: Fragment<'a>,
}

impl Word<'_> {
    pub(super) fn spanned(self) -> Spanned<String> {
        Spanned { value: self.text, span: self.fragment.span() }
    }

    /// Splits at the first `=`, wherever it stands.
    pub(super) fn split_assignment(&self) -> Option<(Spanned<String>, Spanned<String>)> {
        let equals = self.text.find('=')?;
        let (name, value) = (&self.text[..equals], &self.text[equals + 1..]);
        let place = self.fragment;
        Some((
            Spanned { value: name.to_owned(), span: place.slice(0..equals).span() },
            Spanned { value: value.to_owned(), span: place.from(equals + 1).span() },
        ))
    }
}

/// Splits at white space, whatever the quotes.
pub(super) fn plain_words(fragment: Fragment<'_>) -> Vec<Spanned<String>> {
    let mut words = Vec::new();
    let mut rest = fragment.trim();
    while !rest.is_empty() {
        let (word, after) = rest.split_first_word();
        if !word.is_empty() {
            words.push(spanned(word));
        }
        rest = after;
    }
    words
}

/// The fragment as it is.
pub(super) fn spanned(fragment: Fragment<'_>) -> Spanned<String> {
    Spanned { value: fragment.text().to_owned(), span: fragment.span() }
}

/// Splits at white space outside of quotes and not behind an escape character.
///
/// An unclosed quote reaches to the end; expansion complains about it.
pub(super) fn quoted_words(fragment: Fragment<'_>, escape: char) -> Vec<Word<'_>> {
    let source = fragment.text();
    let mut words = Vec::new();
    let mut characters = source.char_indices().peekable();
    while let Some(&(start, first)) = characters.peek() {
        if first.is_whitespace() {
            characters.next();
            continue;
        }
        let mut text = String::new();
        let mut quote = None;
        let mut end = start;
        while let Some(&(at, character)) = characters.peek() {
            if quote.is_none() && character.is_whitespace() {
                break;
            }
            characters.next();
            end = at + character.len_utf8();
            if character == escape && quote != Some('\'') {
                // An escape character at the very end stands for nothing.
                let Some((at, escaped)) = characters.next() else { break };
                end = at + escaped.len_utf8();
                text.extend([character, escaped]);
                continue;
            }
            quote = match quote {
                Some(open) if open == character => None,
                None if matches!(character, '\'' | '"') => Some(character),
                state => state,
            };
            text.push(character);
        }
        if !text.is_empty() {
            words.push(Word { text, fragment: fragment.slice(start..end) });
        }
    }
    words
}

/// Splits `NAME VALUE` at the first white space; the value is all the rest.
pub(super) fn name_and_rest(fragment: Fragment<'_>) -> Option<(Spanned<String>, Spanned<String>)> {
    let (name, value) = fragment.split_first_word();
    let separated = fragment.text().contains(is_separator);
    separated.then(|| (spanned(name), spanned(value)))
}
