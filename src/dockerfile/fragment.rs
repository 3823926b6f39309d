//! A logical line of a Dockerfile, and parts of it, that know where they stand in the source.

use std::ops::Range;

use super::diagnostics::Span;

/// A line whose continuations were joined.
///
/// The text is a sequence of pieces, each copied from one place of the source.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    joined: usize,
    source: usize,
}

/// A part of a [`Line`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    line: &'a Line,
    start: usize,
    end: usize,
}

impl Line {
    /// Appends the part of `source` in `range`.
    pub(super) fn push(&mut self, source: &str, range: Range<usize>) {
        if !range.is_empty() {
            self.pieces.push(Piece { joined: self.text.len(), source: range.start });
            self.text.push_str(&source[range]);
        }
    }

    /// The whole line.
    pub(super) fn whole(&self) -> Fragment<'_> {
        Fragment { line: self, start: 0, end: self.text.len() }
    }

    fn source_offset(&self, joined: usize) -> usize {
        let next = self.pieces.partition_point(|piece| piece.joined <= joined);
        let piece = next.checked_sub(1).and_then(|index| self.pieces.get(index));
        piece.map_or(0, |piece| piece.source + joined - piece.joined)
    }
}

impl<'a> Fragment<'a> {
    pub(super) fn text(&self) -> &'a str {
        &self.line.text[self.start..self.end]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Where the fragment stands. It may reach over continuations and comments in between.
    pub(super) fn span(&self) -> Span {
        if self.is_empty() {
            // The place after the last character before, so that a caret stays on its line.
            let place = match self.start.checked_sub(1) {
                Some(before) => self.line.source_offset(before) + 1,
                None => self.line.source_offset(0),
            };
            return Span { start: place, end: place };
        }
        let end = self.line.source_offset(self.end - 1) + 1;
        Span { start: self.line.source_offset(self.start), end }
    }

    /// The part of this fragment in `range`, counted from its start.
    pub(super) fn slice(&self, range: Range<usize>) -> Fragment<'a> {
        Fragment { line: self.line, start: self.start + range.start, end: self.start + range.end }
    }

    /// What comes after the first `offset` bytes.
    pub(super) fn from(&self, offset: usize) -> Fragment<'a> {
        self.slice(offset..self.end - self.start)
    }

    pub(super) fn trim(&self) -> Fragment<'a> {
        let text = self.text();
        let start = text.len() - text.trim_start().len();
        let end = text.trim_end().len().max(start);
        self.slice(start..end)
    }

    /// Splits at the first run of white space: the first word, and the rest after the run.
    pub(super) fn split_first_word(&self) -> (Fragment<'a>, Fragment<'a>) {
        let text = self.text();
        let end = text.find(is_separator).unwrap_or(text.len());
        let rest = text[end..].find(|c| !is_separator(c)).map_or(text.len(), |skip| end + skip);
        (self.slice(0..end), self.from(rest))
    }
}

/// The white space between words (BuildKit splits at these and at no other).
pub(super) fn is_separator(character: char) -> bool {
    matches!(character, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}
