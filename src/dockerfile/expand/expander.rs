//! The walk over a word: one method for each construct of the language.

use std::collections::BTreeSet;

use super::error::ExpandError;
use super::pattern::{self, Pattern};

/// Expansions in expansions (`${a:-${b:-...}}`) nest at most this deep.
pub(super) const MAX_DEPTH: usize = 64;

/// How many characters of a text an error repeats.
const SHOWN: usize = 80;

/// Gives the value of a variable, if it is set.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Expands a word; returns the result and the names that were looked up.
pub(super) fn run(
    word: &str,
    escape: char,
    quotes: Quotes,
    lookup: Lookup<'_>,
) -> Result<(Texts, BTreeSet<String>), ExpandError> {
    let used = BTreeSet::new();
    let mut expander = Expander { word, rest: word, escape, quotes, lookup, used, depth: 0 };
    let texts = expander.until(None, Escapes::Removed)?;
    Ok((texts, expander.used))
}

/// The result as one text and as words.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) text: String,
    words: Vec<String>,
    word: String,
}

impl Texts {
    /// Adds what may separate words.
    fn add(&mut self, text: &str) {
        self.text.push_str(text);
        for character in text.chars() {
            if !character.is_whitespace() {
                self.word.push(character);
            } else if !self.word.is_empty() {
                self.words.push(std::mem::take(&mut self.word));
            }
        }
    }

    /// Adds what never separates words.
    fn add_whole(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
    }

    /// The words that the text falls into.
    pub(super) fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.words.push(self.word);
        }
        self.words
    }
}

/// What quotes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quotes {
    /// They keep text together, and go.
    Special,
    /// Characters like others.
    Plain,
}

/// What becomes of escape characters: patterns need them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escapes {
    Removed,
    Kept,
}

/// What follows the name in `${name...}`.
#[derive(Clone, Copy, Debug)]
enum Modifier {
    Default,
    Alternative,
    Required,
    Prefix,
    Suffix,
}

/// Expands one word.
struct Expander<'a> {
    word: &'a str,
    rest: &'a str,
    escape: char,
    quotes: Quotes,
    lookup: Lookup<'a>,
    used: BTreeSet<String>,
    depth: usize,
}

impl Expander<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let next = characters.next();
        self.rest = characters.as_str();
        next
    }

    /// What is expanded, for errors; of a long text the beginning.
    fn word(&self) -> String {
        match self.word.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}...", &self.word[..end]),
            None => self.word.to_owned(),
        }
    }

    fn look_up(&mut self, name: &str) -> Option<String> {
        self.used.insert(name.to_owned());
        (self.lookup)(name)
    }

    /// Expands up to an unquoted `stop`, which is consumed, or to the end.
    fn until(&mut self, stop: Option<char>, escapes: Escapes) -> Result<Texts, ExpandError> {
        if self.depth == MAX_DEPTH {
            return Err(ExpandError::TooDeep { word: self.word() });
        }
        self.depth += 1;
        let texts = self.until_nested(stop, escapes);
        self.depth -= 1;
        texts
    }

    fn until_nested(&mut self, stop: Option<char>, escapes: Escapes) -> Result<Texts, ExpandError> {
        let mut texts = Texts::default();
        while let Some(character) = self.next() {
            if Some(character) == stop {
                return Ok(texts);
            }
            match character {
                '\'' if self.quotes == Quotes::Special => {
                    texts.add_whole(&self.single_quoted()?);
                }
                '"' if self.quotes == Quotes::Special => {
                    texts.add_whole(&self.double_quoted(escapes)?);
                }
                '$' => texts.add(&self.dollar()?),
                _ if character == self.escape => {
                    if escapes == Escapes::Kept {
                        texts.add_whole(character.encode_utf8(&mut [0; 4]));
                    }
                    // At the very end the escape character escapes nothing and is dropped.
                    if let Some(escaped) = self.next() {
                        texts.add_whole(escaped.encode_utf8(&mut [0; 4]));
                    }
                }
                _ => texts.add(character.encode_utf8(&mut [0; 4])),
            }
        }
        match stop {
            Some(missing) => Err(ExpandError::Unclosed { word: self.word(), missing }),
            None => Ok(texts),
        }
    }

    /// Everything up to the next single quote, as it is.
    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let rest = self.rest;
        let (quoted, after) = rest
            .split_once('\'')
            .ok_or_else(|| ExpandError::UnclosedQuote { word: self.word(), quote: '\'' })?;
        self.rest = after;
        Ok(quoted.to_owned())
    }

    /// Within double quotes, variables are expanded, and the escape character only escapes `"`, `$` and itself.
    fn double_quoted(&mut self, escapes: Escapes) -> Result<String, ExpandError> {
        let mut text = String::new();
        loop {
            let character = self
                .next()
                .ok_or_else(|| ExpandError::UnclosedQuote { word: self.word(), quote: '"' })?;
            match character {
                '"' => return Ok(text),
                '$' => text.push_str(&self.dollar()?),
                _ if character == self.escape => {
                    if escapes == Escapes::Kept {
                        text.push(character);
                    }
                    match self.peek() {
                        Some(next) if next == '"' || next == '$' || next == self.escape => {
                            text.extend(self.next());
                        }
                        Some(_) => text.push(character),
                        None => {}
                    }
                }
                _ => text.push(character),
            }
        }
    }

    /// What follows a `$`.
    fn dollar(&mut self) -> Result<String, ExpandError> {
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(match name.as_str() {
                "" => "$".to_owned(),
                name => self.look_up(name).unwrap_or_default(),
            });
        }
        self.next();
        match self.peek() {
            None => return Err(ExpandError::Unclosed { word: self.word(), missing: '}' }),
            Some('{' | '}' | ':') => {
                return Err(ExpandError::BadSubstitution { word: self.word() });
            }
            Some(_) => {}
        }
        let name = self.name();
        let mut modifier = String::new();
        let colon = self.peek() == Some(':');
        if colon {
            modifier.extend(self.next());
        }
        let next = self.next();
        modifier.extend(next);
        let kind = match next {
            None => return Err(ExpandError::Unclosed { word: self.word(), missing: '}' }),
            Some('}') if !colon => return Ok(self.look_up(&name).unwrap_or_default()),
            Some('/') if !colon => return self.replace(&name),
            Some('-') => Modifier::Default,
            Some('+') => Modifier::Alternative,
            Some('?') => Modifier::Required,
            Some('#') => Modifier::Prefix,
            Some('%') => Modifier::Suffix,
            Some(_) => {
                return Err(ExpandError::UnsupportedModifier { word: self.word(), modifier });
            }
        };
        self.modified(&name, kind, colon)
    }

    /// The rest of `${name` with a modifier; `colon` makes an empty value count as unset.
    fn modified(
        &mut self,
        name: &str,
        modifier: Modifier,
        colon: bool,
    ) -> Result<String, ExpandError> {
        let escapes = match modifier {
            Modifier::Prefix | Modifier::Suffix => Escapes::Kept,
            _ => Escapes::Removed,
        };
        let word = self.until(Some('}'), escapes)?.text;
        let value = self.look_up(name);
        let present = value.as_ref().is_some_and(|value| !(colon && value.is_empty()));
        Ok(match modifier {
            Modifier::Default if !present => word,
            Modifier::Alternative if present => word,
            Modifier::Alternative => String::new(),
            Modifier::Required if !present => {
                return Err(required(name, word, value.is_some()));
            }
            Modifier::Default | Modifier::Required => value.unwrap_or_default(),
            Modifier::Prefix => self.trimmed(&value.unwrap_or_default(), &word, '#')?,
            Modifier::Suffix => self.trimmed(&value.unwrap_or_default(), &word, '%')?,
        })
    }

    fn trimmed(&self, value: &str, word: &str, sign: char) -> Result<String, ExpandError> {
        let (text, greedy) = word.strip_prefix(sign).map_or((word, false), |text| (text, true));
        let pattern = self.pattern(text)?;
        let rest = match sign {
            '#' => pattern.trim_prefix(value, greedy),
            _ => pattern.trim_suffix(value, greedy),
        };
        Ok(rest.to_owned())
    }

    /// The rest of `${name/`.
    fn replace(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let text = self.until(Some('/'), Escapes::Kept)?.text;
        let replacement = self.until(Some('}'), Escapes::Kept)?.text;
        let value = self.look_up(name).unwrap_or_default();
        let pattern = self.pattern(&text)?;
        Ok(pattern.replace(&value, &replacement, all))
    }

    fn pattern(&self, text: &str) -> Result<Pattern, ExpandError> {
        pattern::parse(text).ok_or_else(|| ExpandError::InvalidPattern {
            word: self.word(),
            pattern: text.to_owned(),
        })
    }

    /// A name: letters, digits and underscores; or digits only; or one special parameter.
    fn name(&mut self) -> String {
        let digits = |c: char| c.is_ascii_digit();
        let length = match self.peek() {
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            Some(first) if digits(first) => {
                self.rest.find(|c| !digits(c)).unwrap_or(self.rest.len())
            }
            _ => {
                let other = |c: char| !(c.is_alphabetic() || digits(c) || c == '_');
                self.rest.find(other).unwrap_or(self.rest.len())
            }
        };
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        name.to_owned()
    }
}

fn required(name: &str, word: String, set: bool) -> ExpandError {
    let message = match (word.is_empty(), set) {
        (false, _) => word,
        (true, true) => "is not allowed to be empty".to_owned(),
        (true, false) => "is not allowed to be unset".to_owned(),
    };
    ExpandError::Required { name: name.to_owned(), message }
}
