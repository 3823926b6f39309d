//! Operations on layers and steps, each one conversation with an init: what all rungs share.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::executor::{Feed, Output};
use super::process::{InitProcess, Pipes};
use crate::Error;
use crate::entry::EntrySink;
use crate::init::INTERRUPT_GRACE;
use crate::mount::Mount;
use crate::step::{ChangeStats, Network, StepExit, StepSpec, Stream, UnpackStats};
use crate::wire::{EntryReader, EntryWriter, Order, Reply, RunOrder, Tag, World, send};

/// How long the interrupt flag may stay unseen.
const INTERRUPT_POLL_MILLIS: u8 = 100;
/// How much longer than the grace period init gets before it is killed itself.
const INIT_GRACE: Duration = Duration::from_secs(5);

/// The executable that is init, and where it carries out orders.
#[derive(Debug)]
pub(super) struct Orders {
    init: PathBuf,
    world: World,
}

impl Orders {
    pub(super) fn new(init: PathBuf, world: World) -> Self {
        Self { init, world }
    }

    fn enter(&self, order: &Order) -> Result<InitProcess, Error> {
        let mut process = InitProcess::start(&self.init, self.world, order)?;
        process.enter(self.world)?;
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

    pub(super) fn unpack(
        &self,
        dest: &Path,
        lowers: &[PathBuf],
        feed: &mut Feed<'_>,
    ) -> Result<UnpackStats, Error> {
        let lowers = Some(absolute_all(lowers)?);
        self.feed(&Order::Unpack { dest: absolute(dest)?, lowers }, feed)
    }

    pub(super) fn unpack_apart(
        &self,
        dest: &Path,
        feed: &mut Feed<'_>,
    ) -> Result<UnpackStats, Error> {
        self.feed(&Order::Unpack { dest: absolute(dest)?, lowers: None }, feed)
    }

    pub(super) fn settle(&self, from: &Path, lowers: &[PathBuf], to: &Path) -> Result<(), Error> {
        let (from, to) = (absolute(from)?, absolute(to)?);
        self.enter(&Order::Settle { from, lowers: absolute_all(lowers)?, to })?.done()
    }

    /// Runs a step whose scratch directory exists, for no longer than `limit`.
    pub(super) fn run(
        &self,
        order: RunOrder,
        limit: Option<Duration>,
        output: &mut Output<'_>,
        interrupt: &AtomicBool,
    ) -> Result<StepExit, Error> {
        let order = Order::Run(Box::new(order));
        let (mut process, pipes) = InitProcess::start_with_output(&self.init, self.world, &order)?;
        process.enter(self.world)?;
        let mut watch = Watch::new(interrupt, limit);
        match pump(&mut process, pipes, output, &mut watch)? {
            Reply::Exited(_) if interrupt.load(Ordering::Relaxed) => Err(Error::Interrupted),
            Reply::Exited(exit) => match watch.exceeded {
                Some(limit) => Err(Error::TimedOut { limit }),
                None => Ok(exit),
            },
            other => Err(process.unexpected(other)),
        }
    }

    /// Passes on the entries that init answers `order` with.
    pub(super) fn changes(
        &self,
        order: &Order,
        sink: &mut dyn EntrySink,
    ) -> Result<ChangeStats, Error> {
        let mut process = self.enter(order)?;
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

    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), Error> {
        self.enter(&Order::Move { from: absolute(from)?, to: absolute(to)? })?.done()
    }

    pub(super) fn remove(&self, path: &Path) -> Result<(), Error> {
        self.enter(&Order::Remove { path: absolute(path)? })?.done()
    }
}

/// What init has to know of a step; `fresh_proc` is whether it gets a process namespace.
pub(super) fn run_order(
    step: &StepSpec,
    mounts: Vec<Mount>,
    fresh_proc: bool,
) -> Result<RunOrder, Error> {
    Ok(RunOrder {
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
        fresh_proc,
    })
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

pub(super) fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(Error::io("resolve", path))
}

pub(super) fn absolute_all(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    paths.iter().map(|path| absolute(path)).collect()
}
