//! The whole suite once more as a plain user whose ids come from `newuidmap`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use crate::bench::RUNG;

/// An id that no account has.
const USER: u32 = 12345;
const VOLUME_GROUP: u32 = 4711;
/// What the suite sees in place of the machine's account files; nothing of the machine is changed.
const ACCOUNTS: [(&str, &str); 3] = [
    ("passwd", "root:x:0:0::/root:/bin/sh\nplain:x:12345:12345::/:/bin/sh\n"),
    ("subuid", "plain:1600000000:65536\n"),
    ("subgid", "plain:1600000000:65536\n"),
];
/// Arguments: where the account files are, what to run, the user id.
const SCRIPT: &str = "for f in passwd subuid subgid; do mount --bind $1/$f /etc/$f || exit 1; done; \
                      exec setpriv --reuid $3 --regid $3 --clear-groups $2 --nocapture";

#[test]
fn everything_works_as_a_plain_user_with_subordinate_ids() {
    if !rustix::process::geteuid().is_root() || std::env::var_os(RUNG).is_some() {
        return eprintln!("not again: this is the run as a plain user, or nobody can start one");
    }
    for path in ["/usr/bin/setpriv", "/usr/bin/newuidmap", "/etc/subuid", "/etc/subgid"] {
        if !Path::new(path).exists() {
            return eprintln!("skipped: there is no {path}");
        }
    }
    let work = tempfile::tempdir().unwrap();
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, content) in ACCOUNTS {
        fs::write(work.path().join(name), content).unwrap();
    }
    let program = work.path().join("suite");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let temporary = work.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    // As a volume with an `fsGroup` is: setgid, of a group that is not mapped.
    chown(&temporary, Some(USER), Some(VOLUME_GROUP)).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o2777)).unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", SCRIPT, "sh"])
        .args([work.path(), &program])
        .arg(USER.to_string())
        .env("TMPDIR", &temporary)
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if !said.contains("running ") {
        return eprintln!("skipped: this root cannot mount: {errors}");
    }
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(!errors.contains("skipped"), "{errors}");
}
