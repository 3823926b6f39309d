//! The context checksum: what of the context enters a stage's digest.
//!
//! | entry | fields |
//! |---|---|
//! | file | `100644`, `100755`, or `100` and other permission bits · path · blob id |
//! | link | `120000` · path · blob id of the target |
//! | directory that holds nothing selected, or whose mode is not 0755 | `40000`, or `4` and its permission bits · path · empty |
//! | other directory | none: its entries imply it |
//! | another name of a file before it | `hardlink` · path · path of the file's first name |
//!
//! Paths are relative to the context, so moving the context keeps the checksum; times and owners
//! are not in it. The frame is that of `hashing`, kind `context`.

use std::collections::BTreeMap;

use super::entry::Inode;
use super::{ContextEntry, EntryKind};
use crate::hashing::Framed;
use crate::model::StageDigest;

/// Returns the checksum of entries, which must come in the context's order.
pub fn checksum<'a>(entries: impl IntoIterator<Item = &'a ContextEntry>) -> StageDigest {
    let mut hash = Framed::new("context");
    let mut entries = entries.into_iter().peekable();
    let mut names: BTreeMap<Inode, &[u8]> = BTreeMap::new();
    while let Some(entry) = entries.next() {
        if let Some(inode) = entry.inode {
            let first = *names.entry(inode).or_insert(&entry.path);
            if first != entry.path {
                hash.field("hardlink").field(&entry.path).field(first);
                continue;
            }
        }
        let mut implied = || entries.peek().is_some_and(|next| is_below(&next.path, &entry.path));
        let object = match entry.kind {
            EntryKind::Directory if entry.mode == 0o755 && implied() => continue,
            EntryKind::Directory => &[][..],
            _ => entry.object.as_bytes(),
        };
        hash.field(mode_as_git(entry)).field(&entry.path).field(object);
    }
    hash.finish()
}

/// Tells whether `path` lies below `directory`; everything but itself lies below the root.
pub(super) fn is_below(path: &[u8], directory: &[u8]) -> bool {
    match directory {
        b"" => !path.is_empty(),
        _ => path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/")),
    }
}

fn mode_as_git(entry: &ContextEntry) -> String {
    match entry.kind {
        EntryKind::File => format!("{:o}", 0o100_000 | entry.mode),
        EntryKind::Symlink { .. } => "120000".to_owned(),
        EntryKind::Directory if entry.mode == 0o755 => "40000".to_owned(),
        EntryKind::Directory => format!("{:o}", 0o40_000 | entry.mode),
        EntryKind::Submodule => "160000".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::ObjectId;
    use crate::context::entry::Content;

    fn entry(path: &str, kind: EntryKind, mode: u32) -> ContextEntry {
        let object = match kind {
            EntryKind::Directory => ObjectId::default(),
            _ => ObjectId::of_blob(b"hello\n"),
        };
        let path = path.as_bytes().to_vec();
        ContextEntry {
            path,
            kind,
            mode,
            size: 6,
            object,
            mtime: None,
            inode: None,
            content: Content::None,
        }
    }

    #[test]
    fn golden_vector() {
        assert_eq!(
            checksum(&[entry("a.txt", EntryKind::File, 0o644)]).to_string(),
            "99c776844bd1d788202299658530f3b4ccd8fbc460f4fd3074c3b1e1"
        );
    }

    #[test]
    fn names_of_one_file_count_and_a_single_name_does_not() {
        let named = |path: &str, number: Option<u64>| {
            let inode = number.map(|number| Inode { device: 1, number });
            ContextEntry { inode, ..entry(path, EntryKind::File, 0o644) }
        };
        let sum = |a, b| checksum(&[named("a", a), named("b", b)]);
        let apart = sum(None, None);
        assert_eq!(sum(Some(5), Some(6)), apart);
        assert_ne!(sum(Some(5), Some(5)), apart);
        assert_eq!(sum(Some(5), Some(5)), sum(Some(7), Some(7)), "numbers mean nothing");
    }

    #[test]
    fn name_mode_and_kind_count_and_implied_directories_do_not() {
        let file = entry("d/a", EntryKind::File, 0o644);
        let plain = checksum([&file]);
        let directory = entry("d", EntryKind::Directory, 0o755);
        assert_eq!(checksum([&directory, &file]), plain);
        let link = EntryKind::Symlink { target: b"hello\n".to_vec() };
        for others in [
            vec![],
            vec![entry("d/b", EntryKind::File, 0o644)],
            vec![entry("d/a", EntryKind::File, 0o755)],
            vec![entry("d/a", link, 0o777)],
            vec![entry("d", EntryKind::Directory, 0o700), file.clone()],
            vec![entry("c", EntryKind::Directory, 0o755), file.clone()],
        ] {
            assert_ne!(checksum(&others), plain, "{others:?}");
        }
    }
}
