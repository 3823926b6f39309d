//! Paths relative to a context's root, in bytes: their parts, their order, and where they lead.

use std::cmp::Ordering;
use std::collections::VecDeque;

/// How many links a path may lead through.
const LINK_LIMIT: usize = 255;

/// Follows the links in every component of a path; `..` and absolute targets stay inside. `target`
/// tells where the link at a path points, if there is one; nothing if there are too many links.
pub(super) fn behind_links<E>(
    path: &[u8],
    mut target: impl FnMut(&[u8]) -> Result<Option<Vec<u8>>, E>,
) -> Result<Option<Vec<u8>>, E> {
    let split = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|&byte| byte == b'/').map(<[u8]>::to_vec).collect()
    };
    let mut pending: VecDeque<Vec<u8>> = split(path).into();
    let mut resolved: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        match name.as_slice() {
            b"" | b"." => continue,
            b".." => {
                resolved.pop();
                continue;
            }
            _ => resolved.push(name),
        }
        let Some(target) = target(&resolved.join(&b'/'))? else { continue };
        links += 1;
        if links > LINK_LIMIT {
            return Ok(None);
        }
        resolved.pop();
        if target.starts_with(b"/") {
            resolved.clear();
        }
        for name in split(&target).into_iter().rev() {
            pending.push_front(name);
        }
    }
    Ok(Some(resolved.join(&b'/')))
}

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
