//! Where a build context comes from: a directory, a tar archive, a repository elsewhere.

use std::path::{Path, PathBuf};

use crate::cli::ExecutorArgs;
use crate::failure::Failure;
use crate::project::ProjectPath;

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
}

/// Where an archive is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchivePlace {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

/// The origin that the argument of `longshore build` names.
pub(super) fn of_build(context: &Path) -> Result<Origin, Failure> {
    match context.to_str() {
        Some("-") => Ok(Origin::Archive { place: ArchivePlace::Stdin, below: None }),
        _ => Ok(Origin::Directory),
    }
}

/// The origin that kaniko's `--context` names, and the directory if it is one.
pub(super) fn of_executor(args: &ExecutorArgs) -> Result<(Origin, PathBuf), Failure> {
    let below = args.context_sub_path.as_deref();
    let text = args.context.as_str();
    let path = match text.split_once("://") {
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
        Some((scheme, _)) => {
            let message = format!("a context from {scheme}:// is not supported yet");
            return Err(Failure::usage(message)
                .hint("check the files out first and give the directory with dir://"));
        }
    };
    let path = below.map_or_else(|| PathBuf::from(path), |below| Path::new(path).join(below));
    Ok((Origin::Directory, path))
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
