//! Names of stages in storage: `DIGEST-MILLIS`, and the pointers `at-DIGEST`.
//!
//! The form is the one the werf 1.1 release note gives (signature, then a unique time in
//! milliseconds); werf accepts a tag as a stage when it has 56 hex digits, one dash and 13 digits.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::StageDigest;

/// A stage's tag: the digest of its inputs and the time of its publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StageName {
    /// The digest of the stage's inputs.
    pub digest: StageDigest,
    /// Milliseconds since 1970 when it was published; 13 digits, unique for a digest.
    pub millis: u64,
}

/// A tag that is not the name of a stage.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("tag {0:?} is not a stage's name (56 hex digits, a dash, 13 digits)")]
pub struct StageNameError(String);

/// The tag under which the selected stage (or whole image) with this digest is found.
pub fn pointer_tag(digest: &StageDigest) -> String {
    format!("at-{digest}")
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:013}", self.digest, self.millis)
    }
}

impl FromStr for StageName {
    type Err = StageNameError;

    fn from_str(text: &str) -> Result<Self, StageNameError> {
        let refused = || StageNameError(text.to_owned());
        let (digest, millis) = text.split_once('-').ok_or_else(refused)?;
        let digits = millis.len() == 13 && millis.bytes().all(|byte| byte.is_ascii_digit());
        if !digits {
            return Err(refused());
        }
        Ok(Self {
            digest: digest.parse().map_err(|_| refused())?,
            millis: millis.parse().map_err(|_| refused())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stage_names_have_werfs_form() {
        let text = "d2c5ad3d2c9fcd9e57b50edd9cb26c32d156165eb355318cebc3412b-1582656767835";
        let name: StageName = text.parse().unwrap();
        assert_eq!(
            (name.to_string().as_str(), text.len(), name.millis),
            (text, 70, 1_582_656_767_835)
        );
        for text in ["", "at-00", &text[..69], &text.replace('-', "_"), &format!("{text}-rejected")]
        {
            assert!(text.parse::<StageName>().is_err(), "{text:?}");
        }
    }
}
