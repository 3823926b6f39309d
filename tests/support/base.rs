//! Base images, made offline (but for Debian's packages) and kept below `target/test-bases`.
//!
//! An image is made by the first test that wants it, under a file lock, so that tests in other
//! threads and processes wait for it. A name carries the recipe's revision: change it with the
//! recipe, and old ones are simply not found any more.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::command::Run;
use super::layout::{self, Layer};
use super::tarball::{Meta, Tarball};
use super::{busybox, variables};

/// Returns an OCI layout with the busybox of [`busybox::layer`].
pub(crate) fn busybox() -> PathBuf {
    cached("busybox-1", |directory| layout::write(directory, &[busybox::layer()], &environment()))
}

/// Returns an OCI layout with busybox and everything that builders have got wrong: an opaque
/// directory, a whiteout, devices, pipes, setuid and setgid bits, hard links, extended attributes,
/// old times of directories.
pub(crate) fn crafted() -> PathBuf {
    cached("crafted-1", |directory| {
        let layers = [busybox::layer(), crafted_lower(), crafted_upper()];
        let mut config = environment();
        config["Labels"] = json!({"from.base": "yes"});
        config["WorkingDir"] = json!("/srv");
        layout::write(directory, &layers, &config);
    })
}

/// Returns an OCI layout with Debian's minimal system and gcc.
pub(crate) fn debian_gcc() -> PathBuf {
    cached("debian-gcc-1", |directory| debian(directory, "gcc,libc6-dev", None))
}

/// Returns an OCI layout with Debian's minimal system, a small C compiler, `setcap`, and in `/debs`
/// packages that are not installed: with setuid and setgid programs, file capabilities and users.
pub(crate) fn debian_jobs() -> PathBuf {
    let hook = "mkdir -p \"$1/debs/partial\" && chroot \"$1\" apt-get -q -y \
                -o Dir::Cache::archives=/debs --no-install-recommends --download-only install \
                cron iputils-ping sudo && rm -r \"$1/debs/partial\" \"$1/debs/lock\"";
    let packages = "tcc,libc6-dev,libcap2-bin";
    cached("debian-jobs-1", |directory| debian(directory, packages, Some(hook)))
}

/// Writes an OCI layout with Debian's minimal system and these packages; `hook` is run before it is
/// packed.
fn debian(directory: &Path, packages: &str, hook: Option<&str>) {
    let tar = directory.join("layer-0.tar");
    let mut run = Run::new("mmdebstrap").env("HOME", directory).env("TMPDIR", directory);
    for name in ["http_proxy", "https_proxy", "no_proxy"] {
        if let Some(value) = variables::text(name) {
            run = run.env(name, value);
        }
    }
    if let Some(hook) = hook {
        run = run.arg(format!("--customize-hook={hook}"));
    }
    run.args(["--variant=minbase", &format!("--include={packages}")])
        .args(["--dpkgopt=path-exclude=/usr/share/doc/*", "--aptopt=Acquire::Retries \"3\""])
        .args(["--dpkgopt=path-exclude=/usr/share/locale/*", &suite()])
        .arg(&tar)
        .args(mirror())
        .succeed();
    layout::write_files(directory, &[(&tar, "debian")], &environment());
}

fn environment() -> Value {
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    json!({"Env": [path], "Cmd": ["/bin/sh"]})
}

/// Returns the layout `name`, made by `make` in an empty directory if it is not there yet.
fn cached(name: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let bases = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../test-bases");
    fs_err::create_dir_all(&bases).expect("mkdir");
    let finished = bases.join(name);
    let lock = fs_err::File::create(bases.join(format!("{name}.lock"))).expect("lock file");
    lock.file().lock().expect("flock");
    if !finished.exists() {
        let unfinished = tempfile::tempdir_in(&bases).expect("mkdir");
        make(unfinished.path());
        super::sandbox::set_mode(unfinished.path(), 0o755);
        fs_err::rename(unfinished.keep(), &finished).expect("rename");
    }
    finished
}

fn crafted_lower() -> Layer {
    let mut tar = Tarball::new();
    let (directory, file) = (Meta::mode(0o755), Meta::mode(0o644));
    tar.directory("op", directory);
    tar.file("op/old", file, "old\n");
    tar.directory("op/older", directory);
    tar.file("op/older/file", file, "older\n");
    tar.file("gone", file, "gone\n");
    tar.directory("kept", directory.mtime(500_000_000));
    tar.file("kept/a", file.mtime(500_000_001), "a\n");
    tar.file("kept/b", file, "b\n");
    tar.directory("shared", Meta::mode(0o2775).owner(0, 50));
    tar.directory("links", directory);
    tar.file("links/one", file.owner(1000, 1000), "three names\n");
    tar.hard_link("links/two", "links/one", file.owner(1000, 1000));
    tar.hard_link("links/three", "links/one", file.owner(1000, 1000));
    tar.directory("special", directory);
    tar.char_device("special/null", Meta::mode(0o666), (1, 3));
    tar.fifo("special/pipe", Meta::mode(0o620).owner(1, 1));
    tar.file("special/setuid", Meta::mode(0o4755), "not really a program\n");
    tar.xattr_of_next("user.note", b"kept");
    tar.file("special/noted", file, "with an attribute\n");
    tar.directory("srv", directory);
    tar.symlink("here", "srv");
    Layer { tar: tar.finish(), created_by: "what builders get wrong" }
}

fn crafted_upper() -> Layer {
    let mut tar = Tarball::new();
    let (directory, file) = (Meta::mode(0o755), Meta::mode(0o644));
    tar.directory("op", directory);
    tar.file("op/.wh..wh..opq", file, "");
    tar.file("op/new", file, "new\n");
    tar.file(".wh.gone", file, "");
    tar.directory("kept", directory.mtime(500_000_002));
    tar.file("kept/.wh.b", file, "");
    Layer { tar: tar.finish(), created_by: "deletions" }
}

/// The Debian release that the machine itself runs, or the current stable one.
fn suite() -> String {
    let release = fs_err::read_to_string("/etc/os-release").unwrap_or_default();
    if !release.lines().any(|line| line == "ID=debian") {
        return "stable".to_owned();
    }
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    name.unwrap_or("stable").to_owned()
}

/// Where the machine itself gets Debian from, which may be a mirror without which it has nothing.
fn mirror() -> Option<String> {
    let files = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"];
    files.into_iter().map(str::to_owned).find(|file| {
        let text = fs_err::read_to_string(file).unwrap_or_default();
        text.contains("debian") && text.contains("main")
    })
}
