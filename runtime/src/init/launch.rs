//! Turns a child of init into RUN.
//!
//! Where the step runs in a root tree, this child enters it: with `chroot`, and then without the
//! capability to do so again, without an open directory and, where the kernel can, with nothing but
//! the tree allowed. Who is not root of the pod's machine in the eyes of seccomp(2), which is a pod
//! without `CAP_SYS_ADMIN`, gets a filter only in exchange for `no_new_privs`: setuid programs and
//! file capabilities have no effect in such a step.
//!
//! Order matters: what needs `CAP_SYS_ADMIN` (the filter, Landlock) and `CAP_SETPCAP` (the bounding
//! set) comes before the ids change, the death signal after, because a change of ids clears it.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::{Pid, execve, pipe2};
use rustix::process::{DumpableBehavior, set_dumpable_behavior, set_parent_process_death_signal};
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::account::{self, Account};
use super::notify::{self, Extent, Injection, Listener};
use super::{landlock, limits, namespace, privileges, seccomp, world};
use crate::wire::{Failure, OrFail as _, Reply, RunOrder};

/// Where a command without a slash is looked up when the environment has no `PATH`.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Exit code when there is no such command.
const NOT_FOUND: i32 = 127;
/// Exit code when the command cannot be executed.
const NOT_EXECUTABLE: i32 = 126;
/// How much likelier than the builder a step is to be ended when memory runs out.
const OOM_ADJUSTMENT: i32 = 100;

/// Where the child is, and what is known of the step there.
#[derive(Debug)]
pub(super) enum Place {
    /// In the step's root already.
    Entered { account: Account, cwd: PathBuf },
    /// In the pod; the step's root is this directory.
    Tree(PathBuf),
}

/// A step that runs.
#[derive(Debug)]
pub(super) struct Started {
    /// Its first process.
    pub(super) main: Pid,
    /// What tells of its calls, if it has virtual files.
    pub(super) listener: Option<Listener>,
}

/// Where the child sends its listener.
type Telling = Option<(Extent, UnixStream)>;

/// Starts the step's command; with an `injection`, there are virtual files in its root.
pub(super) fn start(
    order: &RunOrder,
    place: Place,
    injection: Option<Injection>,
) -> Result<Started, Failure> {
    let action = || "cannot start a process".to_owned();
    let (status, report) = pipe2(OFlag::O_CLOEXEC).or_fail(action)?;
    let (ours, theirs) = notify::pair().or_fail(action)?;
    let telling = injection.as_ref().map(|injection| (injection.extent(), theirs));
    let init = Pid::this();
    if let Some(main) = namespace::split().or_fail(action)? {
        drop((report, telling));
        let mut listener = match injection {
            Some(injection) => Listener::accept(&ours, injection)
                .or_fail(|| "cannot hear what the step opens".into())?,
            None => None,
        };
        return match read_report(status, &mut listener)? {
            None => Ok(Started { main, listener }),
            Some(failure) => Err(failure),
        };
    }
    drop((status, ours));
    let Err(failure) = become_step(order, place, init, telling);
    // When init is gone there is nobody to tell.
    let _ = File::from(report).write_all(&Reply::Failed(failure).encode());
    namespace::leave(1)
}

/// What the child says before it becomes the command: nothing, or why it cannot. Until then it may
/// make calls that are told of.
fn read_report(
    status: OwnedFd,
    listener: &mut Option<Listener>,
) -> Result<Option<Failure>, Failure> {
    let mut report = Vec::new();
    let action = || "cannot hear the started process".to_owned();
    while let Some(told) = listener {
        let mut fds = [
            PollFd::new(status.as_fd(), PollFlags::POLLIN),
            PollFd::new(told.as_fd(), PollFlags::POLLIN),
        ];
        // An interrupted or failed call leaves nothing ready, and the loop goes round.
        let _ = poll(&mut fds, PollTimeout::NONE);
        let [said, events] = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        if !said.is_empty() {
            break;
        }
        notify::serve(listener, events);
    }
    File::from(status).read_to_end(&mut report).or_fail(action)?;
    if report.is_empty() {
        return Ok(None);
    }
    match Reply::decode(&report).or_fail(action)? {
        Reply::Failed(failure) => Ok(Some(failure)),
        _ => Err(Failure::new(action(), io::ErrorKind::InvalidData)),
    }
}

fn become_step(
    order: &RunOrder,
    place: Place,
    init: Pid,
    telling: Telling,
) -> Result<Infallible, Failure> {
    rustix::process::setsid().or_fail(|| "cannot make a session".into())?;
    // What needs the pod's or the step's /proc and /dev, whichever is there now.
    set_dumpable_behavior(DumpableBehavior::Dumpable)
        .or_fail(|| "cannot open the process to itself".into())?;
    raise_oom_score();
    limits::set().or_fail(|| "cannot set resource limits".into())?;
    let null = File::open("/dev/null").or_fail(|| "cannot open /dev/null".into())?;
    let (account, cwd, in_tree) = match place {
        Place::Entered { account, cwd } => (account, cwd, false),
        Place::Tree(root) => {
            enter(&root)?;
            (account::find(&order.user)?, world::working_directory(&order.cwd)?, true)
        }
    };
    let command = Command::new(order, &account)
        .or_fail(|| "cannot pass the step's arguments and environment".into())?;
    set_up_files(&account, &null)?;
    drop(null);
    reset_signals().or_fail(|| "cannot reset signals".into())?;
    rustix::process::chdir(&cwd).or_fail(|| format!("cannot enter {}", cwd.display()))?;
    privileges::allow_filters().or_fail(|| "cannot set no_new_privs".into())?;
    install_filter(telling).or_fail(|| "cannot install the seccomp filter".into())?;
    landlock::confine(in_tree).or_fail(|| "cannot confine the step with Landlock".into())?;
    privileges::bound().or_fail(|| "cannot bound capabilities".into())?;
    change_account(&account)?;
    privileges::reduce(account.uid == 0).or_fail(|| "cannot drop capabilities".into())?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .or_fail(|| "cannot set the death signal".into())?;
    if Pid::parent() != init {
        // Init died before it could be noticed.
        namespace::leave(1);
    }
    let close_on_exec = libc::CLOSE_RANGE_CLOEXEC;
    namespace::close_from(3, close_on_exec).or_fail(|| "cannot close files".into())?;
    let (code, reason) = command.execute();
    // A step whose standard error is closed has an exit code still.
    let _ = writeln!(io::stderr(), "{reason}");
    namespace::leave(code)
}

fn install_filter(telling: Telling) -> io::Result<()> {
    match telling {
        Some((extent, socket)) => notify::install(extent, &socket),
        None => seccomp::elide_flushes(),
    }
}

/// Makes the tree at `root` the root of this process.
fn enter(root: &Path) -> Result<(), Failure> {
    let action = || format!("cannot make {} the root", root.display());
    rustix::process::chdir(root).or_fail(action)?;
    rustix::process::chroot(".").or_fail(action)?;
    rustix::process::chdir("/").or_fail(action)
}

fn change_account(account: &Account) -> Result<(), Failure> {
    let groups: Vec<Gid> = account.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups).or_fail(|| format!("cannot set groups {:?}", account.groups))?;
    let gid = Gid::from_raw(account.gid);
    set_thread_res_gid(gid, gid, gid).or_fail(|| format!("cannot become group {}", account.gid))?;
    let uid = Uid::from_raw(account.uid);
    set_thread_res_uid(uid, uid, uid).or_fail(|| format!("cannot become user {}", account.uid))
}

/// Standard input is empty; the output pipes belong to the step's user, who may open them by name.
fn set_up_files(account: &Account, null: &File) -> Result<(), Failure> {
    nix::unistd::dup2_stdin(null).or_fail(|| "cannot replace standard input".into())?;
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    for pipe in [io::stdout().as_fd(), io::stderr().as_fd()] {
        // Not possible for ids that are not mapped; writing works without.
        let _ = rustix::fs::fchown(pipe, Some(uid), Some(gid));
    }
    Ok(())
}

fn reset_signals() -> nix::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator() {
        if !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
            // SAFETY: the default action runs no code of this process.
            unsafe { sigaction(signal, &default) }?;
        }
    }
    SigSet::empty().thread_set_mask()
}

fn raise_oom_score() {
    // Best effort: the file may be missing or out of reach, and the step runs all the same.
    let path = "/proc/self/oom_score_adj";
    let own: i32 =
        std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let _ = std::fs::write(path, (own + OOM_ADJUSTMENT).min(1000).to_string());
}

/// The command in the form that the kernel takes.
struct Command {
    argv: Vec<CString>,
    env: Vec<CString>,
    path: Vec<u8>,
}

impl Command {
    fn new(order: &RunOrder, account: &Account) -> io::Result<Self> {
        if order.argv.is_empty() {
            return Err(io::Error::other("there is no command"));
        }
        let argv: Result<Vec<CString>, _> =
            order.argv.iter().map(|argument| CString::new(argument.as_bytes())).collect();
        let mut env = order.env.clone();
        for (name, value) in &order.secret_env {
            env.retain(|(known, _)| known != name);
            env.push((name.clone(), OsStr::from_bytes(value.bytes()).to_owned()));
        }
        if !env.iter().any(|(name, _)| name == "HOME") {
            env.push(("HOME".into(), OsString::from(&account.home)));
        }
        let path = env
            .iter()
            .rfind(|(name, _)| name == "PATH")
            .map_or(DEFAULT_PATH.to_vec(), |(_, value)| value.as_bytes().to_vec());
        let env: Result<Vec<CString>, _> = env
            .into_iter()
            .map(|(name, value)| {
                let mut pair = name.into_vec();
                pair.push(b'=');
                pair.extend(value.into_vec());
                CString::new(pair)
            })
            .collect();
        Ok(Self { argv: argv?, env: env?, path })
    }

    /// Becomes the command; returns only when that is not possible, with exit code and reason.
    fn execute(&self) -> (i32, String) {
        let name = self.argv[0].to_bytes();
        let shown = OsStr::from_bytes(name).display();
        let mut refused = None;
        for candidate in self.candidates() {
            let Err(errno) = execve(&candidate, &self.argv, &self.env);
            match errno {
                Errno::ENOENT | Errno::ENOTDIR if name.contains(&b'/') => {
                    let reason = if Path::new(OsStr::from_bytes(name)).exists() {
                        "its interpreter does not exist"
                    } else {
                        "no such file"
                    };
                    return (NOT_FOUND, format!("cannot run {shown}: {reason}"));
                }
                Errno::ENOENT | Errno::ENOTDIR => {}
                // Something of that name later in the path may be executable.
                Errno::EACCES => refused = Some(errno),
                errno => {
                    return (NOT_EXECUTABLE, format!("cannot run {shown}: {}", errno.desc()));
                }
            }
        }
        match refused {
            Some(errno) => (NOT_EXECUTABLE, format!("cannot run {shown}: {}", errno.desc())),
            None => (NOT_FOUND, format!("cannot run {shown}: not found in PATH")),
        }
    }

    fn candidates(&self) -> Vec<CString> {
        let name = self.argv[0].to_bytes();
        if name.contains(&b'/') {
            return vec![self.argv[0].clone()];
        }
        self.path
            .split(|byte| *byte == b':')
            .filter_map(|dir| {
                // An empty element is the working directory.
                let dir = if dir.is_empty() { b".".as_slice() } else { dir };
                CString::new([dir, b"/", name].concat()).ok()
            })
            .collect()
    }
}
