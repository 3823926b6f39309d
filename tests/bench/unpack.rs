//! What a RUN step waits for on a machine that has its base's blobs but not its directories, beside
//! `tar -x` of the same bytes with the same kind of decompression.
//!
//! Nothing is removed between the runs: ext4 looks long for inodes that were not freed lately, and
//! whoever comes second would pay for it.

use std::path::Path;

use crate::cases::Place;
use crate::fixture::{LONGSHORE, Texture, dockerfile, write_file};
use crate::measure::{Cost, Table, measure, run};

/// Files of the base, 420 MB in all.
const FILES: u64 = 12_000;
/// Runs of each side.
const RUNS: usize = 2;

/// Compares a base of gzip layers, then the same of zstd layers.
pub(crate) fn compare(place: &Place<'_>) {
    for (format, option) in [("gzip", "--gzip"), ("zstd", "--zstd")] {
        let base = push(place, format);
        beside_tar(place, &base, (format, option));
    }
}

/// Pushes the base and returns its reference.
fn push(place: &Place<'_>, format: &str) -> String {
    let repository = place.repository();
    for number in 0..FILES {
        let directory = repository.join(format!("data/directory{}", number / 12));
        fs_err::create_dir_all(&directory).expect("the place of a case is writable");
        // From 1 KiB to 160 KiB, most of them small, a quarter of them incompressible.
        let size = (1 << 10) + (number % 160) * (number % 160) * 8 / 2;
        let texture = if number % 4 == 0 { Texture::Noise } else { Texture::Text };
        write_file(&directory.join(format!("file{number}")), size, texture, number + 1);
    }
    let text = dockerfile(place.registry, ["COPY data /data".to_owned()]);
    fs_err::write(repository.join("Dockerfile"), text).expect("the repository is writable");
    let repo = format!("{}/unpack-{format}", place.registry.host);
    let work = place.path("work-base");
    let built = [LONGSHORE, "build", "--repo", &repo, "-t", "base", "--work-dir", &work];
    run(&repository, &[&built[..], &["--compression", format]].concat());
    for rest in [repository, work.into()] {
        fs_err::remove_dir_all(rest).expect("what was made can be removed");
    }
    format!("{repo}:base")
}

/// Prints a row of builds that fetch the base, of builds that have its blobs, and of tar.
fn beside_tar(place: &Place<'_>, base: &str, (format, option): (&str, &str)) {
    let text = format!("FROM {base}\nRUN true\n");
    fs_err::write(place.repository().join("Dockerfile"), text).expect("the place is writable");
    let name = |what: &str| format!("{}, {format}{what}", place.name);
    Table::row(&name(", fetched"), &[build(place, format)]);
    let blob = largest(Path::new(&place.path(&format!("work-{format}/blobs/sha256"))));
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..RUNS {
        let layers = place.path(&format!("work-{format}/layers"));
        let aside = format!("{layers}-{number}");
        fs_err::rename(&layers, aside).expect("both are in the work directory");
        ours.push(build(place, format));
        let out = place.path(&format!("tar-{format}-{number}"));
        fs_err::create_dir(&out).expect("the directory is new");
        let words = ["tar", "--extract", option, "--file", &blob, "--directory", &out];
        theirs.push(measure(&place.directory, &words));
    }
    let ours = Table::row(&name(""), &ours);
    let theirs = Table::row(&name(", tar -x"), &theirs);
    println!(
        "  {}: {:.2} of tar's time, {:.2} of its CPU seconds",
        name(""),
        ours.0 / theirs.0,
        ours.1 / theirs.1
    );
}

/// One build with a storage of its own, so that the step has to be run.
fn build(place: &Place<'_>, format: &str) -> Cost {
    let home = tempfile::tempdir_in(&place.directory).expect("the place of a case is writable");
    let home = format!("LONGSHORE_HOME={}", home.path().display());
    let work = place.path(&format!("work-{format}"));
    let words = ["env", &home, LONGSHORE, "build", "--work-dir", &work, "--log-quiet"];
    measure(&place.repository(), &words)
}

/// The path of the largest file of a directory.
fn largest(directory: &Path) -> String {
    let entries = fs_err::read_dir(directory).expect("the work directory has blobs");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let size = |path: &std::path::PathBuf| fs_err::metadata(path).map_or(0, |meta| meta.len());
    let path = paths.max_by_key(size).expect("the base has layers");
    path.to_str().expect("temporary paths are text").to_owned()
}
