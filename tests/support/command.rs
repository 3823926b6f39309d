//! Starting programs so that nothing of the developer's machine leaks in.
//!
//! A program gets `PATH`, a fixed locale and what a test names, no other variable; its standard
//! input is empty; both outputs are captured whole. It is stopped after [`LIMIT`], so that a hang
//! is a failed test and not a stuck pipeline.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

/// How long any program may run, in the syntax of coreutils' `timeout`.
const LIMIT: &str = "900s";

/// A program that has not been started.
#[derive(Debug)]
pub(crate) struct Run {
    command: Command,
    words: Vec<OsString>,
}

/// How a program ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The exit code; 128 + n after signal n.
    pub(crate) code: i32,
    /// Everything it wrote to its standard output.
    pub(crate) stdout: String,
    /// Everything it wrote to its standard error.
    pub(crate) stderr: String,
    /// The command line, for messages.
    line: String,
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
    seen: String,
    line: String,
}

/// Returns a bare command without inherited variables; the only way to a process in the tests.
#[expect(clippy::disallowed_methods, reason = "tests drive real programs")]
pub(crate) fn bare(program: impl AsRef<OsStr>) -> Command {
    let mut path = super::variables::text("PATH").unwrap_or_default();
    path.push_str(":/usr/local/sbin:/usr/sbin:/sbin");
    let mut command = Command::new(program);
    command.env_clear().env("PATH", path).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

impl Run {
    /// A program under the time limit.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = bare("timeout");
        command.args(["--kill-after=10", LIMIT]).arg(program.as_ref());
        Self { command, words: vec![program.as_ref().to_owned()] }
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.words.push(word.as_ref().to_owned());
        self.command.arg(word);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(self, words: impl IntoIterator<Item = S>) -> Self {
        words.into_iter().fold(self, Self::arg)
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    pub(crate) fn within(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Gives it a file as its standard input; a named pipe is one that never ends.
    pub(crate) fn input(mut self, file: impl AsRef<Path>) -> Self {
        // Who can write to a pipe does not wait for a writer.
        let file = fs_err::OpenOptions::new().read(true).write(true).open(file.as_ref());
        let file = file.expect("a file to read");
        self.command.stdin(Stdio::from(file.into_parts().0));
        self
    }

    /// Runs it to its end.
    pub(crate) fn outcome(mut self) -> Outcome {
        let line = self.words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>();
        let line = line.join(" ");
        let output = self.command.output().unwrap_or_else(|error| panic!("{line}: {error}"));
        let status = output.status;
        Outcome {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            line,
        }
    }

    /// Starts it; what it writes to its standard output must fit into a pipe.
    pub(crate) fn start(mut self) -> Running {
        let line = self.words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>();
        let line = line.join(" ");
        let spawned = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{line}: {error}"));
        let stderr = BufReader::new(child.stderr.take().expect("it was asked for"));
        Running { child, stderr, seen: String::new(), line }
    }

    /// Runs it and returns its standard output; panics with everything it said when it fails.
    pub(crate) fn succeed(self) -> String {
        self.outcome().success().stdout
    }
}

impl Running {
    /// Waits until a line of standard error has `part` in it.
    pub(crate) fn until(&mut self, part: &str) {
        loop {
            let start = self.seen.len();
            let read = self.stderr.read_line(&mut self.seen).expect("it writes UTF-8");
            assert!(read > 0, "{} ended without {part:?}\n{}", self.line, self.seen);
            if self.seen[start..].contains(part) {
                return;
            }
        }
    }

    /// Waits until it has written so many lines to its standard error, or has ended.
    pub(crate) fn lines(&mut self, count: usize) {
        for _ in 0..count {
            let read = self.stderr.read_line(&mut self.seen).expect("it writes UTF-8");
            if read == 0 {
                return;
            }
        }
    }

    /// Kills the program itself, if it has not ended, and waits until it is gone.
    pub(crate) fn kill(self) -> Outcome {
        let timeout = self.child.id();
        let children = fs_err::read_to_string(format!("/proc/{timeout}/task/{timeout}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            // It may have ended since.
            Run::new("kill").args(["-s", "KILL", child]).outcome();
        }
        self.outcome()
    }

    /// Sends a signal to the program itself, not to the `timeout` that started it.
    pub(crate) fn signal(&self, name: &str) {
        let timeout = self.child.id();
        let children = fs_err::read_to_string(format!("/proc/{timeout}/task/{timeout}/children"));
        let children = children.expect("the program runs");
        Run::new("kill").args(["-s", name, children.trim()]).succeed();
    }

    /// Waits for its end.
    pub(crate) fn outcome(mut self) -> Outcome {
        let rest = self.stderr.read_to_string(&mut self.seen);
        rest.expect("it writes UTF-8");
        let output = self.child.wait_with_output().expect("it is our child");
        let status = output.status;
        Outcome {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: self.seen,
            line: self.line,
        }
    }
}

impl Outcome {
    /// Returns itself after code 0, else panics with the whole output.
    pub(crate) fn success(self) -> Self {
        assert!(self.code == 0, "{}", self.report());
        self
    }

    /// Returns itself after `code`, else panics with the whole output.
    pub(crate) fn exits(self, code: i32) -> Self {
        assert!(self.code == code, "expected exit code {code}\n{}", self.report());
        self
    }

    /// Returns the command line, the exit code and both outputs.
    pub(crate) fn report(&self) -> String {
        let mut text = format!("{}\nexit code {}\n", self.line, self.code);
        for (name, content) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            writeln!(text, "--- {name}\n{}", content.trim_end()).expect("strings take text");
        }
        text
    }
}
