//! The listener of a step, as one more descriptor that init waits for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::poll::PollFlags;

use super::answering::{answer, give};
use super::calls::{Extent, told};
use super::handover;
use super::injection::Injection;
use super::kernel::Notifications;
use super::task::Status;
use crate::init::seccomp;

/// Answers the calls of a step that are about virtual files. When it is dropped, such calls fail
/// with `ENOSYS`: a step without its supervisor ends soon.
#[derive(Debug)]
pub(in crate::init) struct Listener {
    notifications: Notifications,
    injection: Injection,
    own: Status,
}

/// What is left after serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::init) enum Tree {
    /// There are processes that the filter applies to.
    Alive,
    /// The last one is gone.
    Empty,
}

/// Installs the filter for this process, which is to become the step, and passes its listener
/// through `socket`. From here on this process may only make calls that init is told of if init
/// serves already.
pub(in crate::init) fn install(extent: Extent, socket: &UnixStream) -> io::Result<()> {
    let listener = seccomp::tell(&told(extent))?;
    handover::send(socket, &listener)
}

impl Listener {
    /// Waits for what [`install`] passes through the other end of `socket`; `None` when that
    /// process has ended before.
    pub(in crate::init) fn accept(
        socket: &UnixStream,
        injection: Injection,
    ) -> io::Result<Option<Self>> {
        let Some(fd) = handover::receive(socket)? else { return Ok(None) };
        Self::new(fd, injection).map(Some)
    }

    fn new(fd: OwnedFd, injection: Injection) -> io::Result<Self> {
        let notifications = Notifications::new(fd)?;
        let own = std::process::id().to_string();
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
        let own = rustix::fs::openat(&injection.proc, own, flags, rustix::fs::Mode::empty())?;
        let own = Status::read(own)?;
        Ok(Self { notifications, injection, own })
    }

    /// Does what poll(2) has said about this: answers the call that waits, if one does. Does not
    /// block. One call at a time, because to ask for more costs as much as to poll again.
    ///
    /// # Errors
    /// When the kernel cannot be understood; then this is to be dropped.
    pub(in crate::init) fn serve(&mut self, events: PollFlags) -> io::Result<Tree> {
        if !events.contains(PollFlags::POLLIN) {
            let gone = events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
            return Ok(if gone { Tree::Empty } else { Tree::Alive });
        }
        if let Some(notification) = self.notifications.receive()? {
            let answer = answer(&notification, &self.notifications, &self.injection, &self.own);
            give(answer, &notification, &mut self.notifications)?;
        }
        Ok(Tree::Alive)
    }
}

/// Serves a listener that may have ended, and lets go of it when it has: of no process, or because
/// the kernel cannot be understood, which the step hears as `ENOSYS`.
pub(in crate::init) fn serve(listener: &mut Option<Listener>, events: PollFlags) {
    let served = listener.as_mut().map(|listener| listener.serve(events));
    if !matches!(served, Some(Ok(Tree::Alive))) {
        *listener = None;
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notifications.as_fd()
    }
}
