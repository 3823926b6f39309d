//! Deciding that nothing changed, for contexts of several sizes: with the look at the worktree
//! beside `git status`, without it beside `git ls-tree -r` and beside opening the repository.

use std::io::{BufWriter, Write as _};
use std::process::Stdio;

use crate::cases::Place;
use crate::measure::{Cost, Table, command, measure, run};

/// How often each is run.
const RUNS: usize = 5;
/// Files in one directory.
const IN_DIRECTORY: u64 = 100;

/// Twenty thousand files.
pub(crate) fn small(place: &Place<'_>) {
    decide(place, 20_000);
}

/// A hundred thousand files.
pub(crate) fn middle(place: &Place<'_>) {
    decide(place, 100_000);
}

/// A million files; needs about 5 GB of disk for the checkout.
pub(crate) fn large(place: &Place<'_>) {
    decide(place, 1_000_000);
}

fn decide(place: &Place<'_>, files: u64) {
    let repository = place.repository();
    run(&repository, &["git", "init", "--quiet", "--initial-branch=main"]);
    import(place, files);
    // What a bare repository publishes is what its checkout finds.
    place.build("again", &["--no-worktree"]);
    let several = |once: &dyn Fn() -> Cost| -> Vec<Cost> { (0..RUNS).map(|_| once()).collect() };
    let git = |words: &[&str]| {
        let words = [&["git", "--no-optional-locks"], words].concat();
        several(&|| measure(&repository, &words))
    };
    let name = place.name;
    let committed = several(&|| place.build("again", &["--no-worktree"]));
    let ours = Table::row(&format!("{name}, no worktree"), &committed);
    let listed = Table::row("  git ls-tree -r HEAD", &git(&["ls-tree", "-r", "HEAD"]));
    let opened = Table::row("  git log -1", &git(&["log", "-1"]));
    println!("  {:.2} of git ls-tree, {:.2} of git log -1", ours.0 / listed.0, ours.0 / opened.0);
    run(&repository, &["git", "reset", "--quiet", "--hard"]);
    // Git itself refreshes what it finds racy; a clone in a pod is as old as this.
    run(&repository, &["git", "status"]);
    let worktree = several(&|| place.build("again", &[]));
    let ours = Table::row(&format!("{name}, worktree"), &worktree);
    let status = Table::row("  git status", &git(&["status"]));
    println!("  {:.2} of git status, {:.2} of its CPU", ours.0 / status.0, ours.1 / status.1);
}

/// One commit of so many files, and a Dockerfile that copies them.
fn import(place: &Place<'_>, files: u64) {
    let mut child = command("git")
        .args(["fast-import", "--quiet"])
        .current_dir(place.repository())
        .stdin(Stdio::piped())
        .spawn()
        .expect("git can be started");
    let stream = child.stdin.take().expect("it has a standard input");
    let mut stream = BufWriter::new(stream);
    let written = (|| {
        writeln!(stream, "commit refs/heads/main")?;
        writeln!(stream, "committer bench <bench@example.com> 1700000000 +0000\ndata 0\n")?;
        let text = format!("FROM {}/base:latest\nCOPY . /src/\n", place.registry.host);
        writeln!(stream, "M 100644 inline Dockerfile\ndata {}\n{text}", text.len())?;
        for number in 0..files {
            let directory = number / IN_DIRECTORY;
            let content = format!("pub const VALUE_{number}: u64 = {number};\n");
            let path = format!("package{}/part{directory}/file{number}.rs", directory / 100);
            writeln!(stream, "M 100644 inline {path}\ndata {}\n{content}", content.len())?;
        }
        writeln!(stream, "done")?;
        stream.flush()
    })();
    drop(stream);
    written.expect("git reads what is imported");
    assert!(child.wait().expect("it ends").success(), "git fast-import failed");
}
