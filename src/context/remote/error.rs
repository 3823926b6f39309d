//! Why a commit could not be fetched.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a commit could not be fetched. `place` is the repository's address; it never holds
/// credentials.
#[derive(Debug, Error)]
pub enum RemoteError {
    /// The server wants other credentials, or some.
    #[error("{place} refused to be read {with}{}", said(detail))]
    Unauthorized {
        /// The repository.
        place: String,
        /// `without credentials`, or `with the credentials from ORIGIN`.
        with: String,
        /// What the server said.
        detail: String,
    },
    /// There is no such repository, or none that may be seen.
    #[error("there is no repository {place}{}", said(detail))]
    RepositoryNotFound {
        /// The repository.
        place: String,
        /// What the server said.
        detail: String,
    },
    /// The repository has no such branch or tag.
    #[error("{place} has no branch or tag {name:?}")]
    RefNotFound {
        /// The repository.
        place: String,
        /// What was asked for.
        name: String,
    },
    /// The repository has nothing at all.
    #[error("{place} has no commit")]
    NoCommit {
        /// The repository.
        place: String,
    },
    /// The server does not give the commit.
    #[error("{place} does not give the commit {commit}: {reason}")]
    CommitRefused {
        /// The repository.
        place: String,
        /// What was asked for.
        commit: String,
        /// Why.
        reason: String,
    },
    /// The commit has no such directory.
    #[error("the commit {commit} of {place} has no directory {below}")]
    NoDirectory {
        /// The repository.
        place: String,
        /// The commit.
        commit: String,
        /// What was asked for.
        below: String,
    },
    /// What arrived is not a commit.
    #[error("what {place} gave for {wanted} is no commit")]
    NotACommit {
        /// The repository.
        place: String,
        /// What was asked for.
        wanted: String,
        /// The cause.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The pack that came is damaged.
    #[error("the pack that {place} sent is damaged")]
    Unsound {
        /// The repository.
        place: String,
        /// The cause.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// No connection came about, or it broke.
    #[error("{place} cannot be reached")]
    Unreachable {
        /// The repository.
        place: String,
        /// The cause.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The server was silent for too long.
    #[error("{place} was silent for {seconds} s")]
    Stalled {
        /// The repository.
        place: String,
        /// How long nothing came.
        seconds: u64,
    },
    /// The server ended the connection before it was done.
    #[error("{place} ended the connection in the middle of an answer{}", said(detail))]
    Broken {
        /// The repository.
        place: String,
        /// What was said last.
        detail: String,
    },
    /// The server said that something is wrong.
    #[error("{place} refused{}", said(detail))]
    Refused {
        /// The repository.
        place: String,
        /// What the server said.
        detail: String,
    },
    /// What answers is no git server, or one that cannot do what is needed.
    #[error("{place}: {reason}")]
    Garbage {
        /// The repository.
        place: String,
        /// What is odd.
        reason: String,
    },
    /// The HTTP client cannot be used as it is configured.
    #[error("{place} cannot be asked")]
    Client {
        /// The repository.
        place: String,
        /// The cause.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// `ssh` could not be started.
    #[error("cannot start ssh to reach {place}")]
    Ssh {
        /// The repository.
        place: String,
        /// The cause.
        source: io::Error,
    },
    /// What arrived could not be stored.
    #[error("cannot store what {place} sent in {}", directory.display())]
    Store {
        /// The repository.
        place: String,
        /// The place on disk.
        directory: PathBuf,
        /// The cause.
        source: Box<dyn StdError + Send + Sync>,
    },
}

fn said(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

/// A server's text, fit to be shown: one line, no control characters, not too long.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().filter(|c| !c.is_control()).take(MOST).collect();
    line.trim_start_matches("fatal: ").trim_end_matches('.').to_owned()
}
