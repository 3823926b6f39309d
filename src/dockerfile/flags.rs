//! Flags between an instruction's keyword and its arguments: `--name=value`.
//!
//! As in BuildKit, flags end at the first word that does not start with `--`, or at a lone `--`;
//! quotes group, and a backslash escapes whatever the escape directive says.

use std::ops::Range;

use super::diagnostics::{Complaints, Span, Spanned};
use super::fragment::Fragment;
use super::instruction::nearest;

/// A flag an instruction knows, and whether this release can do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Takes a value, at most once.
    Value(&'static str),
    /// Takes a list with commas, and may come again.
    List(&'static str),
    /// BuildKit has it, this release not.
    Later(&'static str),
}

pub(super) const NONE: &[Known] = &[];
pub(super) const FROM: &[Known] = &[Known::Value("platform")];
pub(super) const RUN: &[Known] = &[
    Known::List("mount"),
    Known::Value("network"),
    Known::Value("security"),
    Known::Later("device"),
];
pub(super) const COPY: &[Known] = &[
    Known::Value("from"),
    Known::Value("chown"),
    Known::Value("chmod"),
    Known::Later("link"),
    Known::Later("parents"),
    Known::Later("exclude"),
];
pub(super) const ADD: &[Known] = &[
    Known::Value("chown"),
    Known::Value("chmod"),
    Known::Later("link"),
    Known::Later("exclude"),
    Known::Later("checksum"),
    Known::Later("keep-git-dir"),
    Known::Later("unpack"),
];
pub(super) const HEALTHCHECK: &[Known] = &[
    Known::Value("interval"),
    Known::Value("timeout"),
    Known::Value("start-period"),
    Known::Value("start-interval"),
    Known::Value("retries"),
];

impl Known {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Value(name) | Self::List(name) | Self::Later(name) => name,
        }
    }
}

/// The flags of an instruction, by name.
#[derive(Debug, Default)]
pub(super) struct Flags {
    values: Vec<(&'static str, Spanned<String>)>,
    lists: Vec<(&'static str, List)>,
}

/// The fields of a list and the flag that they are of.
type List = (Span, Vec<Spanned<String>>);

/// The bytes of `text` that flags take, white space in front of them included.
pub(super) fn length(text: &str) -> usize {
    let mut position = 0;
    loop {
        let rest = &text[position..];
        let start = position + rest.len() - rest.trim_start().len();
        if !text[start..].starts_with("--") {
            return position;
        }
        let (word, length) = word(&text[start..]);
        position = start + length;
        if word == "--" {
            return position;
        }
    }
}

impl Flags {
    /// Reads all flags in `fragment`. `None` when something was complained about.
    pub(super) fn read(
        fragment: Fragment<'_>,
        known: &'static [Known],
        complaints: &mut Complaints,
    ) -> Option<Self> {
        let mut flags = Self::default();
        let mut valid = true;
        let mut rest = fragment.trim();
        while !rest.is_empty() {
            let (text, length) = word(rest.text());
            let place = rest.slice(0..length);
            let flag = Spanned { value: text, span: place.span() };
            rest = rest.from(length).trim();
            if flag.value != "--" {
                valid &= flags.add(flag, place, known, complaints).is_some();
            }
        }
        valid.then_some(flags)
    }

    /// Removes the value of a flag.
    pub(super) fn take(&mut self, name: &str) -> Option<Spanned<String>> {
        let index = self.values.iter().position(|(own, _)| *own == name)?;
        Some(self.values.swap_remove(index).1)
    }

    /// Removes all lists of a flag.
    pub(super) fn take_lists(&mut self, name: &str) -> Vec<List> {
        let lists = std::mem::take(&mut self.lists);
        let (taken, left) = lists.into_iter().partition(|(own, _)| *own == name);
        self.lists = left;
        let taken: Vec<(&'static str, List)> = taken;
        taken.into_iter().map(|(_, list)| list).collect()
    }

    /// Adds the fields of a list. They know their places unless quotes or escapes were taken out.
    fn add_list(
        &mut self,
        name: &'static str,
        flag: &Spanned<String>,
        place: Fragment<'_>,
        complaints: &mut Complaints,
    ) -> Option<()> {
        let start = "--".len() + name.len() + 1;
        let value = flag.value.get(start..).unwrap_or_default();
        if value.is_empty() {
            return needs_value(name, flag.span, complaints);
        }
        let Some(fields) = fields(value) else {
            let message = format!("the quotes of --{name} do not fit");
            return complaints.add(flag.span, message, "quotes enclose whole fields");
        };
        let is_verbatim = place.text() == flag.value;
        let fields = fields.into_iter().map(|(range, value)| {
            let range = start + range.start..start + range.end;
            let span = if is_verbatim { place.slice(range).span() } else { flag.span };
            Spanned { value, span }
        });
        self.lists.push((name, (flag.span, fields.collect())));
        Some(())
    }

    fn add(
        &mut self,
        flag: Spanned<String>,
        place: Fragment<'_>,
        known: &'static [Known],
        complaints: &mut Complaints,
    ) -> Option<()> {
        let body = flag.value.strip_prefix("--").unwrap_or(&flag.value);
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let name = match known.iter().find(|candidate| candidate.name() == name) {
            Some(Known::Value(name)) => *name,
            Some(Known::List(name)) => return self.add_list(name, &flag, place, complaints),
            Some(Known::Later(name)) => {
                let message = format!("the flag --{name} is not supported yet");
                return complaints.add_hinted(flag.span, message, later_hint(name));
            }
            None => {
                let names = known.iter().map(|known| known.name());
                let hint = nearest(name, names).map(|name| format!("did you mean --{name}?"));
                let message = format!("unknown flag: --{}", name.escape_debug());
                return complaints.add_hinted(flag.span, message, hint);
            }
        };
        if self.values.iter().any(|(own, _)| *own == name) {
            return complaints.add(flag.span, format!("duplicate flag: --{name}"), None);
        }
        let value = value.unwrap_or_default();
        if value.is_empty() {
            return needs_value(name, flag.span, complaints);
        }
        let value = Spanned { value: value.to_owned(), span: flag.span };
        self.values.push((name, value));
        Some(())
    }
}

fn needs_value(name: &str, span: Span, complaints: &mut Complaints) -> Option<()> {
    let message = format!("the flag --{name} needs a value");
    complaints.add_hinted(span, message, Some(format!("write --{name}=VALUE without a space")))
}

/// Splits a line of comma-separated values as Go's `encoding/csv` does; a field may be enclosed in
/// double quotes, two of which stand for one. `None` if quotes do not fit.
fn fields(line: &str) -> Option<Vec<(Range<usize>, String)>> {
    let mut fields = Vec::new();
    let mut start = 0;
    loop {
        let rest = &line[start..];
        let (value, length) = match rest.strip_prefix('"') {
            None => {
                let length = rest.find(',').unwrap_or(rest.len());
                let value = &rest[..length];
                (!value.contains('"')).then(|| (value.to_owned(), length))?
            }
            Some(quoted) => {
                let (value, length) = quoted_field(quoted)?;
                (value, length + 1)
            }
        };
        fields.push((start..start + length, value));
        start += length;
        match line[start..].chars().next() {
            None => return Some(fields),
            Some(',') => start += 1,
            Some(_) => return None,
        }
    }
}

/// The field up to the quote that ends it, and the bytes that it takes with this quote.
fn quoted_field(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character != '"' {
            value.push(character);
        } else if characters.next_if(|(_, next)| *next == '"').is_some() {
            value.push('"');
        } else {
            return Some((value, at + 1));
        }
    }
    None
}

fn later_hint(name: &str) -> Option<String> {
    let hint = match name {
        "link" => "without it the result is the same, only cached less often",
        "exclude" => "a .dockerignore file excludes files as well",
        "parents" => "copy each directory to its own destination",
        "checksum" => "fetch the file in a RUN and check it there",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The word at the start of `text`, unquoted, and the bytes it takes.
fn word(text: &str) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (None, character) if character.is_whitespace() => return (word, at),
            (_, '\\') => word.extend(characters.next().map(|(_, escaped)| escaped)),
            (Some(open), character) if open == character => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (_, character) => word.push(character),
        }
    }
    (word, text.len())
}
