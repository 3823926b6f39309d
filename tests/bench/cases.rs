//! The cases; each makes its input, runs the builders several times and prints its rows.

use std::path::PathBuf;

use crate::decision;
use crate::fixture::{LONGSHORE, Texture, commit, dockerfile, write_file};
use crate::levels::levels;
use crate::measure::{Cost, Table, measure, run};
use crate::registry::Registry;
use crate::{rungs, unpack};

/// Where a case works.
pub(crate) struct Place<'a> {
    /// The case.
    pub(crate) name: &'static str,
    /// Its own directory.
    pub(crate) directory: PathBuf,
    /// The registry that every case uses.
    pub(crate) registry: &'a Registry,
}

/// A case by its name.
pub(crate) type Case = (&'static str, fn(&Place<'_>));

/// All cases, in the order they are run.
pub(crate) const CASES: &[Case] = &[
    ("noop-20000-files", noop),
    ("decide-20000-files", decision::small),
    ("decide-100000-files", decision::middle),
    ("decide-1000000-files", decision::large),
    ("run-20-steps", run_steps),
    ("rungs", rungs::compare),
    ("apt", rungs::install),
    ("copy-300MB", copy_mixed),
    ("copy-1GiB", copy_large),
    ("copy-one-512MiB-file", copy_single),
    ("levels", levels),
    ("unpack-400MB", unpack::compare),
    ("copy-10GiB", copy_sparse),
    ("copy-2GiB-noise", copy_noise),
];

const MIB: u64 = 1 << 20;

impl Place<'_> {
    /// The directory that is built from.
    pub(crate) fn repository(&self) -> PathBuf {
        let path = self.directory.join("repository");
        fs_err::create_dir_all(&path).expect("the place of a case is writable");
        path
    }

    /// A path of this case.
    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().expect("temporary paths are text").to_owned()
    }

    /// One build into the repository and work directory called `name`.
    pub(crate) fn build(&self, name: &str, flags: &[&str]) -> Cost {
        let repo = format!("{}/{}-{name}", self.registry.host, self.name.to_lowercase());
        let (work, home) = (self.path(&format!("work-{name}")), self.path("home"));
        let common = ["--repo", &repo, "--work-dir", &work, "--log-quiet"];
        let home = format!("LONGSHORE_HOME={home}");
        let words = [&["env", &home, LONGSHORE, "build"], &common[..], flags].concat();
        measure(&self.repository(), &words)
    }

    /// Builds from nothing, each time into a storage and a work directory of its own.
    fn cold(&self, runs: usize, flags: &[&str]) -> Vec<Cost> {
        let once = |number: usize| {
            let cost = self.build(&format!("cold{number}"), flags);
            let work = self.path(&format!("work-cold{number}"));
            fs_err::remove_dir_all(work).expect("a work directory can be removed");
            cost
        };
        (0..runs).map(once).collect()
    }

    /// The same by buildah, pushing what it built; `None` where it is not installed.
    fn buildah(&self, runs: usize) -> Option<Vec<Cost>> {
        let installed = std::path::Path::new("/usr/bin/buildah").exists();
        installed.then(|| (0..runs).map(|number| self.buildah_once(number)).collect())
    }

    fn buildah_once(&self, number: usize) -> Cost {
        let (root, runroot) = (self.path("buildah-root"), self.path("buildah-run"));
        let store = ["buildah", "--root", &root, "--runroot", &runroot, "--storage-driver", "vfs"];
        let plain = "--tls-verify=false";
        let place = self.repository();
        let target = format!("docker://{}/buildah-{number}", self.registry.host);
        let bud = ["bud", "-q", "--layers", "--isolation", "chroot", plain, "-t", "out", "."];
        let built = measure(&place, &[&store, &bud[..]].concat());
        let pushed =
            measure(&place, &[&store, &["push", "-q", plain, "out", &target][..]].concat());
        run(&place, &["rm", "-rf", &root, &runroot]);
        Cost {
            wall: built.wall + pushed.wall,
            cpu: built.cpu + pushed.cpu,
            rss: built.rss.max(pushed.rss),
        }
    }

    /// Prints the rows of a cold build and of its peer.
    fn compare(&self, runs: usize) {
        let ours = Table::row(self.name, &self.cold(runs, &[]));
        let Some(costs) = self.buildah(runs) else { return };
        let theirs = Table::row(&format!("{}, buildah", self.name), &costs);
        println!(
            "  {}: {:.2} of buildah's time, {:.2} of its CPU seconds",
            self.name,
            ours.0 / theirs.0,
            ours.1 / theirs.1
        );
    }
}

/// Two images of a repository with many files, when everything is published already.
fn noop(place: &Place<'_>) {
    let repository = place.repository();
    for number in 0..20_000_u64 {
        let directory = repository.join(format!("package{}/part{}", number % 20, number % 200));
        fs_err::create_dir_all(&directory).expect("the repository is writable");
        let path = directory.join(format!("file{number}.rs"));
        write_file(&path, 500 + number % 3000, Texture::Text, number);
    }
    let lines = |part: &str| dockerfile(place.registry, [format!("COPY {part} /src/")]);
    let project = "project: bench\nimages:\n- {name: all, dockerfile: all.Dockerfile}\n\
                   - {name: part, dockerfile: part.Dockerfile}\n";
    let files = [
        ("all.Dockerfile", lines(".")),
        ("part.Dockerfile", lines("package1")),
        ("longshore.yaml", project.to_owned()),
    ];
    commit(&repository, &files);
    place.build("again", &[]);
    let before = place.registry.requests();
    let worktree: Vec<Cost> = (0..7).map(|_| place.build("again", &[])).collect();
    let requests = (place.registry.requests() - before) / worktree.len();
    Table::row(place.name, &worktree);
    println!("  {}: {requests} requests a build", place.name);
    let committed: Vec<Cost> = (0..7).map(|_| place.build("again", &["--no-worktree"])).collect();
    Table::row(&format!("{}, --no-worktree", place.name), &committed);
}

/// Twenty small RUN steps.
fn run_steps(place: &Place<'_>) {
    let step = |number| format!("RUN echo {number} > /file{number} && mkdir /directory{number}");
    let files = [("Dockerfile", dockerfile(place.registry, (0..20).map(step)))];
    commit(&place.repository(), &files);
    place.compare(3);
}

fn copy(place: &Place<'_>, files: u64, size: u64, runs: usize) {
    let repository = place.repository();
    fs_err::create_dir(repository.join("data")).expect("the repository is new");
    for number in 0..files {
        let texture = if number % 2 == 0 { Texture::Text } else { Texture::Noise };
        write_file(&repository.join(format!("data/file{number}")), size, texture, number + 1);
    }
    let text = dockerfile(place.registry, ["COPY data /data".to_owned()]);
    commit(&repository, &[("Dockerfile", text)]);
    place.compare(runs);
}

/// Many small files, half of them incompressible, beside the pipe that a shell script would use;
/// the pipe neither reads a repository nor uploads anything.
fn copy_mixed(place: &Place<'_>) {
    copy(place, 20_000, 15_000, 3);
    if !std::path::Path::new("/usr/bin/pigz").exists() {
        return;
    }
    let script = "tar -cf - data | pigz -p2 | sha256sum > /dev/null";
    let pipe = || measure(&place.repository(), &["sh", "-c", script]);
    let pipe: Vec<Cost> = (0..3).map(|_| pipe()).collect();
    let theirs = Table::row(&format!("{}, tar | pigz | sha256sum", place.name), &pipe);
    let layout = |number: usize| {
        let home = format!("LONGSHORE_HOME={}", place.path(&format!("home-layout{number}")));
        let work = place.path(&format!("work-layout{number}"));
        let build = ["env", &home, LONGSHORE, "build", "--work-dir", &work, "--log-quiet"];
        measure(&place.repository(), &build)
    };
    let layouts: Vec<Cost> = (0..3).map(layout).collect();
    let ours = Table::row(&format!("{}, into a layout", place.name), &layouts);
    println!("  {}: {:.2} of the pipe's time", place.name, ours.0 / theirs.0);
}

/// A directory with one file, outside git.
fn copy_plain(place: &Place<'_>, write: impl FnOnce(&std::path::Path)) {
    let directory = place.repository();
    write(&directory.join("file"));
    let text = "FROM scratch\nCOPY file /\n";
    fs_err::write(directory.join("Dockerfile"), text).expect("the place of a case is writable");
    let limited = format!("{}, --spool-limit 64M", place.name);
    Table::row(&limited, &place.cold(1, &["--spool-limit", "64M"]));
}

/// A layer larger than any memory should be; its source needs no disk.
fn copy_sparse(place: &Place<'_>) {
    copy_plain(place, |path| {
        let file = fs_err::File::create(path).expect("the place of a case is writable");
        file.set_len(10 << 30).expect("a sparse file has any length");
    });
}

/// A layer that compression does not make smaller.
fn copy_noise(place: &Place<'_>) {
    copy_plain(place, |path| write_file(path, 2 << 30, Texture::Noise, 1));
}

/// The same, larger: memory must not follow.
fn copy_large(place: &Place<'_>) {
    copy(place, 1024, MIB, 1);
}

/// One file, larger than any buffer should be.
fn copy_single(place: &Place<'_>) {
    copy(place, 1, 512 * MIB, 1);
}
