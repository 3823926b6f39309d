//! What runs inside: the executable started anew, with one thread and nothing but a socket.
//!
//! Standard input is the socket to the builder; standard output and error are the pipes of the
//! step. [`serve`](conversation) reads one order, enters the namespaces, carries the order out,
//! answers and exits.
//!
//! - `tree` makes file system objects with exact metadata; `lowers` looks through the stack of
//!   layers below; `unpack` (with `implied`), `changes`, `removal` are the uses of them.
//! - `world` builds what RUN sees (with `overlay`, `stubs`, `devices`, `private_files` and
//!   `mounts`); `launch` turns a child into RUN (with `account`, `limits`, `seccomp`, `landlock`,
//!   `privileges`); `supervise` sees it to its
//!   end.
//! - `probing` tries mechanisms.

mod account;
mod changes;
mod conversation;
mod devices;
mod implied;
mod landlock;
mod launch;
mod limits;
mod lowers;
mod metadata;
mod mounts;
mod namespace;
mod network;
mod overlay;
mod private_files;
mod privileges;
mod probing;
mod removal;
mod run;
mod seccomp;
mod stubs;
mod supervise;
mod tree;
mod unpack;
mod world;

use std::ffi::OsStr;
use std::time::Duration;

/// The name under which the executable is init.
pub(crate) const HIDDEN_NAME: &str = "longshore-init";
/// The argument that goes with it, so that a file of that name is not mistaken for it.
pub(crate) const HIDDEN_ARGUMENT: &str = "inside-the-sandbox";
/// Name of a step's upper directory in its scratch directory.
pub(crate) const UPPER: &str = "upper";
/// How long an interrupted step has between SIGTERM and SIGKILL.
pub(crate) const INTERRUPT_GRACE: Duration = Duration::from_secs(10);

/// Runs init and ends the process when this process was started as init; returns otherwise.
///
/// Must be the first call of `main`: init assumes that there is one thread and no open file.
pub fn enter_if_init() {
    let mut arguments = std::env::args_os();
    let is_init = arguments.next().as_deref() == Some(OsStr::new(HIDDEN_NAME))
        && arguments.next().as_deref() == Some(OsStr::new(HIDDEN_ARGUMENT));
    if is_init {
        conversation::serve();
    }
}
