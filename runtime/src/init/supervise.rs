//! Sees a step to its end: waits for its command, passes on an interrupt, leaves no process behind.
//!
//! Init is the reaper of all orphans of the step, so the step is over exactly when init has no
//! child any more. In a process namespace one call kills everything; without, the descendants are
//! found in `/proc`, again and again until none is left, because they may multiply meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll, ppoll};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::INTERRUPT_GRACE;
use super::conversation::Builder;
use super::launch::Started;
use super::namespace;
use super::notify::{self, Listener};
use crate::step::StepExit;
use crate::wire::{Failure, OrFail as _, Tag};

/// How long killed processes may take to go: one that hangs in the kernel is left behind.
const KILL_GRACE: Duration = Duration::from_secs(10);

/// Blocks the signal that tells of children, so that it can be waited for together with the
/// builder. Must be called before the child starts.
pub(super) fn watch_children() -> Result<SignalFd, Failure> {
    let action = || "cannot watch child processes".to_owned();
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block().or_fail(action)?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).or_fail(action)
}

/// Waits until `main` has ended, then ends what it left behind.
pub(super) fn see_to_end(
    started: Started,
    signals: SignalFd,
    builder: &mut Builder,
) -> Result<StepExit, Failure> {
    let Started { main, mut listener } = started;
    let mut deadline = None;
    let code = loop {
        if let Some(code) = reap(main) {
            break code;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            kill_all();
        }
        match wait(&signals, builder, &mut listener, deadline) {
            Event::Child => {}
            Event::Interrupt => {
                // Ended already if there is no such group.
                let _ = killpg(main, Signal::SIGTERM);
                deadline = deadline.or(Some(Instant::now() + INTERRUPT_GRACE));
            }
            Event::BuilderGone => {
                end_all(listener.as_ref());
                namespace::leave(1);
            }
        }
    };
    end_all(listener.as_ref());
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)
        .or_fail(|| "cannot read the step's resource usage".into())?;
    Ok(exit(code, &usage))
}

/// Fails when something of the step is still there, and could go on changing its root.
pub(super) fn check_end() -> Result<(), Failure> {
    match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Err(Errno::ECHILD) => Ok(()),
        _ => Err(Failure::new("cannot end the step".into(), Errno::EBUSY)),
    }
}

enum Event {
    /// A child may have ended, or time has passed.
    Child,
    Interrupt,
    BuilderGone,
}

fn wait(
    signals: &SignalFd,
    builder: &mut Builder,
    listener: &mut Option<Listener>,
    deadline: Option<Instant>,
) -> Event {
    let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
        // Past the deadline everything is killed again every now and then.
        let left = deadline.saturating_duration_since(Instant::now());
        PollTimeout::try_from(left.max(Duration::from_millis(20))).unwrap_or(PollTimeout::MAX)
    });
    let mut fds = [
        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        PollFd::new(builder.as_fd(), PollFlags::POLLIN),
        // Without a listener, something that is waited for anyway.
        PollFd::new(listener.as_ref().map_or(signals.as_fd(), Listener::as_fd), PollFlags::POLLIN),
    ];
    // An interrupted or failed call leaves nothing ready, and the loop goes round.
    let _ = poll(&mut fds, timeout);
    let [child, told, opened] = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
    let (child, told) = (!child.is_empty(), !told.is_empty());
    if !opened.is_empty() {
        notify::serve(listener, opened);
    }
    if child {
        while let Ok(Some(_)) = signals.read_signal() {}
    }
    if !told {
        return Event::Child;
    }
    match builder.hear() {
        Ok((Tag::Interrupt, _)) => Event::Interrupt,
        Ok(_) => Event::Child,
        Err(_) => Event::BuilderGone,
    }
}

/// Reaps all children that have ended; returns the exit code of `main` if it was among them.
fn reap(main: Pid) -> Option<i32> {
    let mut code = None;
    loop {
        let (pid, ended) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) => (pid, status),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => continue,
        };
        if pid == main {
            code = Some(ended);
        }
    }
}

/// Kills everything that is left of the step and waits until it is gone, which a listener says at
/// once.
fn end_all(listener: Option<&Listener>) {
    let deadline = Instant::now() + KILL_GRACE;
    let mut pause = Duration::from_micros(100);
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return,
            Ok(WaitStatus::StillAlive) => {
                if Instant::now() >= deadline {
                    return;
                }
                kill_all();
                rest(listener, pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            Ok(_) | Err(_) => {}
        }
    }
}

/// Waits for some time, or for the end of the last process that a listener tells of.
fn rest(listener: Option<&Listener>, pause: Duration) {
    let Some(listener) = listener else { return std::thread::sleep(pause) };
    // Asked for nothing, poll(2) says only that it has ended.
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::empty())];
    let pause = Some(TimeSpec::from_duration(pause));
    if ppoll(&mut fds, pause, None).is_ok_and(|ended| ended > 0) {
        // What is left of the last ones is for init to reap, which takes a moment.
        std::thread::yield_now();
    }
}

fn kill_all() {
    let own = Pid::this();
    if own.as_raw() == 1 {
        // Everything in this process namespace but this process.
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        return;
    }
    for pid in descendants(own, &parents()) {
        // Ended in the meantime; its number is not reused before it is reaped by its parent.
        let _ = kill(pid, Signal::SIGKILL);
    }
}

/// The parent of each process.
fn parents() -> BTreeMap<i32, i32> {
    let Ok(listing) = fs::read_dir("/proc") else { return BTreeMap::new() };
    listing
        .filter_map(|item| {
            let pid = item.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parent(&stat)?))
        })
        .collect()
}

/// The fourth field of proc_pid_stat(5), after a name that may contain anything.
fn parent(stat: &[u8]) -> Option<i32> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn descendants(of: Pid, parents: &BTreeMap<i32, i32>) -> Vec<Pid> {
    parents
        .keys()
        .copied()
        .filter(|pid| {
            let mut ancestor = *pid;
            // Bounded, because processes come and go while they are listed.
            for _ in 0..parents.len() {
                match parents.get(&ancestor) {
                    Some(parent) if *parent == of.as_raw() => return true,
                    Some(parent) if *parent > 0 => ancestor = *parent,
                    _ => return false,
                }
            }
            false
        })
        .map(Pid::from_raw)
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of a step fit 52 bits")]
fn exit(code: i32, usage: &Usage) -> StepExit {
    let seconds = |time: nix::sys::time::TimeVal| time.num_microseconds() as f64 / 1e6;
    StepExit {
        code,
        user_seconds: seconds(usage.user_time()),
        system_seconds: seconds(usage.system_time()),
        max_rss: u64::try_from(usage.max_rss()).unwrap_or(0) * 1024,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_read_past_any_name() {
        for (stat, expected) in [
            (b"7 (sh) S 3 7 7 0".as_slice(), Some(3)),
            (b"7 (a) b (c) R 12 1", Some(12)),
            (b"7 (x", None),
            (b"7 (x)", None),
        ] {
            assert_eq!(parent(stat), expected);
        }
    }

    #[test]
    fn descendants_are_found_at_any_depth() {
        let parents = BTreeMap::from([(1, 0), (5, 1), (6, 5), (7, 6), (8, 1), (9, 99), (10, 10)]);
        let found = descendants(Pid::from_raw(5), &parents);
        assert_eq!(found, [Pid::from_raw(6), Pid::from_raw(7)]);
    }
}
