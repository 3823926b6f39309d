//! Records of extended headers: `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record.
//!
//! Values may hold newlines and any other byte, so records are cut by their length and never by
//! lines.

use std::collections::BTreeMap;

use thiserror::Error;

/// Records by key.
pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// A malformed extended header.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum PaxError {
    /// The length is missing, no number, or points past the end.
    #[error("the length is not that of the record")]
    Length,
    /// There is no `=`, or no key in front of it.
    #[error("there is no key")]
    Key,
    /// The record does not end in a newline.
    #[error("there is no newline at the end")]
    Newline,
}

/// Serialises records in the order of their keys.
pub(super) fn encode(records: &Records) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        bytes.extend_from_slice(record_length(key.len() + value.len() + 3).as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(key);
        bytes.push(b'=');
        bytes.extend_from_slice(value);
        bytes.push(b'\n');
    }
    bytes
}

/// The decimal length of a record of `rest` bytes plus the digits of that very length.
fn record_length(rest: usize) -> String {
    let mut length = rest.to_string();
    while length.len() + rest != length.parse().unwrap_or(0) {
        length = (length.len() + rest).to_string();
    }
    length
}

/// Parses the content of an extended header; of equal keys the last one counts.
pub(super) fn parse(mut bytes: &[u8]) -> Result<Records, PaxError> {
    let mut records = Records::new();
    while !bytes.is_empty() {
        let (record, rest) = split_record(bytes)?;
        let at = record.iter().position(|&byte| byte == b'=').ok_or(PaxError::Key)?;
        if at == 0 {
            return Err(PaxError::Key);
        }
        records.insert(record[..at].to_vec(), record[at + 1..].to_vec());
        bytes = rest;
    }
    Ok(records)
}

fn split_record(bytes: &[u8]) -> Result<(&[u8], &[u8]), PaxError> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ').ok_or(PaxError::Length)?;
    let digits = &bytes[..space];
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(PaxError::Length);
    }
    let length: usize = std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(PaxError::Length)?;
    if length > bytes.len() || length < space + 2 {
        return Err(PaxError::Length);
    }
    let (record, rest) = bytes.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n").ok_or(PaxError::Newline)?;
    Ok((record, rest))
}

/// Whether a record says that content is stored with holes: GNU's formats 0.0, 0.1 and 1.0 (GNU
/// tar manual, "Storing Sparse Files") and star's.
pub(super) fn is_of_sparse_file(key: &[u8]) -> bool {
    key.starts_with(b"GNU.sparse.") || key == b"SCHILY.realsize"
}

/// The seconds of a time record, rounded down: `-1.5` is -2.
pub(super) fn seconds(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let below = whole.starts_with('-') && fraction.bytes().any(|byte| byte != b'0');
    seconds.checked_sub(i64::from(below))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records(pairs: &[(&str, &str)]) -> Records {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn lengths_count_their_own_digits() {
        // Two digits reach up to 99 bytes; with three the shortest record has 101.
        for (value, start) in [(1, "11 "), (89, "99 "), (90, "101 "), (91, "102 ")] {
            let encoded = encode(&records(&[("ab.cd", &"x".repeat(value))]));
            assert_eq!(encoded.len().to_string() + " ", start);
            assert!(encoded.starts_with(start.as_bytes()));
        }
        assert_eq!(encode(&records(&[("path", "a")])), b"9 path=a\n");
    }

    #[test]
    fn malformed_records_are_refused() {
        for (bytes, problem) in [
            ("x", PaxError::Length),
            ("99 path=a\n", PaxError::Length),
            ("0 path=a\n", PaxError::Length),
            ("+10 path=a\n", PaxError::Length),
            ("99999999999999999999999 a=b\n", PaxError::Length),
            ("8 patha\n", PaxError::Key),
            ("5 =a\n", PaxError::Key),
            ("9 path=ab\n", PaxError::Newline),
        ] {
            assert_eq!(parse(bytes.as_bytes()), Err(problem), "{bytes:?}");
        }
    }

    #[test]
    fn times_are_rounded_down() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1350244992.023960108", Some(1_350_244_992)),
            ("-1", Some(-1)),
            ("-1.5", Some(-2)),
            ("-1.0", Some(-1)),
            ("-0.5", Some(-1)),
            ("1e3", None),
            ("", None),
            ("1.-5", None),
        ] {
            assert_eq!(seconds(text.as_bytes()), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn records_are_read_as_written(
            pairs in prop::collection::btree_map(
                prop::collection::vec(any::<u8>().prop_filter("no =", |byte| *byte != b'='), 1..12),
                prop::collection::vec(any::<u8>(), 0..120),
                0..5,
            )
        ) {
            prop_assert_eq!(parse(&encode(&pairs)), Ok(pairs));
        }
    }
}
