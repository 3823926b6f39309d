//! The machine's `git-lfs`, which finds the files that pointers name: in the repository, on the
//! server that the repository's or the user's settings name, with the credentials that these have.
//!
//! It gets the environment of the build, but nothing in it that would lead it to another
//! repository, and may not ask anybody anything.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::LfsError;
use super::stream::Running;
use crate::blocking::Interrupt;

/// Variables by which git is told of a repository (`git rev-parse --local-env-vars`, without the
/// settings of a single call, which may have credentials), and the one that has git-lfs do nothing:
/// many pipelines set it for their checkouts.
const WITHOUT: [&str; 13] = [
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_LFS_SKIP_SMUDGE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// The machine's `git-lfs`.
#[derive(Clone)]
pub struct LfsProgram {
    environment: BTreeMap<String, String>,
    interrupt: Interrupt,
}

/// Where it is started for a file.
#[derive(Clone, Debug)]
pub(in crate::context) struct LfsPlace {
    /// Its working directory, from which git finds the repository.
    pub(in crate::context) directory: PathBuf,
    /// The git directory, where it is not to be looked for.
    pub(in crate::context) git: Option<PathBuf>,
    /// The file in the repository, for messages and for `lfs.fetchexclude`.
    pub(in crate::context) path: Vec<u8>,
}

impl LfsProgram {
    /// The program in the `PATH` of this environment; what it does ends with the build.
    pub fn new(environment: BTreeMap<String, String>, interrupt: Interrupt) -> Self {
        Self { environment, interrupt }
    }

    /// Starts it, and gives it the pointer.
    pub(super) fn start(&self, place: &LfsPlace, pointer: &[u8]) -> Result<Running, LfsError> {
        #[expect(clippy::disallowed_methods, reason = "git-lfs is a program of the machine")]
        let mut command = std::process::Command::new("git-lfs");
        command.env_clear().envs(environment(&self.environment, place.git.as_deref()));
        command.args(["smudge", "--"]).arg(OsStr::from_bytes(&place.path));
        command.current_dir(&place.directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(LfsError::Start)?;
        let input = child.stdin.take();
        let running = Running::new(child, self.interrupt.clone()).map_err(LfsError::Start)?;
        if let Some(mut input) = input {
            // A pipe has room for a pointer. A program that does not read it says why at its end.
            let _ = input.write_all(pointer);
        }
        Ok(running)
    }
}

impl fmt::Debug for LfsProgram {
    /// The names of variables only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.environment.keys().collect();
        f.debug_struct("LfsProgram").field("environment", &names).finish_non_exhaustive()
    }
}

/// The environment of the program, made from that of the build.
///
/// A repository of another user, which git would refuse, is the normal case in a pod, and whoever
/// allows filters trusts it; `--strict-ownership` refuses it before anything is started.
fn environment(given: &BTreeMap<String, String>, git: Option<&Path>) -> BTreeMap<String, String> {
    let mut variables = given.clone();
    variables.retain(|name, _| !WITHOUT.contains(&name.as_str()));
    let count = "GIT_CONFIG_COUNT".to_owned();
    let settings: u32 = given.get(&count).and_then(|count| count.parse().ok()).unwrap_or(0);
    variables.insert(format!("GIT_CONFIG_KEY_{settings}"), "safe.directory".to_owned());
    variables.insert(format!("GIT_CONFIG_VALUE_{settings}"), "*".to_owned());
    variables.insert(count, (settings.saturating_add(1)).to_string());
    variables.insert("GIT_TERMINAL_PROMPT".to_owned(), "0".to_owned());
    if let Some(git) = git.and_then(Path::to_str) {
        variables.insert("GIT_DIR".to_owned(), git.to_owned());
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_program_is_led_to_the_repository_and_no_other() {
        let ours = [
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "safe.directory"),
            ("GIT_CONFIG_VALUE_0", "*"),
            ("GIT_TERMINAL_PROMPT", "0"),
        ];
        assert_eq!(environment(&map(&[]), None), map(&ours));
        let given = map(&[
            ("GIT_DIR", "/other"),
            ("GIT_WORK_TREE", "/other"),
            ("GIT_LFS_SKIP_SMUDGE", "1"),
            ("GIT_TERMINAL_PROMPT", "1"),
            ("PATH", "/bin"),
        ]);
        let mut expected = map(&ours);
        expected.insert("PATH".to_owned(), "/bin".to_owned());
        assert_eq!(environment(&given, None), expected);
        expected.insert("GIT_DIR".to_owned(), "/repo/.git".to_owned());
        assert_eq!(environment(&given, Some(Path::new("/repo/.git"))), expected);
    }

    #[test]
    fn settings_that_are_given_stay() {
        let given = map(&[
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "http.extraheader"),
            ("GIT_CONFIG_VALUE_0", "s3cret"),
        ]);
        let made = environment(&given, None);
        for (name, value) in [
            ("GIT_CONFIG_COUNT", "2"),
            ("GIT_CONFIG_KEY_0", "http.extraheader"),
            ("GIT_CONFIG_VALUE_0", "s3cret"),
            ("GIT_CONFIG_KEY_1", "safe.directory"),
        ] {
            assert_eq!(made.get(name).map(String::as_str), Some(value), "{name}");
        }
        let program = LfsProgram::new(made, Interrupt::default());
        assert!(!format!("{program:?}").contains("s3cret"));
    }
}
