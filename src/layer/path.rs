//! Order and cleaning of paths inside a layer.

use std::cmp::Ordering;

use thiserror::Error;

/// The longest path that is taken, in bytes (Linux takes 4096 at a time).
pub(super) const PATH_LIMIT: usize = 64 * 1024;

/// Why a path from an archive was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PathProblem {
    /// A `..` component.
    #[error("the path has a `..` component")]
    Parent,
    /// A NUL byte.
    #[error("the path has a NUL byte")]
    Nul,
    /// Longer than 64 KiB.
    #[error("the path is longer than 64 KiB")]
    Long,
}

/// Compares paths component by component, each bytewise, so that a directory is directly followed
/// by everything below it: `a`, `a/b`, `a.b`.
///
/// That is the order of bytes with the slash in front of every other byte, as components are
/// never empty and have no NUL.
pub fn path_order(a: &[u8], b: &[u8]) -> Ordering {
    let rank = |&byte: &u8| if byte == b'/' { 0 } else { byte };
    a.iter().map(rank).cmp(b.iter().map(rank))
}

/// Makes a path from outside relative and plain: `/./a//b/` becomes `a/b`.
///
/// # Errors
/// When a component is `..`, or the path has a NUL byte or more than 64 KiB.
pub fn clean_path(path: &[u8]) -> Result<Vec<u8>, PathProblem> {
    if path.len() > PATH_LIMIT {
        return Err(PathProblem::Long);
    }
    if path.contains(&0) {
        return Err(PathProblem::Nul);
    }
    let mut cleaned = Vec::with_capacity(path.len());
    for component in components(path) {
        if component == b".." {
            return Err(PathProblem::Parent);
        }
        push_component(&mut cleaned, component);
    }
    Ok(cleaned)
}

/// Whether a path is as [`clean_path`] makes it.
pub(super) fn is_clean(path: &[u8]) -> bool {
    let plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
    path.is_empty() || path.len() <= PATH_LIMIT && path.split(|&byte| byte == b'/').all(plain)
}

/// The components of a path without the empty ones and `.`; `..` is left in.
pub(super) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".")
}

/// Appends one component.
pub(super) fn push_component(path: &mut Vec<u8>, component: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(component);
}

/// Splits off the last component: `a/b/c` is `a/b` and `c`, `c` is the root and `c`.
pub(super) fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// A path for people: lossless where it is UTF-8 without control characters.
pub(super) fn display(path: &[u8]) -> String {
    let shown: String = path
        .utf8_chunks()
        .flat_map(|chunk| {
            let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
            chunk.valid().chars().map(display_char).chain(invalid).collect::<Vec<_>>()
        })
        .collect();
    if shown.is_empty() { "/".to_owned() } else { shown }
}

fn display_char(letter: char) -> String {
    if letter.is_control() { letter.escape_default().to_string() } else { letter.to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_directory_is_followed_by_what_is_below_it() {
        let sorted: [&[u8]; 8] = [b"", b"a", b"a/b", b"a/b/c", b"a/b.c", b"a b", b"a.b", b"\xff"];
        for pair in sorted.windows(2) {
            assert_eq!(path_order(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(path_order(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
    }

    #[test]
    fn paths_from_outside_become_relative_and_plain() {
        for (from, to) in [
            ("", ""),
            ("./", ""),
            ("/", ""),
            ("./a//b/", "a/b"),
            ("/etc/x", "etc/x"),
            ("...", "..."),
        ] {
            assert_eq!(clean_path(from.as_bytes()).unwrap(), to.as_bytes(), "{from}");
        }
        for (from, problem) in [
            (b"a/../b".to_vec(), PathProblem::Parent),
            (b"..".to_vec(), PathProblem::Parent),
            (b"a\0b".to_vec(), PathProblem::Nul),
            (vec![b'a'; PATH_LIMIT + 1], PathProblem::Long),
        ] {
            assert_eq!(clean_path(&from), Err(problem));
        }
    }

    #[test]
    fn paths_are_shown_without_control_characters() {
        assert_eq!(display(b"a/\xff\x1b[2J\xc3\xa9"), "a/\\xff\\u{1b}[2J\u{e9}");
        assert_eq!(display(b""), "/");
    }

    proptest! {
        #[test]
        fn cleaning_makes_paths_clean(path in "[a./\0]{0,8}") {
            let cleaned = clean_path(path.as_bytes());
            prop_assert_eq!(is_clean(path.as_bytes()), cleaned.as_deref() == Ok(path.as_bytes()));
            prop_assert!(cleaned.is_err() || is_clean(&cleaned.unwrap()));
        }

        #[test]
        fn the_order_is_that_of_components(a in "[a-c./ ]{0,8}", b in "[a-c./ ]{0,8}") {
            let (Ok(a), Ok(b)) = (clean_path(a.as_bytes()), clean_path(b.as_bytes())) else {
                return Ok(());
            };
            let by_component = components(&a).cmp(components(&b));
            prop_assert_eq!(path_order(&a, &b), by_component);
        }
    }
}
