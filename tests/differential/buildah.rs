//! Building with Debian's buildah: chroot isolation and the vfs driver, so that it needs no
//! runtime, no cgroup and no overlay, with a storage of its own.

use std::path::Path;

use super::case::{Bases, Case};
use crate::support::command::{Outcome, Run};
use crate::support::{Image, Sandbox};

/// The image's name in the storage.
const NAME: &str = "localhost/case:1";

/// Builds the context in `directory`.
pub(crate) fn build(sandbox: &Sandbox, case: &Case, directory: &Path) -> Result<Image, Outcome> {
    let mut run = buildah(sandbox)
        .args(["bud", "--isolation=chroot", "--layers=false", "--format=docker"])
        .args(["--tls-verify=false", "--pull=false", "--quiet", "--tag", NAME]);
    for (name, value) in &case.arguments {
        run = run.arg("--build-arg").arg(format!("{name}={value}"));
    }
    let outcome = run.arg(directory).outcome();
    if outcome.code != 0 {
        return Err(outcome);
    }
    let output = tempfile::tempdir_in(sandbox.path("tmp")).expect("mkdir").keep();
    let target = format!("dir:{}", output.display());
    buildah(sandbox).args(["push", "--quiet", "--disable-compression", NAME, &target]).succeed();
    buildah(sandbox).args(["rmi", "--force", NAME]).succeed();
    Ok(Image::read(&output))
}

/// Fetches the bases, so that the cases need not.
pub(crate) fn pull_bases(sandbox: &Sandbox, bases: &Bases) {
    for base in [&bases.busybox, &bases.crafted] {
        buildah(sandbox).args(["pull", "--quiet", "--tls-verify=false", base]).succeed();
    }
}

fn buildah(sandbox: &Sandbox) -> Run {
    sandbox
        .tool("buildah")
        .args(["--storage-driver=vfs", "--root"])
        .arg(sandbox.path("buildah/root"))
        .arg("--runroot")
        .arg(sandbox.path("buildah/run"))
}
