//! Init's side of the conversation: one order in, one reply out, exit.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::{changes, implied, namespace, place, probing, removal, root_tree, run, unpack};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::wire::{EntryReader, EntryWriter, Failure, OrFail as _, Order, Reply, Tag, World};
use crate::wire::{receive, send};

/// The socket to the builder.
#[derive(Debug)]
pub(super) struct Builder(UnixStream);

impl Builder {
    /// Tells the builder something.
    pub(super) fn tell(&mut self, tag: Tag, body: &[u8]) -> io::Result<()> {
        send(&mut self.0, tag, body)
    }

    /// Whether the builder has ended.
    fn is_gone(&self) -> bool {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ended| ended > 0)
    }

    /// Waits for the builder to tell something; that it is gone is an error.
    pub(super) fn hear(&mut self) -> io::Result<(Tag, Vec<u8>)> {
        let mut body = Vec::new();
        let tag = receive(&mut self.0, &mut body)?
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        Ok((tag, body))
    }
}

impl AsFd for Builder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for &Builder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }
}

impl Write for &Builder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Carries out one order and ends the process.
pub(super) fn serve() -> ! {
    // SAFETY: descriptor 0 is the socket that the builder passed as standard input; nothing in
    // this process has used it or will use it by another name.
    let mut builder = Builder(unsafe { UnixStream::from_raw_fd(0) });
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        namespace::detach_from_builder()?;
        namespace::end_with_parent()?;
        let (_, body) = builder.hear().or_fail(|| "cannot hear the builder".into())?;
        let (world, order) =
            World::decode(&body).or_fail(|| "cannot understand the builder".into())?;
        carry_out(order, world, &mut builder)
    }));
    let reply = match outcome {
        Ok(Ok(reply)) => reply,
        Ok(Err(failure)) => Reply::Failed(failure),
        Err(_) => Reply::Failed(Failure::new(
            "the sandbox process has a defect".into(),
            io::Error::other("it panicked"),
        )),
    };
    // A builder that is gone needs no answer.
    let _ = builder.tell(Tag::Reply, &reply.encode());
    namespace::leave(0)
}

fn carry_out(order: Order, world: World, builder: &mut Builder) -> Result<Reply, Failure> {
    let _held = place::hold(&order)?;
    if builder.is_gone() {
        // It may have ended before its end could be a signal.
        namespace::leave(1);
    }
    if let Order::Probe { work_root } = &order {
        return Ok(probing::probe(work_root, builder));
    }
    if world == World::Namespaces {
        namespace::enter(builder)?;
    }
    match order {
        Order::Probe { .. } => unreachable!("the probe enters namespaces in its own way"),
        Order::Unpack { dest, lowers } => {
            let mut entries = EntryReader::new(&*builder);
            unpack::unpack(&dest, lowers, &mut entries).map(Reply::Unpacked)
        }
        Order::Settle { from, lowers, to } => {
            implied::settle(&from, lowers)?;
            move_directory(&from, &to).map(|()| Reply::Done)
        }
        Order::Run(order) => match world {
            World::Namespaces => run::run(*order, builder),
            World::Pod => run::run_in_pod(&order, builder),
        }
        .map(Reply::Exited),
        Order::Changes { upper, lowers, clamp_mtime } => {
            let mut writer = EntryWriter::new(&*builder);
            let walked = changes::emit(&upper, lowers, clamp_mtime, &mut writer);
            writer.flush().or_fail(|| "cannot send the changes".into())?;
            walked.map(Reply::Changed)
        }
        Order::Walk { scratch, lowers, clamp_mtime } => {
            let mut writer = EntryWriter::new(&*builder);
            let walked = root_tree::emit(&scratch, lowers, clamp_mtime, &mut writer);
            writer.flush().or_fail(|| "cannot send the changes".into())?;
            walked.map(Reply::Changed)
        }
        Order::Remove { path } => removal::remove(&path).map(|()| Reply::Done),
        Order::Move { from, to } => move_directory(&from, &to).map(|()| Reply::Done),
    }
}

fn move_directory(from: &Path, to: &Path) -> Result<(), Failure> {
    std::fs::rename(from, to)
        .or_fail(|| format!("cannot rename {} to {}", from.display(), to.display()))
}
