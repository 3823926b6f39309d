//! The way of a listener from the process that installed the filter to init: a socket that the two
//! have shared since the one was split off the other, unix(7).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// The two ends, both closed by exec.
pub(in crate::init) fn pair() -> io::Result<(UnixStream, UnixStream)> {
    UnixStream::pair()
}

/// Sends `listener`. The calls that this makes must not be among those that it tells of.
pub(super) fn send(socket: &UnixStream, listener: &OwnedFd) -> io::Result<()> {
    let rights = [listener.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&rights)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(b"l")], &message, flags, None)?;
    Ok(())
}

/// Waits for a listener; `None` when the other side has closed its end without sending one.
pub(super) fn receive(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = cmsg_space!(RawFd);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let received = message.cmsgs()?.find_map(|part| match part {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    // SAFETY: the kernel has just made this descriptor for this process; nobody else owns it.
    Ok(received.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_is_sent_is_received() {
        let (ours, theirs) = pair().unwrap();
        send(&theirs, &File::open("/proc/self/comm").unwrap().into()).unwrap();
        let mut text = String::new();
        File::from(receive(&ours).unwrap().unwrap()).read_to_string(&mut text).unwrap();
        assert!(!text.is_empty());
        drop(theirs);
        assert!(receive(&ours).unwrap().is_none());
    }
}
