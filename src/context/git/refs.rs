//! References and the few settings that matter, read from the files of a git directory.
//!
//! libgit2 would read them too, but only together with the repository's whole configuration and
//! all that it includes, which a repository of another user must not get to choose. Format: git's
//! "gitrepository-layout".

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use fs_err::File;

use crate::context::ContextError;

/// How many references may name each other.
const SYMBOLIC_DEPTH: usize = 5;
/// What HEAD names in repositories with the reftable format, so that old programs refuse.
const REFTABLE_HEAD: &str = "refs/heads/.invalid";

/// Where the files of a repository lie.
#[derive(Debug)]
pub(super) struct Layout {
    /// The directory with `HEAD` and `index`.
    pub(super) directory: PathBuf,
    /// The directory with objects, references and settings; another one in linked work trees.
    pub(super) common: PathBuf,
}

impl Layout {
    /// The layout of a git directory.
    pub(super) fn of(directory: PathBuf) -> Result<Self, ContextError> {
        let common = match read_text(&directory.join("commondir"))? {
            Some(text) => directory.join(text.trim_end()),
            None => directory.clone(),
        };
        Ok(Self { directory, common })
    }

    pub(super) fn refuse(&self, reason: String) -> ContextError {
        ContextError::Repository { path: self.directory.clone(), reason, source: None }
    }

    /// The id in hex that a full reference name leads to; nothing if it does not exist.
    pub(super) fn resolve(&self, name: &str) -> Result<Option<String>, ContextError> {
        let mut name = name.to_owned();
        for _ in 0..SYMBOLIC_DEPTH {
            let Some(text) = self.read(&name)? else {
                return Ok(None);
            };
            match text.strip_prefix("ref:").map(str::trim) {
                Some(REFTABLE_HEAD) => {
                    return Err(self.refuse("its reftable format is not supported".to_owned()));
                }
                Some(target) => name = target.to_owned(),
                None => return self.check_id(&name, text.trim()).map(Some),
            }
        }
        Err(self.refuse(format!("reference {name} leads in a circle")))
    }

    fn check_id(&self, name: &str, id: &str) -> Result<String, ContextError> {
        let is_hex = id.bytes().all(|byte| byte.is_ascii_hexdigit());
        match (is_hex, id.len()) {
            (true, 40) => Ok(id.to_owned()),
            (true, 64) => Err(self.refuse("SHA-256 repositories are not supported".to_owned())),
            _ => Err(self.refuse(format!("{name} cannot be read: it holds no object id"))),
        }
    }

    /// The text of a reference, loose or packed.
    fn read(&self, name: &str) -> Result<Option<String>, ContextError> {
        if name == "HEAD" {
            return read_text(&self.directory.join(name));
        }
        let safe = name.starts_with("refs/")
            && name.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !safe {
            return Err(self.refuse(format!("{name:?} is not the name of a reference")));
        }
        match read_text(&self.common.join(name))? {
            Some(text) => Ok(Some(text)),
            None => self.packed(name),
        }
    }

    fn packed(&self, name: &str) -> Result<Option<String>, ContextError> {
        let place = self.common.join("packed-refs");
        let fail = |error| ContextError::read(&place, error);
        let file = match File::open(&place) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(fail)?;
            let id = line.strip_suffix(name.as_bytes()).and_then(|rest| rest.strip_suffix(b" "));
            if let Some(id) = id {
                return Ok(Some(String::from_utf8_lossy(id).into_owned()));
            }
        }
        Ok(None)
    }

    /// Refuses a git directory that is another user's, as git does by itself.
    pub(super) fn check_owner(&self) -> Result<(), ContextError> {
        use std::os::unix::fs::MetadataExt as _;
        let owner = |place: &Path| {
            let metadata =
                fs_err::metadata(place).map_err(|error| ContextError::read(place, error))?;
            Ok::<u32, ContextError>(metadata.uid())
        };
        // The kernel gives this directory to the effective user of the process.
        let (own, theirs) = (owner(Path::new("/proc/self"))?, owner(&self.directory)?);
        match own == theirs {
            true => Ok(()),
            false => Err(self.refuse(format!(
                "it belongs to user {theirs}, not to user {own}, and --strict-ownership is given"
            ))),
        }
    }

    /// Whether history ends before its beginning.
    pub(super) fn is_shallow(&self) -> bool {
        self.common.join("shallow").exists()
    }

    /// Whether the x bit on disk means something in this work tree (`core.fileMode`).
    pub(super) fn trusts_file_mode(&self) -> Result<bool, ContextError> {
        let text = read_text(&self.common.join("config"))?.unwrap_or_default();
        Ok(setting(&text, "core", "filemode").is_none_or(|value| value != "false"))
    }

    /// The directories with objects: the repository's own, then those it borrows from. One that is
    /// on another file system is passed over, so that a repository cannot reach out of its volume.
    pub(super) fn objects(&self) -> Result<Vec<PathBuf>, ContextError> {
        use std::os::unix::fs::MetadataExt as _;
        let own = self.common.join("objects");
        let device = |place: &Path| fs_err::metadata(place).map(|metadata| metadata.dev());
        let volume = device(&own).map_err(|error| ContextError::read(&own, error))?;
        let mut directories = vec![own];
        let mut at = 0;
        while at < directories.len() && at < SYMBOLIC_DEPTH {
            let text = read_text(&directories[at].join("info/alternates"))?.unwrap_or_default();
            for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let place = directories[at].join(line);
                match device(&place) {
                    Ok(found) if found == volume => directories.push(place),
                    _ => tracing::debug!(place = %place.display(), "alternate passed over"),
                }
            }
            at += 1;
        }
        Ok(directories)
    }
}

/// The value of `key` in `[section]` of a git config, lowercase; included files do not count.
fn setting(text: &str, section: &str, key: &str) -> Option<String> {
    let mut here = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            here = header.split(']').next().is_some_and(|name| name.eq_ignore_ascii_case(section));
        } else if let (true, Some((name, value))) = (here, line.split_once('='))
            && name.trim().eq_ignore_ascii_case(key)
        {
            found = Some(value.trim().to_ascii_lowercase());
        }
    }
    found
}

fn read_text(place: &Path) -> Result<Option<String>, ContextError> {
    match crate::context::read_limited(place, 1 << 20) {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::setting;

    #[test]
    fn settings_are_found_in_their_section_only() {
        let text = "[core]\n\tbare = false\n\tFileMode = True\n[remote \"core\"]\nfilemode = x\n[Core]\nfilemode=false\n";
        assert_eq!(setting(text, "core", "filemode").as_deref(), Some("false"));
        assert_eq!(setting(text, "core", "bare").as_deref(), Some("false"));
        assert_eq!(setting(text, "core", "worktree"), None);
    }
}
