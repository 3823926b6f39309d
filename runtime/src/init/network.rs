//! A network namespace with nothing but a loopback device, netdevice(7).

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use rustix::thread::UnshareFlags;

use super::namespace;
use crate::wire::{Failure, OrFail as _};

/// Leaves the builder's network for an own one.
pub(super) fn make_own() -> Result<(), Failure> {
    namespace::unshare(UnshareFlags::NEWNET)
        .or_fail(|| "cannot make a network namespace".into())?;
    raise_loopback().or_fail(|| "cannot bring up the loopback device".into())
}

fn raise_loopback() -> io::Result<()> {
    let kind = SockType::Datagram;
    let any: OwnedFd = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: all-zero bytes are a valid `ifreq`: numbers and arrays of them.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("both flags are small");
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which lives through the call.
    match unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
