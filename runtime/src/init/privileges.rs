//! The capabilities of a step: what container engines give by default, and no more.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

/// The pod's root can still be reached by `chroot`; see [`forgo_chroot`].
static WITHOUT_CHROOT: AtomicBool = AtomicBool::new(false);

/// Takes `CAP_SYS_CHROOT` out of what steps get.
pub(super) fn forgo_chroot() {
    WITHOUT_CHROOT.store(true, Ordering::Relaxed);
}

/// What a step's root may do.
fn granted() -> CapabilitySet {
    let mut set = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FSETID
        | CapabilitySet::FOWNER
        | CapabilitySet::MKNOD
        | CapabilitySet::NET_RAW
        | CapabilitySet::SETGID
        | CapabilitySet::SETUID
        | CapabilitySet::SETFCAP
        | CapabilitySet::SETPCAP
        | CapabilitySet::NET_BIND_SERVICE
        | CapabilitySet::SYS_CHROOT
        | CapabilitySet::KILL
        | CapabilitySet::AUDIT_WRITE;
    if WITHOUT_CHROOT.load(Ordering::Relaxed) {
        set -= CapabilitySet::SYS_CHROOT;
    }
    set
}

/// Takes all other capabilities out of the bounding set, so that no program gets them back.
pub(super) fn bound() -> io::Result<()> {
    let granted = granted().bits();
    for capability in 0..u64::BITS {
        if granted & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: PR_CAPBSET_DROP takes a number and changes only this process.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) }
            != 0
        {
            let error = io::Error::last_os_error();
            // The first number that the kernel does not know is the end of the list.
            return if error.raw_os_error() == Some(libc::EINVAL) { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

/// Gives the calling process what a step of root has. Processes of other users lost everything
/// with the change of the user, and have nothing to inherit.
pub(super) fn reduce(is_root: bool) -> io::Result<()> {
    let set = if is_root { granted() } else { CapabilitySet::empty() };
    let none = CapabilitySet::empty();
    Ok(set_capabilities(
        None,
        CapabilitySets { effective: set, permitted: set, inheritable: none },
    )?)
}
