//! The client against a real registry (`docker-registry`) and against scripted servers, which only
//! inject what a healthy registry does not do: faults, tokens, redirects.

mod auth;
mod blobs;
mod manifests;
mod pipes;
mod places;
mod real;
mod scripted;
mod stream;
mod upload;

use std::path::PathBuf;
use std::time::Duration;

use self::scripted::{Reply, Request, Script};
use super::{BlobFile, Registry, RegistryOptions};
use crate::blocking::Interrupt;
use crate::hashing::sha256;
use crate::model::Repository;
use crate::ring::{RingReader, RingWriter};

/// Options that do not make tests wait.
fn quick() -> RegistryOptions {
    RegistryOptions { retries: 3, retry_pause: Duration::from_millis(1), ..Default::default() }
}

fn client(options: RegistryOptions) -> Registry {
    Registry::new(options).unwrap()
}

fn repository(authority: &str, path: &str) -> Repository {
    Repository { registry: authority.to_owned(), path: path.to_owned() }
}

/// Bytes that compress and repeat badly enough to show a misplaced piece.
fn pattern(size: usize) -> Vec<u8> {
    (0..size as u64).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn blob_file(directory: &tempfile::TempDir, bytes: &[u8]) -> BlobFile {
    let digest = sha256(bytes);
    let path: PathBuf = directory.path().join(digest.hex());
    fs_err::write(&path, bytes).unwrap();
    BlobFile { path, digest, size: bytes.len() as u64 }
}

/// Both ends of a file of at most `capacity` bytes.
fn ring(capacity: u64) -> (RingWriter, RingReader) {
    let file = fs_err::File::from_parts(tempfile::tempfile().unwrap(), "ring");
    let writer = RingWriter::new(file, capacity, Interrupt::default());
    let reader = writer.reader();
    (writer, reader)
}

#[test]
fn the_clients_futures_can_be_spawned() {
    fn is_send<T: Send>(_: &T) {}
    fn is_shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    let registry = client(quick());
    is_shared(&registry);
    let (place, digest) = (repository("localhost:1", "a"), sha256(b""));
    let blob = BlobFile { path: PathBuf::new(), digest, size: 0 };
    is_send(&registry.resolve(&place.tagged("x")));
    is_send(&registry.head_resolve(&place.tagged("x")));
    is_send(&registry.put_manifest(&place, "x", "y", "z"));
    is_send(&registry.push_blob(&place, &blob, &[]));
    let ring = ring(u64::MAX).1;
    is_send(&registry.stream_blob(&place, ring));
    is_send(&registry.push_bytes(&place, "x"));
    is_send(&registry.mount_or_has(&place, &digest, &[]));
    is_send(&registry.fetch_blob(&place, &digest, 0, &blob.path));
    is_send(&registry.pipe_blob(&place, &digest, 0, super::blob_pipe().0));
    is_send(&registry.read_blob(&place, &digest, 0));
    is_send(&registry.check_push(&place));
}
