//! The corpora as ordinary tests: every file as it is, and mutations of all of them.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

use super::bodies;

/// A target by the name of its corpus.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 3] = [
    ("tar_reader", bodies::tar_reader),
    ("layer_index", bodies::layer_index),
    ("dockerfile", bodies::dockerfile),
];

/// The files of a corpus, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let files = fs_err::read_dir(directory).expect("every target has a corpus");
    let mut files: Vec<_> = files
        .map(|file| file.expect("it can be listed"))
        .map(|file| (file.file_name().to_string_lossy().into_owned(), file.path()))
        .map(|(name, path)| (name, fs_err::read(path).expect("it can be read")))
        .collect();
    files.sort();
    files
}

#[test]
fn every_file_of_the_corpora_passes() {
    for (target, body) in TARGETS {
        let files = corpus(target);
        assert!(files.len() >= 5, "{target}");
        for (name, bytes) in files {
            println!("{target}/{name}");
            body(&bytes);
        }
    }
}

/// One change of some bytes.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Copy(Index, Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let telling =
        prop::sample::select(vec![0, b'0', b'5', b'7', b'/', b'.', b'=', b'\n', 0x80, 0xff]);
    let byte = prop_oneof![any::<u8>(), telling];
    prop_oneof![
        4 => (any::<Index>(), byte).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => (any::<Index>(), any::<Index>(), any::<u8>())
            .prop_map(|(from, to, length)| Change::Copy(from, to, length)),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, length)| Change::Cut(at, length)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    let range = |at: usize, count: u8| at..length.min(at + usize::from(count));
    match change {
        Change::Set(at, byte) => bytes[at.index(length)] = *byte,
        Change::Copy(from, to, count) => {
            let piece = bytes[range(from.index(length), *count)].to_vec();
            let at = to.index(length);
            bytes.splice(at..at, piece);
        }
        Change::Insert(at, piece) => {
            let at = at.index(length);
            bytes.splice(at..at, piece.iter().copied());
        }
        Change::Cut(at, count) => drop(bytes.drain(range(at.index(length), *count))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn mutations_of_the_corpora_pass(
        file in any::<Index>(),
        changes in prop::collection::vec(change(), 1..6),
    ) {
        for (target, body) in TARGETS {
            let files = corpus(target);
            let (_, mut bytes) = file.get(&files).clone();
            changes.iter().for_each(|change| mutate(&mut bytes, change));
            body(&bytes);
        }
    }
}
