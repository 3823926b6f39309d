//! Init as the builder sees it: a child process and a socket.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SndBuf;

use super::id_map;
use crate::Error;
use crate::capabilities::Map;
use crate::init::{HIDDEN_ARGUMENT, HIDDEN_NAME};
use crate::wire::{Failure, FailureKind, MAX_FRAME, Order, Reply, Tag, World, receive, send};

/// How long an init that was told to stop, or has answered, may take to end.
const END_GRACE: Duration = Duration::from_secs(5);

/// Bytes of entries on their way between the builder and init.
const SOCKET_BUFFER: usize = 1 << 20;

/// A running init; when dropped, it is told to stop by closing the socket.
#[derive(Debug)]
pub(super) struct InitProcess {
    child: Child,
    pub(super) socket: UnixStream,
}

/// Standard output and error of a step.
pub(super) type Pipes = (ChildStdout, ChildStderr);

impl InitProcess {
    /// Starts `program` as init and tells it what to do, and in which world.
    pub(super) fn start(program: &Path, world: World, order: &Order) -> Result<Self, Error> {
        Self::spawn(program, &world.encode(order), Stdio::null)
    }

    /// Starts `program` as init with pipes for what the step prints.
    pub(super) fn start_with_output(
        program: &Path,
        world: World,
        order: &Order,
    ) -> Result<(Self, Pipes), Error> {
        let mut process = Self::spawn(program, &world.encode(order), Stdio::piped)?;
        let stdout = process.child.stdout.take().expect("standard output is a pipe");
        let stderr = process.child.stderr.take().expect("standard error is a pipe");
        Ok((process, (stdout, stderr)))
    }

    fn spawn(program: &Path, body: &[u8], output: fn() -> Stdio) -> Result<Self, Error> {
        if body.len() > MAX_FRAME {
            return Err(Error::Sandbox {
                action: "cannot pass the step's arguments and environment".into(),
                source: std::io::Error::from_raw_os_error(libc::E2BIG),
            });
        }
        let start_error = |source| Error::NoProcess { program: program.to_owned(), source };
        let started = UnixStream::pair().and_then(|(ours, theirs)| {
            widen(&ours);
            widen(&theirs);
            let child = Command::new(program)
                .arg0(HIDDEN_NAME)
                .arg(HIDDEN_ARGUMENT)
                .env_clear()
                .current_dir("/")
                .stdin(OwnedFd::from(theirs))
                .stdout(output())
                .stderr(output())
                .spawn()?;
            Ok(Self { child, socket: ours })
        });
        let mut process = started.map_err(start_error)?;
        if send(&mut process.socket, Tag::Order, body).is_err() {
            return Err(process.died());
        }
        Ok(process)
    }

    /// Waits for the namespace of init and writes its id maps.
    ///
    /// `Ok(Err(reply))` is an init that answered before it had a namespace.
    pub(super) fn map_ids(&mut self) -> Result<Result<Map, Reply>, Error> {
        match self.frame()? {
            (Tag::NeedMap, _) => {}
            (Tag::Reply, body) => return Ok(Err(self.decode(&body)?)),
            _ => return Err(self.nonsense()),
        }
        let map = id_map::write(self.child.id());
        let tag = if map.is_ok() { Tag::Mapped } else { Tag::NotMapped };
        if send(&mut self.socket, tag, &[]).is_err() {
            return Err(self.died());
        }
        Ok(Ok(map.map_err(|reason| Error::IdMap { reason })?))
    }

    /// Brings init into its world; anything but that is an error.
    pub(super) fn enter(&mut self, world: World) -> Result<(), Error> {
        match world {
            World::Pod => Ok(()),
            World::Namespaces => match self.map_ids()? {
                Ok(_) => Ok(()),
                Err(reply) => Err(self.unexpected(reply)),
            },
        }
    }

    /// Reads the last frame.
    pub(super) fn reply(&mut self) -> Result<Reply, Error> {
        match self.frame()? {
            (Tag::Reply, body) => self.decode(&body),
            _ => Err(self.nonsense()),
        }
    }

    /// Reads the last frame of an order that has no result.
    pub(super) fn done(&mut self) -> Result<(), Error> {
        match self.reply()? {
            Reply::Done => Ok(()),
            other => Err(self.unexpected(other)),
        }
    }

    pub(super) fn decode(&mut self, body: &[u8]) -> Result<Reply, Error> {
        Reply::decode(body).map_err(|error| Error::Died { reason: error.to_string() })
    }

    /// The error for a reply that is not the one the order asks for.
    pub(super) fn unexpected(&self, reply: Reply) -> Error {
        match reply {
            Reply::Failed(failure) => failure.into(),
            other => Error::Died { reason: format!("unexpected answer {other:?}") },
        }
    }

    /// The error for a frame out of order.
    pub(super) fn nonsense(&self) -> Error {
        Error::Died { reason: "frame out of order".into() }
    }

    /// The error for an init that closed its socket without a reply.
    pub(super) fn died(&mut self) -> Error {
        let reason = match self.wait() {
            Some(status) => match status.signal() {
                Some(signal) => format!("ended by signal {signal}"),
                None => format!("ended without an answer ({status})"),
            },
            None => "closed its socket without an answer".into(),
        };
        Error::Died { reason }
    }

    fn frame(&mut self) -> Result<(Tag, Vec<u8>), Error> {
        let mut body = Vec::new();
        match receive(&mut self.socket, &mut body) {
            Ok(Some(tag)) => Ok((tag, body)),
            Ok(None) | Err(_) => Err(self.died()),
        }
    }

    /// Waits for the end of init, which is near; kills it when it is not.
    fn wait(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + END_GRACE;
        let mut pause = Duration::from_micros(200);
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(pause),
                Ok(status) => return status,
                Err(_) => return None,
            }
            pause = (pause * 2).min(Duration::from_millis(50));
        }
        None
    }

    /// Ends init at once. Its step is not cleaned up after; for an init that does not answer.
    pub(super) fn kill(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
    }
}

/// Lets a socket hold several chunks, so that the two sides do not wait for each other with each
/// one. The kernel may give less, or refuse: that only costs time.
fn widen(socket: &UnixStream) {
    let _ = setsockopt(socket, SndBuf, &SOCKET_BUFFER);
}

impl Drop for InitProcess {
    fn drop(&mut self) {
        // Init ends whatever it does when this socket closes; errors mean that it has closed.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        if self.wait().is_none() {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            FailureKind::Call => Self::Sandbox { source: failure.source(), action: failure.action },
            FailureKind::NoOverlayUpper => {
                Self::NoOverlayUpper { source: failure.source(), path: failure.action.into() }
            }
            FailureKind::UnknownUser => {
                Self::UnknownUser { user: failure.action, reason: failure.detail }
            }
            FailureKind::Mount => {
                Self::Mount { target: failure.action.into(), reason: failure.detail }
            }
        }
    }
}

/// Makes this process unreadable for others of the same user: no core dumps, no tracing, and
/// `/proc/PID` belongs to root.
///
/// Call it before credentials are read. Starting steps works as before.
///
/// # Errors
/// When the kernel refuses.
pub fn harden_builder() -> std::io::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
