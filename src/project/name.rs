//! Names of projects and images.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::hashing;

/// Labels of Kubernetes objects hold no more.
const MAX_LENGTH: usize = 63;

/// A project's name: lowercase letters, digits and dashes, none at the ends; at most 63 bytes.
///
/// It is a part of the names of Kubernetes objects and directories.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectName(String);

/// An image's name in a project: `[a-z0-9][a-z0-9._-]*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageName(String);

/// Why a name was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// The text is no project's name.
    #[error(
        "{0:?} is not a project name (lowercase letters, digits and inner dashes, at most 63 characters)"
    )]
    Project(String),
    /// The text is no image's name.
    #[error(
        "{0:?} is not an image name (lowercase letters, digits, '.', '_' and '-', a letter or digit first)"
    )]
    Image(String),
}

impl ProjectName {
    /// Makes a name from a repository: `registry.io/group/App_1` gives `group-app-1`.
    ///
    /// The registry is left out, so that a mirror means the same project. A slug that would be too
    /// long is cut and ends with a hash of the whole text. `None` if the text has no letter or
    /// digit. Different texts may give the same slug (`a/b`, `a-b`).
    pub fn slug_of(text: &str) -> Option<Self> {
        let path = match text.split_once('/') {
            Some((host, path)) if is_registry(host) => path,
            _ => text,
        };
        let words: Vec<String> = path
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_lowercase)
            .collect();
        let slug = words.join("-");
        if slug.len() <= MAX_LENGTH {
            return slug.parse().ok();
        }
        let digest = hashing::framed("project-slug", [path]).to_string();
        format!("{}-{}", slug[..MAX_LENGTH - 9].trim_end_matches('-'), &digest[..8]).parse().ok()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ImageName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the first component of a reference is a host, by Docker's rule.
fn is_registry(component: &str) -> bool {
    component.contains(['.', ':']) || component == "localhost"
}

fn is_lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

impl FromStr for ProjectName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bytes = text.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        let valid = text.len() <= MAX_LENGTH
            && ends.iter().all(|end| end.is_some_and(|&byte| is_lower_or_digit(byte)))
            && bytes.iter().all(|&byte| is_lower_or_digit(byte) || byte == b'-');
        if !valid {
            return Err(NameError::Project(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for ImageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let bytes = text.as_bytes();
        let valid = bytes.first().is_some_and(|&byte| is_lower_or_digit(byte))
            && bytes.iter().all(|&byte| is_lower_or_digit(byte) || b"._-".contains(&byte));
        if !valid {
            return Err(NameError::Image(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_leave_out_the_registry_and_odd_characters() {
        for (text, slug) in [
            ("registry.io/group/App_1", Some("group-app-1")),
            ("localhost:5000/a", Some("a")),
            ("localhost/a/b", Some("a-b")),
            ("library/debian", Some("library-debian")),
            ("group/sub.group//x--y_", Some("group-sub-group-x-y")),
            ("debian", Some("debian")),
            ("_/_", None),
            ("", None),
        ] {
            assert_eq!(
                ProjectName::slug_of(text).as_ref().map(ProjectName::as_str),
                slug,
                "{text:?}"
            );
        }
    }

    #[test]
    fn long_slugs_are_cut_and_stay_apart() {
        let [one, two] = ["x", "y"]
            .map(|end| ProjectName::slug_of(&format!("{}/{end}", "group/".repeat(30))).unwrap());
        assert_ne!(one, two);
        assert!(one.as_str().len() <= 63);
    }

    #[test]
    fn names_are_checked() {
        for name in ["a", "0", "a-b", "a--b", &"a".repeat(63)] {
            assert!(name.parse::<ProjectName>().is_ok(), "{name:?}");
        }
        for name in ["", "-a", "a-", "A", "a_b", "a.b", "ä", &"a".repeat(64)] {
            assert!(name.parse::<ProjectName>().is_err(), "{name:?}");
        }
        for name in ["a", "0", "a-b", "a.b_c-", "api"] {
            assert!(name.parse::<ImageName>().is_ok(), "{name:?}");
        }
        for name in ["", "-a", ".a", "A", "a/b", "a b"] {
            assert!(name.parse::<ImageName>().is_err(), "{name:?}");
        }
    }
}
