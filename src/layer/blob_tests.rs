//! Layers through files and back.

use std::cell::Cell;

use longshore_runtime::entry::Kind;

use super::*;
use crate::hashing::sha256;

fn file(path: &str, size: u64) -> Entry {
    Entry::new(path, Kind::File { size }, 0o644, 0)
}

/// Writes files of these sizes as the letter x.
fn write(dir: &Path, compression: Compression, files: &[(&str, u64)]) -> LayerBlob {
    let mut produce = |sink: &mut dyn EntrySink| {
        files.iter().try_for_each(|(path, size)| {
            sink.entry(&file(path, *size), &mut io::repeat(b'x').take(*size))
        })
    };
    write_layer(dir, compression, 2, &AtomicBool::new(false), &mut produce).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = walkdir::WalkDir::new(dir)
        .into_iter()
        .map(|entry| entry.unwrap().path().strip_prefix(dir).unwrap().display().to_string())
        .collect();
    names.sort();
    names
}

#[test]
fn layers_are_stored_under_their_digest() {
    let dir = tempfile::tempdir().unwrap();
    for compression in
        [Compression::Gzip { level: 1 }, Compression::Zstd { level: 3 }, Compression::None]
    {
        let blob = write(dir.path(), compression, &[("a", 10), ("b", 3 << 20)]);
        let bytes = fs::read(blob.path.as_ref().unwrap()).unwrap();
        assert_eq!((sha256(&bytes), bytes.len() as u64), (blob.digest, blob.size));
        assert_eq!(blob.path, Some(dir.path().join("sha256").join(blob.digest.hex())));
        assert_eq!((blob.entries, blob.uncompressed_size), (2, (3 << 20) + 4 * 512 + 512));
        assert_eq!(blob.media_type, compression.media_type());
        let none = Compression::None;
        assert_eq!(blob.diff_id.0, write(dir.path(), none, &[("a", 10), ("b", 3 << 20)]).digest);
    }
    assert_eq!(names(dir.path()).len(), 5, "three blobs, sha256 and the root");
}

#[test]
fn stored_layers_are_read_back_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let blob = write(dir.path(), Compression::default(), &[("a", 10), ("b", 70_000)]);
    let mut seen = Vec::new();
    let mut sink = |entry: &Entry, _: &mut dyn Read| {
        seen.push(entry.clone());
        Ok(())
    };
    let stats = read_layer(blob.path.as_ref().unwrap(), Some(blob.diff_id), &mut sink).unwrap();
    assert_eq!(stats, TarStats { entries: 2, content: 70_010 });
    assert_eq!(seen, [file("a", 10), file("b", 70_000)]);

    let other = DiffId(sha256(b""));
    let mut ignore = |_: &Entry, _: &mut dyn Read| Ok(());
    let error = read_layer(blob.path.as_ref().unwrap(), Some(other), &mut ignore).unwrap_err();
    assert!(matches!(error, LayerError::DiffId { found, .. } if found == blob.diff_id));
    let missing = read_layer(&dir.path().join("none"), None, &mut ignore).unwrap_err();
    assert!(matches!(missing, LayerError::Open { .. }));
}

#[test]
fn an_empty_layer_is_known_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let blob = write(dir.path(), Compression::None, &[]);
    assert!(blob.is_empty());
    assert_eq!(blob.digest, sha256(&[0; 1024]));
}

#[test]
fn failures_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let quiet = AtomicBool::new(false);
    let unsorted = [file("b", 0), file("a", 0)];
    let mut swallow = |sink: &mut dyn EntrySink| {
        for entry in &unsorted {
            let _ = sink.entry(entry, &mut io::empty());
        }
        Ok(())
    };
    let mut fail = |_: &mut dyn EntrySink| Err(io::Error::other("the source is gone"));
    let mut short = |sink: &mut dyn EntrySink| sink.entry(&file("a", 5), &mut io::empty());
    for which in 0..3 {
        let produce: &mut dyn FnMut(&mut dyn EntrySink) -> io::Result<()> = match which {
            0 => &mut swallow,
            1 => &mut fail,
            _ => &mut short,
        };
        let error = write_layer(dir.path(), Compression::default(), 2, &quiet, produce);
        assert!(matches!(error.unwrap_err(), LayerError::Write { .. }));
    }
    assert_eq!(names(dir.path()), [""]);
}

#[test]
fn the_interrupt_flag_ends_a_layer_in_the_middle() {
    let dir = tempfile::tempdir().unwrap();
    let interrupt = AtomicBool::new(false);
    let written = Cell::new(0);
    let mut produce = |sink: &mut dyn EntrySink| {
        (0..1000).try_for_each(|at| {
            interrupt.store(at == 10, Ordering::Relaxed);
            sink.entry(&file(&format!("{at:04}"), 0), &mut io::empty())?;
            written.set(at);
            Ok(())
        })
    };
    let error = write_layer(dir.path(), Compression::default(), 2, &interrupt, &mut produce);
    assert!(matches!(error.unwrap_err(), LayerError::Interrupted));
    assert_eq!(written.get(), 9);
    assert_eq!(names(dir.path()), [""]);
}

#[test]
fn errors_of_the_file_system_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("file");
    fs::write(&blocked, "").unwrap();
    let mut nothing = |_: &mut dyn EntrySink| Ok(());
    let quiet = AtomicBool::new(false);
    let error = write_layer(&blocked.join("dir"), Compression::None, 1, &quiet, &mut nothing);
    let LayerError::Write { source, .. } = error.unwrap_err() else { panic!("another error") };
    assert!(source.to_string().contains("file/dir"), "{source}");
}
