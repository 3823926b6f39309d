//! The program under test.

use super::command::{Outcome, Run};
use super::sandbox::{Sandbox, set_mode};

/// Where cargo has put the program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_longshore");

/// An id that no account has.
const USER: &str = "12345";
/// What a plain user sees in place of the machine's account files.
const ACCOUNTS: [(&str, &str); 3] = [
    ("passwd", "root:x:0:0::/root:/bin/sh\nplain:x:12345:12345::/:/bin/sh\n"),
    ("subuid", "plain:1600000000:65536\n"),
    ("subgid", "plain:1600000000:65536\n"),
];

/// `longshore` with nothing but the sandbox around it.
pub(crate) fn longshore(sandbox: &Sandbox) -> Run {
    with_homes(sandbox, Run::new(PROGRAM))
}

/// `longshore executor`, which is kaniko's command line.
pub(crate) fn executor(sandbox: &Sandbox) -> Run {
    longshore(sandbox).arg("executor")
}

/// The program through a link called `executor`, as kaniko's image names its own.
pub(crate) fn linked_executor(sandbox: &Sandbox) -> Run {
    let link = sandbox.path("bin/executor");
    fs_err::create_dir_all(sandbox.path("bin")).expect("mkdir");
    fs_err::os::unix::fs::symlink(PROGRAM, &link).expect("one link a sandbox");
    with_homes(sandbox, Run::new(link))
}

/// `longshore` with a tmpfs of its own as work directory, mounted with `options`.
pub(crate) fn longshore_on_tmpfs(sandbox: &Sandbox, options: &str) -> Run {
    let script = r#"mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@""#;
    let mut unshare = Run::new("unshare").arg("--mount");
    if !is_root() {
        unshare = unshare.args(["--user", "--map-root-user"]);
    }
    let run = unshare.args(["sh", "-c", script, "sh", options]);
    with_homes(sandbox, run.arg(sandbox.path("work")).arg(PROGRAM))
}

/// `longshore` as root of a user namespace with a single id, as in a pod that has no other.
pub(crate) fn longshore_with_one_id(sandbox: &Sandbox) -> Run {
    let unshare = Run::new("unshare").args(["--user", "--map-root-user"]).arg(PROGRAM);
    with_homes(sandbox, unshare)
}

/// `longshore` started by another program, which gets `words` before it.
pub(crate) fn longshore_through(sandbox: &Sandbox, program: &str, words: &[&str]) -> Run {
    with_homes(sandbox, Run::new(program).args(words).arg(PROGRAM))
}

/// `longshore` as a plain user whose other ids come from `newuidmap`, for whom the sandbox is; only
/// root can start it.
pub(crate) fn longshore_as_plain_user(sandbox: &Sandbox) -> Run {
    // Later on there are files of others in it.
    if !sandbox.path("accounts").exists() {
        for (name, text) in ACCOUNTS {
            sandbox.write(format!("accounts/{name}"), text);
        }
        Run::new("chown").args(["-R", USER]).arg(sandbox.root()).succeed();
        set_mode(sandbox.root(), 0o755);
    }
    let script = "for f in passwd subuid subgid; do mount --bind $1/$f /etc/$f || exit 1; done; \
                  shift; exec setpriv --reuid $0 --regid $0 --clear-groups -- \"$@\"";
    let run = Run::new("unshare").args(["--mount", "sh", "-c", script, USER]);
    with_homes(sandbox, run.arg(sandbox.path("accounts")).arg(PROGRAM))
}

/// True when the tests run as root.
pub(crate) fn is_root() -> bool {
    Run::new("id").arg("-u").succeed().trim() == "0"
}

/// Returns the pinned reference that `longshore build` prints last:
/// `NAME: REFERENCE@sha256:DIGEST`.
pub(crate) fn built_reference(outcome: &Outcome) -> String {
    let last = outcome.stdout.lines().last().unwrap_or_default();
    let (_, reference) = last.split_once(": ").unwrap_or_default();
    assert!(reference.contains("@sha256:"), "no reference at the end\n{}", outcome.report());
    reference.to_owned()
}

fn with_homes(sandbox: &Sandbox, run: Run) -> Run {
    sandbox
        .at_home(run)
        .env("LONGSHORE_HOME", sandbox.path("state"))
        .env("LONGSHORE_WORK_DIR", sandbox.path("work"))
}
