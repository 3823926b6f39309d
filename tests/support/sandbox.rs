//! A directory of its own for each test, with the homes that the programs under test see.
//!
//! It lies below `target/`, on the checkout's file system, because the temporary directory of a
//! machine is often a tmpfs that differs from where builds really happen.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::command::Run;

/// A test's directory; removed with everything below it at the end.
#[derive(Debug)]
pub(crate) struct Sandbox {
    directory: TempDir,
}

impl Sandbox {
    /// An empty sandbox.
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("case-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("target/tmp is writable");
        let sandbox = Self { directory };
        for name in ["home", "state", "work", "tmp"] {
            fs_err::create_dir(sandbox.path(name)).expect("the sandbox is empty");
        }
        sandbox
    }

    /// The sandbox's own directory.
    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// A path in the sandbox.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join(name)
    }

    /// Writes a file (mode 0644) with the directories above it, and returns its path.
    pub(crate) fn write(&self, name: impl AsRef<Path>, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        write(&path, text);
        path
    }

    /// Any program, with a home of its own.
    pub(crate) fn tool(&self, program: &str) -> Run {
        self.at_home(Run::new(program))
    }

    /// Gives `run` the sandbox's home and temporary directory.
    pub(crate) fn at_home(&self, run: Run) -> Run {
        run.env("HOME", self.path("home")).env("TMPDIR", self.path("tmp")).within(self.root())
    }
}

/// Writes a file (mode 0644) with the directories above it.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs_err::create_dir_all(path.parent().expect("the path has a parent")).expect("mkdir");
    fs_err::write(path, text).expect("write");
    set_mode(path, 0o644);
}

/// Sets the permission bits of `path`.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
}
