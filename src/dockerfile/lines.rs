//! From text to logical lines: directives, comments, continuations.
//!
//! As BuildKit's parser reads them: a comment is a line whose first visible character is `#`, also
//! between continuation lines; empty lines between continuation lines are skipped; an escape
//! character at the end of a line continues it unless another one stands before it.

use std::ops::Range;

use super::ast::Directives;
use super::diagnostics::{BYTE_ORDER_MARK, Complaints, Span, Spanned};
use super::fragment::Line;

/// Reads a text line by logical line.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    source: &'a str,
    position: usize,
    escape: char,
}

impl<'a> Reader<'a> {
    /// Starts at the top of a file: skips the byte-order mark and reads the directives.
    pub(super) fn new(source: &'a str, complaints: &mut Complaints) -> (Self, Directives) {
        let position = source.len() - source.strip_prefix(BYTE_ORDER_MARK).unwrap_or(source).len();
        let mut reader = Self { source, position, escape: '\\' };
        let directives = reader.directives(complaints);
        reader.escape = directives.escape;
        (reader, directives)
    }

    /// The next line that is neither empty nor a comment, with its continuations.
    pub(super) fn next_line(&mut self) -> Option<Line> {
        loop {
            let range = self.trimmed_physical_line()?;
            let content = &self.source[range.clone()];
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let mut line = Line::default();
            let mut continued = self.push(&mut line, range);
            while continued {
                let Some(range) = self.physical_line() else { break };
                let content = self.source[range.clone()].trim_start();
                if !content.is_empty() && !content.starts_with('#') {
                    continued = self.push(&mut line, range);
                }
            }
            if !line.whole().trim().is_empty() {
                return Some(line);
            }
        }
    }

    /// Takes the body of a heredoc, with its line breaks. Stays if its last line is not found.
    pub(super) fn heredoc(&mut self, delimiter: &str, strip_tabs: bool) -> Option<&'a str> {
        let before = self.position;
        loop {
            let end = self.position;
            let Some(range) = self.physical_line() else {
                self.position = before;
                return None;
            };
            let content = &self.source[range];
            let content = if strip_tabs { content.trim_start_matches('\t') } else { content };
            if content == delimiter {
                return Some(&self.source[before..end]);
            }
        }
    }

    /// Skips everything that is left.
    pub(super) fn skip_rest(&mut self) {
        self.position = self.source.len();
    }

    /// Appends a physical line without its continuation character. Returns whether it had one.
    fn push(&self, line: &mut Line, range: Range<usize>) -> bool {
        let content = self.source[range.clone()].trim_end_matches([' ', '\t']);
        match content.strip_suffix(self.escape) {
            Some(body) if !body.ends_with(self.escape) => {
                line.push(self.source, range.start..range.start + body.len());
                true
            }
            _ => {
                line.push(self.source, range);
                false
            }
        }
    }

    fn trimmed_physical_line(&mut self) -> Option<Range<usize>> {
        let range = self.physical_line()?;
        let content = &self.source[range.clone()];
        Some(range.start + content.len() - content.trim_start().len()..range.end)
    }

    /// The next line of the file without its line break.
    fn physical_line(&mut self) -> Option<Range<usize>> {
        let start = self.position;
        let rest = &self.source[start..];
        if rest.is_empty() {
            return None;
        }
        let length = rest.find('\n').unwrap_or(rest.len());
        self.position = (start + length + 1).min(self.source.len());
        Some(start..start + rest[..length].trim_end_matches('\r').len())
    }

    fn directives(&mut self, complaints: &mut Complaints) -> Directives {
        let mut directives = Directives { escape: '\\', syntax: None, check: None };
        let mut escape_seen = false;
        loop {
            let before = self.position;
            let found = self.trimmed_physical_line().and_then(|range| self.directive(range));
            let Some((key, key_span, value)) = found else {
                self.position = before;
                return directives;
            };
            let repeated = match key.as_str() {
                "escape" => std::mem::replace(&mut escape_seen, true),
                "syntax" => directives.syntax.is_some(),
                "check" => directives.check.is_some(),
                _ => {
                    self.position = before;
                    return directives;
                }
            };
            if repeated {
                let message = format!("only one {key} parser directive can be used");
                complaints.note(key_span, message, None);
                continue;
            }
            match key.as_str() {
                "escape" => set_escape(&mut directives, &value, complaints),
                "syntax" => directives.syntax = Some(value),
                _ => directives.check = Some(value),
            }
        }
    }

    /// Reads `# key = value`.
    fn directive(&self, range: Range<usize>) -> Option<(String, Span, Spanned<String>)> {
        let content = &self.source[range.clone()];
        let equals = content.find('=')?;
        let key = content[..equals].strip_prefix('#')?.trim();
        let value = content[equals + 1..].trim();
        let word = key.starts_with(|c: char| c.is_ascii_alphabetic())
            && key.chars().all(|c| c.is_ascii_alphanumeric());
        if !word || value.is_empty() {
            return None;
        }
        let place = |part: &str, from: usize| {
            let start = range.start + from + content[from..].find(part).unwrap_or(0);
            Span { start, end: start + part.len() }
        };
        let value = Spanned { value: value.to_owned(), span: place(value, equals + 1) };
        Some((key.to_ascii_lowercase(), place(key, 0), value))
    }
}

fn set_escape(directives: &mut Directives, value: &Spanned<String>, complaints: &mut Complaints) {
    match value.value.as_str() {
        "\\" => directives.escape = '\\',
        "`" => directives.escape = '`',
        other => {
            let message = format!("the escape character {other:?} is neither \\ nor `");
            complaints.note(value.span, message, None);
        }
    }
}
