//! Writer against golden bytes, writer against reader, both against other programs, and the reader
//! against archives that nobody honest writes.

mod archives;
mod foreign;
mod golden;
mod hostile;
mod round_trip;

use std::io::Read;

use longshore_runtime::entry::{Entry, EntrySink, Kind};

use super::*;
use crate::layer::LayerError;

/// Writes entries; files are filled with `x`.
fn write(entries: &[Entry]) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    for entry in entries {
        let size = if let Kind::File { size } = entry.kind { size } else { 0 };
        tar.entry(entry, &mut std::io::repeat(b'x').take(size)).unwrap();
    }
    tar.finish().unwrap()
}

/// Reads an archive into its entries and their content.
fn read(bytes: &[u8], names: Names) -> Result<Vec<(Entry, Vec<u8>)>, LayerError> {
    let mut all = Vec::new();
    let mut sink = |entry: &Entry, content: &mut dyn Read| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        all.push((entry.clone(), bytes));
        Ok(())
    };
    read_tar(bytes, names, &mut sink)?;
    Ok(all)
}

fn file(path: &str, size: u64) -> Entry {
    Entry::new(path, Kind::File { size }, 0o644, 1_700_000_000)
}

fn directory(path: &str) -> Entry {
    Entry::new(path, Kind::Directory, 0o755, 1_700_000_000)
}
