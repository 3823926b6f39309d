//! The conversation with the kernel about one listener, seccomp_unotify(2) and <linux/seccomp.h>.
//!
//! A notification is good until it is answered or its task has died; then every further word about
//! it gets `ENOENT`, and there is nothing left to do.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

/// The listener of a filter.
#[derive(Debug)]
pub(super) struct Notifications {
    fd: OwnedFd,
    /// What the kernel writes, which may be more than this program knows of.
    received: Vec<u64>,
    /// What the kernel reads.
    response: Vec<u64>,
}

/// A call that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notification {
    pub(super) id: u64,
    /// The thread that makes the call.
    pub(super) thread: u32,
    pub(super) data: libc::seccomp_data,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    /// The kernel carries it out, with whatever is in the task's memory then.
    Continue,
    /// It returns this.
    Value(i64),
    /// It fails.
    Fails(i32),
}

impl Notifications {
    /// Takes the listener `fd`.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let mut sizes =
            libc::seccomp_notif_sizes { seccomp_notif: 0, seccomp_notif_resp: 0, seccomp_data: 0 };
        let sizes_pointer = &raw mut sizes;
        // SAFETY: the operation writes one `seccomp_notif_sizes`, which lives through the call.
        let result = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_NOTIF_SIZES, 0, sizes_pointer)
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        let buffer =
            |kernel: u16, known: usize| vec![0; usize::from(kernel).max(known).div_ceil(8)];
        let listener = Self {
            fd,
            received: buffer(sizes.seccomp_notif, size_of::<libc::seccomp_notif>()),
            response: buffer(sizes.seccomp_notif_resp, size_of::<libc::seccomp_notif_resp>()),
        };
        // Since 6.6 the task and init take turns on one processor, which saves time, not work.
        let _ = listener.control(SET_FLAGS, WAKE_UP_IN_TURN as *mut libc::c_void);
        Ok(listener)
    }

    /// Takes one notification; `None` is a task that has died meanwhile. Does not wait when
    /// poll(2) has said that there is one: the kernel counts them, dead ones too.
    pub(super) fn receive(&mut self) -> io::Result<Option<Notification>> {
        self.received.fill(0);
        let pointer = self.received.as_mut_ptr().cast();
        match self.control(libc::SECCOMP_IOCTL_NOTIF_RECV, pointer) {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        // SAFETY: the buffer is aligned to 8 bytes and as long as the structure, of which all
        // values are valid; the kernel has filled it.
        let notification = unsafe { self.received.as_ptr().cast::<libc::seccomp_notif>().read() };
        let libc::seccomp_notif { id, pid, data, .. } = notification;
        Ok(Some(Notification { id, thread: pid, data }))
    }

    /// Whether the task still waits: only then is what was learnt under its number about it.
    pub(super) fn waits(&self, id: u64) -> bool {
        let mut id = id;
        self.control(libc::SECCOMP_IOCTL_NOTIF_ID_VALID, (&raw mut id).cast()).is_ok()
    }

    /// Answers. A task that has died meanwhile needs no answer.
    pub(super) fn respond(&mut self, id: u64, response: Response) -> io::Result<()> {
        let (val, error, flags) = match response {
            Response::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE),
            Response::Value(value) => (value, 0, 0),
            Response::Fails(errno) => (0, -errno, 0),
        };
        let flags = u32::try_from(flags).expect("the flag is 1");
        self.response.fill(0);
        let pointer = self.response.as_mut_ptr();
        // SAFETY: the buffer is aligned to 8 bytes and as long as the structure.
        unsafe {
            let response = libc::seccomp_notif_resp { id, val, error, flags };
            pointer.cast::<libc::seccomp_notif_resp>().write(response);
        }
        gone_is_fine(self.control(libc::SECCOMP_IOCTL_NOTIF_SEND, pointer.cast()).map(drop))
    }

    /// Answers an open with `file`, which becomes the task's: in one go, so that a task that dies
    /// in between does not leave a descriptor to others of its process.
    pub(super) fn give(&self, id: u64, file: &OwnedFd, close_on_exec: bool) -> io::Result<()> {
        let flags = libc::SECCOMP_ADDFD_FLAG_SEND;
        // SAFETY: the structure is of integers, for which zero is a value.
        let mut request: libc::seccomp_notif_addfd = unsafe { zeroed() };
        request.id = id;
        request.flags = u32::try_from(flags).expect("the flag is 2");
        request.srcfd = file.as_raw_fd().cast_unsigned();
        if close_on_exec {
            request.newfd_flags = libc::O_CLOEXEC.cast_unsigned();
        }
        let pointer = (&raw mut request).cast();
        self.control(libc::SECCOMP_IOCTL_NOTIF_ADDFD, pointer).map(drop)
    }

    fn control(&self, request: libc::Ioctl, argument: *mut libc::c_void) -> io::Result<i32> {
        // SAFETY: the callers pass the structure that belongs to the request, at least as long as
        // the kernel has said, or a number where the request takes one.
        match unsafe { libc::ioctl(self.fd.as_raw_fd(), request, argument) } {
            result @ 0.. => Ok(result),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl AsFd for Notifications {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

const SET_FLAGS: libc::Ioctl = libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS;
/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`.
const WAKE_UP_IN_TURN: usize = 1;

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}
