//! The capabilities of a step: what container engines give by default, and no more.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

/// What steps do not get although others do.
static FORGONE: AtomicU64 = AtomicU64::new(0);

/// Takes `CAP_SYS_CHROOT` out of what steps get: the pod's root can still be reached with it.
pub(super) fn forgo_chroot() {
    FORGONE.fetch_or(CapabilitySet::SYS_CHROOT.bits(), Ordering::Relaxed);
}

/// Takes out of what steps get what would lead them out of a root that is only a directory, or let
/// them do what the namespaces of other rungs do not.
///
/// A device node is the pod's device, which may be the machine's disk; in a user namespace none can
/// be made. And because this process could change its root, the step's capabilities are fewer than
/// the builder's: so it cannot trace it, whatever user it is, ptrace(2).
pub(super) fn stay_in_root() {
    let forgone = CapabilitySet::SYS_CHROOT | CapabilitySet::MKNOD;
    FORGONE.fetch_or(forgone.bits(), Ordering::Relaxed);
}

/// Sees to it that seccomp(2) and landlock(7) take this process's restrictions: they do from who
/// has `CAP_SYS_ADMIN`, and from others only with `no_new_privs`.
pub(super) fn allow_filters() -> io::Result<()> {
    if capabilities(None)?.effective.contains(CapabilitySet::SYS_ADMIN) {
        return Ok(());
    }
    Ok(set_no_new_privs(true)?)
}

/// What a step's root may do.
fn granted() -> CapabilitySet {
    let set = CapabilitySet::CHOWN
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
    set - CapabilitySet::from_bits_retain(FORGONE.load(Ordering::Relaxed))
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
            // Whoever cannot gain anything by executing a program needs no bound.
            if error.raw_os_error() == Some(libc::EPERM) && rustix::thread::no_new_privs()? {
                return Ok(());
            }
            // The first number that the kernel does not know is the end of the list.
            return if error.raw_os_error() == Some(libc::EINVAL) { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

/// Gives the calling process what a step of root has. Processes of other users lost everything
/// with the change of the user, and have nothing to inherit.
pub(super) fn reduce(is_root: bool) -> io::Result<()> {
    // A pod may have fewer than a step gets elsewhere.
    let had = capabilities(None)?.permitted;
    let set = if is_root { granted() & had } else { CapabilitySet::empty() };
    let none = CapabilitySet::empty();
    Ok(set_capabilities(
        None,
        CapabilitySets { effective: set, permitted: set, inheritable: none },
    )?)
}
