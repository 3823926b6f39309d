//! The environment as a plain map, and the directories it names.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::context::remote::Credentials;

/// The environment of the process at its start.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Reads the environment; variables that are not UTF-8 are left out.
    pub fn read() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the one reader")]
        let variables = std::env::vars_os();
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(variables.filter_map(text).collect())
    }

    /// The value of a variable; `None` when it is not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Every variable, for a program that is to have them all.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The path in a variable; empty counts as not set.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// LONGSHORE_HOME: locks and the default layout.
    pub(super) fn home(&self) -> PathBuf {
        let below = |home: PathBuf| home.join(".longshore");
        self.path("LONGSHORE_HOME")
            .or_else(|| self.path("HOME").map(below))
            .unwrap_or_else(|| PathBuf::from("/var/tmp/longshore"))
    }

    /// Work directories to try when none is named.
    pub(super) fn work_dirs(&self) -> Vec<PathBuf> {
        let cache = self.path("XDG_CACHE_HOME");
        let cache = cache.or_else(|| self.path("HOME").map(|home| home.join(".cache")));
        let temporary = self.path("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
        cache.into_iter().chain([temporary]).map(|place| place.join("longshore")).collect()
    }

    /// Files with registry credentials, the most specific first.
    pub(super) fn credentials(&self) -> Vec<PathBuf> {
        let docker =
            self.path("DOCKER_CONFIG").or_else(|| Some(self.path("HOME")?.join(".docker")));
        let containers = self.path("XDG_RUNTIME_DIR").map(|run| run.join("containers/auth.json"));
        let docker = docker.map(|directory| directory.join("config.json"));
        self.path("REGISTRY_AUTH_FILE").into_iter().chain(docker).chain(containers).collect()
    }
}

impl Environment {
    /// Credentials for git servers, as kaniko reads them: a token stands in for the user's name.
    pub(super) fn git_credentials(&self) -> Option<Credentials> {
        let given = |name| self.get(name).filter(|value| !value.is_empty());
        let password = given("GIT_PASSWORD").unwrap_or_default();
        match (given("GIT_TOKEN"), given("GIT_USERNAME")) {
            (Some(token), _) => Some(Credentials::new(token, password, "GIT_TOKEN")),
            (None, Some(user)) => Some(Credentials::new(user, password, "GIT_USERNAME")),
            (None, None) if password.is_empty() => None,
            (None, None) => Some(Credentials::new("", password, "GIT_PASSWORD")),
        }
    }
}

impl std::fmt::Debug for Environment {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_follow_the_environment() {
        let plain = Environment::from([("HOME", "/home/me")]);
        assert_eq!(plain.home(), PathBuf::from("/home/me/.longshore"));
        assert_eq!(
            plain.work_dirs(),
            [PathBuf::from("/home/me/.cache/longshore"), PathBuf::from("/tmp/longshore")]
        );
        assert_eq!(plain.credentials(), [PathBuf::from("/home/me/.docker/config.json")]);
        let full = Environment::from([
            ("HOME", "/home/me"),
            ("LONGSHORE_HOME", "/data"),
            ("XDG_CACHE_HOME", "/cache"),
            ("DOCKER_CONFIG", "/kaniko/.docker"),
            ("REGISTRY_AUTH_FILE", "/auth.json"),
        ]);
        assert_eq!(full.home(), PathBuf::from("/data"));
        assert_eq!(full.work_dirs()[0], PathBuf::from("/cache/longshore"));
        let files = ["/auth.json", "/kaniko/.docker/config.json"].map(PathBuf::from);
        assert_eq!(full.credentials(), files);
    }

    #[test]
    fn values_are_not_shown() {
        let environment = Environment::from([("TOKEN", "s3cret")]);
        assert_eq!(format!("{environment:?}"), r#"{"TOKEN"}"#);
    }
}
