//! The same commit makes the same bytes, whatever the checkout looks like.

use crate::support::command::Run;
use crate::support::{Access, Git, Image, Registry, Sandbox, base, is_root, longshore};

/// Nothing but what comes from the commit.
const COPIES: &str = "FROM BASE\nWORKDIR /srv/site\nCOPY . .\nCOPY --chown=app:staff tool /bin/\n";
/// Commands whose output depends on nothing but their input.
const RUNS: &str = "FROM BASE\nCOPY . /src/\nRUN mkdir /out && cat /src/tool /src/dir/* > /out/all \
                    && ln /out/all /out/again && chmod 4750 /out/all && rm -r /src/dir\n";

#[test]
fn two_clones_with_other_modes_times_and_owners_make_the_same_layers() {
    check(COPIES, None);
}

#[test]
fn deterministic_commands_make_the_same_layers_at_a_fixed_time() {
    check(RUNS, Some("1700000000"));
}

fn check(dockerfile: &str, epoch: Option<&str>) {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, Access::Plain);
    let base = registry.push(&sandbox, &base::busybox(), "busybox:1");
    sandbox.write("origin/Dockerfile", dockerfile.replace("BASE", &base));
    sandbox.write("origin/dir/one", "one\n");
    sandbox.write("origin/dir/two", "two\n");
    let tool = sandbox.write("origin/tool", "#!/bin/sh\n");
    crate::support::sandbox::set_mode(&tool, 0o755);
    let origin = Git::init(sandbox.path("origin"));
    origin.commit("the only one");
    let first = origin.clone_with_umask(&sandbox, "first", "022");
    let second = origin.clone_with_umask(&sandbox, "somewhere/else", "077");
    disturb(&second);
    let images = [(first, "first"), (second, "second")].map(|(clone, name)| {
        // Each is a pod and a repository of its own, so that nothing is found and all is built.
        let pod = Sandbox::new();
        let repository = registry.reference(&format!("{name}/app"));
        let mut run = longshore(&pod)
            .arg("build")
            .arg(clone.directory())
            .args(["--insecure-registry", registry.address(), "--repo", &repository])
            .args(["--tag", "v1"]);
        if let Some(epoch) = epoch {
            run = run.env("SOURCE_DATE_EPOCH", epoch);
        }
        run.succeed();
        Image::pull(&sandbox, &registry, &format!("{repository}:v1"))
    });
    let [first, second] = &images;
    assert_eq!(first.layer_digests(), second.layer_digests());
    assert_eq!(first.config, second.config);
    assert_eq!(first.digest, second.digest);
}

/// Gives a worktree other times and, where the tests may, another owner.
fn disturb(clone: &Git) {
    let find = |words: &[&str]| {
        let run = Run::new("find").within(clone.directory());
        run.args([".", "-path", "./.git", "-prune", "-o"]).args(words).succeed();
    };
    find(&["-exec", "touch", "-h", "-d", "2011-11-11", "{}", "+"]);
    if is_root() {
        find(&["-exec", "chown", "-h", "12345:23456", "{}", "+"]);
    }
}
