//! What proves to a git server who we are.

use std::fmt;

use base64::Engine as _;

/// A user name and a password or token; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
    origin: String,
}

impl Credentials {
    /// Credentials, and where they come from, for messages.
    pub fn new(
        user: impl Into<String>,
        password: impl Into<String>,
        origin: impl Into<String>,
    ) -> Self {
        Self { user: user.into(), password: password.into(), origin: origin.into() }
    }

    /// Where they come from.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// The value of an `Authorization` header (RFC 7617).
    pub(super) fn header(&self) -> String {
        let pair = format!("{}:{}", self.user, self.password);
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    }

    /// The text without them: a server may say what it was sent.
    pub(super) fn hide(&self, text: &str) -> String {
        let secrets = [&self.password, &self.user].into_iter().filter(|secret| secret.len() > 3);
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials(from {})", self.origin)
    }
}
