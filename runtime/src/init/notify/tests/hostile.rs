//! What a step must not get. Each attempt first succeeds for an ordinary process of the pod.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use super::stage::{Bystander, OUTSIDE, ProcessKind, Setup, Stage};

const CONTROL: Setup<'_> = Setup { given: &[], uid: 0, gid: 0, kind: ProcessKind::Control };

/// Opens and reads a path with one call each, so that nothing is done to it on the way.
fn read(directory: i32, path: &str) -> Result<Vec<u8>, i32> {
    use std::os::fd::FromRawFd as _;
    let path = CString::new(path).unwrap();
    // SAFETY: the path is a NUL-terminated string that lives through the call.
    let fd = unsafe { libc::openat(directory, path.as_ptr(), libc::O_RDONLY) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error().raw_os_error().unwrap());
    }
    // SAFETY: the call has just returned this descriptor.
    let file = unsafe { File::from_raw_fd(fd) };
    let mut content = Vec::new();
    // Enough of files that do not end, such as memory.
    match file.take(1 << 16).read_to_end(&mut content) {
        Ok(_) => Ok(content),
        // Opened, which is what counts.
        Err(_) => Ok(Vec::new()),
    }
}

#[test]
fn nothing_outside_is_opened_by_any_name() {
    let Some(stage) = Stage::new() else { return };
    let bystander = Bystander::start();
    let (other, init) = (bystander.pid(), std::process::id());
    let root = stage.root();
    let outside = root.parent().unwrap().join("outside");
    let (outside, root) = (outside.to_str().unwrap(), root.to_str().unwrap());
    for link in ["environ", "maps"] {
        symlink(format!("/proc/{other}/{link}"), stage.root().join("etc").join(link)).unwrap();
    }
    // The path of the step; what it would be without a root of its own, if that differs.
    for (path, control) in [
        (format!("/proc/{other}/environ"), None),
        (format!("//proc/{other}/environ"), None),
        (format!("/proc/./{other}//environ"), None),
        (format!("/proc/{other}/cmdline"), None),
        (format!("/proc/{other}/status"), None),
        (format!("/proc/{other}/maps"), None),
        (format!("/proc/{other}/mem"), None),
        (format!("/proc/{other}/root{outside}"), None),
        (format!("/proc/{other}/task/{other}/environ"), None),
        (format!("/proc/{other}/exe"), None),
        (format!("/proc/{init}/environ"), None),
        (format!("/proc/{init}/status"), None),
        (format!("/proc/{init}/maps"), None),
        (format!("/proc/{init}/root{outside}"), None),
        ("/proc/1/cmdline".to_owned(), None),
        ("/proc/1/status".to_owned(), None),
        (format!("/proc/self/../{other}/environ"), None),
        (format!("/proc/self/task/../../{other}/environ"), None),
        (format!("/proc/self/fd/../../{other}/environ"), None),
        (format!("/proc/self/root{outside}"), None),
        (format!("/proc/thread-self/root{outside}"), None),
        (format!("/proc/self/root/proc/{other}/environ"), None),
        ("/proc/self/mem".to_owned(), None),
        ("/proc/self/exe".to_owned(), None),
        ("/proc/self/pagemap".to_owned(), None),
        ("/proc/kallsyms".to_owned(), None),
        ("/proc/sys/kernel/core_pattern".to_owned(), None),
        ("/dev/../proc/kallsyms".to_owned(), None),
        ("/etc/environ".to_owned(), Some(format!("{root}/etc/environ"))),
        ("/etc/maps".to_owned(), Some(format!("{root}/etc/maps"))),
        ("/../outside".to_owned(), Some(format!("{root}/../outside"))),
    ] {
        let control = control.as_ref().unwrap_or(&path);
        let mut attempt = || i32::from(read(libc::AT_FDCWD, control).is_err());
        assert_eq!(stage.run(CONTROL, &mut attempt).code, 0, "control: {control}");
        let mut attempt = || read(libc::AT_FDCWD, &path).err().unwrap_or(0);
        let errno = stage.run(Setup::default(), &mut attempt).code;
        assert!(matches!(errno, libc::ENOENT | libc::ENOTDIR | libc::EACCES), "{path}: {errno}");
    }
}

#[test]
fn directories_lead_nowhere() {
    let Some(stage) = Stage::new() else { return };
    let bystander = Bystander::start();
    let environ = format!("{}/environ", bystander.pid());
    for directory in ["/proc", "/dev", "/proc/self", "/etc"] {
        for path in [
            environ.clone(),
            format!("./{environ}"),
            format!("../proc/{environ}"),
            format!("../../proc/{environ}"),
        ] {
            let mut attempt = || {
                let directory = CString::new(directory).unwrap();
                // SAFETY: the path is a NUL-terminated string that lives through the call.
                let directory = unsafe { libc::open(directory.as_ptr(), libc::O_DIRECTORY) };
                i32::from(directory < 0 || read(directory, &path).is_ok())
            };
            assert_eq!(stage.run(Setup::default(), &mut attempt).code, 0, "{directory} {path}");
        }
    }
    let mut control = || {
        // SAFETY: the path is a NUL-terminated string.
        let directory = unsafe { libc::open(c"/proc".as_ptr(), libc::O_DIRECTORY) };
        i32::from(read(directory, &environ).is_err())
    };
    assert_eq!(stage.run(CONTROL, &mut control).code, 0);
}

#[test]
fn nothing_of_the_system_can_be_written() {
    let Some(stage) = Stage::new() else { return };
    let write = |path: &str, flags: i32| {
        let path = CString::new(path).unwrap();
        // SAFETY: the path is a NUL-terminated string that lives through the call.
        let fd = unsafe { libc::open(path.as_ptr(), flags) };
        if fd < 0 { std::io::Error::last_os_error().raw_os_error().unwrap() } else { 0 }
    };
    for path in [
        "/proc/sys/vm/swappiness",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/kernel/hostname",
        "/proc/self/uid_map",
        "/proc/self/environ",
        "/proc/mounts",
        "/proc/1/oom_score_adj",
    ] {
        for flags in [libc::O_WRONLY, libc::O_RDWR, libc::O_WRONLY | libc::O_TRUNC] {
            let mut attempt = || i32::from(write(path, flags) == 0);
            assert_eq!(stage.run(Setup::default(), &mut attempt).code, 0, "{path} {flags:o}");
        }
    }
    // What was given for reading cannot be opened again for writing; root could, outside.
    let again = || {
        let file = File::open("/proc/sys/vm/swappiness").unwrap();
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
        write(&format!("/proc/self/fd/{fd}"), libc::O_RDWR)
    };
    assert_eq!(stage.run(Setup::default(), &mut || again()).code, libc::EACCES);
    assert_eq!(stage.run(CONTROL, &mut || again()).code, 0);
}

#[test]
fn a_path_that_changes_while_it_is_read_leads_nowhere_else() {
    let Some(stage) = Stage::new() else { return };
    let bystander = Bystander::start();
    let (harmless, harmful) = ("/proc/self/comm", format!("/proc/{}/environ", bystander.pid()));
    let race = |at_most: usize| {
        static STOP: AtomicBool = AtomicBool::new(false);
        let length = harmless.len().max(harmful.len()) + 1;
        let mut path = vec![0_u8; length];
        let shared = path.as_mut_ptr() as usize;
        let (one, other) = (harmless.to_owned(), harmful.clone());
        let writer = std::thread::spawn(move || {
            while !STOP.load(Ordering::Relaxed) {
                for text in [one.as_bytes(), other.as_bytes()] {
                    for at in 0..length {
                        let byte = text.get(at).copied().unwrap_or(0);
                        // SAFETY: the buffer lives until this thread was joined; the race with the
                        // kernel's reading of it is what this is about.
                        unsafe { (shared as *mut u8).add(at).write_volatile(byte) };
                    }
                }
            }
        });
        let mut seen = 0;
        for _ in 0..at_most {
            if seen == 3 {
                break;
            }
            // SAFETY: as above; the last byte of the buffer stays NUL.
            let fd = unsafe { libc::open(shared as *const libc::c_char, libc::O_RDONLY) };
            let mut content = [0_u8; 4096];
            // SAFETY: the buffer is as long as is said. Reading from -1 fails.
            let length = unsafe { libc::read(fd, content.as_mut_ptr().cast(), content.len()) };
            let content = &content[..usize::try_from(length).unwrap_or(0)];
            if content.windows(OUTSIDE.len()).any(|part| part == OUTSIDE.as_bytes()) {
                seen |= 1;
            } else if !content.is_empty() {
                seen |= 2;
            }
            // SAFETY: the descriptor is this loop's.
            unsafe { libc::close(fd) };
        }
        STOP.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        drop(path);
        seen
    };
    assert_eq!(stage.run(CONTROL, &mut || race(10_000_000)).code, 3, "control");
    assert_eq!(stage.run(Setup::default(), &mut || race(20_000)).code, 2);
}

/// A call with the numbers of i386.
#[cfg(target_arch = "x86_64")]
fn call_i386(number: u32, first: u32, second: u32) -> i32 {
    let result: i32;
    // SAFETY: the instruction enters the kernel, which changes only the result.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first:r}",
            "int 0x80",
            "xchg rbx, {first:r}",
            first = in(reg) u64::from(first),
            inlateout("eax") number => result,
            in("ecx") second,
            in("edx") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    result
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_i386_are_the_kernel_s() {
    let Some(stage) = Stage::new() else { return };
    let mut calls = || {
        // SAFETY: a new mapping is in nobody's way.
        let low = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0)
        };
        let address = u32::try_from(low as usize).unwrap();
        let open = |path: &str| {
            // SAFETY: the mapping is longer than the paths.
            unsafe { std::ptr::copy(path.as_ptr(), low.cast(), path.len()) };
            call_i386(5, address, 0)
        };
        assert!(open("/etc/passwd\0") > 2);
        // Looked for in the step's own root.
        assert_eq!(open("/proc/self/comm\0"), -libc::ENOENT);
        // The number of fsync(2) elsewhere, which is sethostname(2) here.
        assert_eq!(call_i386(u32::try_from(libc::SYS_fsync).unwrap(), address, 1), -libc::EPERM);
        0
    };
    let ended = stage.run(Setup::default(), &mut calls);
    if ended.code == 128 + libc::SIGSEGV {
        return eprintln!("skipped: this kernel has no calls of i386");
    }
    ended.ok();
}

#[test]
fn a_step_cannot_read_the_held_files_of_others_through_init() {
    let Some(stage) = Stage::new() else { return };
    let held = fs::read_dir("/proc/self/fd").unwrap().count();
    let mut attempt = || {
        let init = std::os::unix::process::parent_id();
        (0..held + 20)
            .flat_map(|fd| {
                [format!("/proc/{init}/fd/{fd}"), format!("/proc/{init}/task/{init}/fd/{fd}")]
            })
            .filter(|path| read(libc::AT_FDCWD, path).is_ok())
            .count()
            .try_into()
            .unwrap()
    };
    assert_eq!(stage.run(Setup::default(), &mut attempt).code, 0);
}
