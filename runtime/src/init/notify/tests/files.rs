//! What a step finds.

use std::path::Path;

use super::super::GivenFile;
use super::stage::{Setup, Stage};

#[test]
fn files_of_proc_are_read() {
    let Some(stage) = Stage::new() else { return };
    for (script, expected) in [
        ("read -r name < /proc/self/comm; echo $name", "sh"),
        ("cat /proc/self/comm", "cat"),
        ("cat //proc/./thread-self/comm", "cat"),
        ("cat /proc/$$/comm; true", "sh"),
        ("grep -c ^processor /proc/cpuinfo >/tmp/null && echo yes", "yes"),
        ("grep -o MemTotal /proc/meminfo", "MemTotal"),
        ("cat /proc/sys/kernel/ostype", "Linux"),
        ("A=b cat /proc/self/environ | grep -o A=b", "A=b"),
        ("cat /proc/mounts | head -n 1", "overlay / overlay rw,relatime 0 0"),
        ("grep -c . /proc/self/mountinfo", "2"),
        ("grep ^Pid: /proc/self/status | wc -l", "1"),
        ("echo 500 > /proc/self/oom_score_adj; cat /proc/self/oom_score_adj", "500"),
        ("cd /proc; cat sys/kernel/ostype; cd self; cat comm", "Linux\ncat"),
        ("cat /proc/self/task/$$/comm 2>/tmp/null || echo no", "no"),
        ("exec cat /proc/self/task/$$/comm", "cat"),
    ] {
        let ended = stage.sh(script);
        assert_eq!(ended.output.trim_end(), expected, "{script} {ended:?}");
    }
}

#[test]
fn open_files_have_their_names() {
    let Some(stage) = Stage::new() else { return };
    for (script, expected) in [
        ("echo hello | cat /dev/stdin", "hello"),
        ("echo hello > /dev/stdout", "hello"),
        ("echo hello 2>&1 > /dev/fd/2", "hello"),
        ("echo hello > /tmp/f; exec 3< /tmp/f; cat /dev/fd/3 /proc/self/fd/3", "hello\nhello"),
        ("exec 3> /tmp/f; echo one > /dev/fd/3; echo two >> /dev/fd/3; cat /tmp/f", "one\ntwo"),
        ("exec 3< /proc/self/status; cat /dev/fd/3 | head -n 1 | grep -c Name", "1"),
        ("cat /dev/fd/9 2>&1", "cat: can't open '/dev/fd/9': No such file or directory"),
        ("exec 3< /tmp; cat /dev/fd/3 2>&1", "cat: can't open '/dev/fd/3': Permission denied"),
        ("exec 3< /tmp/f; readlink /proc/self/fd/3", "/tmp/f"),
        ("exec 3< /tmp/f; [ -e /dev/fd/3 ] && [ ! -e /dev/fd/4 ] && echo yes", "yes"),
        ("ln -s /proc/self/fd/1 /dev/stdout; readlink /dev/stdout", "/proc/self/fd/1"),
        ("[ -p /dev/stdout ] && [ -w /dev/stdout ] && echo yes", "yes"),
        ("exec 3< /tmp/f; stat -Lc %s /dev/fd/3", "8"),
    ] {
        let ended = stage.sh(script);
        assert_eq!(ended.output.trim_end(), expected, "{script} {ended:?}");
    }
}

#[test]
fn programs_know_their_own_names() {
    let Some(stage) = Stage::new() else { return };
    assert_eq!(stage.sh("readlink /proc/self/exe").ok(), "/bin/busybox");
    let script = "cd /etc && readlink /proc/self/cwd && readlink /proc/self/root";
    assert_eq!(stage.sh(script).ok(), "/etc\n/");
    assert_eq!(stage.sh("sh -c 'readlink /proc/$PPID/exe'; true").ok(), "/bin/busybox");
}

#[test]
fn devices_are_given_where_there_are_no_nodes() {
    let Some(stage) = Stage::new() else { return };
    for (script, expected) in [
        ("echo x > /dev/null; cat /dev/null; ls /dev", ""),
        ("head -c 3 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c", "3\n5"),
        ("cd /dev; echo x > null; ls", ""),
        ("[ -c /dev/null ] && echo yes", "yes"),
    ] {
        assert_eq!(stage.sh(script).ok(), expected, "{script}");
    }
    // Where there is a node, the root is left as it is.
    let flags = nix::sys::stat::SFlag::S_IFCHR;
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
    let null = nix::sys::stat::makedev(1, 3);
    nix::sys::stat::mknod(&stage.root().join("dev/null"), flags, mode, null).unwrap();
    assert_eq!(stage.sh("echo x > /dev/zero; cat /dev/zero").ok(), "x");
}

#[test]
fn held_files_are_where_they_should_be_and_nowhere_on_disk() {
    let Some(stage) = Stage::new() else { return };
    let file = |path, mode, uid| GivenFile {
        path: Path::new(path),
        content: b"hunter2",
        mode,
        uid,
        gid: 7,
    };
    let given = [file("/run/secrets/token", 0o400, 0), file("/etc/app/key", 0o640, 1000)];
    let root = Setup { given: &given, ..Setup::default() };
    let user = Setup { uid: 1000, gid: 1000, ..root };
    let group = Setup { uid: 1001, gid: 7, ..root };
    for (setup, script, expected) in [
        (root, "cat /run/secrets/token", "hunter2"),
        (root, "cd /run/secrets; cat ./token", "hunter2"),
        (root, "cd run; cat secrets/token", "hunter2"),
        (root, "stat -c '%s %a %u:%g' /etc/app/key", "7 640 1000:7"),
        (root, "[ -f /etc/app/key ] && [ -r /etc/app/key ] && [ -s /etc/app/key ] && echo y", "y"),
        (root, "cp /run/secrets/token /tmp/copy; cat /tmp/copy", "hunter2"),
        (root, "(echo x > /run/secrets/token) 2>&1 | grep -o Read-only", "Read-only"),
        (root, "stat -c %F /run/secrets/token /proc/self/exe", "regular file\nsymbolic link"),
        (root, "exec 3< /run/secrets/token; cat /dev/fd/3 /dev/fd/3", "hunter2hunter2"),
        (user, "cat /etc/app/key", "hunter2"),
        (group, "cat /etc/app/key", "hunter2"),
        (user, "cat /run/secrets/token 2>&1 | grep -o denied", "denied"),
        (group, "cat /run/secrets/token 2>&1 | grep -o denied", "denied"),
        (root, "ls /run/secrets /etc/app 2>&1 | grep -o 'No such'", "No such"),
    ] {
        let ended = stage.sh_with(setup, script);
        assert_eq!(ended.output.trim_end(), expected, "{script} {ended:?}");
    }
}

#[test]
fn steps_of_other_users_have_virtual_files_too() {
    let Some(stage) = Stage::new() else { return };
    let setup = Setup { uid: 1000, gid: 1001, ..Setup::default() };
    for (script, expected) in [
        ("cat /proc/self/comm", "cat"),
        ("grep -c . /proc/self/maps > /tmp/n && echo yes", "yes"),
        ("readlink /proc/self/exe", "/bin/busybox"),
        ("echo hello | cat /dev/stdin", "hello"),
        ("grep ^Uid /proc/self/status | wc -w", "5"),
        ("sh -c 'cat /proc/$PPID/comm'; true", "sh"),
    ] {
        let ended = stage.sh_with(setup, script);
        assert_eq!(ended.output.trim_end(), expected, "{script} {ended:?}");
    }
}
