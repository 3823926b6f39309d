//! Flags between an instruction's keyword and its arguments: `--name=value`.
//!
//! As in BuildKit, flags end at the first word that does not start with `--`, or at a lone `--`;
//! quotes group, and a backslash escapes whatever the escape directive says.

use super::diagnostics::{Complaints, Spanned};
use super::fragment::Fragment;
use super::instruction::nearest;

/// A flag an instruction knows, and whether this release can do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Takes a value, at most once.
    Value(&'static str),
    /// BuildKit has it, this release not.
    Later(&'static str),
}

pub(super) const NONE: &[Known] = &[];
pub(super) const FROM: &[Known] = &[Known::Value("platform")];
pub(super) const RUN: &[Known] = &[
    Known::Later("mount"),
    Known::Later("network"),
    Known::Later("security"),
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
            Self::Value(name) | Self::Later(name) => name,
        }
    }
}

/// The flags of an instruction, by name.
#[derive(Debug, Default)]
pub(super) struct Flags {
    values: Vec<(&'static str, Spanned<String>)>,
}

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
            let flag = Spanned { value: text, span: rest.slice(0..length).span() };
            rest = rest.from(length).trim();
            if flag.value != "--" {
                valid &= flags.add(flag, known, complaints).is_some();
            }
        }
        valid.then_some(flags)
    }

    /// Removes the value of a flag.
    pub(super) fn take(&mut self, name: &str) -> Option<Spanned<String>> {
        let index = self.values.iter().position(|(own, _)| *own == name)?;
        Some(self.values.swap_remove(index).1)
    }

    fn add(
        &mut self,
        flag: Spanned<String>,
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
            let message = format!("the flag --{name} needs a value");
            return complaints.add_hinted(
                flag.span,
                message,
                Some(format!("write --{name}=VALUE without a space")),
            );
        }
        let value = Spanned { value: value.to_owned(), span: flag.span };
        self.values.push((name, value));
        Some(())
    }
}

fn later_hint(name: &str) -> Option<String> {
    let hint = match name {
        "mount" => "without mounts, COPY the files in and remove them in the same RUN",
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
