//! Go's `filepath.Match` and `filepath.Clean`, on bytes, for slash-separated paths.
//!
//! Docker's languages are defined by these two functions: sources of COPY match by the first,
//! ignore patterns must parse under it, and both are cleaned by the second. The grammar is the one
//! in the documentation of Go's `path/filepath` package.

use thiserror::Error;

/// A pattern that `filepath.Match` calls malformed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the pattern ends inside an escape or has a malformed character class")]
pub struct BadPattern;

/// One element of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Element {
    Byte(u8),
    AnyRune,
    AnyRun,
    Class { negated: bool, ranges: Vec<(u32, u32)> },
}

/// A pattern of Go's `filepath.Match`, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoPattern(Vec<Element>);

impl GoPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// When the pattern is malformed, whatever it would be matched against.
    pub fn parse(pattern: &[u8]) -> Result<Self, BadPattern> {
        parse(pattern).map(Self)
    }

    /// Tells whether the whole of `name` matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        let mut reached = vec![0];
        for element in &self.0 {
            reached = step(element, &reached, name);
            if reached.is_empty() {
                return false;
            }
        }
        reached.contains(&name.len())
    }
}

/// Returns the path as Go's `filepath.Clean` does: no doubled slashes, no `.`, and `..` resolved
/// where something precedes it. The empty path is `.`.
pub fn clean_path(path: &[u8]) -> Vec<u8> {
    let rooted = path.first() == Some(&b'/');
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match parts.last() {
                Some(&last) if last != b".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(part),
            },
            _ => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

/// The rune at the start of `bytes` and its length, as Go's `utf8.DecodeRune`: a byte that is not
/// part of valid UTF-8 is U+FFFD of length one. The slice must not be empty.
pub(super) fn decode_rune(bytes: &[u8]) -> (u32, usize) {
    let window = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(window) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&window[..error.valid_up_to()])
            .expect("the part before the error is valid"),
    };
    valid.chars().next().map_or((0xFFFD, 1), |rune| (u32::from(rune), rune.len_utf8()))
}

/// Positions in `name` that are reached after `element` from one of `from`; sorted, each once.
fn step(element: &Element, from: &[usize], name: &[u8]) -> Vec<usize> {
    let mut reached = Vec::new();
    for &at in from {
        let rest = &name[at..];
        match element {
            Element::Byte(byte) => {
                if rest.first() == Some(byte) {
                    reached.push(at + 1);
                }
            }
            Element::AnyRune | Element::Class { .. } => {
                if !rest.is_empty() {
                    let (rune, length) = decode_rune(rest);
                    if takes(element, rune) {
                        reached.push(at + length);
                    }
                }
            }
            Element::AnyRun => {
                let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
                reached.extend(at..=at + end);
            }
        }
    }
    reached.sort_unstable();
    reached.dedup();
    reached
}

fn takes(element: &Element, rune: u32) -> bool {
    match element {
        Element::AnyRune => rune != u32::from(b'/'),
        // Go lets a class match the separator, and so do we.
        Element::Class { negated, ranges } => {
            ranges.iter().any(|&(low, high)| low <= rune && rune <= high) != *negated
        }
        Element::Byte(_) | Element::AnyRun => false,
    }
}

fn parse(pattern: &[u8]) -> Result<Vec<Element>, BadPattern> {
    let mut elements = Vec::new();
    let mut rest = pattern;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        elements.push(match byte {
            b'*' => Element::AnyRun,
            b'?' => Element::AnyRune,
            b'[' => {
                let (class, after) = parse_class(rest)?;
                rest = after;
                class
            }
            b'\\' => {
                let (&escaped, after) = rest.split_first().ok_or(BadPattern)?;
                rest = after;
                Element::Byte(escaped)
            }
            _ => Element::Byte(byte),
        });
    }
    Ok(elements)
}

/// Parses what follows a `[`, up to and including its `]`.
fn parse_class(after_bracket: &[u8]) -> Result<(Element, &[u8]), BadPattern> {
    let (negated, mut rest) = match after_bracket.strip_prefix(b"^") {
        Some(rest) => (true, rest),
        None => (false, after_bracket),
    };
    let mut ranges = Vec::new();
    loop {
        if let (Some(after), false) = (rest.strip_prefix(b"]"), ranges.is_empty()) {
            return Ok((Element::Class { negated, ranges }, after));
        }
        let (low, after) = class_rune(rest)?;
        rest = after;
        let high = match rest.strip_prefix(b"-") {
            Some(after) => {
                let (high, after) = class_rune(after)?;
                rest = after;
                high
            }
            None => low,
        };
        ranges.push((low, high));
    }
}

/// One, possibly escaped, rune of a class; something must follow it.
fn class_rune(bytes: &[u8]) -> Result<(u32, &[u8]), BadPattern> {
    let bytes = match bytes.first() {
        None | Some(b'-' | b']') => return Err(BadPattern),
        Some(b'\\') => &bytes[1..],
        Some(_) => bytes,
    };
    if bytes.is_empty() {
        return Err(BadPattern);
    }
    let (rune, length) = decode_rune(bytes);
    let rest = &bytes[length..];
    if rest.is_empty() || (rune == 0xFFFD && length == 1) {
        return Err(BadPattern);
    }
    Ok((rune, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_go() {
        for (pattern, name, expected) in [
            ("abc", "abc", Ok(true)),
            ("*", "abc", Ok(true)),
            ("*c", "abc", Ok(true)),
            ("a*", "ab/c", Ok(false)),
            ("a*/b", "abc/b", Ok(true)),
            ("a*/b", "a/c/b", Ok(false)),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", Ok(true)),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Ok(false)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Ok(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Ok(false)),
            ("**", "a/b", Ok(false)),
            ("**", "ab", Ok(true)),
            ("ab[c]", "abc", Ok(true)),
            ("ab[b-d]", "abc", Ok(true)),
            ("ab[e-g]", "abc", Ok(false)),
            ("ab[^c]", "abc", Ok(false)),
            ("ab[^e-g]", "abc", Ok(true)),
            ("a[^b]c", "a/c", Ok(true)),
            ("a\\*b", "a*b", Ok(true)),
            ("a\\*b", "ab", Ok(false)),
            ("a?b", "a☺b", Ok(true)),
            ("a???b", "a☺b", Ok(false)),
            ("a?b", "a/b", Ok(false)),
            ("[a-ζ]*", "α", Ok(true)),
            ("*[a-ζ]", "A", Ok(false)),
            ("[\\]a]", "]", Ok(true)),
            ("[\\-x]", "-", Ok(true)),
            ("[x\\-]", "x", Ok(true)),
            ("{a,b}", "a", Ok(false)),
            ("[]a]", "]", Err(BadPattern)),
            ("[-]", "-", Err(BadPattern)),
            ("[x-]", "x", Err(BadPattern)),
            ("[a-b-c]", "a", Err(BadPattern)),
            ("[", "a", Err(BadPattern)),
            ("[^", "a", Err(BadPattern)),
            ("[^bc", "a", Err(BadPattern)),
            ("a[", "ab", Err(BadPattern)),
            ("a\\", "a", Err(BadPattern)),
            ("nomatch[", "a", Err(BadPattern)),
        ] {
            let parsed = GoPattern::parse(pattern.as_bytes());
            let matched = parsed.map(|parsed| parsed.matches(name.as_bytes()));
            assert_eq!(matched, expected, "{pattern} on {name}");
        }
        assert!(GoPattern::parse(b"a?").unwrap().matches(b"a\xff"));
    }

    #[test]
    fn paths_are_cleaned_as_in_go() {
        for (path, cleaned) in [
            ("", "."),
            ("abc/", "abc"),
            ("/", "/"),
            ("a//b", "a/b"),
            ("./foo", "foo"),
            ("a/./b", "a/b"),
            ("foo/../bar", "bar"),
            ("/../foo", "/foo"),
            ("../../a", "../../a"),
            ("a/../..", ".."),
        ] {
            assert_eq!(clean_path(path.as_bytes()), cleaned.as_bytes(), "{path}");
        }
    }
}
