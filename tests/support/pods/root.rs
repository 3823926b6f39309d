//! The root file system of a pod: a static busybox, and the libraries of the machine for the
//! program under test, which is linked to them.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::pod::SHARED_MEMORY;
use crate::support::busybox;
use crate::support::command::Run;
use crate::support::sandbox::{set_mode, write};

/// Programs that write id maps for users.
const MAPPERS: [(&str, &str); 2] = [("newuidmap", "cap_setuid+ep"), ("newgidmap", "cap_setgid+ep")];

/// Exists in the pod and in no image.
pub(crate) const MARKER: &str = "/in-the-pod";

/// Makes the file system in the empty `directory`.
pub(crate) fn make(directory: &Path, environment: &Environment) {
    let layer = busybox::layer();
    tar::Archive::new(layer.tar.as_slice()).unpack(directory).expect("unpack");
    for (link, target) in [("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        fs_err::os::unix::fs::symlink(target, directory.join(link)).expect("symlink");
    }
    // A file system in memory takes the mode of what it is mounted on.
    let shared = directory.join(SHARED_MEMORY.trim_start_matches('/'));
    fs_err::create_dir(&shared).expect("mkdir");
    set_mode(&shared, 0o1777);
    write(&directory.join(MARKER.trim_start_matches('/')), "");
    if environment.subordinate_ids {
        subordinate_ids(directory);
    }
    let shift = environment.shift();
    if shift != 0 {
        Run::new("chown").arg("-hR").arg(format!("{shift}:{shift}")).arg(directory).succeed();
    }
}

/// Directories of the machine that the file system takes its libraries from.
pub(crate) fn libraries() -> Vec<(PathBuf, String, bool)> {
    let real = [("/lib", "/usr/lib"), ("/lib64", "/usr/lib64")].into_iter();
    let present = real.filter(|(from, _)| Path::new(from).exists());
    present.map(|(from, at)| (PathBuf::from(from), at.to_owned(), false)).collect()
}

/// Installs the mappers. Debian's are setuid, which does not do in a pod: they write maps only with
/// `CAP_SYS_ADMIN` then, which is not in the bounding set.
fn subordinate_ids(directory: &Path) {
    for (name, capability) in MAPPERS {
        let path = directory.join("usr/bin").join(name);
        if path.is_symlink() {
            fs_err::remove_file(&path).expect("busybox may have one");
        }
        fs_err::copy(Path::new("/usr/bin").join(name), &path).expect("uidmap is installed");
        set_mode(&path, 0o755);
        Run::new("setcap").arg(capability).arg(&path).succeed();
    }
    for file in ["etc/subuid", "etc/subgid"] {
        write(&directory.join(file), "app:100000:65536\n");
    }
}
