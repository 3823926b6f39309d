//! Runs one step: world, account, child, supervision.

use std::io;
use std::path::Path;

use rustix::fs::{Mode, open, openat};
use rustix::process::{
    DumpableBehavior, Signal, set_child_subreaper, set_dumpable_behavior,
    set_parent_process_death_signal,
};
use rustix::thread::UnshareFlags;

use super::ASIDE;
use super::conversation::Builder;
use super::furnishing::Furniture;
use super::grafts::Grafts;
use super::launch::Place;
use super::notify::{self, GivenFile, Injection};
use super::tree::directory_flags;
use super::{account, launch, namespace, network, privileges, root_tree, supervise, world};
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
    see_through(&order, Place::Entered { account, cwd }, None, builder)
}

/// Runs the step of `order` in a root tree, as root of the pod.
///
/// Only the step's own process changes its root: this one needs the pod's `/proc` to find what is
/// left of the step, and must reach the tree to put it back in order.
pub(super) fn run_in_pod(order: &RunOrder, builder: &mut Builder) -> Result<StepExit, Failure> {
    if order.own_network {
        let error = io::Error::from(io::ErrorKind::Unsupported);
        let action = "cannot give a step a network of its own without namespaces".to_owned();
        return Err(Failure::new(action, error));
    }
    let root = root_tree::prepare(order)?;
    let aside = order.scratch.join(ASIDE);
    let furniture = Furniture::put(&root, &aside, &order.hostname)?;
    let grafts = Grafts::put(&root, order)?;
    privileges::stay_in_root();
    let injection = virtual_files(&root, &grafts.given())?;
    let exit = see_through(order, Place::Tree(root), injection, builder)?;
    supervise::check_end()?;
    grafts.take_away()?;
    furniture.take_away(&aside)?;
    Ok(exit)
}

/// What is given to a step in the tree `root`, and the files `given`; nothing where that does not
/// work, because many steps need nothing else of it.
fn virtual_files(root: &Path, given: &[GivenFile<'_>]) -> Result<Option<Injection>, Failure> {
    match (notify::try_out(), given) {
        (Ok(()), _) => {}
        (Err(_), []) => return Ok(None),
        (Err(error), [file, ..]) => {
            let action = format!("cannot give the step {} from memory", file.path.display());
            return Err(Failure::new(action, error));
        }
    }
    let action = || format!("cannot open {}", root.display());
    let root = open(root, directory_flags(), Mode::empty()).or_fail(action)?;
    let mut injection = Injection::new(&root)?;
    given.iter().try_for_each(|file| injection.add(file))?;
    let proc = openat(&root, "proc", directory_flags(), Mode::empty()).or_fail(action)?;
    notify::fill(&proc, &injection)?;
    Ok(Some(injection))
}

fn see_through(
    order: &RunOrder,
    place: Place,
    injection: Option<Injection>,
    builder: &mut Builder,
) -> Result<StepExit, Failure> {
    // Orphans of the step become children of this process, which is how their end is seen.
    set_child_subreaper(Some(rustix::process::getpid()))
        .or_fail(|| "cannot become the reaper of the step".into())?;
    // Nothing that the step becomes may look into this process, not even one with its ids.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .or_fail(|| "cannot close the supervisor to the step".into())?;
    // What a step has started is found by this process alone; the closed socket tells it to.
    namespace::outlive_parent()?;
    let signals = supervise::watch_children()?;
    let started = launch::start(order, place, injection)?;
    supervise::see_to_end(started, signals, builder)
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
