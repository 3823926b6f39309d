//! Which credentials belong to a repository.
//!
//! The keys of all files are one list. A key is `[SCHEME://]HOST[:PORT][/PATH]`; `/v1` and `/v2`
//! at its end mean nothing, labels of the host may hold `*` and `?`, and a path covers itself and
//! everything below it (the kubelet's rule for image pull secrets, with whole path parts as in
//! containers' `auth.json`). Of the keys that cover a repository an exact host goes before a
//! pattern, then the longest path wins, then the file named first.

use std::path::Path;

use super::credentials::{self, CredentialFile, Proof};
use super::options::canonical_host;
use super::{RegistryError, RegistryOptions};
use crate::model::Repository;

/// Credentials for one repository and where they came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) proof: Proof,
    /// The file and key, as shown to users.
    pub(super) origin: String,
}

/// All credentials that were configured.
#[derive(Clone, Debug, Default)]
pub(super) struct Keyring {
    files: Vec<(String, CredentialFile)>,
}

impl Keyring {
    /// Reads the files of the options.
    pub(super) fn load(options: &RegistryOptions) -> Result<Self, RegistryError> {
        let mut keyring = Self::default();
        if let Some(text) = &options.auth_env {
            keyring.add("DOCKER_AUTH_CONFIG", text.expose())?;
        }
        for path in &options.credentials {
            if let Some(text) = read(path)? {
                keyring.add(&path.display().to_string(), &text)?;
            }
        }
        Ok(keyring)
    }

    pub(super) fn add(&mut self, origin: &str, text: &str) -> Result<(), RegistryError> {
        let file = credentials::parse(text)
            .map_err(|reason| RegistryError::Credentials { origin: origin.to_owned(), reason })?;
        self.files.push((origin.to_owned(), file));
        Ok(())
    }

    /// The credentials for `repository`, if there are any; a helper only when no file has more.
    pub(super) fn find(&self, repository: &Repository) -> Option<Login> {
        let mut best: Option<((bool, usize), Login)> = None;
        for (origin, file) in &self.files {
            for (key, proof) in &file.entries {
                let Some(rank) = Key::parse(key).rank(repository) else { continue };
                if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                    let login = Login { proof: proof.clone(), origin: format!("{origin} ({key})") };
                    best = Some((rank, login));
                }
            }
        }
        best.map(|(_, login)| login).or_else(|| self.helper(repository))
    }

    fn helper(&self, repository: &Repository) -> Option<Login> {
        self.files.iter().find_map(|(origin, file)| {
            let named =
                file.helpers.iter().find(|(key, _)| Key::parse(key).rank(repository).is_some());
            let helper = named.map(|(_, helper)| helper).or(file.store.as_ref())?;
            Some(Login { proof: Proof::Helper(helper.clone()), origin: origin.clone() })
        })
    }
}

fn read(path: &Path) -> Result<Option<String>, RegistryError> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::debug!(path = %path.display(), "no credentials file");
            Ok(None)
        }
        Err(error) => Err(RegistryError::io(path, error)),
    }
}

/// A key of a credentials file, taken apart.
#[derive(Debug)]
struct Key<'a> {
    host: &'a str,
    path: Vec<&'a str>,
}

impl<'a> Key<'a> {
    fn parse(key: &'a str) -> Self {
        let bare = key.split_once("://").map_or(key, |(_, rest)| rest);
        let mut path: Vec<&str> = bare.split('/').filter(|part| !part.is_empty()).collect();
        if path.last().is_some_and(|last| path.len() > 1 && matches!(*last, "v1" | "v2")) {
            path.pop();
        }
        let host = if path.is_empty() { "" } else { canonical_host(path.remove(0)) };
        Self { host, path }
    }

    /// How well the key fits: exact host, then the number of path parts.
    fn rank(&self, repository: &Repository) -> Option<(bool, usize)> {
        let registry = canonical_host(&repository.registry);
        let exact = self.host.eq_ignore_ascii_case(registry);
        let mut parts = repository.path.split('/');
        let covers = (exact || host_matches(self.host, registry))
            && self.path.iter().all(|part| parts.next() == Some(part));
        covers.then_some((exact, self.path.len()))
    }
}

/// Whether a host pattern matches: label by label, `*` and `?` within a label, the port as is.
fn host_matches(pattern: &str, host: &str) -> bool {
    let (pattern, pattern_port) = split_port(pattern);
    let (host, port) = split_port(host);
    if pattern_port != port || !pattern.contains(['*', '?']) {
        return false;
    }
    let (patterns, labels): (Vec<_>, Vec<_>) =
        (pattern.split('.').collect(), host.split('.').collect());
    patterns.len() == labels.len()
        && patterns.iter().zip(labels).all(|(pattern, label)| {
            glob(pattern.to_ascii_lowercase().as_bytes(), label.to_ascii_lowercase().as_bytes())
        })
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
        _ => (authority, None),
    }
}

/// Matches `*` and `?`; on a mismatch the last star takes one byte more.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[from] => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                from = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keyring(keys: &[&str]) -> Keyring {
        let entries: serde_json::Map<String, serde_json::Value> = keys
            .iter()
            .map(|key| ((*key).to_owned(), serde_json::json!({"username": key, "password": "p"})))
            .collect();
        let mut keyring = Keyring::default();
        keyring.add("config.json", &serde_json::json!({"auths": entries}).to_string()).unwrap();
        keyring
    }

    fn found(keyring: &Keyring, repository: &str) -> Option<String> {
        let login = keyring.find(&Repository::parse(repository).unwrap())?;
        match login.proof {
            Proof::Password { user, .. } => Some(user),
            Proof::Helper(helper) => Some(format!("helper {helper}")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_key_covers_what_docker_and_the_kubelet_say() {
        for (key, repository, covers) in [
            ("https://index.docker.io/v1/", "debian", true),
            ("index.docker.io", "debian", true),
            ("docker.io", "me/app", true),
            ("registry-1.docker.io", "me/app", true),
            ("docker.io/me", "me/app", true),
            ("docker.io/me", "you/app", false),
            ("https://reg.example/v2/", "reg.example/a", true),
            ("reg.example/v2", "reg.example/a", true),
            ("reg.example/", "reg.example/a", true),
            ("reg.example", "reg.example:5000/a", false),
            ("reg.example:5000", "reg.example:5000/a", true),
            ("http://reg.example:5000", "reg.example:5000/a", true),
            ("reg.example/team", "reg.example/team/a", true),
            ("reg.example/team", "reg.example/team", true),
            ("reg.example/team", "reg.example/teamwork/a", false),
            ("*.example", "reg.example/a", true),
            ("*.example", "a.reg.example/a", false),
            ("*.*.example", "a.reg.example/a", true),
            ("*-docker.pkg.dev", "eu-docker.pkg.dev/p/a", true),
            ("r?g.example", "reg.example/a", true),
            ("*.example:5000", "reg.example:5000/a", true),
            ("*.example", "reg.example:5000/a", false),
            ("*.example/team", "reg.example/team/a", true),
            ("", "reg.example/a", false),
        ] {
            assert_eq!(found(&keyring(&[key]), repository).is_some(), covers, "{key} {repository}");
        }
    }

    #[test]
    fn the_most_specific_key_wins() {
        let keyring =
            keyring(&["*.example", "*.example/team/x", "reg.example", "reg.example/team"]);
        for (repository, key) in [
            ("reg.example/other", "reg.example"),
            ("reg.example/team/x", "reg.example/team"),
            ("two.example/team/x/y", "*.example/team/x"),
            ("two.example/a", "*.example"),
        ] {
            assert_eq!(found(&keyring, repository).as_deref(), Some(key), "{repository}");
        }
    }

    #[test]
    fn the_first_file_wins_among_equals_and_a_longer_path_among_files() {
        let mut keyring = Keyring::default();
        let one = |user: &str, key: &str| {
            serde_json::json!({"auths": {key: {"username": user, "password": "p"}}}).to_string()
        };
        keyring.add("1", &one("first", "reg.example")).unwrap();
        keyring.add("2", &one("second", "reg.example")).unwrap();
        keyring.add("3", &one("third", "reg.example/team")).unwrap();
        assert_eq!(found(&keyring, "reg.example/a").as_deref(), Some("first"));
        assert_eq!(found(&keyring, "reg.example/team/a").as_deref(), Some("third"));
    }

    #[test]
    fn helpers_are_named_only_when_no_entry_has_credentials() {
        let mut keyring = Keyring::default();
        let text = r#"{"auths":{"a.example":{"auth":"dTpw"},"b.example":{}},
                       "credHelpers":{"b.example":"ecr-login","a.example":"never"},
                       "credsStore":"desktop"}"#;
        keyring.add("config.json", text).unwrap();
        assert_eq!(found(&keyring, "a.example/x").as_deref(), Some("u"));
        assert_eq!(found(&keyring, "b.example/x").as_deref(), Some("helper ecr-login"));
        assert_eq!(found(&keyring, "c.example/x").as_deref(), Some("helper desktop"));
    }

    proptest! {
        #[test]
        fn any_key_is_taken_without_panic(key in ".*") {
            Key::parse(&key).rank(&Repository { registry: "r.example".into(), path: "a/b".into() });
        }

        #[test]
        fn a_star_for_any_part_of_a_label_matches(a in "[a-z]{0,4}", b in "[a-z]{0,4}", c in "[a-z]{0,4}") {
            let text = format!("{a}{b}{c}");
            let pattern = format!("{a}*{c}");
            prop_assert!(glob(pattern.as_bytes(), text.as_bytes()));
        }
    }

    #[test]
    fn files_that_do_not_exist_are_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let options =
            RegistryOptions { credentials: vec![path.clone()], ..RegistryOptions::default() };
        assert!(Keyring::load(&options).unwrap().files.is_empty());
        fs_err::write(&path, "not json").unwrap();
        let error = Keyring::load(&options).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}
