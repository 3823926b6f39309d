//! Building with longshore through each of its doors.

use std::path::Path;

use super::case::Case;
use crate::support::command::{Outcome, Run};
use crate::support::{Git, Image, Registry, Sandbox, executor, longshore};

/// A way into longshore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// `longshore build` on a plain directory.
    Build,
    /// `longshore build` on a git checkout.
    BuildGit,
    /// `longshore executor` on a plain directory.
    Executor,
    /// `longshore executor` on a git checkout.
    ExecutorGit,
}

impl Door {
    /// The doors that must make the same of `case`.
    pub(crate) fn of(case: &Case) -> &'static [Self] {
        // The executor takes `.git` into the image unless a rule hides it, as kaniko does.
        match (case.fits_git, case.ignore.iter().any(|rule| rule == ".git")) {
            (true, true) => &[Self::Build, Self::BuildGit, Self::Executor, Self::ExecutorGit],
            (true, false) => &[Self::Build, Self::BuildGit, Self::Executor],
            (false, _) => &[Self::Build, Self::Executor],
        }
    }

    /// True when the context has to be committed first.
    pub(crate) fn wants_git(self) -> bool {
        matches!(self, Self::BuildGit | Self::ExecutorGit)
    }

    /// Builds the context in `directory`, pushes the result and fetches it.
    pub(crate) fn build(
        self,
        sandbox: &Sandbox,
        registry: &Registry,
        case: &Case,
        directory: &Path,
    ) -> Result<Image, Outcome> {
        if self.wants_git() {
            Git::init(directory).commit("case");
        }
        // A repository of its own for each door: a stage of one must not answer for another.
        let repository = registry.reference(&format!("{self:?}").to_lowercase());
        let digest_file = sandbox.path("digest");
        let mut run = self.command(sandbox, registry, directory, &repository);
        for (name, value) in &case.arguments {
            run = run.arg("--build-arg").arg(format!("{name}={value}"));
        }
        let outcome = run.arg("--digest-file").arg(&digest_file).outcome();
        if outcome.code != 0 {
            return Err(outcome);
        }
        let digest = fs_err::read_to_string(&digest_file).expect("the digest was written");
        let reference = format!("{repository}@{}", digest.trim());
        Ok(Image::pull(sandbox, registry, &reference))
    }

    fn command(self, sandbox: &Sandbox, registry: &Registry, context: &Path, to: &str) -> Run {
        match self {
            Self::Build | Self::BuildGit => longshore(sandbox).arg("build").arg(context).args([
                "--insecure-registry",
                registry.address(),
                "--repo",
                to,
            ]),
            Self::Executor | Self::ExecutorGit => executor(sandbox)
                .arg("--context")
                .arg(context)
                .arg("--dockerfile")
                .arg(context.join("Dockerfile"))
                .args(["--insecure", "--insecure-pull"])
                .arg("--destination")
                .arg(format!("{to}:latest")),
        }
    }
}
