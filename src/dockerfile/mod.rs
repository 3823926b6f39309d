//! Reads Dockerfiles: from text to stages and instructions that know where they stand.
//!
//! The language is the one of BuildKit's Dockerfile frontend ("Dockerfile reference", and the
//! behaviour of its parser where the reference is silent). The module is pure: it reads no file,
//! resolves no image and expands no variable by itself; [`expand`] does so on request with the
//! caller's values.
//!
//! Invariants:
//! - every [`Span`] lies inside the source text, on character boundaries;
//! - an error names file, line and column, and all errors of a file are reported together;
//! - what this release does not support is an error, never silently skipped;
//! - no text, however broken, makes the parser or the expansion panic.

mod ast;
mod copy;
mod diagnostics;
mod duration;
mod expand;
mod flags;
mod fragment;
mod healthcheck;
mod heredoc;
mod instruction;
mod json_form;
mod lines;
mod mount;
mod parse;
mod ports;
mod run;
mod words;

pub use ast::{
    AddFiles, ArgDeclaration, Assignment, Command, CopyFiles, Directives, Dockerfile, HealthTest,
    Healthcheck, Heredoc, Instruction, InstructionKind, RunNetwork, RunOptions, Stage, Trigger,
};
pub use copy::{RemoteSource, octal_mode, remote_source};
pub use diagnostics::{Diagnostic, ParseError, Span, Spanned};
pub use duration::parse as parse_duration;
pub use expand::{ExpandError, Expansion, Words, expand, expand_text, expand_words};
pub use heredoc::SCRIPTS;
pub use mount::{MountFlag, MountKey, MountOption, MountOwner, RunMount, RunMountKind, Sharing};
pub use parse::{parse, parse_trigger};
pub use ports::{PortError, exposed_ports};

#[cfg(test)]
mod tests;
