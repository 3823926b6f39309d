//! Where a build context comes from: a directory, a tar archive, a repository elsewhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Environment;
use crate::cli::ExecutorArgs;
use crate::context::remote::{Credentials, RemoteAddress, RemoteContext, Revision};
use crate::failure::Failure;
use crate::project::ProjectPath;

/// Variables that `ssh` gets.
const SSH_VARIABLES: [&str; 5] = ["HOME", "LOGNAME", "PATH", "SSH_AUTH_SOCK", "USER"];

/// Where the build context comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is a directory on disk.
    Directory,
    /// A tar archive, which is unpacked.
    Archive {
        /// Where it is read from.
        place: ArchivePlace,
        /// The directory in it that is the context, if it is not the whole.
        below: Option<PathBuf>,
    },
    /// A commit in a repository elsewhere, which is fetched.
    Remote(Box<RemoteOrigin>),
}

/// Where an archive is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchivePlace {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

/// A commit in a repository elsewhere, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteOrigin {
    /// What is fetched.
    pub context: RemoteContext,
    /// Whether the server's certificate is not verified.
    pub skip_tls_verify: bool,
    /// The environment of `ssh`.
    pub ssh_environment: BTreeMap<String, String>,
}

/// kaniko's `--git`.
#[derive(Debug, Default)]
struct GitOptions {
    branch: Option<String>,
    skip_tls_verify: bool,
}

/// The origin that the argument of `longshore build` names, and the directory if it is one.
pub(super) fn of_build(
    context: &Path,
    environment: &Environment,
) -> Result<(Origin, PathBuf), Failure> {
    let Some(text) = context.to_str() else { return Ok((Origin::Directory, context.to_owned())) };
    if text == "-" {
        let origin = Origin::Archive { place: ArchivePlace::Stdin, below: None };
        return Ok((origin, PathBuf::new()));
    }
    let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
    let parsed = RemoteAddress::parse(address).map_err(Failure::usage)?;
    let Some((address, credentials)) = parsed else {
        return match address.split_once("://") {
            Some((scheme, _)) if is_scheme(scheme) => Err(unsupported(scheme)),
            _ => Ok((Origin::Directory, context.to_owned())),
        };
    };
    if address.web_host().is_some() && !address.to_string().ends_with(".git") {
        return Err(Failure::usage(format!("{address} is not taken for a git repository")).hint(
            "the address of a git repository ends in .git; other files are not fetched yet",
        ));
    }
    let (revision, below) = fragment.split_once(':').unwrap_or((fragment, ""));
    let revision = match revision {
        "" => Revision::Head,
        text => Revision::parse(text).map_err(Failure::usage)?,
    };
    let below = Some(below).filter(|below| !below.is_empty()).map(Path::new);
    let context = remote(address, credentials, revision, below, environment)?;
    Ok((origin(context, false, environment), PathBuf::new()))
}

/// What may stand before `://` (RFC 3986, "Scheme").
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// Names no more than the scheme: what follows may have a password in it.
fn unsupported(scheme: &str) -> Failure {
    let hint = match scheme {
        "file" | "dir" => {
            "give the directory by its path; of a bare repository --commit names what is built"
        }
        _ => {
            "the context is a directory, - for a tar archive on standard input, or a git \
             repository by https://, http://, ssh:// or git://"
        }
    };
    Failure::usage(format!("a context from {scheme}:// is not supported")).hint(hint)
}

/// The origin that kaniko's `--context` names, and the directory if it is one.
pub(super) fn of_executor(
    args: &ExecutorArgs,
    environment: &Environment,
) -> Result<(Origin, PathBuf), Failure> {
    let below = args.context_sub_path.as_deref();
    let text = args.context.as_str();
    let path = match text.split_once("://") {
        None if matches!(RemoteAddress::parse(text), Ok(Some(_))) => {
            return repository(text, args, environment);
        }
        None => text,
        Some(("dir", path)) => path,
        Some(("tar", path)) => {
            let place = match path {
                "" => return Err(Failure::usage("--context tar:// names no file")),
                "stdin" => ArchivePlace::Stdin,
                path => ArchivePlace::File(PathBuf::from(path)),
            };
            let below = below.map(inside).transpose()?.map(PathBuf::from);
            return Ok((Origin::Archive { place, below }, PathBuf::new()));
        }
        Some(("git", rest)) => {
            // As with kaniko: git:// stands for the protocol that this variable names.
            let method = match environment.get("GIT_PULL_METHOD") {
                Some("http") => "http",
                _ => "https",
            };
            return repository(&format!("{method}://{rest}"), args, environment);
        }
        Some(("ssh", _)) => return repository(text, args, environment),
        Some((scheme, _)) => {
            let message = format!("a context from {scheme}:// is not supported yet");
            return Err(Failure::usage(message).hint(
                "a git repository is git://HOST/REPO.git; check other files out first and give \
                 the directory with dir://",
            ));
        }
    };
    let path = below.map_or_else(|| PathBuf::from(path), |below| Path::new(path).join(below));
    Ok((Origin::Directory, path))
}

/// `ADDRESS[#REF[#COMMIT]]`.
fn repository(
    text: &str,
    args: &ExecutorArgs,
    environment: &Environment,
) -> Result<(Origin, PathBuf), Failure> {
    let options = GitOptions::parse(&args.git)?;
    let mut parts = text.split('#');
    let parsed = RemoteAddress::parse(parts.next().unwrap_or_default()).map_err(Failure::usage)?;
    let Some((address, credentials)) = parsed else {
        return Err(Failure::usage("--context is not the address of a git repository"));
    };
    let given = |part: Option<&str>| part.filter(|part| !part.is_empty()).map(str::to_owned);
    let (name, commit) = (given(parts.next()), given(parts.next()));
    if parts.next().is_some() {
        return Err(Failure::usage(format!("--context {address} has more than #REF#COMMIT")));
    }
    let name = match (name, options.branch) {
        (Some(name), Some(branch)) if !same_name(&name, &branch) => {
            let message = format!("--context names {name}, but --git the branch {branch}");
            return Err(Failure::usage(message));
        }
        (name, branch) => name.or(branch),
    };
    let revision = match (commit, name) {
        (Some(commit), _) => match Revision::parse(&commit) {
            Ok(revision @ Revision::Commit(_)) => revision,
            _ => {
                let message = format!("--context {address}#REF#{commit} names no commit");
                return Err(Failure::usage(message).hint("a commit is named by all its 40 digits"));
            }
        },
        (None, Some(name)) => Revision::parse(&name).map_err(Failure::usage)?,
        (None, None) => Revision::Head,
    };
    let below = args.context_sub_path.as_deref();
    let context = remote(address, credentials, revision, below, environment)?;
    Ok((origin(context, options.skip_tls_verify, environment), PathBuf::new()))
}

/// Whether a reference is the branch or tag of this name.
fn same_name(reference: &str, name: &str) -> bool {
    let short =
        ["refs/heads/", "refs/tags/"].iter().find_map(|place| reference.strip_prefix(place));
    reference == name || short == Some(name)
}

fn remote(
    address: RemoteAddress,
    credentials: Option<Credentials>,
    revision: Revision,
    below: Option<&Path>,
    environment: &Environment,
) -> Result<RemoteContext, Failure> {
    let below = below.map(inside).transpose()?.filter(|below| below != ".");
    let credentials = credentials.or_else(|| environment.git_credentials());
    let credentials = credentials.filter(|_| address.web_host().is_some());
    Ok(RemoteContext { address, revision, below, credentials })
}

fn origin(context: RemoteContext, skip_tls_verify: bool, environment: &Environment) -> Origin {
    let variable = |name: &str| Some((name.to_owned(), environment.get(name)?.to_owned()));
    let ssh_environment = SSH_VARIABLES.into_iter().filter_map(variable).collect();
    Origin::Remote(Box::new(RemoteOrigin { context, skip_tls_verify, ssh_environment }))
}

impl GitOptions {
    /// `KEY=VALUE,KEY=VALUE`, any number of times.
    fn parse(flags: &[String]) -> Result<Self, Failure> {
        let mut options = Self::default();
        let parts = flags.iter().flat_map(|flag| flag.split(','));
        for part in parts.filter(|part| !part.is_empty()) {
            let refuse = |reason: &str| Failure::usage(format!("--git {part}: {reason}"));
            let (key, value) = part.split_once('=').ok_or_else(|| refuse("write KEY=VALUE"))?;
            let truth = || crate::cli::truth(value).map_err(|reason| refuse(&reason));
            match key {
                "branch" => options.branch = Some(value.to_owned()).filter(|name| !name.is_empty()),
                "insecure-skip-tls" => options.skip_tls_verify = truth()?,
                // Exactly one commit is fetched, whatever these say.
                "single-branch" => drop(truth()?),
                "depth" => drop(value.parse::<u32>().map_err(|_| refuse("write a number"))?),
                "recurse-submodules" if truth()? => {
                    return Err(refuse("submodules are not fetched")
                        .hint("check them out first and give the directory with dir://"));
                }
                "recurse-submodules" => {}
                _ => {
                    return Err(refuse(
                        "the keys are branch, single-branch, recurse-submodules, \
                         insecure-skip-tls, depth",
                    ));
                }
            }
        }
        Ok(options)
    }
}

/// A path in a context from elsewhere.
pub(super) fn inside(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().ok_or_else(|| {
        Failure::usage(format!("{} cannot lie in the context: it is not UTF-8", path.display()))
    })?;
    let parsed = text.parse::<ProjectPath>();
    let path = parsed.map_err(|error| {
        Failure::usage(error).hint("it is a path in the context, which comes from elsewhere")
    })?;
    Ok(path.as_str().to_owned())
}

#[cfg(test)]
mod tests;
