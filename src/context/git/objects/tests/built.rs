//! Packs that git would not write.

use std::path::Path;
use std::sync::atomic::AtomicU64;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha1::{Digest as _, Sha1};

use super::{noise, read, told};
use crate::context::ObjectId;
use crate::context::git::objects::pack_index::PackIndex;
use crate::context::git::objects::{ObjectKind, Store};

const BLOB: u8 = 3;
const OFFSET_DELTA: u8 = 6;
const NAMED_DELTA: u8 = 7;

/// A pack and its index under construction.
#[derive(Default)]
struct Builder {
    pack: Vec<u8>,
    entries: Vec<(ObjectId, u64)>,
}

impl Builder {
    fn new() -> Self {
        Self { pack: b"PACK\0\0\0\x02\0\0\0\0".to_vec(), entries: Vec::new() }
    }

    fn at(&self) -> u64 {
        self.pack.len() as u64
    }

    /// Adds an entry that says to have `size` bytes; `before` comes between header and data.
    fn add(
        &mut self,
        id: ObjectId,
        (number, size): (u8, usize),
        before: &[u8],
        data: &[u8],
    ) -> u64 {
        let at = self.at();
        let mut rest = size >> 4;
        let mut byte = number << 4 | (size & 15) as u8;
        while rest > 0 {
            self.pack.push(byte | 0x80);
            byte = (rest & 0x7F) as u8;
            rest >>= 7;
        }
        self.pack.push(byte);
        self.pack.extend_from_slice(before);
        let mut encoder = ZlibEncoder::new(&mut self.pack, Compression::fast());
        std::io::Write::write_all(&mut encoder, data).unwrap();
        encoder.finish().unwrap();
        self.entries.push((id, at));
        at
    }

    fn blob(&mut self, content: &[u8]) -> (ObjectId, u64) {
        let id = ObjectId::of_blob(content);
        (id, self.add(id, (BLOB, content.len()), b"", content))
    }

    /// Adds a delta to what lies at `base`, a few bytes back.
    fn delta(&mut self, id: ObjectId, base: u64, delta: &[u8]) {
        let distance = u8::try_from(self.at() - base).unwrap();
        assert!(distance < 0x80);
        self.add(id, (OFFSET_DELTA, delta.len()), &[distance], delta);
    }

    fn write(mut self, directory: &Path) -> Store {
        let pack = directory.join("pack");
        fs_err::create_dir_all(&pack).unwrap();
        let count = u32::try_from(self.entries.len()).unwrap();
        self.pack[8..12].copy_from_slice(&count.to_be_bytes());
        let checksum: [u8; 20] = Sha1::digest(&self.pack).into();
        self.pack.extend_from_slice(&checksum);
        fs_err::write(pack.join("pack-1.pack"), &self.pack).unwrap();
        self.entries.sort_unstable();
        let mut index = b"\xfftOc\0\0\0\x02".to_vec();
        for first in 0..=255 {
            let upto = self.entries.partition_point(|(id, _)| id.as_bytes()[0] <= first);
            index.extend_from_slice(&u32::try_from(upto).unwrap().to_be_bytes());
        }
        self.entries.iter().for_each(|(id, _)| index.extend_from_slice(id.as_bytes()));
        index.extend(vec![0; 4 * self.entries.len()]);
        for (_, at) in &self.entries {
            index.extend_from_slice(&u32::try_from(*at).unwrap().to_be_bytes());
        }
        index.extend_from_slice(&checksum);
        index.extend_from_slice(&[0; 20]);
        fs_err::write(pack.join("pack-1.idx"), &index).unwrap();
        Store::new(vec![directory.to_owned()], None)
    }
}

#[test]
fn names_are_found_however_they_are_distributed() {
    let directory = tempfile::tempdir().unwrap();
    let mut builder = Builder::new();
    // Every second name stays out of the index.
    let mut absent = Vec::new();
    for number in 0..12_000_u32 {
        let mut id: [u8; 20] = Sha1::digest(number.to_be_bytes()).into();
        match number % 3 {
            0 => {}
            1 => id[0] = 7,
            _ => id[..5].copy_from_slice(&[9, 0, 0, 0, 1]),
        }
        match number / 3 % 2 {
            0 => builder.entries.push((ObjectId::from_bytes(id), 12 + u64::from(number))),
            _ => absent.push(ObjectId::from_bytes(id)),
        }
    }
    let entries = builder.entries.clone();
    builder.write(directory.path());
    for room in [0, 1 << 30] {
        let place = directory.path().join("pack/pack-1.idx");
        let index = PackIndex::open(&place, &AtomicU64::new(room)).unwrap();
        assert_eq!(index.count(), 6000);
        for (id, at) in &entries {
            assert_eq!(index.find(*id).unwrap(), Some(*at), "{id}");
        }
        assert!(absent.iter().all(|id| index.find(*id).unwrap().is_none()));
    }
}

#[test]
fn deltas_that_git_would_not_make_are_errors() {
    let base = b"0123456789";
    let made = ObjectId::of_blob(b"0123x");
    for (delta, outcome) in [
        (b"\x0a\x05\x90\x04\x01x".as_slice(), Ok(())),
        (b"\x0a\x05\x91\x08\x04\x01x", Err("copies from beyond the end of its base")),
        (b"\x0a\x05\x9f\xff\xff\xff\xff\x04\x01x", Err("copies from beyond the end of its base")),
        (b"\x0a\x05\x80\x01x", Err("copies from beyond the end of its base")),
        (b"\x0b\x05\x90\x04\x01x", Err("for a base of another size")),
        (b"\x0a\x04\x90\x04\x01x", Err("makes more than it says")),
        (b"\x0a\x06\x90\x04\x01x", Err("makes less than it says")),
        (b"\x0a\x05\x90\x04\x00x", Err("an instruction that is not known")),
        (b"\x0a\x05\x90\x04\x01", Err("ends early")),
        (b"\x0a\x05\x90\x04\x91", Err("ends early")),
        (b"\x0a\x05\x90\x04\x01y", Err("its content has another id")),
        (b"\x0a", Err("ends early")),
        (b"", Err("ends early")),
        (&[0xFF; 30], Err("a size in its delta is too large")),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut builder = Builder::new();
        let (_, at) = builder.blob(base);
        builder.delta(made, at, delta);
        let store = builder.write(directory.path());
        match (read(&store, made), outcome) {
            (Ok((_, content)), Ok(())) => assert_eq!(content, b"0123x"),
            (Err(error), Err(reason)) => {
                let text = told(&error);
                assert!(text.contains(reason), "{delta:x?}: {text}");
                assert!(text.contains(&made.to_string()), "{text}");
                assert!(text.contains("pack-1.pack"), "{text}");
            }
            (found, _) => panic!("{delta:x?}: {found:?}"),
        }
    }
}

#[test]
fn deltas_of_big_bases_copy_from_files() {
    // Copies of all lengths, back and forth over what the windows hold.
    let base = noise(3, 5 << 20);
    let mut delta = vec![0x80, 0x80, 0xC0, 0x02];
    let mut wanted = Vec::new();
    let mut instructions = Vec::new();
    for round in 0..600_usize {
        let at = (round * 7919 * 61) % (4 << 20);
        let length = 1 + (round * round * 37) % 70_000;
        wanted.extend_from_slice(&base[at..at + length]);
        instructions.push(0xFF);
        instructions.extend_from_slice(&u32::try_from(at).unwrap().to_le_bytes());
        instructions.extend_from_slice(&u32::try_from(length).unwrap().to_le_bytes()[..3]);
        instructions.extend_from_slice(b"\x03abc");
        wanted.extend_from_slice(b"abc");
    }
    let mut size = wanted.len();
    while size > 0x7F {
        delta.push((size & 0x7F) as u8 | 0x80);
        size >>= 7;
    }
    delta.push(size as u8);
    delta.extend(instructions);
    let (directory, made) = (tempfile::tempdir().unwrap(), ObjectId::of_blob(&wanted));
    let mut builder = Builder::new();
    let (id, _) = builder.blob(&base);
    builder.add(made, (NAMED_DELTA, delta.len()), id.as_bytes(), &delta);
    let store = builder.write(directory.path());
    assert!(read(&store, made).unwrap() == (ObjectKind::Blob, wanted));
}

#[test]
fn chains_without_an_end_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let [a, b] = [1, 2].map(|byte| ObjectId::from_bytes([byte; 20]));
    let mut builder = Builder::new();
    for (id, base) in [(a, b), (b, a)] {
        builder.add(id, (NAMED_DELTA, 4), base.as_bytes(), b"\x01\x01\x01x");
    }
    let store = builder.write(directory.path());
    for text in [told(&store.open(a).unwrap_err()), told(&store.header(b).unwrap_err())] {
        assert!(text.contains("a chain of deltas that has no end"), "{text}");
    }
    let absent = ObjectId::from_bytes([9; 20]);
    let mut builder = Builder::new();
    builder.add(a, (NAMED_DELTA, 4), absent.as_bytes(), b"\x01\x01\x01x");
    builder.delta(b, builder.at(), b"\x01\x01\x01x");
    let store = builder.write(directory.path());
    let text = told(&store.open(a).unwrap_err());
    assert!(text.contains(&format!("object {absent} is missing")), "{text}");
    let text = told(&store.open(b).unwrap_err());
    assert!(text.contains("the header of its entry"), "{text}");
}

#[test]
fn sizes_and_indexes_that_lie_are_errors() {
    let content = noise(5, 3000);
    let id = ObjectId::of_blob(&content);
    for (size, reason) in [
        (2999, "it is longer than its header says"),
        (3001, "it ends early"),
        (1 << 40, "it ends early"),
        (0, "it is longer than its header says"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut builder = Builder::new();
        builder.add(id, (BLOB, size), b"", &content);
        let text = told(&read(&builder.write(directory.path()), id).unwrap_err());
        assert!(text.contains(reason) && text.contains("pack-1.pack"), "{text}");
        // The same as a base.
        let (directory, mut builder) = (tempfile::tempdir().unwrap(), Builder::new());
        builder.add(id, (BLOB, size.min(4000)), b"", &content);
        let delta = [&[0xB8, 0x17, 1, 1, b'x'], b"".as_slice()].concat();
        let made = ObjectId::of_blob(b"x");
        builder.add(made, (NAMED_DELTA, delta.len()), id.as_bytes(), &delta);
        assert!(read(&builder.write(directory.path()), made).is_err());
    }
    let other = ObjectId::of_blob(b"other");
    for (at, reason) in [
        (12, "its content has another id"),
        (13, ""),
        (11, "a position outside of the pack"),
        (1 << 30, "a position outside of the pack"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut builder = Builder::new();
        builder.blob(&content);
        builder.entries.push((other, at));
        let text = told(&read(&builder.write(directory.path()), other).unwrap_err());
        assert!(text.contains(reason) && text.contains(&other.to_string()), "{text}");
    }
}
