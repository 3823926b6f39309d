//! Patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?`, and a backslash to escape them.
//!
//! Brackets are plain characters, as in BuildKit. Neither `*` nor `?` matches a line break.

/// A parsed pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Character(char),
    AnyOne,
    AnyMany,
}

/// Parses a pattern. `None` when a backslash escapes what needs no escape.
pub(super) fn parse(text: &str) -> Option<Pattern> {
    let mut parts = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        parts.push(match character {
            '*' => Part::AnyMany,
            '?' => Part::AnyOne,
            '\\' => match characters.next()? {
                escaped @ ('*' | '?' | '\\' | '}' | '/') => Part::Character(escaped),
                _ => return None,
            },
            other => Part::Character(other),
        });
    }
    // Stars next to each other match what one matches.
    parts.dedup_by(|second, first| *first == Part::AnyMany && *second == Part::AnyMany);
    Some(Pattern { parts })
}

impl Part {
    fn accepts(self, character: char) -> bool {
        match self {
            Self::Character(own) => own == character,
            Self::AnyOne | Self::AnyMany => character != '\n',
        }
    }
}

impl Pattern {
    /// Removes the shortest, or with `greedy` the longest, match from the start.
    pub(super) fn trim_prefix<'v>(&self, value: &'v str, greedy: bool) -> &'v str {
        let length = matched(self.parts.iter().copied(), value.chars(), greedy).unwrap_or(0);
        &value[length..]
    }

    /// Removes the shortest, or with `greedy` the longest, match from the end.
    pub(super) fn trim_suffix<'v>(&self, value: &'v str, greedy: bool) -> &'v str {
        let parts = self.parts.iter().rev().copied();
        let length = matched(parts, value.chars().rev(), greedy).unwrap_or(0);
        &value[..value.len() - length]
    }

    /// Replaces the first match, or all of them; each as long as can be.
    pub(super) fn replace(&self, value: &str, replacement: &str, all: bool) -> String {
        let mut result = String::new();
        let mut rest = value;
        let mut after_match = false;
        loop {
            let length = matched(self.parts.iter().copied(), rest.chars(), true);
            // No empty match directly behind another match, as with regular expressions.
            if let Some(length) = length.filter(|&length| length > 0 || !after_match) {
                result.push_str(replacement);
                rest = &rest[length..];
                if !all {
                    return result + rest;
                }
                after_match = length > 0;
                if after_match {
                    continue;
                }
            }
            let Some(character) = rest.chars().next() else { return result };
            result.push(character);
            rest = &rest[character.len_utf8()..];
            after_match = false;
        }
    }
}

/// The bytes of the shortest or longest start of `text` that `parts` match.
///
/// Keeps the set of parts reached, so that it takes parts times characters at most.
fn matched(
    parts: impl Iterator<Item = Part>,
    text: impl Iterator<Item = char>,
    longest: bool,
) -> Option<usize> {
    let parts: Vec<Part> = parts.collect();
    let mut reached = vec![false; parts.len() + 1];
    reached[0] = true;
    skip_stars(&parts, &mut reached);
    let mut found = None;
    let mut length = 0;
    let mut characters = text;
    loop {
        if reached[parts.len()] {
            found = Some(length);
            if !longest {
                return found;
            }
        }
        let Some(character) = characters.next() else { return found };
        length += character.len_utf8();
        let mut next = vec![false; parts.len() + 1];
        for (index, part) in parts.iter().enumerate() {
            if reached[index] && part.accepts(character) {
                next[if *part == Part::AnyMany { index } else { index + 1 }] = true;
            }
        }
        skip_stars(&parts, &mut next);
        if !next.contains(&true) {
            return found;
        }
        reached = next;
    }
}

/// A star also matches nothing.
fn skip_stars(parts: &[Part], reached: &mut [bool]) {
    for (index, part) in parts.iter().enumerate() {
        if reached[index] && *part == Part::AnyMany {
            reached[index + 1] = true;
        }
    }
}
