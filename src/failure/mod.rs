//! Errors at the top: each is classified once into a kind, an exit code and hints.
//!
//! Modules below return typed errors at their seams and know nothing of exit codes. The table of
//! exit codes is part of the interface (README, "Exit codes") and tested there.

mod classify;

use std::fmt;

/// The classes of failure a caller can tell apart by the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A fault of longshore itself or of the machine (exit 1).
    Bug,
    /// The command line or the environment asks for something impossible (exit 2).
    Usage,
    /// A Dockerfile, longshore.yaml or .dockerignore is wrong (exit 10).
    BuildFile,
    /// The context or its git repository cannot be read (exit 11).
    Context,
    /// A registry or git server refused the credentials, or wants some (exit 20).
    RegistryAuth,
    /// A registry or git server cannot be reached or does not answer as one (exit 21).
    RegistryUnreachable,
    /// A registry or git server refused, or does not have what was asked for (exit 22).
    RegistryRefused,
    /// A RUN step failed with this code (exit 30; the executor exits with the code itself).
    Run(i32),
    /// Locks or the stages cache failed (exit 40).
    Synchronization,
    /// This machine or pod cannot do what is needed (exit 50).
    Unable,
    /// A signal ended the build (exit 128 + its number).
    Signal(i32),
}

impl Kind {
    /// The exit code of `longshore build`.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Bug => 1,
            Self::Usage => 2,
            Self::BuildFile => 10,
            Self::Context => 11,
            Self::RegistryAuth => 20,
            Self::RegistryUnreachable => 21,
            Self::RegistryRefused => 22,
            Self::Run(_) => 30,
            Self::Synchronization => 40,
            Self::Unable => 50,
            Self::Signal(number) => 128_u8.saturating_add(number as u8),
        }
    }

    /// The exit code of `longshore executor`: kaniko passes on a failed step's own code and says
    /// 1 for everything else (a signal stays a signal).
    pub const fn executor_exit_code(self) -> u8 {
        match self {
            Self::Run(code) if code > 0 && code < 256 => code as u8,
            Self::Signal(_) => self.exit_code(),
            _ => 1,
        }
    }
}

/// An error with its class and advice, ready to be said.
#[derive(Debug)]
pub struct Failure {
    /// What class of failure it is.
    pub kind: Kind,
    /// The error and its causes.
    pub error: anyhow::Error,
    /// What to do about it, each a sentence.
    pub hints: Vec<String>,
}

/// The result of everything in `commands`.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure without advice.
    pub fn new(kind: Kind, error: impl Into<anyhow::Error>) -> Self {
        Self { kind, error: error.into(), hints: Vec::new() }
    }

    /// A usage error with this message.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, anyhow::anyhow!("{message}"))
    }

    /// Adds a piece of advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The error and its causes, one a line, without repeating what a cause's parent said.
    pub fn message(&self) -> String {
        let mut text = self.error.to_string();
        for cause in self.error.chain().skip(1) {
            let cause = cause.to_string();
            if !text.contains(&cause) {
                text.push_str("\n  caused by: ");
                text.push_str(&cause);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let table = [
            (Kind::Bug, 1, 1),
            (Kind::Usage, 2, 1),
            (Kind::BuildFile, 10, 1),
            (Kind::Context, 11, 1),
            (Kind::RegistryAuth, 20, 1),
            (Kind::RegistryUnreachable, 21, 1),
            (Kind::RegistryRefused, 22, 1),
            (Kind::Run(3), 30, 3),
            (Kind::Synchronization, 40, 1),
            (Kind::Unable, 50, 1),
            (Kind::Signal(15), 143, 143),
        ];
        for (kind, build, executor) in table {
            assert_eq!(
                (kind.exit_code(), kind.executor_exit_code()),
                (build, executor),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_message_lists_its_causes_once() {
        let cause =
            anyhow::anyhow!("no such file").context("cannot read a").context("cannot build");
        let failure = Failure::new(Kind::Bug, cause);
        assert_eq!(
            failure.message(),
            "cannot build\n  caused by: cannot read a\n  caused by: no such file"
        );
    }
}
