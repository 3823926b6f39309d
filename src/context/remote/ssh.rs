//! The way through the machine's `ssh` program, with its own configuration, keys and known hosts.
//!
//! It is started with an environment of its own, may not ask anybody anything (`BatchMode`), and is
//! ended with the connection. The names that it gets as arguments were checked where they were
//! read: none can be taken for an option, and the path is quoted for the shell of the other side.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::task::JoinHandle;

use super::RemoteError;
use super::error::shown;

/// How much of what it says is kept.
const WORDS: usize = 4096;
/// How long its end is waited for once the connection has ended: a process that it left in the
/// background (`ControlPersist`) may hold its standard error open for ever.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Who is to be logged in where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Login<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
}

/// A running `ssh`.
#[derive(Debug)]
pub(super) struct SshProgram {
    child: Child,
    words: Option<JoinHandle<Vec<u8>>>,
}

impl SshProgram {
    /// Starts it; the other ends of its standard streams come with it.
    pub(super) fn start(
        login: &Login<'_>,
        path: &str,
        place: &str,
        environment: &BTreeMap<String, String>,
    ) -> Result<(Self, Receiver, Sender), RemoteError> {
        let fail = |source| RemoteError::Ssh { place: place.to_owned(), source };
        #[expect(clippy::disallowed_methods, reason = "ssh is a program of the machine")]
        let mut command = std::process::Command::new("ssh");
        command.env_clear().envs(environment).env("GIT_PROTOCOL", "version=2");
        command.args(["-o", "BatchMode=yes", "-o", "SendEnv=GIT_PROTOCOL"]);
        if let Some(port) = login.port {
            command.args(["-p", &port.to_string()]);
        }
        let host = match login.user {
            Some(user) => format!("{user}@{}", login.host),
            None => login.host.to_owned(),
        };
        command.arg("--").arg(host).arg(format!("git-upload-pack {}", quoted(path)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(fail)?;
        let (input, output, errors) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut program = Self { child, words: None };
        let missing = || fail(io::ErrorKind::BrokenPipe.into());
        let writer = Sender::from_owned_fd(OwnedFd::from(input.ok_or_else(missing)?));
        let reader = Receiver::from_owned_fd(OwnedFd::from(output.ok_or_else(missing)?));
        let errors = Receiver::from_owned_fd(OwnedFd::from(errors.ok_or_else(missing)?));
        program.words = Some(tokio::spawn(collect(errors.map_err(fail)?)));
        Ok((program, reader.map_err(fail)?, writer.map_err(fail)?))
    }

    /// What it said, once it has ended.
    pub(super) async fn last_words(mut self) -> String {
        let Some(words) = self.words.take() else { return String::new() };
        match tokio::time::timeout(LAST_WORDS, words).await {
            Ok(Ok(words)) => String::from_utf8_lossy(&words).into_owned(),
            // It is killed with `self`; nothing more is to be known.
            Ok(Err(_)) | Err(_) => String::new(),
        }
    }
}

impl Drop for SshProgram {
    fn drop(&mut self) {
        // It may be gone already. Waiting is short: a killed process does not hesitate.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end, for the program must not be held up, and keeps the end.
async fn collect(mut errors: Receiver) -> Vec<u8> {
    let mut words = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(read) = errors.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        words.extend_from_slice(&buffer[..read]);
        let excess = words.len().saturating_sub(WORDS);
        words.drain(..excess);
    }
    words
}

/// The error of a connection that ended, from what was said on the way.
pub(super) fn reason(place: String, words: &str) -> RemoteError {
    let detail = shown(words);
    let says = |parts: &[&str]| {
        let words = words.to_ascii_lowercase();
        parts.iter().any(|part| words.contains(part))
    };
    if says(&["permission denied", "too many authentication failures"]) {
        let with = "with the keys that ssh has".to_owned();
        return RemoteError::Unauthorized { place, with, detail };
    }
    if says(&["repository not found", "not appear to be a git repository", "could not be found"]) {
        return RemoteError::RepositoryNotFound { place, detail };
    }
    let unreachable = [
        "could not resolve",
        "connection refused",
        "connection timed out",
        "host key verification failed",
        "no route to host",
        "connection closed",
        "connection reset",
    ];
    if says(&unreachable) {
        return RemoteError::Unreachable { place, source: detail.into() };
    }
    RemoteError::Broken { place, detail }
}

/// A word for a POSIX shell.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted("/srv/a b.git"), "'/srv/a b.git'");
        assert_eq!(quoted("a'; rm -rf '"), r"'a'\''; rm -rf '\'''");
    }

    #[test]
    fn what_ssh_says_tells_what_happened() {
        let kind = |words: &str| match reason("p".to_owned(), words) {
            RemoteError::Unauthorized { .. } => "unauthorized",
            RemoteError::RepositoryNotFound { .. } => "no repository",
            RemoteError::Unreachable { .. } => "unreachable",
            _ => "broken",
        };
        for (words, expected) in [
            ("git@example.org: Permission denied (publickey).\n", "unauthorized"),
            ("ERROR: Repository not found.\n", "no repository"),
            ("fatal: '/x' does not appear to be a git repository\n", "no repository"),
            ("ssh: Could not resolve hostname example.invalid: Name\n", "unreachable"),
            ("Host key verification failed.\r\n", "unreachable"),
            ("", "broken"),
        ] {
            assert_eq!(kind(words), expected, "{words}");
        }
    }
}
