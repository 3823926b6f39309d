//! Why a word cannot be expanded.

use thiserror::Error;

use super::expander::MAX_DEPTH;

/// Why a word cannot be expanded.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ExpandError {
    /// A quote that is opened and not closed.
    #[error("a quote ({quote}) is opened and not closed in {word:?}")]
    UnclosedQuote {
        /// The word.
        word: String,
        /// The quote.
        quote: char,
    },
    /// A `${` without its `}`, or a `${v/` without its second `/`.
    #[error("missing {missing:?} in {word:?}")]
    Unclosed {
        /// The word.
        word: String,
        /// The character that is missing.
        missing: char,
    },
    /// `${}`, `${:...}` or `${{`.
    #[error("bad substitution in {word:?}")]
    BadSubstitution {
        /// The word.
        word: String,
    },
    /// `${v` followed by something that is no known modifier.
    #[error("unsupported modifier {modifier:?} in {word:?}")]
    UnsupportedModifier {
        /// The word.
        word: String,
        /// The modifier.
        modifier: String,
    },
    /// A pattern with an escape that means nothing.
    #[error("invalid pattern {pattern:?} in {word:?}")]
    InvalidPattern {
        /// The word.
        word: String,
        /// The pattern.
        pattern: String,
    },
    /// `${v?message}` of an unset, or `${v:?message}` of an empty variable.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The message of the word, or a standard one.
        message: String,
    },
    /// Expansions nested too deeply.
    #[error("expansions in {word:?} nest more than {MAX_DEPTH} deep")]
    TooDeep {
        /// The word.
        word: String,
    },
}
