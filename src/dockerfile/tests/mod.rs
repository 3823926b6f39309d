//! Tests of the whole module: text in, stages or errors out.

mod errors;
mod expansion;
mod forms;
mod lines;
mod mounts;
mod properties;

use super::{Dockerfile, InstructionKind, Span, Spanned, parse};

/// Parses a text that must be valid.
fn read(text: &str) -> Dockerfile {
    parse("Dockerfile", text).unwrap_or_else(|error| panic!("{text:?}:\n{error}"))
}

/// Parses one instruction of a stage.
fn instruction(text: &str) -> InstructionKind {
    let file = read(&format!("FROM scratch\n{text}\n"));
    let [only] = file.stages[0].instructions.as_slice() else { panic!("{file:?}") };
    only.kind.clone()
}

/// The place of the only `part` in `text`.
fn place(text: &str, part: &str) -> Span {
    let start = text.find(part).unwrap();
    assert_eq!(text.rfind(part), Some(start), "{part:?} stands twice in {text:?}");
    Span { start, end: start + part.len() }
}

/// The values without their places.
fn values(words: &[Spanned<String>]) -> Vec<&str> {
    words.iter().map(|word| word.value.as_str()).collect()
}
