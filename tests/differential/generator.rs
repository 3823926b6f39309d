//! From a seed to a case that both builders must accept.
//!
//! A case is valid by construction: every COPY names something that exists and that no ignore
//! rule hides, every RUN changes only what an earlier step has made. What the two builders are
//! known to treat differently is not generated, or is listed in [`super::compare`].

use super::case::{Base, Case, Entry, Kind, Stage};
use super::steps::StageWriter;
use crate::support::random::Random;

/// The file that every generated directory has and that no rule hides.
pub(crate) const KEEP: &str = "keep";

const NAMES: &[&str] = &[
    "a",
    "b.txt",
    "c.log",
    "UPPER",
    ".hidden",
    "with space",
    "two.dots.txt",
    "ünï",
    "x[1]",
    "-dash",
    "comma,name",
    "tilde~",
    "d$e",
    // Next to `a`: bytes below and above the slash decide about the order of a layer's entries.
    "a-b",
    "a.txt",
    "a b",
    "a0",
    "deep.txt",
    // Longer than the name field of a tar header, once in bytes that are not ASCII.
    "long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long-long",
    "é-éééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé",
];
const DIRECTORIES: &[&str] = &[
    "src",
    "src-2",
    "src.d",
    "lib",
    "src/deep",
    "src/deep-er",
    "src/deep.d",
    "lib/deep",
    "lib/directory-with-a-name-that-does-not-fit-into-the-name-field-of-a-header-and-hardly-into-its-prefix-field",
    "src/deep/er",
    ".config",
    "doc",
    HIDDEN,
    "out/sub",
];
/// The directory that rules may hide as a whole, and that no COPY names: buildah refuses to copy a
/// hidden directory even when a later rule brings a file in it back.
const HIDDEN: &str = "out";
const RULES: &[&str] = &[
    "# a comment",
    "*.log",
    "**/*.log",
    "out",
    "**/deep/*.txt",
    "lib/*.*",
    "out/sub/",
    "/src/a",
    "**/.hidden",
    "!src/deep/b.txt",
    "src/*/er/*",
    "?",
    "*/UPPER",
    "",
    "  lib/b.txt  ",
];

/// The case of `seed`.
pub(crate) fn generate(seed: u64) -> Case {
    let mut random = Random::new(seed);
    let fits_git = !random.once_in(3);
    let (entries, directories) = context(&mut random, fits_git);
    let mut ignore = Vec::new();
    if !random.once_in(3) {
        ignore = rules(&mut random, &entries, &directories);
    }
    let arguments = vec![("FROM_OUTSIDE".to_owned(), format!("value {}", random.below(10)))];
    let mut stages: Vec<Stage> = Vec::new();
    for number in 0..=random.below(3) {
        stages.push(stage(&mut random, number, &stages, &directories));
    }
    Case { fits_git, entries, ignore, arguments, stages }
}

/// Rules that hide this and that, and leave something for every COPY to find.
fn rules(random: &mut Random, entries: &[Entry], directories: &[String]) -> Vec<String> {
    let mut rules = Vec::new();
    for _ in 0..=random.below(4) {
        rules.push((*random.pick(RULES)).to_owned());
    }
    rules.extend(["!top.txt".to_owned(), "!*.tar*".to_owned()]);
    if !rules.iter().any(|rule| rule.starts_with(HIDDEN)) {
        rules.push(format!("!**/{KEEP}"));
        return rules;
    }
    // For an exception in a hidden directory, buildah looks only if the exception begins with the
    // directory's name; BuildKit looks for all that can match below it.
    rules.extend(directories.iter().map(|directory| format!("!{directory}/{KEEP}")));
    for entry in entries.iter().filter(|entry| entry.path.starts_with("out/")) {
        if entry.path.ends_with(KEEP) && random.once_in(2) {
            rules.push(format!("!{}", entry.path));
        }
    }
    rules
}

/// Returns the entries, and the directories that COPY may name.
fn context(random: &mut Random, fits_git: bool) -> (Vec<Entry>, Vec<String>) {
    let mut directories: Vec<String> = Vec::new();
    for name in DIRECTORIES {
        let parent = name.rsplit_once('/').map(|(parent, _)| parent.to_owned());
        let has_parent = parent.is_none_or(|parent| directories.contains(&parent));
        if has_parent && !random.once_in(3) {
            directories.push((*name).to_owned());
        }
    }
    let mut entries = vec![file("top.txt".to_owned(), 0o644, "top\n".to_owned())];
    entries.push(Entry { path: "plain.tar".to_owned(), kind: Kind::Archive(false) });
    entries.push(Entry { path: "packed.tar.gz".to_owned(), kind: Kind::Archive(true) });
    let mut odd = Vec::new();
    for directory in &directories {
        let mode = if fits_git { 0o755 } else { *random.pick(&[0o755, 0o755, 0o700, 0o1777]) };
        if mode != 0o755 {
            odd.push(directory.clone());
        }
        entries.push(Entry { path: directory.clone(), kind: Kind::Directory(mode) });
        entries.push(file(format!("{directory}/{KEEP}"), 0o644, format!("in {directory}\n")));
        fill(random, directory, fits_git, &mut entries);
    }
    // A directory that COPY names gives its mode to the target in BuildKit but not in buildah.
    directories.retain(|directory| !odd.contains(directory) && !directory.starts_with(HIDDEN));
    (entries, directories)
}

fn fill(random: &mut Random, directory: &str, fits_git: bool, entries: &mut Vec<Entry>) {
    for _ in 0..random.below(4) {
        let path = format!("{directory}/{}", random.pick(NAMES));
        if entries.iter().any(|entry| entry.path == path) {
            continue;
        }
        let kind = match random.below(8) {
            0 => Kind::Symlink(KEEP.to_owned()),
            1 => Kind::Symlink("../nowhere".to_owned()),
            2 if !fits_git => Kind::Directory(0o755),
            3 if !fits_git => Kind::HardLink(format!("{directory}/{KEEP}")),
            _ => {
                let usual = *random.pick(&[0o644, 0o755]);
                let odd = *random.pick(&[0o600, 0o640, 0o664, 0o4755, 0o444]);
                let mode = if fits_git { usual } else { odd };
                let size = *random.pick(&[0, 1, 10, 511, 512, 513, 70_000]);
                Kind::File(mode, "x".repeat(size))
            }
        };
        entries.push(Entry { path, kind });
    }
}

fn file(path: String, mode: u32, content: String) -> Entry {
    Entry { path, kind: Kind::File(mode, content) }
}

fn stage(random: &mut Random, number: usize, earlier: &[Stage], directories: &[String]) -> Stage {
    let mut base = match random.below(6) {
        0 => Base::Scratch,
        1 | 2 => Base::Busybox,
        _ => Base::Crafted,
    };
    if !earlier.is_empty() && random.once_in(3) {
        base = Base::Stage(random.pick(earlier).name.clone());
    }
    let mut writer = StageWriter::new(random, number, root_of(&base, earlier), directories);
    writer.copy_from_candidates(earlier);
    let steps = writer.write();
    Stage { name: format!("s{number}"), base, steps }
}

/// The image that a stage's chain of bases ends in.
fn root_of<'a>(base: &'a Base, earlier: &'a [Stage]) -> &'a Base {
    let Base::Stage(name) = base else { return base };
    let stage = earlier.iter().find(|stage| stage.name == *name).expect("the stage is earlier");
    root_of(&stage.base, earlier)
}

#[test]
fn a_seed_makes_the_same_case_for_ever() {
    assert_eq!(generate(7), generate(7));
    assert_ne!(generate(7), generate(8));
}
