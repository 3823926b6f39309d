//! Running commands, and what they cost: /usr/bin/time sees the whole tree of processes.

use std::path::Path;
use std::process::{Command, Stdio};

/// What one run cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Seconds on the clock.
    pub(crate) wall: f64,
    /// Seconds of processors, in user mode and in the kernel.
    pub(crate) cpu: f64,
    /// Largest resident set of any process, in KiB.
    pub(crate) rss: u64,
}

/// The only place that starts processes.
#[expect(clippy::disallowed_methods, reason = "a bench starts the product as a user does")]
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("SOURCE_DATE_EPOCH", "1700000000").stdin(Stdio::null());
    command
}

/// Runs a command that must succeed; its output is shown if it does not.
pub(crate) fn run(directory: &Path, words: &[&str]) {
    let (program, args) = words.split_first().expect("a command has a name");
    let output = command(program).args(args).current_dir(directory).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?} failed:\n{text}");
}

/// Runs a command that must succeed, and returns what it cost.
pub(crate) fn measure(directory: &Path, words: &[&str]) -> Cost {
    let file = tempfile::NamedTempFile::new().expect("temporary files can be made");
    let path = file.path().to_str().expect("temporary paths are text");
    let time = ["/usr/bin/time", "-o", path, "-f", "%e %U %S %M"];
    run(directory, &[&time, words].concat());
    let text = fs_err::read_to_string(file.path()).expect("time writes its file");
    let fields: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [wall, user, system, rss] = fields[..] else { panic!("time wrote {text:?}") };
    Cost { wall, cpu: user + system, rss: rss as u64 }
}

/// Rows of results.
pub(crate) struct Table;

impl Table {
    /// The head of the table.
    pub(crate) const HEAD: &str = "\
        | case                           | runs | wall min | median |   max | CPU median | peak RSS MiB |\n\
        |--------------------------------|-----:|---------:|-------:|------:|-----------:|-------------:|";

    /// Prints one row and returns the median of the wall seconds and of the CPU seconds.
    pub(crate) fn row(name: &str, costs: &[Cost]) -> (f64, f64) {
        let wall = sorted(costs.iter().map(|cost| cost.wall));
        let cpu = sorted(costs.iter().map(|cost| cost.cpu));
        let rss = costs.iter().map(|cost| cost.rss).max().unwrap_or_default() / 1024;
        let (runs, middle) = (costs.len(), costs.len() / 2);
        println!(
            "| {name:<30} | {runs:>4} | {:>8.2} | {:>6.2} | {:>5.2} | {:>10.2} | {rss:>12} |",
            wall[0],
            wall[middle],
            wall[runs - 1],
            cpu[middle],
        );
        (wall[middle], cpu[middle])
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}
