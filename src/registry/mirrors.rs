//! Mirrors: where to pull a repository from instead of its own registry. Pure.

use std::str::FromStr;

use thiserror::Error;

use super::options::canonical_host;
use crate::model::Repository;

/// One rule `[PREFIX=]HOST[/PATH]`: repositories below `PREFIX` are also found below `HOST/PATH`.
///
/// `PREFIX` is a registry or a registry with the first parts of a path, `docker.io` if absent.
/// The part of the repository after the prefix is kept: with `ghcr.io/team=mirror.lan/x`,
/// `ghcr.io/team/app` is looked for at `mirror.lan/x/app`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    prefix: Place,
    target: Place,
}

/// A text that is not a mirror rule.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{text:?} is not a mirror ([PREFIX=]HOST[/PATH]): {reason}")]
pub struct MirrorError {
    text: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    host: String,
    path: Vec<String>,
}

impl Mirror {
    /// Parses `[PREFIX=]HOST[/PATH]`.
    ///
    /// # Errors
    /// When a part is not a host with an optional path.
    pub fn parse(text: &str) -> Result<Self, MirrorError> {
        let refuse = |reason| MirrorError { text: text.to_owned(), reason };
        let (prefix, target) = text.split_once('=').unwrap_or(("docker.io", text));
        let prefix = Place::parse(prefix).map_err(refuse)?;
        let target = Place::parse(target).map_err(refuse)?;
        Ok(Self { prefix, target })
    }

    /// Parses the kaniko form of several rules, `SOURCE=TARGET[;SOURCE=TARGET]`.
    ///
    /// # Errors
    /// When a rule has no `=` or is not a mirror.
    pub fn parse_map(text: &str) -> Result<Vec<Self>, MirrorError> {
        let rule = |rule: &str| match rule.contains('=') {
            true => Self::parse(rule),
            false => {
                Err(MirrorError { text: rule.to_owned(), reason: "a map needs SOURCE=TARGET" })
            }
        };
        text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(rule).collect()
    }

    /// Where this mirror has `repository`, if the rule is about it.
    pub fn rewrite(&self, repository: &Repository) -> Option<Repository> {
        let parts: Vec<&str> = repository.path.split('/').collect();
        let applies = canonical_host(&repository.registry).eq_ignore_ascii_case(&self.prefix.host)
            && parts.len() > self.prefix.path.len()
            && self.prefix.path.iter().zip(&parts).all(|(ours, theirs)| ours == theirs);
        if !applies {
            return None;
        }
        let rest = parts[self.prefix.path.len()..].iter().copied();
        let path: Vec<&str> = self.target.path.iter().map(String::as_str).chain(rest).collect();
        Some(Repository { registry: self.target.host.clone(), path: path.join("/") })
    }
}

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        Self::parse(text)
    }
}

impl Place {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.starts_with("http://") {
            return Err("leave http:// out and name the host as an insecure registry");
        }
        let text = text.strip_prefix("https://").unwrap_or(text);
        let mut parts = text.strip_suffix('/').unwrap_or(text).split('/');
        let host = canonical_host(parts.next().unwrap_or_default()).to_owned();
        let path: Vec<String> = parts.map(str::to_owned).collect();
        let odd_host = |c: char| !(c.is_ascii_alphanumeric() || "-._:[]".contains(c));
        let odd_path =
            |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c));
        if host.is_empty() || host.contains(odd_host) {
            return Err("the host is missing or has characters that no host has");
        }
        if path.iter().any(|part| part.is_empty() || part.contains(odd_path)) {
            return Err("the path has empty parts or characters that no repository has");
        }
        Ok(Self { host, path })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewritten(mirror: &str, repository: &str) -> Option<String> {
        let repository = Repository::parse(repository).unwrap();
        Mirror::parse(mirror).unwrap().rewrite(&repository).map(|found| found.to_string())
    }

    #[test]
    fn repositories_are_rewritten_below_their_prefix() {
        for (mirror, repository, expected) in [
            ("mirror.lan", "debian", Some("mirror.lan/library/debian")),
            ("mirror.lan:5000/hub", "me/app", Some("mirror.lan:5000/hub/me/app")),
            ("https://mirror.lan/", "debian", Some("mirror.lan/library/debian")),
            ("mirror.lan", "ghcr.io/a/b", None),
            ("index.docker.io=mirror.lan", "debian", Some("mirror.lan/library/debian")),
            ("ghcr.io=mirror.lan/gh", "ghcr.io/a/b", Some("mirror.lan/gh/a/b")),
            ("ghcr.io/a=mirror.lan/x", "ghcr.io/a/b", Some("mirror.lan/x/b")),
            ("ghcr.io/a=mirror.lan", "ghcr.io/ab/c", None),
            ("ghcr.io/a/b=mirror.lan", "ghcr.io/a/b", None),
        ] {
            assert_eq!(rewritten(mirror, repository).as_deref(), expected, "{mirror} {repository}");
        }
    }

    #[test]
    fn kanikos_map_is_a_list_of_rules_in_order() {
        let map = Mirror::parse_map("docker.io=a.lan; docker.io=b.lan/x;gcr.io=c.lan").unwrap();
        let debian = Repository::parse("debian").unwrap();
        let places: Vec<String> =
            map.iter().filter_map(|rule| rule.rewrite(&debian)).map(|to| to.to_string()).collect();
        assert_eq!(places, ["a.lan/library/debian", "b.lan/x/library/debian"]);
        assert!(Mirror::parse_map("just.a.host").is_err());
        assert!(Mirror::parse_map("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_mirror_is_refused() {
        for text in ["", "=", "a.lan=", "=b.lan", "http://a.lan", "a lan", "a.lan/UP", "a.lan//x"] {
            assert!(Mirror::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_without_panic(text in ".*") {
            let _ = Mirror::parse(&text);
        }

        #[test]
        fn the_rest_of_the_path_is_kept(path in "[a-z]{1,8}(/[a-z]{1,8}){0,3}") {
            let repository = Repository { registry: "r.example".into(), path: path.clone() };
            let found = Mirror::parse("r.example=m.lan/p").unwrap().rewrite(&repository).unwrap();
            prop_assert_eq!(found.path, format!("p/{path}"));
        }
    }
}
