//! Paths in `longshore.yaml`: relative to its directory, never out of it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A path below the directory of `longshore.yaml`, in its shortest form: `.` or `a/b`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectPath(String);

/// Why a path was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PathError {
    /// The path is empty.
    #[error("the path is empty")]
    Empty,
    /// The path starts with a slash.
    #[error("the path {0:?} is absolute")]
    Absolute(String),
    /// The path has a `..` in it.
    #[error("the path {0:?} leaves the directory of the project")]
    Leaves(String),
    /// The path has a character that no path may have.
    #[error("the path {0:?} has a null character in it")]
    Null(String),
}

impl ProjectPath {
    /// The path as text, components separated by slashes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProjectPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute(text.to_owned()));
        }
        if text.contains('\0') {
            return Err(PathError::Null(text.to_owned()));
        }
        let components: Vec<&str> =
            text.split('/').filter(|component| !matches!(*component, "" | ".")).collect();
        if components.contains(&"..") {
            return Err(PathError::Leaves(text.to_owned()));
        }
        let path = if components.is_empty() { ".".to_owned() } else { components.join("/") };
        Ok(Self(path))
    }
}

impl fmt::Display for ProjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shortened_and_stay_inside() {
        for (text, path) in
            [(".", "."), ("./", "."), ("a", "a"), ("./a//b/.", "a/b"), ("..a/b..", "..a/b..")]
        {
            assert_eq!(text.parse::<ProjectPath>().unwrap().as_str(), path, "{text:?}");
        }
        for text in ["", "/", "/a", "..", "a/..", "a/../b", "a\0b"] {
            assert!(text.parse::<ProjectPath>().is_err(), "{text:?}");
        }
    }
}
