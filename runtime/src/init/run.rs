//! Runs one step: world, account, child, supervision.

use rustix::process::{Signal, set_child_subreaper, set_parent_process_death_signal};
use rustix::thread::UnshareFlags;

use super::conversation::Builder;
use super::{account, launch, namespace, network, supervise, world};
use crate::step::StepExit;
use crate::wire::{Failure, OrFail as _, RunOrder};

/// Runs the step of `order`; this process is root of its namespaces.
pub(super) fn run(order: RunOrder, builder: &mut Builder) -> Result<StepExit, Failure> {
    if order.own_network {
        network::make_own()?;
    }
    if order.fresh_proc {
        become_first_process()?;
    }
    let cwd = world::build(&order)?;
    let account = account::find(&order.user)?;
    // Orphans of the step become children of this process, which is how their end is seen.
    set_child_subreaper(Some(rustix::process::getpid()))
        .or_fail(|| "cannot become the reaper of the step".into())?;
    let signals = supervise::watch_children()?;
    let main = launch::start(&order, &account, &cwd)?;
    supervise::see_to_end(main, signals, builder)
}

/// Continues as process 1 of a new process namespace; the old process only waits for it.
fn become_first_process() -> Result<(), Failure> {
    let action = || "cannot make a process namespace".to_owned();
    namespace::unshare(UnshareFlags::NEWPID).or_fail(action)?;
    if let Some(first) = namespace::split().or_fail(action)? {
        // The child answers the builder; this process must stay because the child's end is its.
        namespace::wait_for(first);
        namespace::leave(0);
    }
    set_parent_process_death_signal(Some(Signal::KILL)).or_fail(action)
}
