//! The workbench of a test: a work directory, a sandbox on it, layers and steps in short notation.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use longshore_runtime::entry::{Entry, EntrySink, Kind};
use longshore_runtime::{
    ChangeStats, Choice, Error, Network, Rung, Sandbox, Scratch, StepExit, StepSpec, Stream,
    UnpackStats,
};

/// A static shell with all usual commands.
const BUSYBOX: &str = "/bin/busybox";

/// Names the rung that the tests are for; without it, the best one of the machine.
pub(crate) const RUNG: &str = "RUNTIME_TEST_RUNG";

/// A work directory and a sandbox on it.
pub(crate) struct Bench {
    pub(crate) sandbox: Sandbox,
    pub(crate) root: tempfile::TempDir,
    next: Cell<u32>,
}

/// What a step did.
pub(crate) struct Ran {
    pub(crate) exit: StepExit,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) step: StepSpec,
    _scratch: Scratch,
}

/// An entry with its content.
pub(crate) type Taken = (Entry, Vec<u8>);

impl Bench {
    /// `None`, and the reason printed, where this machine cannot run steps.
    pub(crate) fn new() -> Option<Self> {
        let choice = std::env::var(RUNG).map_or(Choice::Auto, |name| name.parse().unwrap());
        Self::on(choice)
    }

    /// The same on a rung of the test's choice.
    pub(crate) fn on(choice: Choice) -> Option<Self> {
        let root = tempfile::tempdir().unwrap();
        if !Path::new(BUSYBOX).exists() {
            eprintln!("skipped: {BUSYBOX} (static busybox) is not installed");
            return None;
        }
        match Sandbox::open(&root.path().join("work"), choice) {
            Ok(sandbox) => Some(Self { sandbox, root, next: Cell::new(0) }),
            Err(Error::Refused(refusal)) => {
                eprintln!("skipped: {refusal}\n{}", refusal.hint());
                None
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Whether this is the rung that a test is about; says so where it is not.
    pub(crate) fn is_on(&self, rung: Rung) -> bool {
        let own = self.sandbox.rung();
        if own != rung {
            eprintln!("not on {own}: this is about {rung}");
        }
        own == rung
    }

    /// The same with somebody else's sandbox; layers are made in a new directory in `dir`.
    pub(crate) fn upon(sandbox: Sandbox, dir: &Path) -> Self {
        let root = tempfile::tempdir_in(dir).unwrap();
        std::fs::create_dir(root.path().join("work")).unwrap();
        Self { sandbox, root, next: Cell::new(0) }
    }

    /// Whether steps have a `/proc` of the kernel's making, and what leads there.
    pub(crate) fn has_proc(&self) -> bool {
        self.sandbox.rung() == Rung::OverlayFull
    }

    /// Lines of `/proc/PID/FILE` of a step of `user`, read from outside.
    pub(crate) fn proc_of_step(&self, lowers: &[PathBuf], user: &str, file: &str) -> String {
        let scratch = self.sandbox.scratch().unwrap();
        let mut step = self.sh(lowers, "true").step;
        step.scratch = scratch.path().to_owned();
        step.user = user.into();
        let script = "echo $$; while ! [ -e /tmp/go ]; do :; done";
        step.argv = ["/bin/sh", "-c", script].iter().map(Into::into).collect();
        let mut said = String::new();
        let mut output = |_, chunk: &[u8]| {
            let pid = String::from_utf8_lossy(chunk);
            let path = Path::new("/proc").join(pid.trim()).join(file);
            said = std::fs::read_to_string(&path).unwrap_or_else(|error| error.to_string());
            std::fs::write(step.scratch.join("tree/root/tmp/go"), "").unwrap();
        };
        let exit = self.sandbox.run(&step, &mut output, &AtomicBool::new(false)).unwrap();
        assert_eq!(exit.code, 0);
        said
    }

    pub(crate) fn fresh(&self, name: &str) -> PathBuf {
        self.next.set(self.next.get() + 1);
        self.root.path().join("work").join(format!("{name}{}", self.next.get()))
    }

    /// Unpacks entries into a new layer directory.
    pub(crate) fn layer(&self, lowers: &[PathBuf], entries: &[Taken]) -> PathBuf {
        self.try_layer(lowers, entries).unwrap().0
    }

    pub(crate) fn try_layer(
        &self,
        lowers: &[PathBuf],
        entries: &[Taken],
    ) -> Result<(PathBuf, UnpackStats), Error> {
        let dest = self.fresh("layer");
        let stats = self.sandbox.unpack(&dest, lowers, &mut |sink| {
            entries
                .iter()
                .try_for_each(|(entry, content)| sink.entry(entry, &mut content.as_slice()))
        })?;
        Ok((dest, stats))
    }

    /// A root file system with busybox and all its commands.
    pub(crate) fn busybox(&self) -> PathBuf {
        let program = std::fs::read(BUSYBOX).unwrap();
        let mut entries = vec![
            dir("bin", 0o755),
            dir("etc", 0o755),
            file_of("bin/busybox", 0o755, &program),
            file("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"),
            file("etc/group", "root:x:0:\napp:x:1001:\nwww:x:33:app\n"),
            dir("tmp", 0o1777),
        ];
        for name in COMMANDS {
            entries.push(link(&format!("bin/{name}"), "busybox"));
        }
        self.layer(&[], &entries)
    }

    /// Runs a shell script.
    pub(crate) fn sh(&self, lowers: &[PathBuf], script: &str) -> Ran {
        self.step(lowers, &["/bin/sh", "-c", script], |_| {}).unwrap()
    }

    /// Runs a command in a step that `change` has the last word on.
    pub(crate) fn step(
        &self,
        lowers: &[PathBuf],
        argv: &[&str],
        change: impl FnOnce(&mut StepSpec),
    ) -> Result<Ran, Error> {
        let scratch = self.sandbox.scratch().unwrap();
        let mut step = StepSpec {
            lowers: lowers.to_vec(),
            scratch: scratch.path().to_owned(),
            argv: argv.iter().map(Into::into).collect(),
            env: vec![("PATH".into(), "/bin".into())],
            cwd: "/".into(),
            user: String::new(),
            hostname: "builder".into(),
            network: Network::Host,
            clamp_mtime: None,
            secret_env: Vec::new(),
            mounts: Vec::new(),
            timeout: None,
        };
        change(&mut step);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut output = |stream, chunk: &[u8]| match stream {
            Stream::Stdout => stdout.extend_from_slice(chunk),
            Stream::Stderr => stderr.extend_from_slice(chunk),
        };
        let exit = self.sandbox.run(&step, &mut output, &AtomicBool::new(false))?;
        Ok(Ran {
            exit,
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
            step,
            _scratch: scratch,
        })
    }

    /// The changes of a step, by path; opaque marks under `PATH/*`.
    pub(crate) fn changes(&self, ran: &Ran) -> (BTreeMap<String, Taken>, ChangeStats) {
        let mut changes = BTreeMap::new();
        let mut last: Option<Vec<u8>> = None;
        let mut sink = |entry: &Entry, content: &mut dyn Read| -> io::Result<()> {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            if entry.kind == Kind::Opaque {
                assert_eq!(last.as_deref(), Some(entry.path.as_slice()), "follows its directory");
            } else {
                assert!(last.as_deref() < Some(&entry.path), "ordered: {last:?} {entry:?}");
            }
            last = Some(entry.path.clone());
            let mut path = String::from_utf8(entry.path.clone()).unwrap();
            if entry.kind == Kind::Opaque {
                path.push_str("/*");
            }
            changes.insert(path, (entry.clone(), bytes));
            Ok(())
        };
        let stats = self.sandbox.changes(&ran.step, &mut sink as &mut dyn EntrySink).unwrap();
        (changes, stats)
    }

    /// The paths that a script changes, over busybox.
    pub(crate) fn changed_paths(&self, lowers: &[PathBuf], script: &str) -> Vec<String> {
        let ran = self.sh(lowers, script);
        assert_eq!(ran.exit.code, 0, "{}{}", ran.stdout, ran.stderr);
        self.changes(&ran).0.into_keys().collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.sandbox.remove(&self.root.path().join("work")).unwrap();
    }
}

impl Ran {
    /// The standard output of a step that must have succeeded.
    pub(crate) fn ok(&self) -> &str {
        assert_eq!(self.exit.code, 0, "{}{}", self.stdout, self.stderr);
        self.stdout.trim_end()
    }
}

const COMMANDS: [&str; 38] = [
    "cat", "chgrp", "chmod", "chown", "cp", "date", "dd", "echo", "env", "grep", "head",
    "hostname", "id", "ifconfig", "kill", "ln", "ls", "mkdir", "mkfifo", "mknod", "mount", "mv",
    "pidof", "ps", "pwd", "readlink", "rm", "rmdir", "setsid", "sh", "sleep", "stat", "sync",
    "touch", "tr", "ulimit", "wc", "whoami",
];

pub(crate) fn dir(path: &str, mode: u32) -> Taken {
    (Entry::new(path, Kind::Directory, mode, 100), Vec::new())
}

pub(crate) fn file(path: &str, content: &str) -> Taken {
    file_of(path, 0o644, content.as_bytes())
}

pub(crate) fn file_of(path: &str, mode: u32, content: &[u8]) -> Taken {
    let kind = Kind::File { size: content.len() as u64 };
    (Entry::new(path, kind, mode, 200), content.to_vec())
}

pub(crate) fn link(path: &str, target: &str) -> Taken {
    (Entry::new(path, Kind::Symlink { target: target.into() }, 0o777, 300), Vec::new())
}

pub(crate) fn hard_link(path: &str, target: &str) -> Taken {
    (Entry::new(path, Kind::HardLink { target: target.into() }, 0o644, 400), Vec::new())
}

pub(crate) fn whiteout(path: &str) -> Taken {
    (Entry::new(path, Kind::Whiteout, 0, 0), Vec::new())
}

pub(crate) fn opaque(path: &str) -> Taken {
    (Entry::new(path, Kind::Opaque, 0, 0), Vec::new())
}

pub(crate) fn owned((mut entry, content): Taken, uid: u32, gid: u32) -> Taken {
    (entry.uid, entry.gid) = (uid, gid);
    (entry, content)
}

pub(crate) fn with_xattr((mut entry, content): Taken, name: &str, value: &[u8]) -> Taken {
    entry.xattrs.insert(name.into(), value.to_vec());
    (entry, content)
}
