//! The whole suite once more as a plain user whose ids come from `newuidmap`.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

/// An id that no account has.
const USER: u32 = 12345;
/// Far from the ranges that accounts are given.
const SUBORDINATE: &str = "12345:1600000000:65536\n";

#[test]
fn everything_works_as_a_plain_user_with_subordinate_ids() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!(
            "skipped: this is the run as a plain user, or there is no root to start it"
        );
    }
    if let Err(reason) = prepare() {
        return eprintln!("skipped: {reason}");
    }
    let work = tempfile::tempdir().unwrap();
    let program = work.path().join("suite");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let temporary = work.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    chown(&temporary, Some(USER), Some(USER)).unwrap();
    let user = USER.to_string();
    let output = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
        .arg(&program)
        .env("TMPDIR", &temporary)
        .current_dir("/")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    eprintln!("{}", said.lines().last().unwrap_or_default());
}

/// Gives the user subordinate ids, unless it has some.
fn prepare() -> Result<(), String> {
    for program in ["/usr/bin/setpriv", "/usr/bin/newuidmap", "/usr/bin/newgidmap"] {
        if !Path::new(program).exists() {
            return Err(format!("{program} is not installed"));
        }
    }
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = fs::read_to_string(file).unwrap_or_default();
        if !text.lines().any(|line| line.starts_with("12345:")) {
            fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(file)
                .and_then(|mut file| file.write_all(SUBORDINATE.as_bytes()))
                .map_err(|error| format!("{file}: {error}"))?;
        }
    }
    Ok(())
}
