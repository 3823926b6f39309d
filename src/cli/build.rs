//! `longshore build`.

use std::path::PathBuf;

use clap::Args;

use super::{LogArgs, StepArgs};

/// The arguments of `longshore build`.
#[derive(Args, Debug)]
pub struct BuildArgs {
    /// Directory with a longshore.yaml or a Dockerfile; `-` for a tar archive on standard input;
    /// or a git repository: `https://HOST/REPO.git[#REF[:DIR]]`, ssh://, git://, git@HOST:PATH
    #[arg(default_value = ".")]
    pub context: PathBuf,
    /// Build only this image of longshore.yaml (repeatable)
    #[arg(long, value_name = "NAME")]
    pub image: Vec<String>,
    /// Dockerfile to build instead of CONTEXT/Dockerfile or the images of longshore.yaml; of a
    /// context from elsewhere, a file in it
    #[arg(long, short = 'f', value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Registry repository for stages and images [default: an OCI layout below LONGSHORE_HOME]
    #[arg(long, value_name = "REF")]
    pub repo: Option<String>,
    /// Also name the image so: a tag in --repo, or a whole reference to push to (repeatable)
    #[arg(long, short = 't', value_name = "REF")]
    pub tag: Vec<String>,
    /// Write the image's digest to this file once it is published
    #[arg(long, value_name = "FILE")]
    pub digest_file: Option<PathBuf>,
    /// Write a JSON report of the build to this file
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Dockerfile stage to build [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Value of an ARG; without a value it is taken from the environment (repeatable)
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Name of the project, for its locks and its layout [default: that of longshore.yaml or --repo]
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// Platform of the base images, as in linux/arm64 [default: this machine's]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// Take committed files only: the worktree's changes are not looked for
    #[arg(long)]
    pub no_worktree: bool,
    /// Build this commit, from git objects alone: no checkout is needed [default: the worktree]
    #[arg(long, value_name = "REV")]
    pub commit: Option<String>,
    /// Let COPY take the .git of a git context, which defeats the cache
    #[arg(long, conflicts_with_all = ["no_worktree", "commit"])]
    pub keep_git_dir: bool,
    /// Refuse a git repository that belongs to another user
    #[arg(long)]
    pub strict_ownership: bool,
    /// Take files in Git LFS from there with git-lfs, where only their pointers are here
    #[arg(long)]
    pub allow_filters: bool,
    /// Time of files of a git context: commit, content (one for each layer) or seconds since 1970
    #[arg(long, value_name = "TIME", default_value = "commit")]
    pub timestamp: String,
    /// How RUN steps are executed: auto, overlay, chroot, none
    #[arg(long, value_name = "RUNG", default_value = "auto")]
    pub runtime: String,
    /// Locks between builders: `:local` or `none`
    #[arg(long, value_name = "ADDRESS")]
    pub synchronization: Option<String>,
    /// How new layers are compressed: gzip, zstd, none
    #[arg(long, value_name = "ALGORITHM", default_value = "gzip")]
    pub compression: String,
    /// Level of gzip (0 to 9) or zstd (1 to 19)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub compression_level: Option<i32>,
    /// Directory for downloads and unpacked layers; RUN needs one that an overlay can lie on
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Compressed bytes of one layer that may lie in the work directory, as in 512M; a registry
    /// takes longer ones while they are made [default: no limit]
    #[arg(long, value_name = "BYTES")]
    pub spool_limit: Option<String>,
    /// Flags of RUN steps.
    #[command(flatten)]
    pub steps: StepArgs,
    /// Registry flags.
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Log flags.
    #[command(flatten)]
    pub log: LogArgs,
}

/// How registries are spoken to.
#[derive(Args, Debug)]
pub struct RegistryArgs {
    /// Speak plain HTTP with this registry; those on loopback need no flag (repeatable)
    #[arg(long, value_name = "HOST[:PORT]")]
    pub insecure_registry: Vec<String>,
    /// Do not verify this registry's certificate (repeatable)
    #[arg(long, value_name = "HOST[:PORT]")]
    pub skip_tls_verify_registry: Vec<String>,
    /// Trust this certificate authority for this registry (repeatable)
    #[arg(long, value_name = "HOST=FILE")]
    pub registry_certificate: Vec<String>,
    /// Pull from here first; without PREFIX a mirror of docker.io (repeatable)
    #[arg(long, value_name = "[PREFIX=]HOST[/PATH]")]
    pub registry_mirror: Vec<String>,
    /// Never pull from the original when a mirror is given
    #[arg(long)]
    pub skip_default_registry_fallback: bool,
}
