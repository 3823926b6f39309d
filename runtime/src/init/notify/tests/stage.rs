//! A root directory with busybox in it, and processes that have it as their root.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Mutex;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe};

use super::super::listener::Tree;
use super::super::{Extent, GivenFile, Injection, Listener, install, pair};
use crate::init::{namespace, privileges};

const BUSYBOX: &str = "/bin/busybox";
const COMMANDS: [&str; 16] = [
    "cat", "chmod", "cp", "echo", "env", "grep", "head", "id", "ln", "ls", "mkdir", "readlink",
    "sh", "sleep", "stat", "wc",
];
/// Held while a program is written or a process is split: one that was split off with the program
/// open would keep it from being executed.
static WRITING: Mutex<()> = Mutex::new(());

/// What the step must not see.
pub(super) const OUTSIDE: &str = "the pod's secret";

/// A root directory.
pub(super) struct Stage {
    dir: tempfile::TempDir,
}

/// How a step is set up.
#[derive(Clone, Copy)]
pub(super) struct Setup<'a> {
    pub(super) given: &'a [GivenFile<'a>],
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// What kind of process it is.
    pub(super) kind: ProcessKind,
}

/// What kind of process is started.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ProcessKind {
    /// A step.
    Step,
    /// One whose init dies at once.
    Abandoned,
    /// Not a step, but an ordinary process of the pod: a control.
    Control,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { given: &[], uid: 0, gid: 0, kind: ProcessKind::Step }
    }
}

/// How a step ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) output: String,
}

impl Ended {
    /// The output of a step that must have succeeded.
    pub(super) fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "{}", self.output);
        self.output.trim_end()
    }
}

/// What a process does; returns its exit code.
pub(super) type Main<'a> = &'a mut dyn FnMut() -> i32;

impl Stage {
    /// Makes the root; `None` where this cannot be tried.
    pub(super) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new(BUSYBOX).exists() {
            eprintln!("skipped: needs root and busybox");
            return None;
        }
        let _alone = WRITING.lock();
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = dir.path().join("root");
        for name in ["", "bin", "dev", "etc", "proc", "proc/self", "run", "run/secrets", "tmp"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
        for name in COMMANDS {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        fs::write(dir.path().join("outside"), OUTSIDE).unwrap();
        Some(Self { dir })
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Runs a shell script with the default set-up.
    pub(super) fn sh(&self, script: &str) -> Ended {
        self.sh_with(Setup::default(), script)
    }

    /// Runs a shell script.
    pub(super) fn sh_with(&self, setup: Setup<'_>, script: &str) -> Ended {
        self.run(setup, &mut || {
            use std::os::unix::process::CommandExt as _;
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]).env_clear().env("PATH", "/bin");
            command.exec().raw_os_error().unwrap_or(127)
        })
    }

    /// Runs `main` in a process with the root as its root.
    pub(super) fn run(&self, setup: Setup<'_>, main: Main<'_>) -> Ended {
        let injection = self.injection(setup);
        // As in a pod by default: no tracing of others, no administration.
        privileges::stay_in_root();
        let (reading, writing) = pipe().unwrap();
        let (ours, theirs) = pair().unwrap();
        let alone = WRITING.lock();
        // SAFETY: what the child does until it ends or executes a program are calls of the kernel
        // and allocations, which the C library keeps usable after a fork.
        let split = unsafe { fork() }.unwrap();
        drop(alone);
        match split {
            ForkResult::Child => {
                nix::unistd::dup2_stdout(&writing).unwrap();
                nix::unistd::dup2_stderr(&writing).unwrap();
                drop((reading, writing, ours));
                namespace::close_from(3, libc::CLOSE_RANGE_CLOEXEC).unwrap();
                let code = self.enter(setup, injection.extent(), &theirs).map_or(125, |()| {
                    drop(theirs);
                    main()
                });
                // SAFETY: `_exit` takes any code and does not return.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => {
                drop((writing, theirs));
                let listener = Listener::accept(&ours, injection).unwrap();
                if let Some(listener) = listener.filter(|_| setup.kind == ProcessKind::Step) {
                    serve(listener);
                }
                let code = wait(child);
                let mut output = String::new();
                File::from(reading).read_to_string(&mut output).unwrap();
                Ended { code, output }
            }
        }
    }

    fn injection(&self, setup: Setup<'_>) -> Injection {
        let root = File::open(self.root()).unwrap();
        let mut injection = Injection::new(&root).unwrap();
        for file in setup.given {
            injection.add(file).unwrap();
        }
        injection
    }

    /// What `launch` does.
    fn enter(&self, setup: Setup<'_>, extent: Extent, socket: &UnixStream) -> std::io::Result<()> {
        if setup.kind == ProcessKind::Control {
            return Ok(());
        }
        rustix::process::chroot(self.root())?;
        rustix::process::chdir("/")?;
        privileges::bound()?;
        privileges::reduce(true)?;
        privileges::allow_filters()?;
        install(extent, socket)?;
        // SAFETY: the calls take numbers and change this process, which has one thread.
        unsafe {
            libc::setgroups(0, std::ptr::null());
            libc::setresgid(setup.gid, setup.gid, setup.gid);
            libc::setresuid(setup.uid, setup.uid, setup.uid);
        }
        Ok(())
    }
}

/// Serves until nothing of the step is left.
fn serve(mut listener: Listener) {
    loop {
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).unwrap();
        let events = fds[0].revents().unwrap();
        if listener.serve(events).unwrap() == Tree::Empty {
            return;
        }
    }
}

pub(super) fn wait(child: Pid) -> i32 {
    match waitpid(child, None).unwrap() {
        WaitStatus::Exited(_, code) => code,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
        other => panic!("{other:?}"),
    }
}

/// A process of the pod that is not of the step, with a secret in its environment. It ends when
/// this is dropped, because then its standard input does.
pub(super) struct Bystander {
    pid: u32,
    _input: ChildStdin,
}

impl Bystander {
    pub(super) fn start() -> Self {
        // Not a child of this process, which is the init of steps here.
        let script = "exec 3<&0; busybox cat <&3 >/dev/null 2>&1 & echo $!";
        let alone = WRITING.lock();
        let mut shell = Command::new(BUSYBOX)
            .args(["sh", "-c", script])
            .env("SECRET", OUTSIDE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        drop(alone);
        let mut pid = String::new();
        shell.stdout.take().unwrap().read_to_string(&mut pid).unwrap();
        // Waiting would close it.
        let input = shell.stdin.take().unwrap();
        assert!(shell.wait().unwrap().success());
        Self { pid: pid.trim().parse().unwrap(), _input: input }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }
}
