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
