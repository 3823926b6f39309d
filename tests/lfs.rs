//! Files in Git LFS: pointers that `--allow-filters` replaces, with the real git-lfs and with
//! programs that behave badly in its place.

use crate::support::command::{Outcome, Run};
use crate::support::flat::Kind;
use crate::support::image::digest_of;
use crate::support::random::Random;
use crate::support::sandbox::set_mode;
use crate::support::{Git, Image, Sandbox, executor, is_root, longshore, variables};

const BIG: usize = 700_000;

/// A repository whose `*.bin` are in Git LFS, and a server of both in a directory beside it.
struct Project {
    sandbox: Sandbox,
    origin: Git,
    big: Vec<u8>,
}

impl Project {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let mut random = Random::new(7);
        let big: Vec<u8> = (0..BIG).map(|_| random.next() as u8).collect();
        sandbox.write("origin/Dockerfile", "FROM scratch\nCOPY app /app/\n");
        sandbox.write("origin/.gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
        sandbox.write("origin/app/big.bin", &big);
        sandbox.write("origin/app/d/a name.bin", "small\n");
        sandbox.write("origin/app/empty.bin", "");
        sandbox.write("origin/app/plain", "plain\n");
        set_mode(&sandbox.write("origin/app/run.bin", "#!/bin/sh\n"), 0o755);
        let origin = Git::init(sandbox.path("origin"));
        origin.run(&["lfs", "install", "--local"]);
        origin.commit("files in LFS");
        let store = sandbox.path("store.git").display().to_string();
        origin.run(&["init", "--quiet", "--bare", "--initial-branch=main", &store]);
        origin.run(&["remote", "add", "origin", &format!("file://{store}")]);
        origin.run(&["push", "--quiet", "origin", "main"]);
        Self { sandbox, origin, big }
    }

    /// Clones the store without what is in LFS.
    fn clone(&self, name: &str, flags: &[&str]) -> Git {
        let (store, target) = (self.sandbox.path("store.git"), self.sandbox.path(name));
        let (store, target) = (format!("file://{}", store.display()), target.display().to_string());
        self.origin.run(&[&["clone", "--quiet"], flags, &[&store, &target]].concat());
        Git::open(target)
    }

    /// Builds with a storage of its own in `home`.
    fn build(&self, home: &str, args: &[&str]) -> Outcome {
        let run = longshore(&self.sandbox).env("LONGSHORE_HOME", self.sandbox.path(home));
        run.args(["build", "--tag", "v1"]).args(args).outcome()
    }

    fn image(&self, home: &str) -> Image {
        let layout = self.sandbox.path(home).join("layouts/default");
        Image::local(&self.sandbox, &format!("oci:{}:v1", layout.display()))
    }

    /// Puts a program in the place of git-lfs; returns a `PATH` in which it comes first.
    fn fake(&self, script: &str) -> String {
        let program = self.sandbox.write("fake/git-lfs", format!("#!/bin/sh\n{script}\n"));
        set_mode(&program, 0o755);
        let path = variables::text("PATH").unwrap_or_default();
        format!("{}:{path}", self.sandbox.path("fake").display())
    }
}

#[test]
fn every_kind_of_context_gets_the_files_that_its_pointers_name() {
    let project = Project::new();
    let smudged = project.build("smudged", &["origin"]).success();
    assert!(!smudged.stderr.contains("LFS"), "{}", smudged.report());
    let expected = project.image("smudged");
    let tree = expected.tree();
    let big = tree.get("app/big.bin").map(|node| &node.kind);
    let sha256 = digest_of(&project.big).split_off("sha256:".len());
    assert_eq!(big, Some(&Kind::File { size: BIG as u64, sha256 }));
    project.clone("clone", &[]);
    project.clone("absent", &["--no-checkout"]);
    project.clone("bare.git", &["--bare"]);
    let linked = project.sandbox.path("linked").display().to_string();
    project.clone("main", &[]).run(&["worktree", "add", "--quiet", &linked, "HEAD^0"]);
    for (number, args) in [
        vec!["clone"],
        vec!["linked"],
        vec!["--commit", "HEAD", "linked"],
        vec!["--no-worktree", "absent"],
        vec!["--commit", "main", "bare.git"],
    ]
    .iter()
    .enumerate()
    {
        // git-lfs leaves what it fetched in the repository: each kind is to fetch by itself.
        for name in ["clone", "main", "absent"] {
            let _ = fs_err::remove_dir_all(project.sandbox.path(name).join(".git/lfs"));
        }
        let home = format!("home-{number}");
        let refused = project.build(&home, args).exits(11);
        let said = "app/big.bin is a Git LFS pointer, not the file itself";
        assert!(refused.stderr.contains(said), "{}", refused.report());
        assert!(refused.stderr.contains("--allow-filters"), "{}", refused.report());
        project.build(&home, &[&["--allow-filters"], args.as_slice()].concat()).success();
        assert_eq!(project.image(&home).layer_digests(), expected.layer_digests(), "{args:?}");
    }
}

#[test]
fn the_executor_fetches_too_and_an_archive_has_nothing_to_fetch() {
    let project = Project::new();
    project.clone("clone", &[]);
    let context = project.sandbox.path("clone").display().to_string();
    let run = |flags: &[&str]| {
        let args = ["--context", &context, "--no-push", "--oci-layout-path", "out"];
        executor(&project.sandbox).args(args).args(flags).outcome()
    };
    run(&[]).exits(1);
    run(&["--allow-filters"]).success();
    let image = Image::local(&project.sandbox, "oci:out");
    project.build("smudged", &["origin"]).success();
    assert_eq!(image.layer_digests(), project.image("smudged").layer_digests());

    let refused = executor(&project.sandbox)
        .args(["--context", "tar:///x.tar", "--no-push", "--allow-filters"])
        .outcome()
        .exits(1);
    assert!(refused.stderr.contains("--allow-filters cannot be used"), "{}", refused.report());
    project.build("home", &["--allow-filters", "-"]).exits(2);
}

#[test]
fn a_repository_of_another_user_and_one_that_names_another_server_are_fetched_for() {
    let project = Project::new();
    let clone = project.clone("clone", &[]);
    let store = project.sandbox.path("store.git").display().to_string();
    project.sandbox.write("clone/.lfsconfig", format!("[lfs]\n\turl = file://{store}\n"));
    clone.commit("where the files are");
    clone.run(&["remote", "set-url", "origin", "file:///nonexistent"]);
    if is_root() {
        Run::new("chown").args(["-R", "4711"]).arg(clone.directory()).succeed();
    }
    for args in [vec!["clone"], vec!["--no-worktree", "clone"]] {
        let _ = fs_err::remove_dir_all(project.sandbox.path("clone/.git/lfs"));
        let home = format!("home-{}", args.len());
        // A pipeline that has set this for its checkout, and a hook of another repository.
        let run = longshore(&project.sandbox)
            .env("LONGSHORE_HOME", project.sandbox.path(&home))
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env("GIT_DIR", project.sandbox.path("store.git"));
        run.args(["build", "--allow-filters"]).args(&args).succeed();
    }
}

#[test]
fn what_git_lfs_does_not_give_is_told_by_name() {
    let project = Project::new();
    let clone = project.clone("clone", &[]);
    let cases = |args: &[&str], parts: &[&str]| {
        let outcome = project.build("home", args).exits(11);
        for part in parts {
            assert!(outcome.stderr.contains(part), "{part}\n{}", outcome.report());
        }
    };
    let args = ["--allow-filters", "clone"];
    clone.run(&["config", "lfs.fetchexclude", "*.bin"]);
    cases(&args, &["app/big.bin cannot be taken", "gave the pointer back", "lfs.fetchexclude"]);
    clone.run(&["config", "--unset", "lfs.fetchexclude"]);
    fs_err::remove_dir_all(project.sandbox.path("store.git/lfs")).expect("the store");
    cases(&args, &["app/big.bin cannot be taken", "git-lfs failed", "missing object"]);
    let ended = "version https://git-lfs.github.com/spec/v1\nsize 5\n";
    project.sandbox.write("clone/app/big.bin", ended);
    cases(&args, &["app/big.bin cannot be taken", "it has no oid"]);
    let strict = ["--allow-filters", "--strict-ownership", "clone"];
    if is_root() {
        Run::new("chown").args(["-R", "4711"]).arg(clone.directory()).succeed();
        cases(&strict, &["belongs to"]);
    }
}

#[test]
fn a_git_lfs_that_misbehaves_never_makes_a_layer() {
    let project = Project::new();
    project.clone("clone", &[]);
    let good = project.sandbox.write("good", &project.big).display().to_string();
    let wrong = vec![b'x'; BIG];
    let wrong = project.sandbox.write("wrong", wrong).display().to_string();
    let dockerfile = "FROM scratch\nCOPY app/big.bin /\n";
    let file = project.sandbox.write("one", dockerfile).display().to_string();
    for (script, parts) in [
        (
            "cat >/dev/null; echo 'no: https://me:s3cret@host/x' >&2; exit 3".to_owned(),
            ["exit status: 3", "\n  | no: https://***@host/x"],
        ),
        ("cat".to_owned(), ["gave the pointer back", "lfs.fetchinclude"]),
        (format!("head -c 699999 {good}"), ["there are 699999 bytes", "names 700000 bytes"]),
        (format!("cat {good} {good}"), ["there are more than 700000 bytes", "git lfs fsck"]),
        (format!("cat {good}; echo"), ["there are 700001 bytes", "git lfs fsck"]),
        (format!("cat {wrong}"), ["there are 700000 bytes with sha256:", "git lfs fsck"]),
        (format!("cat {good}; exit 1"), ["git-lfs failed (exit status: 1)", "settings of git"]),
        (format!("cat {good}; kill -9 $$"), ["git-lfs failed (signal: 9", "settings of git"]),
        ("exec yes".to_owned(), ["there are more than 700000 bytes", "git lfs fsck"]),
    ] {
        let run = longshore(&project.sandbox).env("PATH", project.fake(&script));
        let outcome = run.args(["build", "--allow-filters", "-f", &file, "clone"]).outcome();
        let outcome = outcome.exits(11);
        for part in parts.into_iter().chain(["app/big.bin cannot be taken from Git LFS"]) {
            assert!(outcome.stderr.contains(part), "{script}: {part}\n{}", outcome.report());
        }
        assert!(!outcome.stderr.contains("s3cret"), "{}", outcome.report());
    }
    let path = project.fake(&format!("printf '%s\\n' \"$@\" >&2; cat {good}"));
    let run = longshore(&project.sandbox).env("PATH", path);
    run.args(["build", "--allow-filters", "-f", &file, "clone"]).succeed();
}

#[test]
fn a_machine_without_git_lfs_cannot_do_it() {
    let project = Project::new();
    project.clone("clone", &[]);
    let path = project.sandbox.path("bin");
    fs_err::create_dir(&path).expect("mkdir");
    let timeout = Run::new("sh").args(["-c", "command -v timeout"]).succeed();
    std::os::unix::fs::symlink(timeout.trim(), path.join("timeout")).expect("a link");
    let run = longshore(&project.sandbox).env("PATH", path);
    let outcome = run.args(["build", "--allow-filters", "clone"]).outcome().exits(50);
    for part in ["app/big.bin cannot be taken", "git-lfs cannot be started", "install git-lfs"] {
        assert!(outcome.stderr.contains(part), "{part}\n{}", outcome.report());
    }
}

#[test]
fn a_build_that_is_told_to_end_does_not_wait_for_git_lfs() {
    let project = Project::new();
    project.clone("clone", &[]);
    let started = project.sandbox.path("started").display().to_string();
    Run::new("mkfifo").arg(&started).succeed();
    let script = format!("echo > {started}; exec sleep 86397");
    let run = longshore(&project.sandbox).env("PATH", project.fake(&script));
    let running = run.args(["build", "--allow-filters", "clone"]).start();
    Run::new("cat").arg(&started).succeed();
    running.signal("TERM");
    running.outcome().exits(143);
    Run::new("pgrep").args(["-f", "^sleep 86397$"]).outcome().exits(1);
}
