//! Paths relative to a context's root, in bytes: their parts, and their order.

use std::cmp::Ordering;

/// Tells whether `path` lies below `directory`; everything but itself lies below the root.
pub(super) fn is_below(path: &[u8], directory: &[u8]) -> bool {
    match directory {
        b"" => !path.is_empty(),
        _ => path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/")),
    }
}

/// The path of a name in a directory.
pub(super) fn join_names(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"" => name.to_vec(),
        _ => [directory, name].join(&b'/'),
    }
}

/// The directory and the last name of a path.
pub(super) fn split_name(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Orders two paths by their components: a directory's content comes right after it.
pub(super) fn by_components(a: &[u8], b: &[u8]) -> Ordering {
    // No name has a nought byte, so the slash can take its place below all others.
    let order = |byte: u8| if byte == b'/' { 0 } else { byte };
    match a.iter().zip(b).position(|(a, b)| a != b) {
        Some(at) => order(a[at]).cmp(&order(b[at])),
        None => a.len().cmp(&b.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_components_puts_a_directory_before_its_siblings() {
        let mut paths: Vec<&[u8]> = vec![b"a-b", b"a/b", b"a", b"a.txt", b"a/b/c", b"a/b-c", b""];
        paths.sort_by(|a, b| by_components(a, b));
        let expected: [&[u8]; 7] = [b"", b"a", b"a/b", b"a/b/c", b"a/b-c", b"a-b", b"a.txt"];
        assert_eq!(paths, expected);
    }

    #[test]
    fn paths_have_parts() {
        for (path, directory, name) in [("a/b/c", "a/b", "c"), ("c", "", "c")] {
            assert_eq!(split_name(path.as_bytes()), (directory.as_bytes(), name.as_bytes()));
            assert_eq!(join_names(directory.as_bytes(), name.as_bytes()), path.as_bytes());
            assert!(is_below(path.as_bytes(), directory.as_bytes()));
        }
        assert!(!is_below(b"ab", b"a") && !is_below(b"a", b"a") && !is_below(b"", b""));
    }
}
