//! Positions in a source text, and errors that show them.
//!
//! Errors are rendered plainly (no colour, ASCII frame): they end up in the logs of CI systems.

use std::fmt;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// Editors on Windows put it in front of a text.
pub(super) const BYTE_ORDER_MARK: char = '\u{feff}';

/// Errors shown at most: a file that is no Dockerfile at all has one in every line.
const MAX_SHOWN: usize = 50;

/// A range of bytes in the source text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The offset of the first byte.
    pub start: usize,
    /// The offset after the last byte.
    pub end: usize,
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spanned<T> {
    /// What was written.
    pub value: T,
    /// Where it was written.
    pub span: Span,
}

/// One thing that is wrong with a Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The place the caret points at.
    pub span: Span,
    /// What is wrong: a lowercase fragment without a final dot.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Everything that is wrong with a Dockerfile, in the order of the text.
///
/// Displayed as one block for each error: message, `file:line:column`, the line, a caret, a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The name of the file, as in the messages.
    pub name: String,
    /// The whole text, which the blocks quote from.
    pub source_text: String,
    /// The errors; at least one.
    pub diagnostics: Vec<Diagnostic>,
}

/// Collects what is wrong while a file is read.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Complaints {
    /// Notes an error.
    pub(super) fn note(
        &mut self,
        span: Span,
        message: impl Into<String>,
        hint: impl Into<Option<&'static str>>,
    ) {
        let _: Option<()> = self.add(span, message, hint);
    }

    /// Notes an error. Returns `None` so that a caller can leave with it by `?` or `return`.
    pub(super) fn add<T>(
        &mut self,
        span: Span,
        message: impl Into<String>,
        hint: impl Into<Option<&'static str>>,
    ) -> Option<T> {
        let hint = hint.into().map(str::to_owned);
        self.diagnostics.push(Diagnostic { span, message: message.into(), hint });
        None
    }

    /// Notes an error whose hint is made of the text at hand.
    pub(super) fn add_hinted<T>(
        &mut self,
        span: Span,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Option<T> {
        self.diagnostics.push(Diagnostic { span, message: message.into(), hint });
        None
    }
}

impl std::error::Error for ParseError {}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let renderer = Renderer::plain();
        for (index, diagnostic) in self.diagnostics.iter().take(MAX_SHOWN).enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            f.write_str(&self.render(&renderer, diagnostic))?;
        }
        match self.diagnostics.len().saturating_sub(MAX_SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n\nand {more} more errors"),
        }
    }
}

impl ParseError {
    fn render(&self, renderer: &Renderer, diagnostic: &Diagnostic) -> String {
        let span = first_line(&self.source_text, diagnostic.span);
        // The mark takes a column in the text, but none on a screen.
        let text = self.source_text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.source_text);
        let mark = self.source_text.len() - text.len();
        let span =
            Span { start: span.start.saturating_sub(mark), end: span.end.saturating_sub(mark) };
        let snippet = Snippet::source(text)
            .path(self.name.as_str())
            .annotation(AnnotationKind::Primary.span(span.start..span.end));
        let mut group = Level::ERROR.primary_title(diagnostic.message.as_str()).element(snippet);
        if let Some(hint) = &diagnostic.hint {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        renderer.render(&[group])
    }
}

/// Returns the line and the column, both from 1, of a byte offset; columns count characters.
pub(super) fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let offset = floor_boundary(text, offset);
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
    let column = before[line_start..].chars().count() + 1;
    let mark = line == 1 && before.starts_with(BYTE_ORDER_MARK);
    (line, column - usize::from(mark))
}

/// Cuts a span at the end of its first line: a caret under one line says enough.
fn first_line(text: &str, span: Span) -> Span {
    let start = floor_boundary(text, span.start);
    let end = floor_boundary(text, span.end).max(start);
    let line = text[start..end].find('\n').map_or(end, |newline| start + newline);
    Span { start, end: line }
}

fn floor_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}
