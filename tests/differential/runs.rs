//! The tests: fresh seeds, kept cases, and the oracle against itself.

use std::path::Path;
use std::time::Instant;

use super::buildah;
use super::case::{Bases, Case};
use super::compare::differences;
use super::doors::Door;
use super::generator::generate;
use super::shrink::shrink;
use crate::support::command::Outcome;
use crate::support::git::COMMIT_TIME;
use crate::support::{Access, Image, Registry, Sandbox, base, variables};

/// How many fresh cases `tests/run` tries.
const FEW: u64 = 6;
/// Where fresh seeds start.
const FIRST: u64 = 1;

#[test]
fn generated_cases_agree_with_buildah() {
    let first = variables::number("LONGSHORE_TEST_SEED", FIRST);
    let count = variables::number("LONGSHORE_TEST_CASES", FEW);
    let bench = Bench::new();
    let mut failures: Vec<u64> = Vec::new();
    // It goes on after a difference, so that a night's campaign finds more than one.
    for seed in first..first + count {
        let started = Instant::now();
        let failure = bench.failure(&format!("seed {seed}"), &generate(seed));
        let word = if failure.is_some() { "DIFFERS" } else { "agrees" };
        eprintln!("seed {seed} {word} after {:.1?}", started.elapsed());
        if let Some(text) = &failure {
            eprintln!("{text}");
        }
        failures.extend(failure.map(|_| seed));
    }
    let Some(first) = failures.first() else { return };
    if variables::number("LONGSHORE_TEST_SHRINK", 1) != 0 {
        bench.check(&format!("seed {first}"), generate(*first));
    }
    panic!("{} cases differ", failures.len());
}

#[test]
fn kept_cases_agree_with_buildah() {
    let bench = Bench::new();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/differential");
    for entry in fs_err::read_dir(directory).expect("the directory of kept cases") {
        let path = entry.expect("an entry").path();
        let text = fs_err::read_to_string(&path).expect("a kept case");
        let case = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        bench.check(&path.display().to_string(), case);
    }
}

#[test]
fn the_oracle_agrees_with_itself_on_generated_cases() {
    let bench = Bench::new();
    let first = variables::number("LONGSHORE_TEST_SEED", FIRST);
    for seed in first..first + variables::number("LONGSHORE_TEST_CASES", FEW).div_ceil(2) {
        let case = generate(seed);
        let build = || {
            let built = bench
                .with_context(&case, |directory| buildah::build(&bench.sandbox, &case, directory));
            built.unwrap_or_else(|refused| {
                panic!("seed {seed}: {}\n{}", refused.report(), bench.show(&case))
            })
        };
        let found = differences(&build(), &build());
        assert!(found.is_empty(), "seed {seed}\n{}", found.join("\n"));
    }
}

/// What became of a case.
enum Verdict {
    /// All doors made what buildah made.
    Agree,
    /// A door made something else.
    Differ(String),
    /// Buildah did not accept the case, so there is nothing to compare with.
    Refused(Outcome),
}

/// A registry with the base images, and a storage for buildah.
struct Bench {
    sandbox: Sandbox,
    registry: Registry,
    bases: Bases,
}

impl Bench {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, Access::Plain);
        let bases = Bases {
            busybox: registry.push(&sandbox, &base::busybox(), "base/busybox:1"),
            crafted: registry.push(&sandbox, &base::crafted(), "base/crafted:1"),
        };
        buildah::pull_bases(&sandbox, &bases);
        Self { sandbox, registry, bases }
    }

    /// Returns how the doors and buildah disagree on `case`, if they do.
    fn failure(&self, name: &str, case: &Case) -> Option<String> {
        let text = match self.verdict(case) {
            Verdict::Agree => return None,
            Verdict::Differ(text) => text,
            Verdict::Refused(outcome) => format!("buildah refuses it\n{}", outcome.report()),
        };
        Some(format!("=== {name}\n{text}\n{}", self.show(case)))
    }

    /// Panics when a door makes something else of `case` than buildah does.
    fn check(&self, name: &str, case: Case) {
        let first = match self.verdict(&case) {
            Verdict::Agree => return,
            Verdict::Differ(text) => text,
            Verdict::Refused(outcome) => {
                panic!("{name}: buildah refuses it\n{}\n{}", outcome.report(), self.show(&case))
            }
        };
        let small = shrink(case, |case| {
            case.is_sound() && matches!(self.verdict(case), Verdict::Differ(_))
        });
        let last = match self.verdict(&small) {
            Verdict::Differ(text) => text,
            // It differs on some runs only, so what was seen first is what there is to show.
            Verdict::Agree | Verdict::Refused(_) => first,
        };
        let json = serde_json::to_string_pretty(&small).expect("a case is JSON");
        panic!("{name}\n{last}\n--- the shrunk case\n{}\n{json}", self.show(&small));
    }

    fn verdict(&self, case: &Case) -> Verdict {
        let build = |directory: &Path| buildah::build(&self.sandbox, case, directory);
        let oracle = match self.with_context(case, build) {
            Ok(image) => image,
            Err(outcome) => return Verdict::Refused(outcome),
        };
        let found = Door::of(case).iter().find_map(|door| {
            let built = self.with_context(case, |directory| {
                door.build(&self.sandbox, &self.registry, case, directory)
            });
            let text = explain(&oracle, built, door.wants_git())?;
            Some(format!("{door:?}:\n{text}"))
        });
        found.map_or(Verdict::Agree, Verdict::Differ)
    }

    fn with_context<T>(&self, case: &Case, build: impl FnOnce(&Path) -> T) -> T {
        // Outside of this checkout, or a plain directory would be a part of its repository.
        let directory = tempfile::tempdir_in("/var/tmp").expect("mkdir");
        let context = directory.path().join("context");
        case.write(&context, &self.bases);
        build(&context)
    }

    fn show(&self, case: &Case) -> String {
        case.dockerfile(&self.bases)
    }
}

fn explain(oracle: &Image, built: Result<Image, Outcome>, has_commit: bool) -> Option<String> {
    match built {
        Err(outcome) => Some(outcome.report()),
        Ok(ours) => {
            let mut found = differences(oracle, &ours);
            if has_commit {
                found.extend(wrong_times(&ours));
            }
            if found.is_empty() { None } else { Some(found.join("\n")) }
        }
    }
}

/// The files that every stage copies from the context first, and no step changes, where they do not
/// have the commit's time. Buildah's own times differ by nature.
fn wrong_times(ours: &Image) -> Vec<String> {
    let tree = ours.tree();
    tree.iter()
        .filter(|(path, node)| path.starts_with("marker-") && node.mtime != COMMIT_TIME)
        .map(|(path, node)| format!("/{path} has the time {}, not the commit's", node.mtime))
        .collect()
}
