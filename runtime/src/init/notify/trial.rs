//! Tries the whole way of a call that init is told of, by making some.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::handover::pair;
use super::injection::Injection;
use super::listener::{Listener, Tree, install};
use crate::init::{namespace, privileges};

/// Finds out whether steps can have virtual files here: the kernel may be too old, the pod may
/// refuse the filter, or there may be a listener already, of which there can be one only.
pub(in crate::init) fn try_out() -> io::Result<()> {
    let root = File::open("/")?;
    let injection = Injection::new(&root).map_err(|failure| failure.source())?;
    let (ours, theirs) = pair()?;
    let extent = injection.extent();
    let Some(child) = namespace::split()? else {
        let tried = privileges::allow_filters()
            .and_then(|()| install(extent, &theirs))
            .and_then(|()| File::open("/proc/self/comm"))
            .and_then(|_| std::fs::metadata("/"));
        let code = tried.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
        namespace::leave(code);
    };
    drop(theirs);
    if let Ok(Some(listener)) = Listener::accept(&ours, injection) {
        serve(listener);
    }
    match namespace::wait_for(child) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Serves to the end; what cannot be served fails in the child.
fn serve(mut listener: Listener) {
    loop {
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        // An interrupted call has nothing ready.
        let _ = poll(&mut fds, PollTimeout::NONE);
        let events = fds[0].revents().unwrap_or(PollFlags::empty());
        if !matches!(listener.serve(events), Ok(Tree::Alive)) {
            return;
        }
    }
}
