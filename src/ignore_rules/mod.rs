//! Docker's `.dockerignore` rules: what of a build context is left out.
//!
//! The language is the one of moby's `patternmatcher` package (as documented under "Dockerignore
//! file" in Docker's build manual), which is *not* gitignore: every pattern is anchored at the
//! context's root, a pattern that matches a directory also matches all below it, `!` re-includes,
//! and the last rule that matches decides. Two accidents of moby's translation to regular
//! expressions are left out: a backslash before a letter is that letter (not a regexp class), and
//! `*` and `?` between brackets are themselves.
//!
//! Pure: text in, verdicts out; nothing here reads a file. Paths are bytes relative to the
//! context's root with single slashes, without `.` or `..`.
//!
//! Invariant: where [`IgnoreRules::may_match_below`] is false, every path below the directory has
//! the directory's own verdict.

mod go_match;
mod pattern;
mod rules;

pub use go_match::{BadPattern, GoPattern, clean_path};
pub use rules::{IgnoreError, IgnoreRules};

#[cfg(test)]
mod tests;
