//! What the writer wrote the reader reads, and nothing makes the reader panic.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::layer::path::{components, push_component};

fn component() -> impl Strategy<Value = Vec<u8>> {
    let letter = any::<u8>().prop_filter("neither NUL nor slash", |byte| !matches!(byte, 0 | b'/'));
    let name = prop_oneof![
        4 => vec(prop::sample::select(b"abc.".to_vec()), 1..4),
        1 => vec(letter, 1..255),
    ];
    name.prop_filter("a plain name", |name| {
        !matches!(name.as_slice(), b"." | b"..") && !name.starts_with(b".wh.")
    })
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    vec(component(), 1..5).prop_map(|names| {
        let mut path = Vec::new();
        names.iter().for_each(|name| push_component(&mut path, name));
        path
    })
}

fn kind() -> impl Strategy<Value = Kind> {
    let target = vec(1_u8..=255, 1..300);
    prop_oneof![
        Just(Kind::Directory),
        (0_u64..2000).prop_map(|size| Kind::File { size }),
        target.prop_map(|target| Kind::Symlink { target }),
        path().prop_map(|target| Kind::HardLink { target }),
        (0_u32..1 << 21, 0_u32..1 << 21)
            .prop_map(|(major, minor)| Kind::CharDevice { major, minor }),
        (0_u32..4096, 0_u32..1 << 20).prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
        Just(Kind::Fifo),
        Just(Kind::Whiteout),
    ]
}

fn xattrs() -> impl Strategy<Value = BTreeMap<Vec<u8>, Vec<u8>>> {
    let name = "[a-z]{1,8}\\.[a-z.%]{1,20}".prop_map(String::into_bytes);
    let value = prop_oneof![vec(any::<u8>(), 0..40), Just(b"1\n20 path=smuggled\n".to_vec())];
    btree_map(name, value, 0..3)
}

fn entry() -> impl Strategy<Value = Entry> {
    let ids = prop_oneof![0_u32..70_000, any::<u32>()];
    let mtime = prop_oneof![0_i64..2_000_000_000, any::<i64>()];
    let (uid, gid) = (ids.clone(), ids);
    (path(), kind(), 0_u32..=0o7777, uid, gid, mtime, xattrs()).prop_map(
        |(path, kind, mode, uid, gid, mtime, xattrs)| {
            if kind == Kind::Whiteout {
                return Entry::new(path, kind, 0, 0);
            }
            Entry { path, kind, mode, uid, gid, mtime, xattrs }
        },
    )
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    vec(entry(), 0..8).prop_map(|mut entries| {
        entries.sort_by(|a, b| crate::layer::path_order(&a.path, &b.path));
        entries.dedup_by(|a, b| a.path == b.path);
        entries
    })
}

/// Flips, cuts and doubles parts of an archive.
fn mutate(mut bytes: Vec<u8>, changes: &[(usize, u8)], cut: usize) -> Vec<u8> {
    for (at, value) in changes {
        let at = at % bytes.len();
        bytes[at] = *value;
        // Without a fitting checksum nothing behind it would ever be reached.
        let start = at / 512 * 512;
        let mut header = [0; 512];
        header.copy_from_slice(&bytes[start..start + 512]);
        let mut header = tar::Header::from_byte_slice(&header).clone();
        header.set_cksum();
        if at.is_multiple_of(2) {
            bytes[start..start + 512].copy_from_slice(header.as_bytes());
        }
    }
    let keep = bytes.len().saturating_sub(cut);
    bytes.truncate(keep);
    bytes
}

proptest! {
    #[test]
    fn entries_are_read_as_written(entries in entries()) {
        let bytes = write(&entries);
        prop_assert_eq!(bytes.len() % 512, 0);
        prop_assert_eq!(&bytes, &write(&entries));
        let back = read(&bytes, Names::Layer).unwrap();
        for (_, content) in &back {
            prop_assert!(content.iter().all(|&byte| byte == b'x'));
        }
        let back: Vec<Entry> = back.into_iter().map(|(entry, _)| entry).collect();
        prop_assert_eq!(back, entries);
    }

    #[test]
    fn mutated_archives_never_panic_and_never_yield_unclean_paths(
        entries in entries(),
        changes in vec((any::<usize>(), any::<u8>()), 0..6),
        cut in prop_oneof![Just(0), 0_usize..3000],
    ) {
        let bytes = mutate(write(&entries), &changes, cut);
        for names in [Names::Layer, Names::Archive] {
            for (entry, content) in read(&bytes, names).unwrap_or_default() {
                prop_assert!(components(&entry.path).all(|name| name != b".."));
                prop_assert!(!entry.path.contains(&0) && !entry.path.starts_with(b"/"));
                let size = if let Kind::File { size } = entry.kind { size } else { 0 };
                prop_assert_eq!(content.len() as u64, size);
            }
        }
    }

    #[test]
    fn garbage_never_panics(bytes in vec(any::<u8>(), 0..3000)) {
        let _ = read(&bytes, Names::Layer);
    }
}
