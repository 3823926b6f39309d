//! The part of a revision after its name: `~N`, `^N`, `^{commit}`, `^{}` (gitrevisions(7)). Pure.
//!
//! What needs a reflog or searches history (`@{1}`, `^{/text}`, `:/text`, ranges) is not supported.

/// One step from a commit to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walk {
    /// `~N`: so many first parents up.
    Up(u32),
    /// `^N`: that parent; the first is 1, and 0 is the commit itself.
    Parent(u32),
}

/// The name that a revision begins with, and the steps from there; nothing if it is not valid.
pub(super) fn split(revision: &str) -> Option<(&str, Vec<Walk>)> {
    let at = revision.find(['~', '^']).unwrap_or(revision.len());
    let (name, mut rest) = revision.split_at(at);
    let mut walks = Vec::new();
    while let Some(kind) = rest.chars().next() {
        rest = &rest[kind.len_utf8()..];
        if kind == '^' && rest.starts_with('{') {
            // A tag is followed to its commit anyway.
            rest = ["{}", "{commit}"].iter().find_map(|peel| rest.strip_prefix(peel))?;
            continue;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = match &rest[..digits] {
            "" => 1,
            number => number.parse().ok()?,
        };
        rest = &rest[digits..];
        walks.push(match kind {
            '~' => Walk::Up(number),
            '^' => Walk::Parent(number),
            _ => return None,
        });
    }
    let name = if name == "@" { "HEAD" } else { name };
    Some((name, walks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_split_as_git_reads_them() {
        use Walk::{Parent, Up};
        for (revision, expected) in [
            ("main", Some(("main", vec![]))),
            ("@", Some(("HEAD", vec![]))),
            ("HEAD~", Some(("HEAD", vec![Up(1)]))),
            ("HEAD~12^2", Some(("HEAD", vec![Up(12), Parent(2)]))),
            ("v1^{}", Some(("v1", vec![]))),
            ("v1^{commit}~3", Some(("v1", vec![Up(3)]))),
            ("a^^0", Some(("a", vec![Parent(1), Parent(0)]))),
            ("", Some(("", vec![]))),
            ("a^{tree}", None),
            ("a~1x", None),
            ("a~99999999999", None),
        ] {
            assert_eq!(split(revision), expected, "{revision}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "[a@~^{}0-9é]{0,12}") {
            let _ = split(&text);
        }
    }
}
