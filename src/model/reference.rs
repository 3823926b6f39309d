//! Image references as Docker users write them, normalised: `REGISTRY/REPOSITORY[:TAG][@DIGEST]`.
//!
//! The grammar is the one of the distribution project's reference package, by `oci-spec`'s parser,
//! with two checks on top: repository names are lowercase, and a digest is a sha256.

use std::fmt;
use std::str::FromStr;

use oci_spec::distribution::Reference as Parsed;
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
        let refuse = |reason: String| ReferenceError { text: text.to_owned(), reason };
        let parsed: Parsed = text
            .parse()
            .map_err(|error: oci_spec::distribution::ParseError| refuse(error.to_string()))?;
        let path = parsed.repository().to_owned();
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(refuse("repository names are lowercase".to_owned()));
        }
        let digest = match parsed.digest() {
            Some(digest) => Some(digest.parse().map_err(|error| refuse(format!("{error}")))?),
            None => None,
        };
        let repository = Repository { registry: parsed.registry().to_owned(), path };
        Ok(Self { repository, tag: parsed.tag().map(str::to_owned), digest })
    }
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
        for text in ["", "UPPER/case", "a b", ":tag", "a@sha256:00", "http://x/y"] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
        assert!(Repository::parse("localhost:5000/a/b:v1").is_err());
        assert_eq!(
            Repository::parse("localhost:5000/a/b").unwrap().to_string(),
            "localhost:5000/a/b"
        );
    }
}
