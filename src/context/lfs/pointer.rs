//! The text that git has instead of a file that is in Git LFS (Git LFS specification, "The
//! Pointer"): lines `KEY VALUE`, `version` first, `oid` and `size`, in less than 1024 bytes.

use thiserror::Error;

use crate::model::Digest;

/// How every pointer begins.
const VERSIONS: [&[u8]; 2] =
    [b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/"];
/// The specification has pointers below this size.
pub(super) const POINTER_LIMIT: u64 = 1024;

/// What a pointer says of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    /// The SHA-256 of the file.
    pub(super) digest: Digest,
    /// Its length in bytes.
    pub(super) size: u64,
}

/// Why a pointer is not understood.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PointerError {
    /// A line is none of a pointer.
    #[error("line {0} is none of a pointer")]
    Line(usize),
    /// The file went through another program before it was stored.
    #[error("it names the extension {0}, and extensions are not supported")]
    Extension(String),
    /// Something is missing.
    #[error("it has no {0}")]
    Missing(&'static str),
}

impl Pointer {
    /// Tells whether content of this size that begins so is a pointer.
    pub(super) fn is_one(size: u64, start: &[u8]) -> bool {
        size < POINTER_LIMIT && VERSIONS.iter().any(|version| start.starts_with(version))
    }

    /// Reads a pointer.
    pub(super) fn parse(text: &[u8]) -> Result<Self, PointerError> {
        let (mut digest, mut size) = (None, None);
        for (number, line) in text.trim_ascii().split(|&byte| byte == b'\n').enumerate() {
            let refuse = || PointerError::Line(number + 1);
            let line = std::str::from_utf8(line).map_err(|_| refuse())?;
            match line.split_once(' ').ok_or_else(refuse)? {
                ("version", _) if number == 0 => {}
                ("oid", value) if digest.is_none() => {
                    digest = Some(value.parse().map_err(|_| refuse())?);
                }
                ("size", value) if size.is_none() && is_number(value) => {
                    size = Some(value.parse().map_err(|_| refuse())?);
                }
                (key, _) if key.starts_with("ext-") => {
                    return Err(PointerError::Extension(key.escape_default().to_string()));
                }
                _ => return Err(refuse()),
            }
        }
        let digest = digest.ok_or(PointerError::Missing("oid"))?;
        let size = size.ok_or(PointerError::Missing("size"))?;
        Ok(Self { digest, size })
    }
}

/// Digits only: a number's parser would take a sign.
fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "version https://git-lfs.github.com/spec/v1\n";
    const OID: &str =
        "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n";

    #[test]
    fn pointers_are_told_by_size_and_beginning() {
        let text = format!("{HEAD}{OID}size 12345\n");
        for (size, start, expected) in [
            (text.len() as u64, text.as_str(), true),
            (POINTER_LIMIT, text.as_str(), false),
            (50, "version https://hawser.github.com/spec/v1\n", true),
            (50, "version 1\n", false),
            (0, "", false),
        ] {
            assert_eq!(Pointer::is_one(size, start.as_bytes()), expected, "{start}");
        }
    }

    #[test]
    fn a_pointer_has_an_id_and_a_size_once() {
        let good = Pointer::parse(format!("{HEAD}{OID}size 12345\n").as_bytes()).unwrap();
        assert_eq!(good.size, 12345);
        assert_eq!(format!("oid {}\n", good.digest), OID);
        for (rest, error) in [
            (String::new(), PointerError::Missing("oid")),
            (OID.to_owned(), PointerError::Missing("size")),
            ("size 1\n".to_owned(), PointerError::Missing("oid")),
            (format!("{OID}size +1\n"), PointerError::Line(3)),
            (format!("{OID}size -1\n"), PointerError::Line(3)),
            (format!("{OID}size\n"), PointerError::Line(3)),
            (format!("{OID}size 99999999999999999999\n"), PointerError::Line(3)),
            (format!("{OID}{OID}size 1\n"), PointerError::Line(3)),
            (format!("{OID}size 1\nsize 2\n"), PointerError::Line(4)),
            ("oid sha256:4d7a\nsize 1\n".to_owned(), PointerError::Line(2)),
            (
                format!("ext-0-case sha256:00\n{OID}size 1\n"),
                PointerError::Extension("ext-0-case".into()),
            ),
            (format!("{HEAD}{OID}size 1\n"), PointerError::Line(2)),
            (format!("{OID}size 1\n\nmore\n"), PointerError::Line(4)),
        ] {
            assert_eq!(Pointer::parse(format!("{HEAD}{rest}").as_bytes()), Err(error), "{rest}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..1024)) {
            let text = [HEAD.as_bytes(), &text].concat();
            let _ = Pointer::parse(&text);
        }
    }
}
