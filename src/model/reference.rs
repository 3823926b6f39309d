//! Image references as Docker users write them, normalised: `REGISTRY/REPOSITORY[:TAG][@DIGEST]`.
//!
//! The grammar is the one of the distribution project's reference package; a digest is a sha256.
//! It is parsed by hand because `oci-spec`'s parser compiles a regular expression that takes a
//! tenth of a second at every start; the tests compare the two.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::Digest;

/// A repository in a registry, as in `docker.io/library/debian`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    /// Host and optional port; `docker.io` for Docker Hub.
    pub registry: String,
    /// The path in the registry; official images have `library/` in front.
    pub path: String,
}

/// An image in a repository, by tag, by digest, or both (then the digest counts).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Where the image lies.
    pub repository: Repository,
    /// The tag; absent when only a digest was given.
    pub tag: Option<String>,
    /// The manifest's digest.
    pub digest: Option<Digest>,
}

/// Why a reference was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{text:?} is not an image reference: {reason}")]
pub struct ReferenceError {
    text: String,
    reason: String,
}

impl Repository {
    /// Parses `[REGISTRY/]PATH` without tag or digest.
    ///
    /// # Errors
    /// When the text is not a repository, or carries a tag or digest.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let reference: Reference = text.parse()?;
        let last = text.rsplit('/').next().unwrap_or(text);
        if last.contains(':') || text.contains('@') {
            let reason = "a repository has no tag or digest".to_owned();
            return Err(ReferenceError { text: text.to_owned(), reason });
        }
        Ok(reference.repository)
    }

    /// The same repository with `tag`.
    pub fn tagged(&self, tag: impl Into<String>) -> Reference {
        Reference { repository: self.clone(), tag: Some(tag.into()), digest: None }
    }
}

impl Reference {
    /// What the registry API takes in `/manifests/<reference>`: the digest if known, else the tag.
    pub fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text)
            .map_err(|reason| ReferenceError { text: text.to_owned(), reason: reason.to_owned() })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            let digest = digest.parse().map_err(|_| "its digest is not sha256:<64 hex digits>")?;
            (rest, Some(digest))
        }
        None => (text, None),
    };
    // A colon before the last slash belongs to a port.
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err("a tag has letters, digits, '_', '.' and '-', at most 128");
    }
    let repository = repository(name)?;
    let tag = match (tag, digest) {
        (None, None) => Some("latest".to_owned()),
        (tag, _) => tag.map(str::to_owned),
    };
    Ok(Reference { repository, tag, digest })
}

/// Splits a name into registry and path; a first part that is no host belongs to the path.
fn repository(name: &str) -> Result<Repository, &'static str> {
    let is_host = |part: &str| part == "localhost" || part.contains(['.', ':', '[']);
    let (registry, path) = match name.split_once('/') {
        Some((host, path)) if is_host(host) => (host, path),
        _ => ("docker.io", name),
    };
    let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
    if !is_registry(registry) {
        return Err("its first part is not HOST[:PORT]");
    }
    let path = match registry {
        "docker.io" if !path.contains('/') => format!("library/{path}"),
        _ => path.to_owned(),
    };
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("repository names are lowercase");
    }
    if path.len() > 255 || !path.split('/').all(is_component) {
        return Err(
            "a repository has lowercase letters and digits, separated by '/', '.', '_' or '-'",
        );
    }
    Ok(Repository { registry: registry.to_owned(), path })
}

fn is_registry(text: &str) -> bool {
    let port_is_valid = |port: Option<&str>| {
        port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else { return false };
        let port = if rest.is_empty() { Some(None) } else { rest.strip_prefix(':').map(Some) };
        return address.parse::<std::net::Ipv6Addr>().is_ok() && port.is_some_and(port_is_valid);
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(is_label) && port_is_valid(port)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = text.split(|c: char| u8::try_from(c).is_ok_and(is_word));
    let inner = |separator: &str| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
    };
    text.bytes().next().is_some_and(is_word)
        && text.bytes().last().is_some_and(is_word)
        && separators.into_iter().all(inner)
}

fn is_tag(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    starts && text.len() <= 128 && text.chars().all(allowed)
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_normalised_as_docker_does() {
        let pinned = format!("a.b/c@sha256:{}", "0".repeat(64));
        for (text, normal) in [
            ("debian", "docker.io/library/debian:latest"),
            ("debian:12", "docker.io/library/debian:12"),
            ("me/app", "docker.io/me/app:latest"),
            ("localhost:5000/a/b:v1", "localhost:5000/a/b:v1"),
            (pinned.as_str(), pinned.as_str()),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), normal, "{text}");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "",
            "UPPER/case",
            "reg.io/UPPER",
            "a b",
            ":tag",
            "a@sha256:00",
            "http://x/y",
            "a//b",
            "/a",
            "a/",
            "a_-b",
            "a..b",
            "a___b",
            "-a",
            "a:",
            "a:.x",
            "reg.io:/a",
            "reg.io:x/a",
            "[::1/a",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
        assert!(Repository::parse("localhost:5000/a/b:v1").is_err());
        assert_eq!(
            Repository::parse("localhost:5000/a/b").unwrap().to_string(),
            "localhost:5000/a/b"
        );
    }

    #[test]
    fn addresses_can_be_registries() {
        for (text, registry, path) in [
            ("[::1]:5000/a", "[::1]:5000", "a"),
            ("127.0.0.1:5000/a__b/c--d.e", "127.0.0.1:5000", "a__b/c--d.e"),
            ("index.docker.io/debian", "docker.io", "library/debian"),
        ] {
            let reference: Reference = text.parse().unwrap();
            let Repository { registry: found, path: rest } = reference.repository;
            assert_eq!((found.as_str(), rest.as_str()), (registry, path), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn references_are_parsed_as_the_specifications_library_does(
            text in "(([a-z]{1,3}|localhost|a\\.b)(:[0-9]{1,4})?/)?[a-z0-9._/-]{1,12}(:[A-Za-z0-9._-]{1,4})?"
        ) {
            let theirs = text.parse::<oci_spec::distribution::Reference>().ok();
            let ours = text.parse::<Reference>().ok();
            let theirs = theirs.map(|found| found.to_string());
            proptest::prop_assert_eq!(ours.map(|found| found.to_string()), theirs);
        }
    }
}
