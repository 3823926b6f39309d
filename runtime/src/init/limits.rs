//! Resource limits of a step, setrlimit(2).
//!
//! A step has the pod's limits but for one: 1024 open files to begin with, of as many as the pod
//! allows. That is what container engines give today, since it is what programs expect that cannot
//! do with more (select(2)) or that close every descriptor there could be (package managers and
//! daemons of older distributions, which take minutes where a pod allows 2^20 and more). Those that
//! need more raise the limit by themselves, as Go, Java and Node do, or with `ulimit -n`.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Open files to begin with.
const OPEN_FILES: u64 = 1024;

/// Sets the limits of this process.
pub(super) fn set() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES.min(hard), hard)?)
}
