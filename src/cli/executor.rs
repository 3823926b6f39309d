//! `longshore executor`: kaniko's command line.
//!
//! The names, spellings and parsing rules are kaniko's: a long flag takes its value after `=` or
//! a blank, a boolean only after `=`. Flags that longshore has no need for are accepted and said
//! to have no effect; what it cannot do yet is an unknown flag. Of a flag that is not repeatable
//! the last one counts, and a boolean is what Go's `strconv.ParseBool` takes.

use std::path::PathBuf;

use clap::Args;

use super::StepArgs;

/// The arguments of `longshore executor`.
#[derive(Args, Debug)]
pub struct ExecutorArgs {
    /// Build context: a directory, with or without dir://; tar://FILE or tar://stdin;
    /// git://HOST/REPO.git[#REF[#COMMIT]]
    #[arg(long, short = 'c', default_value = "/workspace/")]
    pub context: String,
    /// How git is fetched: branch=NAME, insecure-skip-tls=true (repeatable, or with commas)
    #[arg(long, value_name = "KEY=VALUE")]
    pub git: Vec<String>,
    /// Sub directory of the context
    #[arg(long, value_name = "DIR")]
    pub context_sub_path: Option<PathBuf>,
    /// Take files in Git LFS from there with git-lfs, where only their pointers are here
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub allow_filters: bool,
    /// Dockerfile, relative to the working directory or else to the context
    #[arg(long, short = 'f', default_value = "Dockerfile")]
    pub dockerfile: PathBuf,
    /// Reference to push the image to (repeatable)
    #[arg(long, short = 'd', value_name = "REF")]
    pub destination: Vec<String>,
    /// Value of an ARG; without a value it is taken from the environment (repeatable)
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Dockerfile stage to build
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Label to set on the image (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Do not push the image
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub no_push: Option<bool>,
    /// Write the image as a tar that `docker load` reads
    #[arg(long, alias = "tarPath", value_name = "FILE")]
    pub tar_path: Option<PathBuf>,
    /// Write the image into this OCI layout directory
    #[arg(long, value_name = "DIR")]
    pub oci_layout_path: Option<PathBuf>,
    /// Write the image's digest to this file
    #[arg(long, value_name = "FILE")]
    pub digest_file: Option<PathBuf>,
    /// Write a line REPOSITORY@DIGEST for each destination to this file
    #[arg(long, value_name = "FILE")]
    pub image_name_with_digest_file: Option<PathBuf>,
    /// Write a line REPOSITORY:TAG@DIGEST for each destination to this file
    #[arg(long, value_name = "FILE")]
    pub image_name_tag_with_digest_file: Option<PathBuf>,
    /// Look stages up in the cache repository and store them there
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub cache: bool,
    /// Repository of the cache [default: the first destination's with /cache]
    #[arg(long, value_name = "REPOSITORY")]
    pub cache_repo: Option<String>,
    /// Platform to build for
    #[arg(long, alias = "customPlatform", value_name = "OS/ARCH")]
    pub custom_platform: Option<String>,
    /// Registries.
    #[command(flatten)]
    pub registry: ExecutorRegistryArgs,
    /// Level of the log: panic, fatal, error, warn, info, debug, trace
    #[arg(long, short = 'v', value_name = "LEVEL", default_value = "info")]
    pub verbosity: String,
    /// Form of the log: text, color, json
    #[arg(long, value_name = "FORM", default_value = "color")]
    pub log_format: String,
    /// How RUN steps are executed: auto, overlay, chroot, none
    #[arg(long, value_name = "RUNG", default_value = "auto")]
    pub runtime: String,
    /// How new layers are compressed: gzip, or zstd if the base image is OCI's
    #[arg(long, value_name = "ALGORITHM", default_value = "gzip")]
    pub compression: String,
    /// Level of gzip (0 to 9) or zstd (1 to 19); -1 is the algorithm's own
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true)]
    pub compression_level: i32,
    /// Directory for downloads and unpacked layers
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Compressed bytes of one layer that may lie in the work directory, as in 512M; a registry
    /// takes longer ones while they are made [default: no limit]
    #[arg(long, value_name = "BYTES")]
    pub spool_limit: Option<String>,
    /// Flags of RUN steps.
    #[command(flatten)]
    pub steps: StepArgs,
    /// Flags without effect.
    #[command(flatten)]
    pub accepted: AcceptedArgs,
}

/// How registries are spoken to.
#[derive(Args, Debug)]
pub struct ExecutorRegistryArgs {
    /// Push over plain HTTP
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub insecure: bool,
    /// Pull over plain HTTP
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub insecure_pull: bool,
    /// Speak plain HTTP with this registry (repeatable)
    #[arg(long, value_name = "HOST[:PORT]")]
    pub insecure_registry: Vec<String>,
    /// Do not verify certificates when pushing
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub skip_tls_verify: bool,
    /// Do not verify certificates when pulling
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub skip_tls_verify_pull: bool,
    /// Do not verify this registry's certificate (repeatable)
    #[arg(long, value_name = "HOST[:PORT]")]
    pub skip_tls_verify_registry: Vec<String>,
    /// Trust this certificate authority for this registry (repeatable)
    #[arg(long, value_name = "HOST=FILE")]
    pub registry_certificate: Vec<String>,
    /// Pull images of docker.io from here first (repeatable)
    #[arg(long, value_name = "HOST[/PATH]")]
    pub registry_mirror: Vec<String>,
    /// Pull images of one registry from others: FROM=TO[;FROM=TO] (repeatable)
    #[arg(long, value_name = "FROM=TO")]
    pub registry_map: Vec<String>,
    /// Never pull from the original when a mirror is given
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false")]
    pub skip_default_registry_fallback: bool,
    /// Times a push is tried again, if more than longshore does anyway
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub push_retry: u32,
    /// Times a download is tried again, if more than longshore does anyway
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub image_download_retry: u32,
}

/// kaniko's flags that longshore has no need for.
#[derive(Args, Debug)]
#[command(next_help_heading = "Accepted without effect")]
pub struct AcceptedArgs {
    /// The build never touches the container's own files
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub cleanup: Option<bool>,
    /// Changes are always found exactly
    #[arg(long, alias = "snapshotMode", value_name = "MODE")]
    pub snapshot_mode: Option<String>,
    /// Changes are always found exactly
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub use_new_run: Option<bool>,
    /// Layers are always streamed
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub compressed_caching: Option<bool>,
    /// There is no check to be forced
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub force: Option<bool>,
    /// Stages that the target does not need are never built
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub skip_unused_stages: Option<bool>,
    /// The container's own files are never part of a layer
    #[arg(long, value_name = "PATH")]
    pub ignore_path: Vec<String>,
    /// /var/run is like any other directory
    #[arg(long, alias = "whitelist-var-run", value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub ignore_var_run: Option<bool>,
    /// COPY layers are always cached with --cache
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub cache_copy_layers: Option<bool>,
    /// RUN layers are always cached with --cache
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub cache_run_layers: Option<bool>,
    /// Unpacking is local
    #[arg(long, value_name = "N")]
    pub image_fs_extract_retry: Option<u32>,
    /// Log lines carry no time
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub log_timestamp: Option<bool>,
    /// Nothing has to lie in a fixed place: see --work-dir
    #[arg(long, value_name = "DIR")]
    pub kaniko_dir: Option<PathBuf>,
    /// What may be pushed shows when it is pushed
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub skip_push_permission_check: Option<bool>,
    /// Metadata is in the image without a layer
    #[arg(long, value_parser = truth, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub force_build_metadata: Option<bool>,
}

/// What Go's `strconv.ParseBool` takes.
///
/// # Errors
/// With what to write instead.
pub fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

impl AcceptedArgs {
    /// The flags that were given although they have no effect.
    pub fn given(&self) -> Vec<&'static str> {
        let flags = [
            ("--cleanup", self.cleanup.is_some()),
            ("--snapshot-mode", self.snapshot_mode.is_some()),
            ("--use-new-run", self.use_new_run.is_some()),
            ("--compressed-caching", self.compressed_caching.is_some()),
            ("--force", self.force.is_some()),
            ("--skip-unused-stages", self.skip_unused_stages.is_some()),
            ("--ignore-path", !self.ignore_path.is_empty()),
            ("--ignore-var-run", self.ignore_var_run.is_some()),
            ("--cache-copy-layers", self.cache_copy_layers.is_some()),
            ("--cache-run-layers", self.cache_run_layers.is_some()),
            ("--image-fs-extract-retry", self.image_fs_extract_retry.is_some()),
            ("--log-timestamp", self.log_timestamp.is_some()),
            ("--kaniko-dir", self.kaniko_dir.is_some()),
            ("--skip-push-permission-check", self.skip_push_permission_check.is_some()),
            ("--force-build-metadata", self.force_build_metadata.is_some()),
        ];
        flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect()
    }
}
