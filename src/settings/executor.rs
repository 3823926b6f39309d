//! Settings of `longshore executor`, with kaniko's rules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{
    BuildSettings, Door, Environment, Origin, ResultFiles, StepSettings, StorageChoice, Target,
    compression, epoch, origin, pair, platform, registry, runtime, spool_limit,
};
use crate::cli::ExecutorArgs;
use crate::context::{GitDirectory, Owners};
use crate::failure::Failure;
use crate::model::{Reference, Repository};
use crate::output::{Format, Level, Voice};
use crate::plan::FileTimes;
use crate::sync::Address;

impl BuildSettings {
    /// What kaniko's command line means. `exists` tells whether a file is there: kaniko looks for
    /// the Dockerfile in the working directory before the context.
    ///
    /// # Errors
    /// When a value is wrong, or two contradict each other.
    pub fn of_executor(
        args: ExecutorArgs,
        environment: &Environment,
        exists: impl Fn(&Path) -> bool,
    ) -> Result<Self, Failure> {
        let (origin, context) = origin::of_executor(&args, environment)?;
        if args.allow_filters && origin != Origin::Directory {
            let message = "--allow-filters cannot be used with a context from elsewhere";
            return Err(Failure::usage(message).hint("check it out first: git clone, git lfs pull"));
        }
        let build_args = build_args(&args.build_arg, environment);
        let targets = targets(&args, environment)?;
        let (dockerfile, inside) = dockerfile(&args.dockerfile, &origin, &context, exists)?;
        let storage = storage(&args, &targets)?;
        let work_dir = args.work_dir.clone().or_else(|| environment.path("LONGSHORE_WORK_DIR"));
        let warnings = args.accepted.given();
        let warn = |flag: &&str| format!("{flag} has no effect: longshore does not need it");
        Ok(Self {
            door: Door::Executor,
            voice: voice(&args.verbosity, &args.log_format)?,
            origin,
            context,
            dockerfile,
            inside,
            images: Vec::new(),
            epoch: epoch(&build_args, environment)?,
            build_args,
            labels: labels(&args.label)?,
            project: None,
            steps: StepSettings::of(&args.steps, environment)?,
            registry: registry::of_executor(&args.registry, &storage, environment)?,
            storage,
            synchronization: Some(Address::None),
            targets,
            files: ResultFiles {
                digest: args.digest_file,
                names: args.image_name_with_digest_file,
                tagged_names: args.image_name_tag_with_digest_file,
                report: None,
            },
            platform: platform(args.custom_platform.as_deref())?,
            revision: None,
            git_directory: GitDirectory::Keep,
            owners: Owners::Any,
            filters: args.allow_filters.then(|| environment.clone()),
            file_times: FileTimes::Commit,
            runtime: runtime(&args.runtime)?,
            compression: compression::of_executor(&args.compression, args.compression_level)?,
            work_dirs: work_dir.map_or_else(|| work_dirs(environment), |dir| vec![dir]),
            spool_limit: args.spool_limit.as_deref().map(spool_limit).transpose()?,
            home: environment.home(),
            target: args.target,
            warnings: warnings.iter().map(warn).collect(),
        })
    }
}

/// kaniko's own directory comes first: it is a volume in many pods.
fn work_dirs(environment: &Environment) -> Vec<PathBuf> {
    let own = environment.path("KANIKO_DIR").unwrap_or_else(|| PathBuf::from("/kaniko"));
    let own = own.is_dir().then(|| own.join("longshore"));
    own.into_iter().chain(environment.work_dirs()).collect()
}

/// Relative to the working directory, else to the context: there it is a path on disk, or one in
/// what the context will be.
fn dockerfile(
    path: &Path,
    origin: &Origin,
    context: &Path,
    exists: impl Fn(&Path) -> bool,
) -> Result<(Option<PathBuf>, Option<String>), Failure> {
    match origin {
        _ if path.is_absolute() || exists(path) => Ok((Some(path.to_owned()), None)),
        Origin::Directory => Ok((Some(context.join(path)), None)),
        _ => Ok((None, Some(origin::inside(path)?))),
    }
}

/// As kaniko: a name without a value takes the environment's, and is empty if there is none.
fn build_args(flags: &[String], environment: &Environment) -> BTreeMap<String, String> {
    let arg = |flag: &String| {
        let (name, value) = pair(flag);
        let value = value.or_else(|| environment.get(name)).unwrap_or_default();
        (name.to_owned(), value.to_owned())
    };
    flags.iter().map(arg).collect()
}

fn labels(flags: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let label = |flag: &String| match pair(flag) {
        (name, Some(value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::usage(format!("--label {flag:?} is not NAME=VALUE"))),
    };
    flags.iter().map(label).collect()
}

fn targets(args: &ExecutorArgs, environment: &Environment) -> Result<Vec<Target>, Failure> {
    let variable = environment
        .get("KANIKO_NO_PUSH")
        .is_some_and(|value| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"));
    let no_push = args.no_push.unwrap_or(variable);
    if args.destination.is_empty() && !no_push {
        return Err(Failure::usage("give at least one --destination, or --no-push")
            .hint("--destination names the image, as in registry.example/team/app:v1"));
    }
    let references = references(&args.destination)?;
    let mut targets = Vec::new();
    if !no_push {
        targets.extend(references.iter().cloned().map(Target::Reference));
    }
    targets.extend(args.oci_layout_path.clone().map(Target::Layout));
    targets.extend(args.tar_path.clone().map(|path| Target::Archive(path, references)));
    Ok(targets)
}

fn references(destinations: &[String]) -> Result<Vec<Reference>, Failure> {
    destinations.iter().map(|text| text.parse().map_err(Failure::usage)).collect()
}

fn storage(args: &ExecutorArgs, targets: &[Target]) -> Result<StorageChoice, Failure> {
    if !args.cache {
        return Ok(StorageChoice::None);
    }
    if let Some(repo) = &args.cache_repo {
        if repo.starts_with("oci:") {
            return Err(Failure::usage("--cache-repo oci:DIR is not supported yet")
                .hint("give a registry repository"));
        }
        return Ok(StorageChoice::Repo(Repository::parse(repo).map_err(Failure::usage)?));
    }
    let first = targets.iter().find_map(|target| match target {
        Target::Reference(reference) => Some(&reference.repository),
        _ => None,
    });
    let fallback = references(&args.destination)?.into_iter().next().map(|first| first.repository);
    let Some(first) = first.cloned().or(fallback) else {
        return Err(Failure::usage("--cache without --destination needs a --cache-repo"));
    };
    let path = format!("{}/cache", first.path);
    Ok(StorageChoice::Repo(Repository { path, ..first }))
}

fn voice(verbosity: &str, format: &str) -> Result<Voice, Failure> {
    let level = match verbosity.to_ascii_lowercase().as_str() {
        "panic" | "fatal" | "error" | "warn" | "warning" => Level::Quiet,
        "info" => Level::Normal,
        "debug" => Level::Verbose,
        "trace" => Level::Debug,
        _ => {
            return Err(Failure::usage(format!(
                "--verbosity {verbosity:?} is none of panic, fatal, error, warn, info, debug, trace"
            )));
        }
    };
    let format = match format {
        "text" | "color" => Format::Text,
        "json" => Format::Json,
        _ => {
            return Err(Failure::usage(format!(
                "--log-format {format:?} is none of text, color, json"
            )));
        }
    };
    Ok(Voice { format, level })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, Verb};

    fn settings(line: &str) -> Result<BuildSettings, Failure> {
        let words = std::iter::once("executor").chain(line.split_whitespace());
        let words: Vec<_> = words.map(std::ffi::OsString::from).collect();
        let args = match cli::parse(&words).map_err(Failure::usage)? {
            Verb::Executor(args) => *args,
            Verb::Build(_) | Verb::Doctor(_) => panic!("a program called executor has no verbs"),
        };
        let environment = Environment::from([("HOME", "/root"), ("VERSION", "9")]);
        BuildSettings::of_executor(args, &environment, |path| path == Path::new("here/Dockerfile"))
    }

    #[test]
    fn kanikos_spellings_are_taken() {
        let line = "--context=dir:///src -f here/Dockerfile -d reg.example/a/b:v1 \
                    --destination reg.example/a/b:v2 --cache=true --tarPath /out.tar \
                    --build-arg VERSION --build-arg A=b=c --build-arg NONE -v debug \
                    --snapshotMode=redo --cleanup --skip-tls-verify";
        let settings = settings(line).unwrap();
        assert_eq!(settings.context, PathBuf::from("/src"));
        assert_eq!(settings.dockerfile, Some(PathBuf::from("here/Dockerfile")));
        let args: Vec<_> =
            settings.build_args.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(args, [("A", "b=c"), ("NONE", ""), ("VERSION", "9")]);
        assert_eq!(settings.targets.len(), 3);
        let cache = Repository::parse("reg.example/a/b/cache").unwrap();
        assert_eq!(settings.storage, StorageChoice::Repo(cache));
        assert_eq!(settings.warnings.len(), 2, "{:?}", settings.warnings);
        assert!(settings.registry.skip_tls_verify_push && !settings.registry.insecure_push);
        let trusted: Vec<_> = settings.registry.skip_tls_verify.iter().collect();
        assert_eq!(trusted, ["reg.example"], "the cache is pulled from as it is pushed to");
        assert!(settings.registry.insecure.is_empty());
    }

    #[test]
    fn values_are_read_as_go_reads_them() {
        let line = "--no-push=1 --target a --target=b -d=reg.example/a:v1 --cache=T --cache=0 \
                    --verbosity WARNING --cleanup=False -v Debug";
        let settings = settings(line).unwrap();
        assert_eq!(settings.target.as_deref(), Some("b"), "the last one counts");
        assert_eq!((settings.storage, settings.targets), (StorageChoice::None, Vec::new()));
        assert_eq!(settings.voice.level, Level::Verbose);
    }

    #[test]
    fn what_kaniko_refuses_is_refused() {
        for (line, part) in [
            ("", "at least one --destination"),
            ("--no-push --cache true", "unexpected argument 'true'"),
            ("--no-push --context s3://example/a.tar.gz", "s3:// is not supported yet"),
            ("--no-push --cache", "needs a --cache-repo"),
            ("--no-push --insecure-push", "unexpected argument '--insecure-push'"),
            ("--no-push --label x", "is not NAME=VALUE"),
            ("--no-push -v loud", "is none of panic"),
            ("--no-push=yes", "write true or false"),
        ] {
            let error = settings(line).unwrap_err().message();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn without_cache_nothing_is_stored() {
        let settings = settings("--no-push").unwrap();
        assert_eq!((settings.storage, settings.targets), (StorageChoice::None, Vec::new()));
        assert_eq!(settings.dockerfile, Some(PathBuf::from("/workspace/Dockerfile")));
    }
}
