//! Tries whether system calls can be answered by another process, seccomp_unotify(2).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use crate::init::namespace;

/// The call that is answered. Nothing else in this process makes it.
const TRAPPED: libc::c_long = libc::SYS_getpgid;

/// Installs a filter that has a listener.
pub(super) fn listener() -> io::Result<()> {
    listen().map(drop)
}

/// Gives a waiting process an open file as the result of its call.
pub(super) fn add_fd() -> io::Result<()> {
    let listener = listen()?;
    let Some(child) = namespace::split()? else {
        // Only when nobody has the listener any more does a call fail that nobody answers.
        drop(listener);
        // SAFETY: the call takes a number. Its result is what the parent answers.
        let answer = unsafe { libc::syscall(TRAPPED, 0) };
        // SAFETY: the call takes numbers; it looks whether the descriptor is open.
        let open = RawFd::try_from(answer)
            .is_ok_and(|fd| fd > 0 && unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0);
        namespace::leave(i32::from(!open));
    };
    let answered = answer(&listener);
    // A call that nobody will answer fails, and the child ends.
    drop(listener);
    match (answered, namespace::wait_for(child)) {
        (Ok(()), 0) => Ok(()),
        (Ok(()), _) => Err(io::Error::from_raw_os_error(libc::EBADF)),
        (Err(error), _) => Err(error),
    }
}

fn listen() -> io::Result<OwnedFd> {
    rustix::thread::set_no_new_privs(true)?;
    let code = |code: u32| u16::try_from(code).expect("codes have 16 bits");
    let trapped = u32::try_from(TRAPPED).expect("call numbers are small");
    let statement = |kind, k| libc::sock_filter { code: code(kind), jt: 0, jf: 0, k };
    let filter = [
        // The number of the call is first in what a filter sees.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            code: code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K),
            jt: 0,
            jf: 1,
            k: trapped,
        },
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("the filter is short"),
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the program points to `len` instructions that live through the call, which reads
    // them.
    let listener = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    match RawFd::try_from(listener) {
        // SAFETY: the call has just returned this descriptor; nobody else owns it.
        Ok(listener @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(listener) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn answer(listener: &OwnedFd) -> io::Result<()> {
    let file = File::open("/")?;
    let mut call = libc::seccomp_notif {
        id: 0,
        pid: 0,
        flags: 0,
        data: libc::seccomp_data { nr: 0, arch: 0, instruction_pointer: 0, args: [0; 6] },
    };
    // SAFETY: the kernel fills the structure, which is its own and empty.
    let received =
        unsafe { libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut call) };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    let given = libc::seccomp_notif_addfd {
        id: call.id,
        flags: u32::try_from(libc::SECCOMP_ADDFD_FLAG_SEND).expect("the flag is small"),
        srcfd: u32::try_from(file.as_raw_fd()).expect("descriptors are not negative"),
        newfd: 0,
        newfd_flags: 0,
    };
    // SAFETY: the kernel reads the structure, which names a descriptor that is open.
    let sent = unsafe {
        libc::ioctl(listener.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const given)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
