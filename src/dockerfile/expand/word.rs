//! The two ways to expand a word: to one text, or to several words.

use std::collections::BTreeSet;

use super::error::ExpandError;
use super::expander::{self, Quotes};

/// A word after expansion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expansion {
    /// The text.
    pub text: String,
    /// The names of all variables that were looked up, set or not.
    pub used: BTreeSet<String>,
}

/// What a word became that may split into several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// The words; none if everything expanded to nothing.
    pub words: Vec<String>,
    /// The names of all variables that were looked up, set or not.
    pub used: BTreeSet<String>,
}

/// Expands a word to one text.
///
/// # Errors
/// When the word is malformed or demands a variable that is not set.
pub fn expand(
    word: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Expansion, ExpandError> {
    let (texts, used) = expander::run(word, escape, Quotes::Special, lookup)?;
    Ok(Expansion { text: texts.text, used })
}

/// Expands the variables of a heredoc, in which quotes are characters like others and the escape
/// character is a backslash whatever the Dockerfile says; it goes, whatever it stands before.
///
/// # Errors
/// As [`expand`].
pub fn expand_text(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Expansion, ExpandError> {
    let (texts, used) = expander::run(text, '\\', Quotes::Plain, lookup)?;
    Ok(Expansion { text: texts.text, used })
}

/// Expands a word and splits the result at white space outside of quotes.
///
/// BuildKit does so for `EXPOSE` only; all other instructions use [`expand`].
///
/// # Errors
/// As [`expand`].
pub fn expand_words(
    word: &str,
    escape: char,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Words, ExpandError> {
    let (texts, used) = expander::run(word, escape, Quotes::Special, lookup)?;
    Ok(Words { words: texts.finish(), used })
}
