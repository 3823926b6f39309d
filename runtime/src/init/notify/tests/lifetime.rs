//! When listeners begin and end, and what processes may do meanwhile.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::super::calls::{Extent, told};
use super::stage::{ProcessKind, Setup, Stage, wait};
use crate::init::{privileges, seccomp};

/// Runs `child` in a new process.
fn split(child: impl FnOnce() -> i32) -> Pid {
    // SAFETY: the child makes calls of the kernel and allocations only.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let code = child();
            // SAFETY: `_exit` takes any code and does not return.
            unsafe { libc::_exit(code) }
        }
    }
}

/// A request of ptrace(2) without data.
fn trace(request: libc::c_uint, process: i32) -> libc::c_long {
    let none: *mut libc::c_void = std::ptr::null_mut();
    // SAFETY: the requests that are made here take no addresses.
    unsafe { libc::ptrace(request, process, none, none) }
}

fn own_name() -> std::io::Result<String> {
    let mut name = String::new();
    File::open("/proc/self/comm")?.read_to_string(&mut name)?;
    Ok(name)
}

#[test]
fn a_step_without_its_supervisor_fails_at_once() {
    let Some(stage) = Stage::new() else { return };
    let setup = Setup { kind: ProcessKind::Abandoned, ..Setup::default() };
    let mut open = || match File::open("/etc/passwd") {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap(),
    };
    assert_eq!(stage.run(setup, &mut open).code, libc::ENOSYS);
}

#[test]
fn the_end_of_the_last_process_is_seen() {
    let Some(stage) = Stage::new() else { return };
    let mut main = || {
        let parent = std::process::id();
        split(|| {
            rustix::process::setsid().unwrap();
            while std::os::unix::process::parent_id() == parent {
                std::thread::yield_now();
            }
            // Served although the first process of the step is gone.
            let mut out = std::io::stdout();
            out.write_all(own_name().unwrap().as_bytes()).unwrap();
            out.flush().unwrap();
            0
        });
        7
    };
    let ended = stage.run(Setup::default(), &mut main);
    assert_eq!(ended.code, 7);
    assert!(!ended.output.is_empty());
}

#[test]
fn a_second_listener_is_refused() {
    let Some(stage) = Stage::new() else { return };
    let mut main = || match seccomp::tell(&told(Extent::Usual)) {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap(),
    };
    assert_eq!(stage.run(Setup::default(), &mut main).code, libc::EBUSY);
    // A filter without a listener is welcome.
    let mut main = || i32::from(seccomp::elide_flushes().is_err());
    assert_eq!(stage.run(Setup::default(), &mut main).code, 0);
}

#[test]
fn new_privileges_are_given_up_only_where_they_must_be() {
    let Some(stage) = Stage::new() else { return };
    // A step here has no CAP_SYS_ADMIN when it installs its filter.
    let script = "grep NoNewPrivs /proc/self/status";
    assert_eq!(stage.sh(script).ok(), "NoNewPrivs:\t1");
    let with_administration = split(|| {
        privileges::allow_filters().unwrap();
        seccomp::elide_flushes().unwrap();
        i32::from(rustix::thread::no_new_privs().unwrap())
    });
    assert_eq!(wait(with_administration), 0);
}

#[test]
fn threads_may_end_in_an_exec_and_children_start_by_vfork() {
    let Some(stage) = Stage::new() else { return };
    let mut main = || {
        static OPENED: AtomicUsize = AtomicUsize::new(0);
        for _ in 0..4 {
            std::thread::spawn(|| {
                loop {
                    File::open("/proc/thread-self/comm").unwrap();
                    OPENED.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let spawned = Command::new("/bin/cat").arg("/proc/self/comm").status().unwrap();
        assert!(spawned.success());
        while OPENED.load(Ordering::Relaxed) < 500 {
            std::thread::yield_now();
        }
        use std::os::unix::process::CommandExt as _;
        panic!("{}", Command::new("/bin/cat").arg("/proc/self/comm").exec());
    };
    assert_eq!(stage.run(Setup::default(), &mut main).ok(), "cat\ncat");
}

#[test]
fn signals_neither_lose_calls_nor_leave_descriptors_behind() {
    extern "C" fn nothing(_: libc::c_int) {}
    let Some(stage) = Stage::new() else { return };
    let mut main = || {
        let next = || File::open("/etc/passwd").unwrap().as_raw_fd();
        let before = next();
        let often = libc::itimerval {
            it_interval: libc::timeval { tv_sec: 0, tv_usec: 50 },
            it_value: libc::timeval { tv_sec: 0, tv_usec: 50 },
        };
        let handler: extern "C" fn(libc::c_int) = nothing;
        // SAFETY: the handler does nothing; the structure lives through the call.
        unsafe {
            libc::signal(libc::SIGALRM, handler as libc::sighandler_t);
            libc::setitimer(libc::ITIMER_REAL, &raw const often, std::ptr::null_mut());
        }
        let opened = (0..2000).filter(|_| own_name().is_ok()).count();
        // SAFETY: zero ends the timer.
        unsafe {
            let never: libc::itimerval = std::mem::zeroed();
            libc::setitimer(libc::ITIMER_REAL, &raw const never, std::ptr::null_mut());
        }
        assert_eq!((opened, next()), (2000, before));
        0
    };
    stage.run(Setup::default(), &mut main).ok();
}

#[test]
fn processes_may_die_while_they_wait() {
    let Some(stage) = Stage::new() else { return };
    let mut main = || {
        for _ in 0..100 {
            let children: Vec<Pid> = (0..3)
                .map(|_| {
                    split(|| {
                        loop {
                            own_name().unwrap();
                        }
                    })
                })
                .collect();
            own_name().unwrap();
            for child in children {
                kill(child, Signal::SIGKILL).unwrap();
                assert_eq!(wait(child), 128 + 9);
            }
        }
        i32::from(own_name().is_err())
    };
    stage.run(Setup::default(), &mut main).ok();
}

#[test]
fn a_step_may_trace_its_processes() {
    let Some(stage) = Stage::new() else { return };
    let mut main = || {
        let child = split(|| {
            assert_eq!(trace(libc::PTRACE_TRACEME, 0), 0);
            raise(Signal::SIGSTOP).unwrap();
            i32::from(own_name().is_err())
        });
        let mut stops = 0;
        loop {
            match waitpid(child, None).unwrap() {
                WaitStatus::Exited(_, code) => {
                    assert!(stops > 4, "{stops}");
                    return code;
                }
                WaitStatus::Stopped(..) => stops += 1,
                other => panic!("{other:?}"),
            }
            assert_eq!(trace(libc::PTRACE_SYSCALL, child.as_raw()), 0);
        }
    };
    stage.run(Setup::default(), &mut main).ok();
}
