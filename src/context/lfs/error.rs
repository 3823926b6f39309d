//! Why a file could not be taken from Git LFS.

use std::io;

use thiserror::Error;

use super::pointer::PointerError;

/// Why a file could not be taken from Git LFS; whoever holds it names the file.
#[derive(Debug, Error)]
pub enum LfsError {
    /// The pointer is not understood.
    #[error("its pointer is not understood: {0}")]
    Pointer(#[from] PointerError),
    /// The program could not be started.
    #[error("the program git-lfs cannot be started")]
    Start(#[source] io::Error),
    /// Its output could not be read.
    #[error("the output of git-lfs cannot be read")]
    Output(#[source] io::Error),
    /// The program failed.
    #[error("git-lfs failed ({status})")]
    Failed {
        /// How it ended.
        status: String,
        /// What it said last, without credentials.
        last_lines: Vec<String>,
    },
    /// The program gave the pointer itself.
    #[error("git-lfs gave the pointer back")]
    Unchanged,
    /// The program gave something else.
    #[error("there are {found}, but the pointer names {expected}")]
    Differs {
        /// What came.
        found: String,
        /// What should have come.
        expected: String,
    },
    /// The build was told to end.
    #[error("interrupted")]
    Interrupted,
}
