//! Blobs that pass through a pipe: whole and verified, or an error on both sides.

use std::io::Read as _;

use super::super::{BlobReader, RegistryError, blob_pipe};
use super::{Reply, Script, client, pattern, quick, repository};
use crate::hashing::sha256;
use crate::model::Digest;

const SIZE: usize = 300_000;

/// What the reader got and what the download said.
async fn passed(
    script: &Script,
    (digest, size): (Digest, usize),
    read: impl FnOnce(BlobReader) -> std::io::Result<Vec<u8>> + Send + 'static,
) -> (std::io::Result<Vec<u8>>, Result<(), RegistryError>) {
    let (writer, reader) = blob_pipe();
    let place = repository(&script.authority, "a");
    let registry = client(quick());
    let download = registry.pipe_blob(&place, &digest, size as u64, writer);
    let reading = tokio::task::spawn_blocking(move || read(reader));
    let (downloaded, read) = tokio::join!(download, reading);
    (read.unwrap(), downloaded)
}

fn whole(mut reader: BlobReader) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map(|_| bytes)
}

/// A registry whose connections break after 30 KB; `odd` is how it answers a range: 206 as it
/// should, 206 with another range, 200 with the whole, 416.
async fn breaking(bytes: Vec<u8>, odd: &'static str) -> Script {
    Script::start(move |request, before| {
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes="));
        let from: Option<usize> = range.map(|range| range.trim_end_matches('-').parse().unwrap());
        let shown = |from: usize| format!("bytes {from}-{}/{}", SIZE - 1, SIZE);
        let cut = if before == 0 { 30_000 } else { SIZE };
        match (odd, from) {
            ("206", Some(from)) => {
                let part = Reply::status(206).header("Content-Range", shown(from));
                part.body(&bytes[from..]).cut_after(30_000)
            }
            ("other", Some(_)) => {
                Reply::status(206).header("Content-Range", shown(7)).body(&bytes[7..])
            }
            ("416", Some(_)) => Reply::status(416),
            _ => Reply::status(200).body(bytes.clone()).cut_after(cut),
        }
    })
    .await
}

#[tokio::test]
async fn a_broken_download_passes_everything_once() {
    let bytes = pattern(SIZE);
    for odd in ["206", "other", "416", "200"] {
        let script = breaking(bytes.clone(), odd).await;
        let (read, downloaded) = passed(&script, (sha256(&bytes), SIZE), whole).await;
        downloaded.unwrap();
        assert!(read.unwrap() == bytes, "{odd}");
    }
}

#[tokio::test]
async fn the_end_is_not_reached_by_other_bytes() {
    let served = pattern(SIZE);
    let (right, other) = (sha256(&served), sha256(b"other"));
    for (digest, size) in [(other, SIZE), (right, SIZE - 1), (right, SIZE + 1)] {
        let bytes = served.clone();
        let script = Script::start(move |_, _| Reply::status(200).body(bytes.clone())).await;
        let (read, downloaded) = passed(&script, (digest, size), whole).await;
        assert_eq!(read.unwrap_err().to_string(), "the download did not come to its end");
        let error = downloaded.unwrap_err();
        let expected = matches!(
            error,
            RegistryError::DigestMismatch { .. } | RegistryError::SizeMismatch { .. }
        );
        assert!(expected, "{error}");
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_download() {
    // Much more than waits in the pipe.
    let bytes = pattern(16 << 20);
    let (digest, size) = (sha256(&bytes), bytes.len());
    let script = Script::start(move |_, _| Reply::status(200).body(bytes.clone())).await;
    let gone = |mut reader: BlobReader| {
        let mut first = vec![0; 1000];
        reader.read_exact(&mut first).map(|()| first)
    };
    let (read, downloaded) = passed(&script, (digest, size), gone).await;
    assert_eq!(read.unwrap().len(), 1000);
    assert!(matches!(downloaded, Err(RegistryError::Abandoned)));
}
