//! Git contexts: `--no-worktree` and `--commit`, where what is committed counts and nothing else, and
//! clones of every kind.

use std::os::unix::fs::{chown, symlink};

use crate::support::command::Run;
use crate::support::flat::{Kind, Tree};
use crate::support::git_server::{GitServer, Manners};
use crate::support::image::digest_of;
use crate::support::{Git, Image, Sandbox, built_reference, is_root, longshore};

const PROJECT: &str = "images:\n  - { name: site, dockerfile: build/Dockerfile }\n";
const DOCKERFILE: &str = "FROM scratch\nCOPY . /all/\n";

#[test]
fn a_bare_repository_builds_what_its_checkout_was_committed_as() {
    let sandbox = Sandbox::new();
    sandbox.write("origin/longshore.yaml", PROJECT);
    sandbox.write("origin/build/Dockerfile", DOCKERFILE);
    sandbox.write("origin/.dockerignore", "build\nlongshore.yaml\nhidden\n");
    sandbox.write("origin/file", "committed\n");
    sandbox.write("origin/hidden", "hidden\n");
    let origin = Git::init(sandbox.path("origin"));
    origin.commit("the project");
    let bare = sandbox.path("bare.git").display().to_string();
    origin.run(&["clone", "--quiet", "--bare", ".", &bare]);
    sandbox.write("origin/longshore.yaml", "images: [{ name: other }]\n");
    sandbox.write("origin/build/Dockerfile", "FROM scratch\nLABEL changed=1\n");
    sandbox.write("origin/.dockerignore", "file\n");
    sandbox.write("origin/file", "changed\n");

    let built = [bare, sandbox.path("origin").display().to_string()].map(|context| {
        let build = longshore(&sandbox).args(["build", "--no-worktree", "--tag", "v1", &context]);
        built_reference(&build.outcome().success())
    });
    assert_eq!(built[0], built[1]);
    let layout = sandbox.path("state/layouts/default");
    let image = Image::local(&sandbox, &format!("oci:{}:v1", layout.display()));
    let tree = image.tree();
    let paths: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["all", "all/.dockerignore", "all/file"]);
}

#[test]
fn an_ignore_file_of_the_dockerfile_goes_before_the_common_one() {
    let sandbox = Sandbox::new();
    sandbox.write("origin/Dockerfile", DOCKERFILE);
    sandbox.write("origin/Dockerfile.dockerignore", "Dockerfile*\n.dockerignore\n");
    sandbox.write("origin/.dockerignore", "file\n");
    sandbox.write("origin/file", "committed\n");
    let origin = Git::init(sandbox.path("origin"));
    origin.commit("the project");
    let build = longshore(&sandbox).args(["build", "--no-worktree", "--tag", "v1", "origin"]);
    build.succeed();
    let layout = sandbox.path("state/layouts/default");
    let image = Image::local(&sandbox, &format!("oci:{}:v1", layout.display()));
    let tree = image.tree();
    let paths: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["all", "all/file"]);
}

#[test]
fn a_directory_outside_git_has_nothing_committed() {
    let sandbox = Sandbox::new();
    let outside = tempfile::tempdir().expect("mkdir");
    crate::support::sandbox::write(&outside.path().join("Dockerfile"), DOCKERFILE);
    let build = longshore(&sandbox).args(["build", "--no-worktree"]).arg(outside.path());
    let outcome = build.outcome().exits(11);
    assert!(outcome.stderr.contains("there is none to read"), "{}", outcome.report());
}

/// Tells whether the file at `path` has that text.
fn has(tree: &Tree, path: &str, text: &str) -> bool {
    let node = tree.get(path);
    let Some(Kind::File { sha256, .. }) = node.map(|node| &node.kind) else { return false };
    digest_of(text.as_bytes()) == format!("sha256:{sha256}")
}

/// The image that is tagged `v1` in the default layout.
fn image(sandbox: &Sandbox) -> Image {
    let layout = sandbox.path("state/layouts/default");
    Image::local(sandbox, &format!("oci:{}:v1", layout.display()))
}

/// A repository with two commits of `file` and a directory `app` in the second one only, and its
/// bare clone.
fn two_commits(sandbox: &Sandbox) -> (Git, String) {
    sandbox.write("origin/Dockerfile", "FROM scratch\nCOPY file /\n");
    sandbox.write("origin/file", "first\n");
    let origin = Git::init(sandbox.path("origin"));
    origin.commit("first");
    sandbox.write("origin/file", "second\n");
    sandbox.write("origin/app/Dockerfile", "FROM scratch\nCOPY x /\n");
    sandbox.write("origin/app/x", "x\n");
    origin.commit("second");
    let bare = sandbox.path("bare.git").display().to_string();
    origin.run(&["clone", "--quiet", "--bare", ".", &bare]);
    (origin, bare)
}

#[test]
fn any_commit_is_built_without_a_checkout() {
    let sandbox = Sandbox::new();
    let (_origin, bare) = two_commits(&sandbox);
    for (context, revision, path, content) in [
        (bare.clone(), "HEAD~1", "file", "first\n"),
        (bare.clone(), "HEAD^", "file", "first\n"),
        (bare.clone(), "HEAD", "file", "second\n"),
        ("origin".to_owned(), "HEAD~1", "file", "first\n"),
        (format!("{bare}/app"), "HEAD", "x", "x\n"),
        (format!("{bare}/app/."), "HEAD", "x", "x\n"),
    ] {
        let args = ["build", "--commit", revision, "--tag", "v1", &context];
        longshore(&sandbox).args(args).succeed();
        assert!(has(&image(&sandbox).tree(), path, content), "{args:?}");
    }
}

#[test]
fn a_bare_repository_without_a_commit_is_told_from_a_directory() {
    let sandbox = Sandbox::new();
    let (_origin, bare) = two_commits(&sandbox);
    let outcome = longshore(&sandbox).args(["build", &bare]).outcome().exits(10);
    assert!(
        outcome.stderr.contains("this is a git directory: --no-worktree"),
        "{}",
        outcome.report()
    );
}

#[test]
fn a_context_from_elsewhere_without_a_dockerfile_is_no_directory() {
    let sandbox = Sandbox::new();
    sandbox.write("srv/plain/file", "no Dockerfile\n");
    Git::init(sandbox.path("srv/plain")).commit("a file");
    let archive = sandbox.path("plain.tar");
    Run::new("tar")
        .arg("-cf")
        .arg(&archive)
        .args(["-C", "srv", "plain"])
        .within(sandbox.root())
        .succeed();
    let build = |context: &str| longshore(&sandbox).args(["build", context]).input(&archive);
    let outcome = build("-").outcome().exits(10);
    let said = "there is no Dockerfile at the top of the tar archive\nhint: pack what is in its";
    assert!(outcome.stderr.contains(said), "{}", outcome.report());
    let server = GitServer::start(&sandbox.path("srv"), Manners::default());
    let outcome = build(&server.url("plain/.git")).outcome().exits(10);
    let said = "there is no Dockerfile at the top of the context\nhint: name its directory behind";
    assert!(outcome.stderr.contains(said), "{}", outcome.report());
}

#[test]
fn commits_that_are_not_there_are_named() {
    let sandbox = Sandbox::new();
    let (origin, bare) = two_commits(&sandbox);
    let url = format!("file://{}", sandbox.path("origin").display());
    origin.run(&["clone", "--quiet", "--depth=1", &url, "../shallow"]);
    for (context, revision, expected) in [
        (bare.clone(), "HEAD~2", "\"HEAD~2\" names no commit here"),
        (bare.clone(), "nowhere", "\"nowhere\" names no commit here"),
        (bare.clone(), "HEAD^{tree}", "\"HEAD^{tree}\" is not a revision"),
        (format!("{bare}/nothing"), "HEAD", "has no directory \"nothing\""),
        (format!("{bare}/app"), "HEAD~1", "has no directory \"app\""),
        (format!("{bare}/file"), "HEAD", "has no directory \"file\""),
        ("shallow".to_owned(), "HEAD~1", "the clone is shallow"),
    ] {
        let args = ["build", "--commit", revision, &context];
        let outcome = longshore(&sandbox).args(args).outcome().exits(11);
        assert!(outcome.stderr.contains(expected), "{}", outcome.report());
    }
    for (args, expected) in [
        (&["build", "--commit", "", "origin"][..], "--commit needs"),
        (&["build", "--commit", "HEAD", "--keep-git-dir", "origin"], "cannot be used with"),
        (&["build", "--timestamp", "yesterday", "origin"], "--timestamp \"yesterday\""),
    ] {
        let outcome = longshore(&sandbox).args(args).outcome().exits(2);
        assert!(outcome.stderr.contains(expected), "{}", outcome.report());
    }
}

#[test]
fn a_decision_on_a_commit_reads_no_file_of_the_context() {
    let sandbox = Sandbox::new();
    sandbox.write("origin/Dockerfile", "FROM scratch\nCOPY src /src\n");
    sandbox.write("origin/src/deep/file", "content\n");
    let origin = Git::init(sandbox.path("origin"));
    origin.commit("the project");
    let build = || longshore(&sandbox).args(["build", "--no-worktree", "origin"]);
    let built = built_reference(&build().outcome().success());
    // The blob is gone, as in a partial clone; who does not need it does not notice.
    let blob = origin.run(&["rev-parse", "HEAD:src/deep/file"]);
    let blob = blob.trim();
    let object = format!("origin/.git/objects/{}/{}", &blob[..2], &blob[2..]);
    fs_err::remove_file(sandbox.path(&object)).expect("a loose object");
    assert_eq!(built_reference(&build().outcome().success()), built);
    fs_err::remove_dir_all(sandbox.path("state")).expect("the storage");
    let outcome = build().outcome().exits(11);
    assert!(outcome.stderr.contains(blob), "{}", outcome.report());
}

#[test]
fn a_foreign_repository_is_built_unless_that_is_refused() {
    let sandbox = Sandbox::new();
    let (origin, _) = two_commits(&sandbox);
    let build = |flag: &str| longshore(&sandbox).args(["build", flag, "origin"]);
    build("--strict-ownership").succeed();
    // Only root can give a file away.
    if is_root() {
        chown(origin.directory().join(".git"), Some(4711), None).expect("chown");
        build("--no-worktree").succeed();
        let outcome = build("--strict-ownership").outcome().exits(11);
        assert!(outcome.stderr.contains("it belongs to user 4711"), "{}", outcome.report());
    }
}

/// What README says of `.gitattributes`.
#[test]
fn attributes_change_nothing_but_what_a_checkout_wrote() {
    let sandbox = Sandbox::new();
    let attributes = "*.bat text eol=crlf\n*.id ident\nsecret export-ignore\n";
    sandbox.write("origin/.gitattributes", attributes);
    sandbox.write("origin/run.bat", "one\ntwo\n");
    sandbox.write("origin/secret", "kept\n");
    sandbox.write("origin/a.id", "$Id$\n");
    sandbox.write("origin/Dockerfile", "FROM scratch\nCOPY run.bat secret a.id /\n");
    let origin = Git::init(sandbox.path("origin"));
    origin.commit("the project");
    origin.run(&["clone", "--quiet", ".", "../checkout"]);
    let tree = |args: &[&str]| {
        longshore(&sandbox).args(["build", "--tag", "v1"]).args(args).succeed();
        image(&sandbox).tree()
    };
    let committed = tree(&["--no-worktree", "checkout"]);
    let id = origin.run(&["rev-parse", "HEAD:a.id"]);
    let checked_out = tree(&["checkout"]);
    for (tree, bat, ident) in [
        (committed, "one\ntwo\n", "$Id$\n".to_owned()),
        (checked_out, "one\r\ntwo\r\n", format!("$Id: {} $\n", id.trim())),
    ] {
        assert!(has(&tree, "run.bat", bat) && has(&tree, "a.id", &ident), "{tree:?}");
        assert!(has(&tree, "secret", "kept\n"));
    }
}

#[test]
fn layers_with_content_times_are_the_same_in_every_commit() {
    let sandbox = Sandbox::new();
    sandbox.write("origin/Dockerfile", "FROM scratch\nCOPY file /\n");
    sandbox.write("origin/file", "same\n");
    let origin = Git::init(sandbox.path("origin"));
    origin.commit("first");
    let layer = |home: &str, timestamp: &str| {
        let state = sandbox.path(home);
        let args = ["build", "--timestamp", timestamp, "--tag", "v1", "origin"];
        longshore(&sandbox).args(args).env("LONGSHORE_HOME", &state).succeed();
        let layout = state.join("layouts/default");
        let image = Image::local(&sandbox, &format!("oci:{}:v1", layout.display()));
        let layer = image.layer_digests().pop().expect("a layer").to_owned();
        (layer, image.tree().get("file").expect("the file").mtime)
    };
    let first = layer("one", "content");
    let fixed = layer("two", "1500000000");
    origin.run(&["commit", "--quiet", "--allow-empty", "--message", "later"]);
    assert_eq!(layer("three", "content"), first);
    assert_eq!((fixed.1, layer("four", "1500000000")), (1_500_000_000, fixed));
}

#[test]
fn clones_of_every_kind_are_the_same_context() {
    let sandbox = Sandbox::new();
    let (origin, bare) = two_commits(&sandbox);
    sandbox.write("origin/.dockerignore", "app/*.log\n");
    sandbox.write("origin/Dockerfile", "FROM scratch\nCOPY . /all/\n");
    origin.commit("third");
    origin.run(&["push", "--quiet", &bare, "main"]);
    origin.run(&["config", "uploadpack.allowFilter", "true"]);
    let url = format!("file://{}", sandbox.path("origin").display());
    let clone = |flag: &str, name: &str| {
        origin.run(&["clone", "--quiet", flag, &url, &format!("../{name}")]);
    };
    clone("--no-local", "full");
    clone("--depth=1", "shallow");
    clone("--filter=blob:none", "partial");
    clone("--no-checkout", "empty");
    origin.run(&["worktree", "add", "--quiet", "--detach", "../linked"]);
    origin.run(&["clone", "--quiet", "--no-local", &url, "../moved/elsewhere"]);
    Git::open(sandbox.path("full")).run(&["gc", "--quiet", "--aggressive"]);
    let build = |flag: &str, context: &str| {
        let build = longshore(&sandbox).args(["build", flag, context]);
        built_reference(&build.outcome().success())
    };
    let expected = build("--log-quiet", "origin");
    for context in ["full", "shallow", "partial", "linked", "moved/elsewhere", "origin/.git/.."] {
        assert_eq!(build("--log-quiet", context), expected, "{context}");
    }
    for context in ["full", "shallow", "partial", "linked", "empty", &bare] {
        assert_eq!(build("--no-worktree", context), expected, "{context}, committed");
    }
}

#[test]
fn submodules_count_by_what_is_checked_out() {
    let sandbox = Sandbox::new();
    sandbox.write("library/file", "first\n");
    let library = Git::init(sandbox.path("library"));
    library.commit("first");
    sandbox.write("origin/Dockerfile", "FROM scratch\nCOPY . /all/\n");
    let origin = Git::init(sandbox.path("origin"));
    let place = sandbox.path("library").display().to_string();
    let allow = ["-c", "protocol.file.allow=always"];
    origin.run(&[&allow[..], &["submodule", "add", "--quiet", &place, "lib"]].concat());
    origin.commit("with a submodule");
    let build = |context: &str| longshore(&sandbox).args(["build", "--tag", "v1", context]);
    let first = built_reference(&build("origin").outcome().success());
    assert!(has(&image(&sandbox).tree(), "all/lib/file", "first\n"));

    sandbox.write("library/file", "second\n");
    library.commit("second");
    Git::open(sandbox.path("origin/lib")).run(&[&allow[..], &["pull", "--quiet"]].concat());
    let second = built_reference(&build("origin").outcome().success());
    assert_ne!(first, second);
    assert!(has(&image(&sandbox).tree(), "all/lib/file", "second\n"));

    origin.run(&["clone", "--quiet", ".", "../clone"]);
    let expected = "submodule \"lib\" is not checked out";
    let outcome = build("clone").outcome().exits(10);
    assert!(outcome.stderr.contains(expected), "{}", outcome.report());
    let outcome = build("clone").arg("--no-worktree").outcome().exits(10);
    assert!(outcome.stderr.contains(expected), "{}", outcome.report());
}

#[test]
fn a_committed_dockerfile_may_be_a_link_inside_the_commit() {
    let sandbox = Sandbox::new();
    sandbox.write("origin/docker/real", "FROM scratch\nCOPY docker/real /\n");
    symlink("docker/real", sandbox.path("origin/Dockerfile")).expect("a link");
    sandbox.write("origin/loop/.keep", "");
    symlink("Dockerfile", sandbox.path("origin/loop/Dockerfile")).expect("a link");
    Git::init(sandbox.path("origin")).commit("the project");
    let build = |context: &str| longshore(&sandbox).args(["build", "--no-worktree", context]);
    build("origin").succeed();
    let outcome = build("origin/loop").outcome().exits(10);
    assert!(outcome.stderr.contains("there is no Dockerfile"), "{}", outcome.report());
}
