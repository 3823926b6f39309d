//! What a step costs besides its command, on each rung of this machine, side by side: 20 steps that
//! do nothing, and 20 that write a small file, upon a base of so many entries.
//!
//! Run it with `cargo bench -p longshore-runtime --bench steps`, followed by `-- ENTRIES ROUNDS` for
//! anything but 10,000 entries and 5 rounds. Costs are processor seconds of all processes, the
//! builder's side included, so that others on the machine matter little; rungs take turns, so that
//! they matter to both alike. Each round makes the root tree anew, in its first step.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use longshore_runtime::entry::{Entry, EntrySink, Kind};
use longshore_runtime::{Choice, Network, Sandbox, StepSpec};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

const STEPS: usize = 20;
/// Files of one directory of the base.
const IN_DIRECTORY: usize = 20;

fn main() {
    longshore_runtime::enter_if_init();
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (entries, rounds) = (numbers.next().unwrap_or(10_000), numbers.next().unwrap_or(5));
    let place = std::env::args().skip(1).find(|argument| argument.starts_with('/'));
    let place = place.as_deref().unwrap_or(env!("CARGO_TARGET_TMPDIR"));
    let work = tempfile::tempdir_in(place).expect("it is writable");
    let places = [Choice::Overlay, Choice::Chroot].map(|choice| {
        let root = work.path().join(choice.to_string());
        let sandbox = Sandbox::open(&root, choice).expect("this machine has both rungs");
        Place { base: base(&sandbox, &root, entries), sandbox, root }
    });
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    say(&format!("{entries} entries, {STEPS} steps, load {}", load.trim()));
    for (what, script) in [("true", "true"), ("file", "echo $STEP >/file$STEP")] {
        let mut costs: [Vec<Cost>; 2] = Default::default();
        for round in 0..rounds {
            for (place, costs) in places.iter().zip(&mut costs) {
                costs.push(place.chain(script, &format!("{what}{round}")));
            }
        }
        let [overlay, chroot] = costs.map(|costs| middle(&costs));
        for (rung, cost) in [("overlay", &overlay), ("chroot", &chroot)] {
            say(&format!(
                "{what:>5} {rung:>8}: {:.3} s; first step {:.1} ms, others {:.2} ms",
                cost.first + cost.others,
                cost.first * 1e3,
                cost.others * 1e3 / (STEPS - 1) as f64,
            ));
        }
        let all = (chroot.first + chroot.others) / (overlay.first + overlay.others);
        say(&format!(
            "{what:>5} {all:.2} of overlay; others {:.2}",
            chroot.others / overlay.others
        ));
    }
    for place in &places {
        place.sandbox.remove(&place.root).expect("what was made can be removed");
    }
}

/// A rung and its work directory.
struct Place {
    sandbox: Sandbox,
    root: PathBuf,
    base: Vec<PathBuf>,
}

/// Processor seconds of a chain of steps.
#[derive(Clone, Copy, Default)]
struct Cost {
    first: f64,
    others: f64,
}

impl Place {
    /// Runs steps one upon the other, in a root of their own.
    fn chain(&self, script: &str, name: &str) -> Cost {
        let mut layers = self.base.clone();
        let mut cost = Cost::default();
        for number in 0..STEPS {
            let before = cpu_seconds();
            self.step(&mut layers, &script.replace("$STEP", &number.to_string()), name);
            let spent = cpu_seconds() - before;
            if number == 0 { cost.first = spent } else { cost.others += spent }
        }
        // Removed at the end only: ext4 searches long for inodes that were not deleted just now.
        let roots = self.root.join("roots");
        if roots.exists() {
            std::fs::rename(&roots, self.root.join(name)).expect("both are on one file system");
        }
        cost
    }

    fn step(&self, layers: &mut Vec<PathBuf>, script: &str, name: &str) {
        let scratch = self.sandbox.scratch().expect("the work directory is writable");
        let step = StepSpec {
            lowers: layers.clone(),
            scratch: scratch.path().to_owned(),
            argv: ["/bin/sh", "-c", script].map(OsString::from).to_vec(),
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
        let exit = self.sandbox.run(&step, &mut |_, _| {}, &AtomicBool::new(false));
        assert_eq!(exit.expect("the step runs").code, 0, "{script}");
        let mut sink = |_: &Entry, content: &mut dyn std::io::Read| {
            std::io::copy(content, &mut std::io::sink()).map(drop)
        };
        let stats = self.sandbox.changes(&step, &mut sink).expect("the changes are read");
        assert!(stats.reusable, "{script}");
        if stats.entries == 0 {
            self.sandbox.keep_unchanged(&step).expect("it is handed on");
        } else {
            let dest = self.root.join(format!("{name}-{}", layers.len()));
            self.sandbox.keep(&step, &dest).expect("it is kept");
            layers.push(dest);
        }
        self.sandbox.remove(scratch.path()).expect("what is left can be removed");
    }
}

/// Unpacks a base of static busybox and so many other entries.
fn base(sandbox: &Sandbox, root: &Path, entries: usize) -> Vec<PathBuf> {
    let program = std::fs::read("/bin/busybox").expect("static busybox is installed");
    let layer = root.join("base");
    let mut feed = |sink: &mut dyn EntrySink| {
        let mut put = |path: &str, kind: Kind, content: &[u8]| {
            sink.entry(&Entry::new(path, kind, 0o755, 100), &mut &*content)
        };
        let file = |content: &[u8]| Kind::File { size: content.len() as u64 };
        put("bin", Kind::Directory, b"")?;
        put("bin/sh", file(&program), &program)?;
        put("etc", Kind::Directory, b"")?;
        for number in 0..entries {
            let directory = format!("data/directory{}", number / IN_DIRECTORY);
            if number % IN_DIRECTORY == 0 {
                put(&directory, Kind::Directory, b"")?;
            } else {
                let content = format!("{number}\n").repeat(100);
                let path = format!("{directory}/file{number}");
                put(&path, file(content.as_bytes()), content.as_bytes())?;
            }
        }
        Ok(())
    };
    sandbox.unpack(&layer, &[], &mut feed).expect("the base can be unpacked");
    vec![layer]
}

fn middle(costs: &[Cost]) -> Cost {
    let of = |field: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = costs.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Cost { first: of(|cost| cost.first), others: of(|cost| cost.others) }
}

/// What this process and all that it has waited for took.
fn cpu_seconds() -> f64 {
    [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN]
        .into_iter()
        .map(|who| {
            let usage = getrusage(who).expect("resource usage is always known");
            (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64
                / 1e6
        })
        .sum()
}

fn say(line: &str) {
    // A reader that is gone misses nothing.
    let _ = writeln!(std::io::stdout(), "{line}");
}
