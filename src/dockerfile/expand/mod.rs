//! Expansion of words: variables, quotes, escapes.
//!
//! The rules are those of the lexer in BuildKit's Dockerfile frontend, which follow POSIX `sh`
//! (2.6.2 Parameter Expansion) with `${v/pattern/text}` on top. An unset variable is empty.

mod error;
mod expander;
mod pattern;
mod word;

pub use error::ExpandError;
pub use word::{Expansion, Words, expand, expand_text, expand_words};
