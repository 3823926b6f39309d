//! What must hold for any bytes: one function a target, which panics when it does not.

use std::collections::BTreeMap;
use std::io::{self, Read};

use longshore::dockerfile::{InstructionKind, parse};
use longshore::hashing::sha256;
use longshore::layer::{
    IndexKind, IndexSink, LayerIndex, MergedIndex, Names, TarWriter, WriteError, clean_path,
    path_order, read_tar,
};
use longshore::model::DiffId;
use longshore_runtime::entry::{Entry, EntrySink, Kind};

/// Entries with their content.
type Entries = Vec<(Entry, Vec<u8>)>;

/// The tar reader: entries obey the rules of the vocabulary, and writing them gives an archive
/// that reads as the same entries.
pub(crate) fn tar_reader(data: &[u8]) {
    // Few mutations hit a checksum, so every archive is read with fitting ones too.
    for bytes in [data.to_vec(), with_checksums(data)] {
        for names in [Names::Layer, Names::Archive] {
            let Some(entries) = read(&bytes, names) else { continue };
            entries.iter().for_each(check_entry);
            if names == Names::Layer {
                check_index(&bytes);
                check_rewriting(entries);
            }
        }
    }
}

/// The layer index: whatever is taken for one has one form, and can be stacked and walked.
pub(crate) fn layer_index(data: &[u8]) {
    // As a target of its own, the decompressor would be all that is ever fuzzed.
    let compressed = zstd::bulk::compress(data, 1).expect("memory takes everything");
    for bytes in [data, &compressed] {
        let Ok(index) = LayerIndex::from_bytes(bytes, diff_id()) else { continue };
        check_form(&index);
        walk(vec![index.clone(), index]);
    }
}

/// The Dockerfile parser: an error has its place in the text, and what a RUN asks for can be read
/// whatever its variables hold.
pub(crate) fn dockerfile(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let file = match parse("Dockerfile", &text) {
        Ok(file) => file,
        Err(error) => {
            for diagnostic in &error.diagnostics {
                let span = diagnostic.span;
                assert!(text.get(span.start..span.end).is_some(), "{diagnostic:?}");
            }
            return assert!(!error.to_string().is_empty());
        }
    };
    for instruction in file.stages.iter().flat_map(|stage| &stage.instructions) {
        let InstructionKind::Run { options, .. } = &instruction.kind else { continue };
        for mount in &options.mounts {
            let _ = mount.read(&|word| Ok(word.value.clone()));
            let _ = mount.read(&|_| Ok(instruction.text.clone()));
        }
    }
}

/// The layer that every index of the corpus is of.
pub(crate) fn diff_id() -> DiffId {
    DiffId(sha256(b"fuzz"))
}

fn read(bytes: &[u8], names: Names) -> Option<Entries> {
    let mut entries = Vec::new();
    let mut sink = |entry: &Entry, content: &mut dyn Read| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        entries.push((entry.clone(), bytes));
        Ok(())
    };
    read_tar(bytes, names, &mut sink).ok().map(|_| entries)
}

/// Repairs the checksum of every block that says it is a header.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    for block in data.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    data
}

fn check_entry((entry, content): &(Entry, Vec<u8>)) {
    let is_clean = |path: &[u8]| clean_path(path).as_deref() == Ok(path);
    assert!(is_clean(&entry.path), "{entry:?}");
    assert!(entry.mode <= 0o7777, "{entry:?}");
    let size = match &entry.kind {
        Kind::File { size } => *size,
        Kind::HardLink { target } => {
            assert!(!target.is_empty() && is_clean(target), "{entry:?}");
            0
        }
        Kind::Symlink { target } => {
            assert!(!target.is_empty() && !target.contains(&0), "{entry:?}");
            0
        }
        _ => 0,
    };
    assert_eq!(content.len() as u64, size, "{entry:?}");
}

/// What a layer becomes in an index.
fn check_index(bytes: &[u8]) {
    let mut sink = IndexSink::new();
    read_tar(bytes, Names::Layer, &mut sink).expect("it was read before");
    let index = sink.finish();
    check_form(&index);
    walk(vec![index]);
}

fn check_form(index: &LayerIndex) {
    let bytes = index.to_bytes(diff_id());
    let again = LayerIndex::from_bytes(&bytes, diff_id()).expect("it was written so");
    assert_eq!(again, *index);
}

fn walk(layers: Vec<LayerIndex>) {
    let paths: Vec<Vec<u8>> =
        layers.iter().flat_map(|layer| layer.entries.keys().cloned()).collect();
    let mut merged = MergedIndex::new();
    layers.into_iter().for_each(|layer| merged.push_layer(layer));
    for path in paths.iter().take(100) {
        let Ok(resolved) = merged.resolve(path) else { continue };
        assert_eq!(clean_path(&resolved).as_ref(), Ok(&resolved), "{}", path.escape_ascii());
        let found = merged.lookup(&resolved).map(|found| &found.entry.kind);
        let is_link = matches!(found, Some(IndexKind::Symlink { .. }));
        assert!(!is_link, "{} is still a link", resolved.escape_ascii());
    }
    let _ = (merged.passwd(), merged.group());
}

/// The entries in canonical order, the last of each path.
fn canonical(entries: Entries) -> Entries {
    let mut last = BTreeMap::new();
    for (entry, content) in entries {
        last.insert((entry.path.clone(), entry.kind == Kind::Opaque), (entry, content));
    }
    let mut sorted: Entries = last.into_values().collect();
    let is_opaque = |entry: &Entry| entry.kind == Kind::Opaque;
    sorted.sort_by(|(a, _), (b, _)| {
        path_order(&a.path, &b.path).then_with(|| is_opaque(a).cmp(&is_opaque(b)))
    });
    let plain: Vec<(Vec<u8>, bool)> = sorted
        .iter()
        .filter(|(entry, _)| !is_opaque(entry))
        .map(|(entry, _)| (entry.path.clone(), entry.kind == Kind::Directory))
        .collect();
    // A path cannot be emptied and be something else than a directory.
    let contradicts = |path: &[u8]| plain.iter().any(|(other, is_dir)| other == path && !is_dir);
    sorted.retain(|(entry, _)| !is_opaque(entry) || !contradicts(&entry.path));
    sorted
}

fn check_rewriting(entries: Entries) {
    let mut tar = TarWriter::new(Vec::new());
    let mut written = Vec::new();
    for (mut entry, content) in canonical(entries) {
        match tar.entry(&entry, &mut content.as_slice()) {
            Ok(()) => {}
            Err(error) if is_beyond_ustar(&error) => continue,
            Err(error) => panic!("{entry:?}: {error}"),
        }
        if matches!(entry.kind, Kind::Whiteout | Kind::Opaque) {
            entry = Entry::new(entry.path, entry.kind, 0, 0);
        }
        written.push((entry, content));
    }
    let bytes = tar.finish().expect("memory takes everything");
    assert_eq!(read(&bytes, Names::Layer), Some(written));
}

/// Base-256 has room for device numbers that octal has none for; and what is long in a GNU header
/// and small in an extended one may be too much for one extended header.
fn is_beyond_ustar(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref::<WriteError>());
    matches!(error, Some(WriteError::Device { .. } | WriteError::Large { .. }))
}
