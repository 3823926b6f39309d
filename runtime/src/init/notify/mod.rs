//! Virtual files for a step that nothing can be mounted for: seccomp_unotify(2).
//!
//! The filter of the step (`seccomp`) tells init of calls that name files (`calls`). Init reads the
//! name from the task's memory (`memory`) and, if it is on the list of virtual files (`names`),
//! carries the call out in the task's name (`task`, `caller`, `opening`, `answering`); all other
//! calls it hands back to the kernel. `listener` is what init polls, `kernel` how it speaks,
//! `handover` how the listener gets to init, `injection` what there is to give, `skeleton` what is on
//! disk all the same, and `trial` finds out whether any of this works.
//!
//! Invariant: no decision that keeps a step in rests on what init has read. A call that is handed
//! back is carried out by the kernel in the step's own root, whatever its memory says by then; a
//! call that is carried out gets what init's own copy of the name stands for.
//!
//! Invariant: init never waits for a step here, and has no thread for it.
//!
//! # What it costs
//! One call that is told of and handed back: 5 to 6 microseconds of processor time, both sides
//! together, on a busy machine with two processors; one virtual file: about 25. So, with
//! `Extent::Usual`: compiling ten small C files 0.38 → 0.55 s, starting python fifty times
//! 1.76 → 1.94 s, reading ten thousand files through `find | xargs cat` 0.40 → 0.55 s, `tar` of
//! `/usr/share/doc` 0.26 → 0.42 s. Looking at what names lead to is among the usual calls because
//! `diff <(a) <(b)`, `install /dev/stdin FILE`, `cp /dev/stdin FILE` and `test -e /proc/...` do that
//! before they open; what walks over trees do (lstat(2)) is not, as it is the bulk of all calls
//! and nearly never about a virtual file.
//!
//! # What it cannot do
//! - Directories are never virtual: `/proc` cannot be listed beyond its skeleton (`ps` finds
//!   nobody), and `/proc/self/fd` not at all.
//! - Programs cannot be executed by a virtual name (`/proc/self/exe`), nor reached through a link
//!   of the image other than to the skeleton.
//! - A process that has changed its user and not executed anything since is closed to init, as is
//!   one on a machine where only administrators may trace (`ptrace_scope` 2): the kernel answers.
//! - There can be one listener only: a nested builder that wants its own gets `EBUSY`.
//! - It takes a kernel of 5.14 or later, for a descriptor that is given and answered in one go;
//!   before 5.19 a signal handler that runs while a link is read may find its stack written to.
//! - Programs of another architecture (i386) have no virtual files.
//!
//! Rights over pseudo file systems that a step lacks (`chown` of `/sys`) are not made up: where
//! there are mounts there is no listener, and where there is one `/sys` is a plain directory.

mod answering;
mod caller;
mod calls;
mod handover;
mod injection;
mod kernel;
mod listener;
mod memory;
mod names;
mod opening;
mod skeleton;
mod task;
#[cfg(test)]
mod tests;
mod trial;

pub(super) use calls::Extent;
pub(super) use handover::pair;
pub(super) use injection::{GivenFile, Injection};
pub(super) use listener::{Listener, install, serve};
pub(super) use skeleton::fill;
pub(super) use trial::try_out;
