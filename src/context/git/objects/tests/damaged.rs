//! Files with damage at random places.

use std::fmt::Write as _;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::{Git, noise, read, told};
use crate::context::ObjectId;
use crate::context::git::objects::Store;
use crate::context::git::objects::delta::Sizes;

/// Names and contents of files.
type Contents = Vec<(String, Vec<u8>)>;

/// The files of a pack with deltas, and the objects in it.
fn pack() -> &'static (Contents, Vec<ObjectId>) {
    static PACK: OnceLock<(Contents, Vec<ObjectId>)> = OnceLock::new();
    PACK.get_or_init(|| {
        let git = Git::new();
        let mut content = noise(2, 3000);
        let mut names = String::new();
        for round in 0..10 {
            content[100 * round] ^= 1;
            writeln!(names, "{}", git.blob(&content)).unwrap();
        }
        let words = ["pack-objects", "-q", ".git/objects/pack/pack"];
        let name = git.text(&words, names.as_bytes());
        let file = |extension: &str| {
            let path = git.objects().join(format!("pack/pack-{name}.{extension}"));
            (format!("pack-{name}.{extension}"), fs_err::read(path).unwrap())
        };
        (vec![file("pack"), file("idx")], names.lines().map(super::id).collect())
    })
}

fn with_files(files: &Contents, has_room: bool) -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    fs_err::create_dir(directory.path().join("pack")).unwrap();
    for (name, bytes) in files {
        fs_err::write(directory.path().join("pack").join(name), bytes).unwrap();
    }
    let store = Store::new(vec![directory.path().to_owned()], None);
    (directory, if has_room { store } else { store.without_room() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// What is read in spite of damage is right, since its id is; all else are errors.
    #[test]
    fn damaged_packs_give_the_objects_or_errors(
        which in 0..2_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
        has_room in any::<bool>(),
    ) {
        let (files, ids) = pack();
        let mut files = files.clone();
        let bytes = &mut files[which].1;
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let (_directory, store) = with_files(&files, has_room);
        for id in ids {
            let _ = store.size(*id);
            let _ = store.header(*id);
            match read(&store, *id) {
                Ok((_, content)) => prop_assert_eq!(ObjectId::of_blob(&content), *id),
                Err(error) => prop_assert!(told(&error).contains(&id.to_string())),
            }
        }
    }

    #[test]
    fn random_indexes_and_packs_are_errors(
        index in prop::collection::vec(any::<u8>(), 0..3000),
        pack in prop::collection::vec(any::<u8>(), 0..300),
        id in any::<[u8; 20]>(),
        has_room in any::<bool>(),
    ) {
        let index = [b"\xfftOc\0\0\0\x02".as_slice(), &vec![0; 1020], &index].concat();
        let pack = [b"PACK\0\0\0\x02".as_slice(), &pack].concat();
        let files = vec![("pack-1.idx".to_owned(), index), ("pack-1.pack".to_owned(), pack)];
        let (_directory, store) = with_files(&files, has_room);
        prop_assert!(store.open(ObjectId::from_bytes(id)).is_err());
    }

    #[test]
    fn random_loose_objects_are_errors(
        head in "(blob|tree|x)? ?[0-9+-]{0,3}\0?",
        rest in prop::collection::vec(any::<u8>(), 0..100),
        compress in any::<bool>(),
    ) {
        let content = [head.as_bytes(), &rest].concat();
        let bytes = match compress {
            true => {
                let level = flate2::Compression::fast();
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                std::io::Write::write_all(&mut encoder, &content).unwrap();
                encoder.finish().unwrap()
            }
            false => content,
        };
        let directory = tempfile::tempdir().unwrap();
        let id = ObjectId::from_bytes([0xAB; 20]);
        fs_err::create_dir(directory.path().join("ab")).unwrap();
        fs_err::write(directory.path().join("ab").join("ab".repeat(19)), bytes).unwrap();
        let store = Store::new(vec![directory.path().to_owned()], None);
        let _ = store.header(id);
        prop_assert!(read(&store, id).is_err());
    }

    #[test]
    fn sizes_of_deltas_are_parsed_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
        let _ = Sizes::parse(bytes.as_slice());
    }
}
