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
//! - `root_tree` makes and reads the tree that a step runs in where nothing can be mounted:
//!   `layering` (with `copying`) applies layers to it, `furnishing` and `grafts` put in what the
//!   layer must not have, `new_layer` makes a layer directory of what was changed.
//! - `notify` answers what such a step opens of `/proc` and `/dev`; the filter that it takes is
//!   `seccomp`'s, written with `bpf`.
//! - `probing` tries mechanisms; `place` keeps what an order works in from being removed.

mod account;
mod bpf;
mod changes;
mod conversation;
mod copying;
mod devices;
mod furnishing;
mod grafts;
mod implied;
mod landlock;
mod launch;
mod layering;
mod limits;
mod lowers;
mod metadata;
mod mounts;
mod namespace;
mod network;
mod new_layer;
mod notify;
mod overlay;
mod place;
mod private_files;
mod privileges;
mod probing;
mod removal;
mod root_tree;
mod run;
mod seccomp;
mod stubs;
mod supervise;
mod tree;
mod unpack;
mod world;

use std::ffi::OsStr;
use std::time::Duration;

pub(crate) use grafts::give_back;
pub(crate) use root_tree::{read_list, write_list};

/// The name under which the executable is init.
pub(crate) const HIDDEN_NAME: &str = "longshore-init";
/// The argument that goes with it, so that a file of that name is not mistaken for it.
pub(crate) const HIDDEN_ARGUMENT: &str = "inside-the-sandbox";
/// Name of a step's upper directory in its scratch directory.
pub(crate) const UPPER: &str = "upper";
/// Name of a step's root tree in its scratch directory.
pub(crate) const TREE: &str = "tree";
/// Where in the scratch directory the image's own things are while the step's are in their place.
pub(crate) const ASIDE: &str = "aside";
/// Where in the scratch directory is what goes into the tree in place of mounts, and what the image
/// has there meanwhile.
pub(crate) const GRAFTS: &str = "mounts";
/// Name of the list, in a root tree's directory, of the layers that it is the view of.
pub(crate) const LAYERS: &str = "layers";
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
