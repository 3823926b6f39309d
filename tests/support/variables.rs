//! The few environment variables that steer the tests themselves.
//!
//! No test hands any of them on to a program under test, see [`super::command`].

/// Returns the number in `name`, or `default` where the variable is absent.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    let Some(text) = text(name) else { return default };
    text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number"))
}

/// Returns the value of `name`, if it is set to something.
#[expect(clippy::disallowed_methods, reason = "the tests' own switches come from tests/run")]
pub(crate) fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
