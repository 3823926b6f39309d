//! Settings of `longshore build`.

use std::collections::BTreeMap;

use super::{
    BuildSettings, Door, Environment, Origin, ResultFiles, StepSettings, StorageChoice, Target,
    compression, epoch, origin, pair, platform, registry, runtime, spool_limit,
};
use crate::cli::{BuildArgs, LogArgs, LogFormat};
use crate::context::{GitDirectory, Owners};
use crate::failure::{Failure, Kind};
use crate::model::Repository;
use crate::output::{Format, Level, Voice};
use crate::plan::FileTimes;
use crate::sync::{Address, AddressError};

impl BuildSettings {
    /// What the arguments of `longshore build` mean.
    ///
    /// # Errors
    /// When a value is wrong, or two contradict each other.
    pub fn of_build(args: BuildArgs, environment: &Environment) -> Result<Self, Failure> {
        let build_args = build_args(&args.build_arg, environment)?;
        let storage = match &args.repo {
            Some(repo) => StorageChoice::Repo(Repository::parse(repo).map_err(Failure::usage)?),
            None => StorageChoice::Layout,
        };
        let project = args.project.as_deref().map(str::parse).transpose();
        let revision = revision(&args)?;
        let (origin, context) = origin::of_build(&args.context, environment)?;
        check_origin(&args, &origin)?;
        let work_dir = args.work_dir.or_else(|| environment.path("LONGSHORE_WORK_DIR"));
        let (dockerfile, inside) = match (&origin, args.file) {
            (Origin::Directory, file) => (file, None),
            (_, file) => (None, file.as_deref().map(origin::inside).transpose()?),
        };
        Ok(Self {
            door: Door::Build,
            voice: voice(&args.log),
            origin,
            context,
            dockerfile,
            inside,
            images: args.image,
            target: args.target,
            epoch: epoch(&build_args, environment)?,
            build_args,
            labels: BTreeMap::new(),
            project: project.map_err(Failure::usage)?,
            storage,
            synchronization: synchronization(args.synchronization.as_deref(), environment)?,
            targets: args.tag.iter().map(|tag| target(tag)).collect::<Result<_, _>>()?,
            files: ResultFiles {
                digest: args.digest_file,
                report: args.report,
                ..ResultFiles::default()
            },
            platform: platform(args.platform.as_deref())?,
            revision,
            git_directory: match args.keep_git_dir {
                true => GitDirectory::Keep,
                false => GitDirectory::Drop,
            },
            owners: if args.strict_ownership { Owners::Own } else { Owners::Any },
            filters: args.allow_filters.then(|| environment.clone()),
            file_times: file_times(&args.timestamp)?,
            runtime: runtime(&args.runtime)?,
            compression: compression::compression(&args.compression, args.compression_level)?,
            work_dirs: work_dir.map_or_else(|| environment.work_dirs(), |dir| vec![dir]),
            spool_limit: args.spool_limit.as_deref().map(spool_limit).transpose()?,
            home: environment.home(),
            steps: StepSettings::of(&args.steps, environment)?,
            registry: registry::of_build(&args.registry, environment)?,
            warnings: Vec::new(),
        })
    }
}

/// What is said of a worktree or its repository has to be about one.
fn check_origin(args: &BuildArgs, origin: &Origin) -> Result<(), Failure> {
    let (what, flags) = match origin {
        Origin::Directory => return Ok(()),
        Origin::Archive { .. } => (
            "a tar archive, which has no commit",
            [
                ("--commit", args.commit.is_some()),
                ("--no-worktree", args.no_worktree),
                ("--keep-git-dir", false),
                ("--allow-filters", args.allow_filters),
            ],
        ),
        Origin::Remote(_) => (
            "a commit that is fetched: #REF behind the address names it, and it has no .git",
            [
                ("--commit", args.commit.is_some()),
                ("--no-worktree", false),
                ("--keep-git-dir", args.keep_git_dir),
                ("--allow-filters", args.allow_filters),
            ],
        ),
    };
    let Some((flag, _)) = flags.iter().find(|(_, given)| *given) else { return Ok(()) };
    let failure = Failure::usage(format!("{flag} cannot be used with {what}"));
    Err(match *flag {
        "--allow-filters" => failure.hint("git clone and git lfs pull get the files before"),
        _ => failure,
    })
}

/// What counts instead of the worktree.
fn revision(args: &BuildArgs) -> Result<Option<String>, Failure> {
    match &args.commit {
        Some(revision) if revision.is_empty() => {
            Err(Failure::usage("--commit needs a branch, a tag or an id"))
        }
        Some(revision) => Ok(Some(revision.clone())),
        None => Ok(args.no_worktree.then(|| "HEAD".to_owned())),
    }
}

fn file_times(text: &str) -> Result<FileTimes, Failure> {
    match text {
        "commit" => Ok(FileTimes::Commit),
        "content" => Ok(FileTimes::Content),
        seconds => seconds.parse().map(FileTimes::Fixed).map_err(|_| {
            Failure::usage(format!(
                "--timestamp {text:?} is none of commit, content and a number of seconds"
            ))
        }),
    }
}

fn voice(args: &LogArgs) -> Voice {
    let level = match (args.log_quiet, args.log_verbose, args.log_debug) {
        (true, ..) => Level::Quiet,
        (_, _, true) => Level::Debug,
        (_, true, _) => Level::Verbose,
        _ => Level::Normal,
    };
    let format = match args.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    Voice { format, level }
}

/// `NAME=VALUE`, or `NAME` for the value of the environment, if there is one.
fn build_args(
    flags: &[String],
    environment: &Environment,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut args = BTreeMap::new();
    for flag in flags {
        let (name, value) = pair(flag);
        if name.is_empty() {
            return Err(Failure::usage(format!("--build-arg {flag:?} has no name before the =")));
        }
        if let Some(value) = value.or_else(|| environment.get(name)) {
            args.insert(name.to_owned(), value.to_owned());
        }
    }
    Ok(args)
}

/// A bare word is a tag in the storage; anything with a `/`, `:` or `@` is a whole reference.
fn target(text: &str) -> Result<Target, Failure> {
    if text.contains(['/', ':', '@']) {
        let reference = text.parse().map_err(Failure::usage)?;
        return Ok(Target::Reference(reference));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if starts && text.len() <= 128 && text.chars().all(allowed) {
        return Ok(Target::Tag(text.to_owned()));
    }
    Err(Failure::usage(format!(
        "--tag {text:?} is neither a tag (letters, digits, '_', '.', '-', at most 128) nor a reference"
    )))
}

fn synchronization(
    flag: Option<&str>,
    environment: &Environment,
) -> Result<Option<Address>, Failure> {
    let variables = ["LONGSHORE_SYNCHRONIZATION", "WERF_SYNCHRONIZATION"];
    let text = flag.or_else(|| variables.iter().find_map(|name| environment.get(name)));
    let parse = |text: &str| {
        text.parse().map_err(|error| match error {
            AddressError::NotAvailable(_) => Failure::new(Kind::Synchronization, error),
            AddressError::Unknown(_) => Failure::usage(error),
        })
    };
    text.filter(|text| !text.is_empty()).map(parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_told_from_a_reference() {
        assert_eq!(target("v1.2").unwrap(), Target::Tag("v1.2".to_owned()));
        for text in ["app:v1", "localhost:5000/app", "a/b"] {
            assert!(matches!(target(text), Ok(Target::Reference(_))), "{text}");
        }
        for text in ["", "-v1", "a b", "A/b", &"x".repeat(129)] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_argument_without_a_value_takes_the_environments() {
        let environment = Environment::from([("TOKEN", "from-env")]);
        let flags = ["A=1=2", "TOKEN", "MISSING", "EMPTY="].map(str::to_owned);
        let args = build_args(&flags, &environment).unwrap();
        let pairs: Vec<_> = args.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("A", "1=2"), ("EMPTY", ""), ("TOKEN", "from-env")]);
        assert!(build_args(&["=x".to_owned()], &environment).is_err());
    }
}
