//! Measures whole builds as a user starts them: the release binary, a git repository, a registry.
//!
//! `cargo bench` runs every case; `cargo bench -- noop` those whose name contains the word. What
//! the cases are and what came out last is in README.md here. Needs git, docker-registry,
//! /usr/bin/time, skopeo, tar, gzip, zstd and a static /bin/busybox; buildah, where it is installed,
//! is measured beside.

#![expect(clippy::print_stdout, reason = "a table on standard output is the result")]

mod cases;
mod decision;
mod fixture;
mod levels;
mod measure;
mod registry;
mod rungs;
mod unpack;

use measure::Table;
use registry::Registry;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let directory = tempfile::tempdir().expect("the directory for temporary files is writable");
    let registry = Registry::start(directory.path());
    fixture::push_base(directory.path(), &registry);
    println!("{}", Table::HEAD);
    for (name, case) in cases::CASES {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            let place = directory.path().join(name);
            fs_err::create_dir(&place).expect("the place of a case is new");
            case(&cases::Place { name, directory: place.clone(), registry: &registry });
            fs_err::remove_dir_all(&place).expect("what a case left can be removed");
        }
    }
}
