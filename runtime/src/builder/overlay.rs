//! The rung `overlay-full`, seen from the builder: each operation is one conversation with an init.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::agent::Agent;
use super::executor::{Executor, Feed, Output};
use super::process::{InitProcess, Pipes};
use super::scratch;
use crate::Error;
use crate::entry::EntrySink;
use crate::init::INTERRUPT_GRACE;
use crate::mount::{Mount, MountKind};
use crate::step::{ChangeStats, Network, StepExit, StepSpec, Stream, UnpackStats};
use crate::wire::{EntryReader, EntryWriter, Order, Reply, RunOrder, Tag, send};

/// How long the interrupt flag may stay unseen.
const INTERRUPT_POLL_MILLIS: u8 = 100;
/// How much longer than the grace period init gets before it is killed itself.
const INIT_GRACE: Duration = Duration::from_secs(5);

/// Steps over an overlay in a user namespace with many ids.
#[derive(Debug)]
pub(super) struct Overlay {
    init: PathBuf,
    fresh_proc: bool,
}

impl Overlay {
    pub(super) fn new(init: PathBuf, fresh_proc: bool) -> Self {
        Self { init, fresh_proc }
    }

    fn enter(&self, order: &Order) -> Result<InitProcess, Error> {
        let mut process = InitProcess::start(&self.init, order)?;
        process.enter()?;
        Ok(process)
    }

    fn feed(&self, order: &Order, feed: &mut Feed<'_>) -> Result<UnpackStats, Error> {
        let mut process = self.enter(order)?;
        let mut writer = EntryWriter::new(&process.socket);
        let fed = feed(&mut writer).and_then(|()| writer.finish());
        let broken = writer.broken;
        match fed {
            // A broken socket is init's way to stop early; its reply tells the reason.
            Err(error) if !broken => return Err(Error::Entries(error)),
            Ok(()) | Err(_) => {}
        }
        writer.abandon();
        match process.reply()? {
            Reply::Unpacked(stats) => Ok(stats),
            other => Err(process.unexpected(other)),
        }
    }

    fn run_order(&self, step: &StepSpec, mounts: Vec<Mount>) -> Result<Order, Error> {
        Ok(Order::Run(Box::new(RunOrder {
            lowers: absolute_all(&step.lowers)?,
            scratch: absolute(&step.scratch)?,
            argv: step.argv.clone(),
            env: step.env.clone(),
            secret_env: step.secret_env.clone(),
            mounts,
            cwd: step.cwd.clone(),
            user: step.user.clone(),
            hostname: step.hostname.clone(),
            own_network: step.network == Network::None,
            fresh_proc: self.fresh_proc,
        })))
    }
}

impl Executor for Overlay {
    fn unpack(
        &self,
        dest: &Path,
        lowers: &[PathBuf],
        feed: &mut Feed<'_>,
    ) -> Result<UnpackStats, Error> {
        let lowers = Some(absolute_all(lowers)?);
        self.feed(&Order::Unpack { dest: absolute(dest)?, lowers }, feed)
    }

    fn unpack_apart(&self, dest: &Path, feed: &mut Feed<'_>) -> Result<UnpackStats, Error> {
        self.feed(&Order::Unpack { dest: absolute(dest)?, lowers: None }, feed)
    }

    fn settle(&self, from: &Path, lowers: &[PathBuf], to: &Path) -> Result<(), Error> {
        let (from, to) = (absolute(from)?, absolute(to)?);
        self.enter(&Order::Settle { from, lowers: absolute_all(lowers)?, to })?.done()
    }

    fn run(
        &self,
        step: &StepSpec,
        output: &mut Output<'_>,
        interrupt: &AtomicBool,
    ) -> Result<StepExit, Error> {
        if interrupt.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        scratch::make_plain(&step.scratch)?;
        let (mounts, _agents) = prepare(step)?;
        let order = self.run_order(step, mounts)?;
        let (mut process, pipes) = InitProcess::start_with_output(&self.init, &order)?;
        process.enter()?;
        let mut watch = Watch::new(interrupt, step.timeout);
        match pump(&mut process, pipes, output, &mut watch)? {
            Reply::Exited(_) if interrupt.load(Ordering::Relaxed) => Err(Error::Interrupted),
            Reply::Exited(exit) => match watch.exceeded {
                Some(limit) => Err(Error::TimedOut { limit }),
                None => Ok(exit),
            },
            other => Err(process.unexpected(other)),
        }
    }

    fn changes(&self, step: &StepSpec, sink: &mut dyn EntrySink) -> Result<ChangeStats, Error> {
        let mut process = self.enter(&Order::Changes {
            upper: absolute(&scratch::upper(&step.scratch))?,
            lowers: absolute_all(&step.lowers)?,
            clamp_mtime: step.clamp_mtime,
        })?;
        let socket = process.socket.try_clone().map_err(Error::Entries)?;
        let mut reader = EntryReader::new(socket);
        loop {
            let next = match reader.next() {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(process.died());
                }
                next => next.map_err(Error::Entries)?,
            };
            match next {
                Ok(entry) => sink.entry(&entry, &mut reader).map_err(Error::Entries)?,
                Err((Tag::Reply, body)) => match process.decode(&body)? {
                    Reply::Changed(stats) => return Ok(stats),
                    other => return Err(process.unexpected(other)),
                },
                Err(_) => return Err(process.nonsense()),
            }
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.enter(&Order::Move { from: absolute(from)?, to: absolute(to)? })?.done()
    }

    fn remove(&self, path: &Path) -> Result<(), Error> {
        self.enter(&Order::Remove { path: absolute(path)? })?.done()
    }
}

/// One pipe of a step.
struct Pipe {
    fd: OwnedFd,
    stream: Stream,
}

/// Passes on what the step prints until init has answered and both pipes are at their end.
fn pump(
    process: &mut InitProcess,
    (stdout, stderr): Pipes,
    output: &mut Output<'_>,
    watch: &mut Watch<'_>,
) -> Result<Reply, Error> {
    let mut pipes = vec![
        Pipe { fd: stdout.into(), stream: Stream::Stdout },
        Pipe { fd: stderr.into(), stream: Stream::Stderr },
    ];
    let mut reply = None;
    let mut chunk = vec![0; 64 << 10];
    while reply.is_none() || !pipes.is_empty() {
        if reply.is_none() && watch.is_over() {
            watch.press(process);
        }
        let (ready, answered) = wait(&process.socket, &pipes, reply.is_none())?;
        if reply.is_some() && ready.is_empty() {
            // All processes of the step are dead and all they wrote is read: whoever still holds
            // the pipes open is not part of it.
            break;
        }
        for at in ready.into_iter().rev() {
            match nix::unistd::read(&pipes[at].fd, &mut chunk) {
                Ok(0) => drop(pipes.remove(at)),
                Ok(count) => output(pipes[at].stream, &chunk[..count]),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::Entries(errno.into())),
            }
        }
        if answered {
            reply = Some(process.reply()?);
        }
    }
    reply.ok_or_else(|| process.nonsense())
}

/// What ends a step before its end.
struct Watch<'a> {
    interrupt: &'a AtomicBool,
    start: Instant,
    limit: Option<Duration>,
    /// The limit, once it is exceeded.
    exceeded: Option<Duration>,
    pressed: Option<Instant>,
}

impl<'a> Watch<'a> {
    fn new(interrupt: &'a AtomicBool, limit: Option<Duration>) -> Self {
        Self { interrupt, start: Instant::now(), limit, exceeded: None, pressed: None }
    }

    /// Whether the step is to end now.
    fn is_over(&mut self) -> bool {
        self.exceeded = self.exceeded.or(self.limit.filter(|limit| self.start.elapsed() >= *limit));
        self.exceeded.is_some() || self.interrupt.load(Ordering::Relaxed)
    }

    /// Interrupts the step once, and kills an init that does not react.
    fn press(&mut self, process: &mut InitProcess) {
        match self.pressed {
            None => {
                // An error means that init has ended, which the reading side will see.
                let _ = send(&mut process.socket, Tag::Interrupt, &[]);
                self.pressed = Some(Instant::now());
            }
            Some(at) if at.elapsed() > INTERRUPT_GRACE + INIT_GRACE => process.kill(),
            Some(_) => {}
        }
    }
}

/// The mounts of a step as init takes them, and the agents that answer as long as they are kept.
fn prepare(step: &StepSpec) -> Result<(Vec<Mount>, Vec<Agent>), Error> {
    let (mut mounts, mut agents) = (step.mounts.clone(), Vec::new());
    for mount in &mut mounts {
        match &mut mount.kind {
            MountKind::Bind { tree, .. } => tree.layers = absolute_all(&tree.layers)?,
            MountKind::Cache { dir, initial, .. } => {
                *dir = absolute(dir)?;
                if let Some(tree) = initial {
                    tree.layers = absolute_all(&tree.layers)?;
                }
            }
            MountKind::SshAgent { socket, .. } => {
                let name = format!("agent{}", agents.len());
                let agent = Agent::lend(&step.scratch, &name, socket)?;
                *socket = absolute(agent.path())?;
                agents.push(agent);
            }
            MountKind::Tmpfs { .. } | MountKind::Secret { .. } => {}
        }
    }
    Ok((mounts, agents))
}

/// Waits for output or the answer; returns which pipes are ready, and whether the socket is.
fn wait(
    socket: &UnixStream,
    pipes: &[Pipe],
    expect_reply: bool,
) -> Result<(Vec<usize>, bool), Error> {
    let mut fds: Vec<PollFd<'_>> =
        pipes.iter().map(|pipe| PollFd::new(pipe.fd.as_fd(), PollFlags::POLLIN)).collect();
    if expect_reply {
        fds.push(PollFd::new(socket.as_fd(), PollFlags::POLLIN));
    }
    match poll(&mut fds, PollTimeout::from(INTERRUPT_POLL_MILLIS)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(Error::Entries(errno.into())),
    }
    let is_ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
    let ready = (0..pipes.len()).filter(|at| is_ready(&fds[*at])).collect();
    Ok((ready, expect_reply && fds.last().is_some_and(is_ready)))
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(Error::io("resolve", path))
}

fn absolute_all(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    paths.iter().map(|path| absolute(path)).collect()
}
