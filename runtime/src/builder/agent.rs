//! Lends an ssh agent to a step, through a socket of the builder's own.
//!
//! The agent's own socket would not do: it takes its owner only (getpeereid(3)), and a step is
//! another user. So the builder listens for the step and asks the agent itself, one request at a
//! time. It passes on what signing needs and refuses the rest (draft-miller-ssh-agent, section 5):
//! a step may use keys, but neither add nor remove nor lock any.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, poll};

use crate::Error;

/// No request and no answer is longer: OpenSSH's own limit.
const MAX_MESSAGE: usize = 256 << 10;
/// How long the end of the step may stay unseen.
const POLL_MILLIS: u8 = 50;
/// What a step may ask for: the list of keys, signatures, and extensions, which bind a connection
/// to the host that it is for.
const ALLOWED: [u8; 3] = [11, 13, 27];
/// The answer to everything else.
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];

/// A socket that answers as an agent does, until it is dropped.
#[derive(Debug)]
pub(super) struct Agent {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    /// Listens at the new socket `name` in `dir` for those who want to use `agent`.
    pub(super) fn lend(dir: &Path, name: &str, agent: &Path) -> Result<Self, Error> {
        let path = dir.join(name);
        let failed = Error::io("listen at", &path);
        let stop = Arc::new(AtomicBool::new(false));
        let start = || {
            let listener = listen(dir, name)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            let (agent, stop) = (agent.to_owned(), Arc::clone(&stop));
            let serve = move || serve(&listener, &agent, &stop);
            std::thread::Builder::new().name("ssh-agent".into()).spawn(serve)
        };
        let thread = Some(start().map_err(failed)?);
        Ok(Self { path, stop, thread })
    }

    /// The socket.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does nothing that panics; and if it did, nobody listens any more, as intended.
            let _ = thread.join();
        }
    }
}

/// Listens below a directory whose path may be longer than an address can be, unix(7).
fn listen(dir: &Path, name: &str) -> io::Result<UnixListener> {
    let dir = File::open(dir)?;
    UnixListener::bind(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

fn serve(listener: &UnixListener, agent: &Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        // An interrupted call leaves nothing to accept.
        let _ = poll(&mut fds, POLL_MILLIS);
        let Ok((step, _)) = listener.accept() else { continue };
        let agent = agent.to_owned();
        let talk = move || {
            let talked = step
                .set_nonblocking(false)
                .and_then(|()| UnixStream::connect(agent))
                .and_then(|agent| converse(&step, &agent));
            // The step sees the end of the connection, which is all that it can be told.
            drop(talked);
        };
        // Without a thread the connection ends; ssh says that the agent refused.
        let _ = std::thread::Builder::new().name("ssh-agent-talk".into()).spawn(talk);
    }
}

/// Passes requests and answers until the step has no more.
fn converse(step: impl Read + Write, agent: impl Read + Write) -> io::Result<()> {
    let (mut step, mut agent) = (step, agent);
    while let Some(request) = message(&mut step)? {
        let is_allowed = request.get(4).is_some_and(|kind| ALLOWED.contains(kind));
        if !is_allowed {
            step.write_all(&FAILURE)?;
            continue;
        }
        agent.write_all(&request)?;
        match message(&mut agent)? {
            Some(answer) => step.write_all(&answer)?,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Reads a message with its length in front; `None` at the end.
fn message(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut message = vec![0; 4];
    if from.read(&mut message[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut message[1..])?;
    let length = u32::from_be_bytes(message[..4].try_into().expect("four bytes")) as usize;
    if length > MAX_MESSAGE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    message.resize(4 + length, 0);
    from.read_exact(&mut message[4..])?;
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two directions of bytes.
    struct Ends(io::Cursor<Vec<u8>>, Vec<u8>);

    impl Read for &mut Ends {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for &mut Ends {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn framed(bodies: &[&[u8]]) -> Vec<u8> {
        let frame =
            |body: &&[u8]| [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
        bodies.iter().flat_map(frame).collect()
    }

    #[test]
    fn keys_are_used_but_not_changed() {
        let asked = framed(&[&[11], &[19], &[13, 1, 2], &[22, 0], &[], &[17, 9]]);
        let mut step = Ends(io::Cursor::new(asked), Vec::new());
        let mut agent = Ends(io::Cursor::new(framed(&[&[12, 7], &[14]])), Vec::new());
        converse(&mut step, &mut agent).unwrap();
        assert_eq!(agent.1, framed(&[&[11], &[13, 1, 2]]));
        assert_eq!(step.1, framed(&[&[12, 7], &[5], &[14], &[5], &[5], &[5]]));
    }

    #[test]
    fn a_length_that_no_message_has_ends_the_conversation() {
        let mut step = Ends(io::Cursor::new(vec![0xff, 0xff, 0xff, 0xff, 11]), Vec::new());
        let mut agent = Ends(io::Cursor::new(Vec::new()), Vec::new());
        assert!(converse(&mut step, &mut agent).is_err());
        assert!(agent.1.is_empty() && step.1.is_empty());
    }
}
