//! Getting blobs (the spec, "Pulling blobs").
//!
//! A blob goes to its file piece by piece and is hashed on the way. When the connection breaks, the
//! next attempt asks for the rest by `Range` (RFC 9110 section 14); a registry that answers with
//! the whole is read from the start. Attempts count anew when one got further than all before.

use std::path::Path;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};

use super::transport::{Call, Place, Wire};
use super::{RegistryError, answer};
use crate::hashing::{self, BlobHasher};
use crate::model::{Digest, Repository};

/// The file being written, with what is known of its content so far.
#[derive(Debug)]
struct Target<'a> {
    path: &'a Path,
    file: File,
    hasher: BlobHasher,
    written: u64,
}

pub(super) async fn to_file(
    wire: &Wire,
    place: &Place,
    blob: (&Digest, u64),
    to: &Path,
) -> Result<(), RegistryError> {
    let file = File::create(to).await.map_err(|error| RegistryError::io(to, error))?;
    let mut target = Target { path: to, file, hasher: BlobHasher::new(), written: 0 };
    let result = fill(wire, place, blob, &mut target).await;
    if result.is_err()
        && let Err(error) = tokio::fs::remove_file(to).await
    {
        tracing::debug!(%error, path = %to.display(), "an incomplete blob cannot be removed");
    }
    result
}

async fn fill(
    wire: &Wire,
    place: &Place,
    (digest, size): (&Digest, u64),
    target: &mut Target<'_>,
) -> Result<(), RegistryError> {
    let mut attempts = place.attempts();
    let mut furthest = 0;
    while let Err(error) = attempt(wire, place, (digest, size), target).await {
        if target.written > furthest {
            furthest = target.written;
            attempts.progressed();
        }
        attempts.after(error).await?;
    }
    target.flush().await?;
    let (actual, _) = std::mem::take(&mut target.hasher).finish();
    if actual != *digest {
        let what = named(&place.repository, digest);
        return Err(RegistryError::DigestMismatch { what, expected: *digest, actual });
    }
    Ok(())
}

async fn attempt(
    wire: &Wire,
    place: &Place,
    (digest, size): (&Digest, u64),
    target: &mut Target<'_>,
) -> Result<(), RegistryError> {
    if target.written == size && size > 0 {
        return Ok(());
    }
    let mut call = Call::new(place, Method::GET, place.url(&format!("blobs/{digest}")));
    if target.written > 0 {
        call = call.header(RANGE, &format!("bytes={}-", target.written));
    }
    let mut response = wire.send(&call).await?;
    match response.status() {
        StatusCode::PARTIAL_CONTENT if continues_at(&response, target.written) => {}
        StatusCode::OK => target.restart().await?,
        StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PARTIAL_CONTENT if target.written > 0 => {
            target.restart().await?;
            let whole = Call { headers: Default::default(), ..call };
            response = wire.send(&whole).await?;
            if response.status() != StatusCode::OK {
                return Err(failure(place, digest, response).await);
            }
        }
        _ => return Err(failure(place, digest, response).await),
    }
    if answer::is_html(response.headers()) {
        return Err(place.garbage(&response, "an HTML page"));
    }
    while let Some(piece) = answer::piece(place, &mut response).await? {
        target.write(&piece).await?;
        if target.written > size {
            return Err(wrong_size(place, digest, (size, target.written)));
        }
    }
    match target.written == size {
        true => Ok(()),
        false => Err(wrong_size(place, digest, (size, target.written))),
    }
}

impl Target<'_> {
    async fn write(&mut self, piece: &[u8]) -> Result<(), RegistryError> {
        let written = self.file.write_all(piece).await;
        written.map_err(|error| RegistryError::io(self.path, error))?;
        self.hasher.update(piece);
        self.written += piece.len() as u64;
        Ok(())
    }

    async fn restart(&mut self) -> Result<(), RegistryError> {
        let failed = |error| RegistryError::io(self.path, error);
        self.file.rewind().await.map_err(failed)?;
        self.file.set_len(0).await.map_err(failed)?;
        self.hasher = BlobHasher::new();
        self.written = 0;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), RegistryError> {
        self.file.flush().await.map_err(|error| RegistryError::io(self.path, error))
    }
}

/// Gets a small blob whole.
pub(super) async fn to_memory(
    wire: &Wire,
    place: &Place,
    digest: &Digest,
    limit: u64,
) -> Result<Bytes, RegistryError> {
    let call = Call::new(place, Method::GET, place.url(&format!("blobs/{digest}")));
    let mut attempts = place.attempts();
    let bytes = loop {
        match read_once(wire, &call, digest, limit).await {
            Ok(bytes) => break bytes,
            Err(error) => attempts.after(error).await?,
        }
    };
    let actual = hashing::sha256(&bytes);
    if actual != *digest {
        let what = named(&place.repository, digest);
        return Err(RegistryError::DigestMismatch { what, expected: *digest, actual });
    }
    Ok(bytes)
}

async fn read_once(
    wire: &Wire,
    call: &Call<'_>,
    digest: &Digest,
    limit: u64,
) -> Result<Bytes, RegistryError> {
    let mut response = wire.send(call).await?;
    if response.status() != StatusCode::OK {
        return Err(failure(call.place, digest, response).await);
    }
    if answer::is_html(response.headers()) {
        return Err(call.place.garbage(&response, "an HTML page"));
    }
    let what = named(&call.place.repository, digest);
    answer::body(call.place, &mut response, limit, &what).await
}

pub(super) async fn failure(place: &Place, digest: &Digest, response: Response) -> RegistryError {
    if response.status() == StatusCode::NOT_FOUND {
        let repository = place.repository.clone();
        return RegistryError::BlobNotFound { repository, digest: *digest };
    }
    answer::refuse(place, response).await
}

pub(super) fn wrong_size(
    place: &Place,
    digest: &Digest,
    (expected, actual): (u64, u64),
) -> RegistryError {
    let what = named(&place.repository, digest);
    RegistryError::SizeMismatch { what, expected, actual }
}

pub(super) fn named(repository: &Repository, digest: &Digest) -> String {
    format!("blob {digest} of {repository}")
}

/// Whether a partial answer starts where we stopped: `bytes START-END/SIZE`.
pub(super) fn continues_at(response: &Response, written: u64) -> bool {
    response
        .headers()
        .get(CONTENT_RANGE)
        .and_then(|range| range.to_str().ok())
        .and_then(range_start)
        .is_some_and(|start| start == written)
}

fn range_start(range: &str) -> Option<u64> {
    range.trim().strip_prefix("bytes")?.trim_start().split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_give_their_start() {
        for (range, start) in [
            ("bytes 100-199/200", Some(100)),
            ("bytes 0-0/*", Some(0)),
            ("bytes */200", None),
            ("100-199", None),
            ("", None),
        ] {
            assert_eq!(range_start(range), start, "{range}");
        }
    }
}
