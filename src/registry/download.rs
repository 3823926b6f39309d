//! Getting blobs (the spec, "Pulling blobs").
//!
//! A blob goes to its file piece by piece and is hashed on the way. When the connection breaks, the
//! next attempt asks for the rest by `Range` (RFC 9110 section 14), and so does the next build when
//! this one is given up or killed; a registry that answers with the whole is read from the start.
//! Attempts count anew when one got further than all before. Where the blob was pieced together
//! and is not the one that was asked for, it is fetched whole, once.

use std::path::Path;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, Response, StatusCode};

use super::arrival::Arrival;
use super::partial::Partial;
use super::transport::{Call, Place, Wire};
use super::{RegistryError, answer};
use crate::hashing;
use crate::model::{Digest, Repository};

pub(super) async fn to_file(
    wire: &Wire,
    place: &Place,
    blob: (&Digest, u64),
    (to, arrival): (&Path, &Arrival),
) -> Result<(), RegistryError> {
    let Some(mut target) = Partial::open(to, blob.1, arrival).await? else { return Ok(()) };
    match fill(wire, place, blob, &mut target).await {
        Ok(()) => target.keep().await,
        Err(error) => {
            // What came before the network broke is worth having; what is wrong is not.
            match error.is_transient() {
                true => target.leave().await,
                false => target.remove().await,
            }
            Err(error)
        }
    }
}

async fn fill(
    wire: &Wire,
    place: &Place,
    (digest, size): (&Digest, u64),
    target: &mut Partial<'_>,
) -> Result<(), RegistryError> {
    let mut attempts = place.attempts();
    let (mut furthest, mut is_second) = (target.written, false);
    loop {
        while let Err(error) = attempt(wire, place, (digest, size), target).await {
            if target.written > furthest {
                furthest = target.written;
                attempts.progressed();
            }
            attempts.after(error).await?;
        }
        target.flush().await?;
        let actual = target.digest();
        if actual == *digest {
            return Ok(());
        }
        if is_second || !target.pieced {
            let what = named(&place.repository, digest);
            return Err(RegistryError::DigestMismatch { what, expected: *digest, actual });
        }
        tracing::debug!(%digest, "the pieces do not make the blob");
        target.restart().await?;
        (furthest, is_second) = (0, true);
    }
}

async fn attempt(
    wire: &Wire,
    place: &Place,
    (digest, size): (&Digest, u64),
    target: &mut Partial<'_>,
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
        StatusCode::PARTIAL_CONTENT if continues_at(&response, target.written) => {
            target.pieced = true;
        }
        StatusCode::OK if target.written == 0 => {}
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
