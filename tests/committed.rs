//! `--no-worktree`: what is committed counts and nothing else, with or without a checkout.

use crate::support::{Git, Image, Sandbox, built_reference, longshore};

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
