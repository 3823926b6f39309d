//! What a RUN step costs besides its command, on each rung that this machine has, upon bases of
//! several sizes: 20 steps that do nothing, and 20 that write a small file.
//!
//! The base's layers are unpacked already. Every build has a storage of its own, so that its steps
//! are run; the root trees of the chroot rung are moved aside before each, so that every build copies
//! its base once, as the first in a pod does.

use std::path::Path;

use crate::cases::Place;
use crate::fixture::{LONGSHORE, dockerfile};
use crate::measure::{Cost, Table, measure, run};

/// Entries of the bases.
const SIZES: [u64; 2] = [10_000, 50_000];
/// Files in one directory.
const IN_DIRECTORY: u64 = 20;
/// Steps of one build.
const STEPS: u64 = 20;
/// Builds on each rung.
const RUNS: usize = 3;

/// Compares the rungs.
pub(crate) fn compare(place: &Place<'_>) {
    for entries in SIZES {
        let base = push(place, entries);
        for (what, command) in [("true", "true"), ("file", "echo $STEP > /file$STEP")] {
            let step = |number| format!("RUN {}", command.replace("$STEP", &format!("{number}")));
            let steps: Vec<String> = (0..STEPS).map(step).collect();
            let text = format!("FROM {base}\n{}\n", steps.join("\n"));
            fs_err::write(place.repository().join("Dockerfile"), text).expect("it is writable");
            side_by_side(place, &format!("{}, {what}, {entries} entries", place.name));
        }
    }
}

/// Builds on each rung, in turns.
fn side_by_side(place: &Place<'_>, name: &str) {
    let [mut overlay, mut chroot] = [Vec::new(), Vec::new()];
    build(place, "overlay");
    build(place, "chroot");
    for _ in 0..RUNS {
        overlay.push(build(place, "overlay"));
        chroot.push(build(place, "chroot"));
    }
    let overlay = Table::row(&format!("{name}, overlay"), &overlay);
    let chroot = Table::row(&format!("{name}, chroot"), &chroot);
    let (time, cpu) = (chroot.0 / overlay.0, chroot.1 / overlay.1);
    println!("  {name}: chroot takes {time:.2} of overlay's time, {cpu:.2} of its CPU seconds");
}

/// Packages of Debian that are in the base already are installed: users, setuid programs, file
/// capabilities. The base is the one that the tests make.
pub(crate) fn install(place: &Place<'_>) {
    let layout = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../test-bases/debian-jobs-1");
    if !layout.exists() {
        return println!("  {}: tests/run makes its base, which is not there", place.name);
    }
    let base = format!("{}/debian:jobs", place.registry.host);
    let (from, to) = (format!("oci:{}", layout.display()), format!("docker://{base}"));
    let copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"];
    run(&place.directory, &[&copy[..], &[&from, &to]].concat());
    let install = "apt-get -q install -y --no-install-recommends /debs/*.deb";
    let text = format!("FROM {base}\nRUN {install}\n");
    fs_err::write(place.repository().join("Dockerfile"), text).expect("it is writable");
    side_by_side(place, place.name);
}

/// Pushes a base with so many entries and returns its reference.
fn push(place: &Place<'_>, entries: u64) -> String {
    let repository = place.repository();
    let data = repository.join("data");
    for number in 0..entries {
        let directory = data.join(format!("directory{}", number / IN_DIRECTORY));
        let path = directory.join(format!("file{number}"));
        if number % IN_DIRECTORY == 0 {
            fs_err::create_dir_all(&directory).expect("the place of a case is writable");
        } else {
            fs_err::write(path, format!("{number}\n").repeat(100)).expect("it is writable");
        }
    }
    let text = dockerfile(place.registry, ["COPY data /data".to_owned()]);
    fs_err::write(repository.join("Dockerfile"), text).expect("the repository is writable");
    let repo = format!("{}/steps-{entries}", place.registry.host);
    let work = place.path("work-base");
    run(&repository, &[LONGSHORE, "build", "--repo", &repo, "-t", "base", "--work-dir", &work]);
    for rest in [data, work.into()] {
        fs_err::remove_dir_all(rest).expect("what was made can be removed");
    }
    format!("{repo}:base")
}

fn build(place: &Place<'_>, rung: &str) -> Cost {
    let home = tempfile::tempdir_in(&place.directory).expect("the place of a case is writable");
    let home = format!("LONGSHORE_HOME={}", home.path().display());
    let work = place.path(&format!("work-{rung}"));
    let roots = format!("{work}/roots");
    if Path::new(&roots).exists() {
        let aside = tempfile::tempdir_in(&place.directory).expect("it is writable").keep();
        fs_err::rename(roots, aside.join("roots")).expect("both are on one file system");
    }
    let words = ["env", &home, LONGSHORE, "build", "--runtime", rung];
    let words = [&words[..], &["--work-dir", &work, "--log-quiet"]].concat();
    measure(&place.repository(), &words)
}
