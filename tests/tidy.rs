//! The house rules that no compiler checks: which module may use which, which crate stays behind
//! which door, how long a file may be, what lies at the top of the repository.
//!
//! The text of the sources is read line by line, without comments; paths that a macro or a rename
//! would hide are not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::support::command::Run;

/// Module of `src` → modules of `src` that it may use; `model` may be used by all.
const EDGES: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("hashing", &[]),
    ("dockerfile", &["hashing"]),
    ("project", &["hashing"]),
    ("ignore_rules", &["hashing"]),
    ("context", &["hashing", "ignore_rules", "blocking"]),
    ("image", &["hashing", "context"]),
    ("layer", &["hashing", "context", "ignore_rules", "blocking", "ring"]),
    ("registry", &["hashing", "ring"]),
    ("blocking", &[]),
    ("ring", &["blocking"]),
    ("storage", &["hashing", "blocking", "registry", "ring"]),
    ("sync", &["hashing"]),
    (
        "plan",
        &[
            "hashing",
            "blocking",
            "dockerfile",
            "project",
            "context",
            "ignore_rules",
            "image",
            "registry",
            "storage",
        ],
    ),
    (
        "build",
        &[
            "hashing",
            "blocking",
            "ring",
            "dockerfile",
            "plan",
            "layer",
            "image",
            "registry",
            "storage",
            "sync",
            "output",
            "context",
            "ignore_rules",
        ],
    ),
    ("doctor", &["dockerfile"]),
    ("cleanup", &["hashing", "storage", "context"]),
];

/// Modules on top, which may use everything below and each other.
const TOP: &[&str] = &["cli", "settings", "commands", "output", "report", "failure", "main", "lib"];

/// Path in the sources → the files that may contain it, as the beginnings of their paths.
const CONFINED: &[(&str, &[&str])] = &[
    // What is fetched is indexed by libgit2 as well.
    ("git2::", &["src/context/git", "src/context/remote/pack.rs"]),
    ("clap::", &["src/cli"]),
    // git's smart HTTP; the clients come from `registry`, which decides whom to trust.
    ("reqwest::", &["src/registry", "src/sync/http", "src/context/remote"]),
    ("kube::", &["src/sync/kubernetes"]),
    ("nix::", &["runtime/src"]),
    ("rustix::", &["runtime/src"]),
    ("libc::", &["runtime/src"]),
    (
        "longshore_runtime::",
        &[
            "runtime",
            "src/build",
            "src/doctor",
            "src/layer",
            "src/commands",
            "src/settings",
            "src/main.rs",
        ],
    ),
    ("std::env::args", &["src/main.rs", "runtime/src/init"]),
    ("std::env::var", &["src/settings"]),
    ("std::env::current_dir", &["src/settings"]),
    ("std::env::temp_dir", &["src/settings.rs"]),
    ("println!", &["src/output"]),
    ("eprintln!", &["src/output"]),
    // The first process of a command hands it its own streams.
    ("io::stdout()", &["src/output", "runtime/src/init"]),
    ("io::stderr()", &["src/output", "runtime/src/init"]),
    // The two programs that a build starts by itself: they have keys and settings that only they
    // know, and the second one only where it is allowed.
    (
        "std::process::Command",
        &[
            "runtime/src",
            "tests/support/command.rs",
            "src/context/remote/ssh.rs",
            "src/context/lfs/program.rs",
        ],
    ),
    ("spawn_blocking", &["src/blocking.rs", "src/build/blocking.rs"]),
    ("unsafe ", &["runtime/src"]),
    ("tokio::", &["src"]),
];

/// What lies at the top of the repository, dot files aside.
const TOP_LEVEL: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "examples",
    "runtime",
    "src",
    "tests",
];

/// Where cargo-fuzz has its programs.
const FUZZ_TARGETS: &str = "tests/fuzz/fuzz_targets/";

/// The most lines that a source file may have.
const LONGEST: usize = 600;

#[test]
fn modules_use_only_what_they_may() {
    let allowed: BTreeMap<_, _> = EDGES.iter().copied().collect();
    let module = Regex::new(r"\bcrate::([a-z_]+)").expect("a valid pattern");
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.is_below("src")) {
        let own = source.module();
        if TOP.contains(&own) {
            continue;
        }
        let Some(allowed) = allowed.get(own) else {
            wrong.push(format!("{}: module {own} is not in the table", source.name));
            continue;
        };
        for (number, line) in source.code() {
            let used =
                module.captures_iter(line).map(|found| found.get(1).expect("a group").as_str());
            let used =
                used.filter(|used| *used != own && *used != "model" && !allowed.contains(used));
            wrong.extend(used.map(|used| format!("{}:{number}: {own} uses {used}", source.name)));
        }
    }
    assert_empty(&wrong);
}

#[test]
fn braces_after_crate_are_not_used() {
    // `use crate::{a, b}` would pass by the test above.
    let grouped = lines_with("use crate::{", |source| source.is_below("src"));
    assert_empty(&grouped);
}

#[test]
fn only_resolving_talks_to_registries_in_the_plan() {
    let wrong = lines_with("crate::registry", |source| {
        source.is_below("src/plan") && !source.is_below("src/plan/resolve")
    });
    assert_empty(&wrong);
}

#[test]
fn layers_know_the_vocabulary_of_the_runtime_only() {
    let mut wrong = lines_with("longshore_runtime::", |source| source.is_below("src/layer"));
    wrong.retain(|line| !line.contains("longshore_runtime::entry"));
    assert_empty(&wrong);
}

#[test]
fn confined_paths_stay_behind_their_doors() {
    let mut wrong = Vec::new();
    for (path, doors) in CONFINED {
        // `std::env::var` may not be a prefix of another name, and `nix::` not the end of `unix::`.
        let pattern = format!(r"(^|[^A-Za-z0-9_]){}", regex::escape(path));
        let pattern = Regex::new(&pattern).expect("a valid pattern");
        for source in sources() {
            // The tests are programs of their own; processes are started in one place even there.
            let is_ours = !source.is_below("tests") || *path == "std::process::Command";
            if !is_ours || doors.iter().any(|door| source.name.starts_with(door)) {
                continue;
            }
            let lines = source.code().filter(|(_, line)| pattern.is_match(line));
            wrong.extend(lines.map(|(number, _)| format!("{}:{number}: {path}", source.name)));
        }
    }
    // This file names them all.
    wrong.retain(|line| !line.starts_with("tests/tidy.rs"));
    assert_empty(&wrong);
}

#[test]
fn files_have_a_purpose_and_an_end() {
    let mut wrong = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        if lines > LONGEST {
            wrong.push(format!("{}: {lines} lines, more than {LONGEST}", source.name));
        }
        if !source.text.starts_with("//! ") && !source.is_tests_of_a_module() {
            wrong.push(format!("{}: does not begin with a //! text", source.name));
        }
        if source.name.ends_with("/mod.rs") && !source.is_tests_of_a_module() {
            let logic = source.code().find(|(_, line)| line.trim_start().starts_with("fn "));
            wrong.extend(logic.map(|(number, _)| format!("{}:{number}: logic", source.name)));
        }
    }
    assert_empty(&wrong);
}

#[test]
fn every_test_file_is_part_of_the_program() {
    let declared = Regex::new(r"(?m)^\s*(?:pub(?:\(\w+\))? )?mod (\w+);").expect("a valid pattern");
    let mut reached = BTreeSet::from(["tests/main.rs", "tests/bench/builds.rs"].map(str::to_owned));
    let sources: BTreeMap<_, _> =
        sources().into_iter().map(|source| (source.name.clone(), source)).collect();
    let mut open: Vec<String> = reached.iter().cloned().collect();
    while let Some(name) = open.pop() {
        let Some(source) = sources.get(&name) else { continue };
        let below = match name.strip_suffix("/mod.rs") {
            Some(directory) => directory.to_owned(),
            None if name == "tests/main.rs" => "tests".to_owned(),
            None if name == "tests/bench/builds.rs" => "tests/bench".to_owned(),
            None => name.trim_end_matches(".rs").to_owned(),
        };
        for module in declared.captures_iter(&source.text) {
            for file in
                [format!("{below}/{}.rs", &module[1]), format!("{below}/{}/mod.rs", &module[1])]
            {
                if sources.contains_key(&file) && reached.insert(file.clone()) {
                    open.push(file);
                }
            }
        }
    }
    // Programs of another workspace.
    reached.extend(sources.keys().filter(|name| name.starts_with(FUZZ_TARGETS)).cloned());
    let orphans =
        sources.keys().filter(|name| name.starts_with("tests/") && !reached.contains(*name));
    assert_empty(&orphans.cloned().collect::<Vec<_>>());
}

#[test]
fn the_top_of_the_repository_is_small() {
    let listed = tracked_files();
    let top: BTreeSet<&str> = listed
        .iter()
        .filter_map(|file| file.split('/').next())
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert_eq!(top, TOP_LEVEL.iter().copied().collect());
}

/// A Rust file of the repository.
struct Source {
    name: String,
    text: String,
}

impl Source {
    fn is_below(&self, path: &str) -> bool {
        self.name.strip_prefix(path).is_some_and(|rest| rest.starts_with(['/', '.']))
    }

    /// The module of the first level that the file belongs to.
    fn module(&self) -> &str {
        let rest = self.name.strip_prefix("src/").expect("a file of src");
        rest.split(['/', '.']).next().expect("a file has a name")
    }

    /// True for tests that lie next to what they test.
    fn is_tests_of_a_module(&self) -> bool {
        let is_beside = self.name.ends_with("tests.rs") || self.name.contains("/tests/");
        is_beside && !self.name.starts_with("tests/")
    }

    /// The lines that are no comments, with their numbers, up to an inline module of tests: tests
    /// may use what they like.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let is_tests = self.is_tests_of_a_module();
        let lines = self
            .text
            .lines()
            .take_while(move |line| !is_tests && !line.starts_with("#[cfg(test)]"));
        lines
            .enumerate()
            .map(|(number, line)| (number + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn sources() -> Vec<Source> {
    let files = tracked_files().into_iter().filter(|file| file.ends_with(".rs"));
    let read = |name: String| {
        // A file that was deleted but is still in the index has no rules to obey.
        let text = fs_err::read_to_string(top().join(&name)).ok()?;
        Some(Source { name, text })
    };
    files.filter_map(read).collect()
}

fn lines_with(part: &str, of: impl Fn(&Source) -> bool) -> Vec<String> {
    let sources = sources();
    let lines = sources.iter().filter(|source| of(source)).flat_map(|source| {
        let lines = source.code().filter(|(_, line)| line.contains(part));
        lines.map(|(number, line)| format!("{}:{number}: {}", source.name, line.trim()))
    });
    lines.collect()
}

/// The files of the repository, new ones included.
fn tracked_files() -> Vec<String> {
    let words = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let list = Run::new("git").within(top()).env("HOME", "/nonexistent");
    let list = list.args(["-c", "safe.directory=*"]).args(words).succeed();
    list.lines().map(str::to_owned).collect()
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn assert_empty(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}
