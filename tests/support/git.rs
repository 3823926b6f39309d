//! Git repositories with fixed identities and times, made by the machine's git without its
//! configuration.

use std::path::{Path, PathBuf};

use super::command::Run;
use super::sandbox::Sandbox;

/// The time of every commit.
const DATE: &str = "2024-02-03T04:05:06+00:00";
/// The same in seconds since 1970.
pub(crate) const COMMIT_TIME: u64 = 1_706_933_106;

/// A repository with a worktree.
#[derive(Clone, Debug)]
pub(crate) struct Git {
    directory: PathBuf,
}

impl Git {
    /// Makes `directory`, which may hold files already, a repository.
    pub(crate) fn init(directory: impl Into<PathBuf>) -> Self {
        let git = Self { directory: directory.into() };
        fs_err::create_dir_all(&git.directory).expect("mkdir");
        git.run(&["init", "--quiet", "--initial-branch=main"]);
        git
    }

    /// A repository that is there already.
    pub(crate) fn open(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Runs git in the worktree and returns what it printed.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        command().within(&self.directory).args(words).succeed()
    }

    /// Commits everything as it lies in the worktree and returns the commit's id.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.run(&["add", "--all", "--force"]);
        self.run(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.run(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    /// Clones it to `name` in the sandbox, with the checkout's files made under `umask`.
    pub(crate) fn clone_with_umask(&self, sandbox: &Sandbox, name: &str, umask: &str) -> Self {
        let directory = sandbox.path(name);
        let script = r#"umask "$1"; exec git clone --quiet "$2" "$3""#;
        settled(Run::new("sh"))
            .args(["-c", script, "sh", umask])
            .arg(&self.directory)
            .arg(&directory)
            .succeed();
        Self { directory }
    }

    /// The worktree.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

fn command() -> Run {
    settled(Run::new("git"))
}

fn settled(run: Run) -> Run {
    run.env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("HOME", "/nonexistent")
        .env("GIT_AUTHOR_NAME", "Ada")
        .env("GIT_AUTHOR_EMAIL", "ada@example.org")
        .env("GIT_AUTHOR_DATE", DATE)
        .env("GIT_COMMITTER_NAME", "Ada")
        .env("GIT_COMMITTER_EMAIL", "ada@example.org")
        .env("GIT_COMMITTER_DATE", DATE)
}
