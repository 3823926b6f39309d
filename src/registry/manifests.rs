//! Manifests (the spec, "Pulling manifests" and "Pushing Manifests").
//!
//! A manifest's bytes are kept exactly as they came; what is in them is not our business, but that
//! they are a JSON object of bounded size with the right digest is.

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Response, Url};
use serde::Deserialize;

use super::transport::{Call, Payload, Place, Wire};
use super::{RegistryError, answer};
use crate::hashing;
use crate::model::Digest;

const MAX_MANIFEST: u64 = 4 * 1024 * 1024;
/// What can be worked with, most wanted first; registries convert to what is not listed.
const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";
const CONTENT_DIGEST: &str = "docker-content-digest";

/// What a HEAD tells about a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestHead {
    /// The manifest's digest.
    pub digest: Digest,
    /// Its media type; may be empty when the registry does not tell.
    pub media_type: String,
    /// Its size in bytes, if the registry tells.
    pub size: Option<u64>,
}

/// A manifest as it lies in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawManifest {
    /// The digest of `bytes`.
    pub digest: Digest,
    /// The manifest's own media type, else the one that the registry announced.
    pub media_type: String,
    /// The exact bytes.
    pub bytes: Bytes,
}

#[derive(Deserialize)]
struct Typed {
    #[serde(rename = "mediaType")]
    media_type: Option<String>,
}

pub(super) async fn head(
    wire: &Wire,
    place: &Place,
    selector: &str,
) -> Result<Option<ManifestHead>, RegistryError> {
    let call = Call::new(place, Method::HEAD, url(place, selector)?).header(ACCEPT, ACCEPTED);
    let response = wire.request(&call).await?;
    match response.status().as_u16() {
        200 if answer::is_html(response.headers()) => {
            return Err(place.garbage(&response, "an HTML page"));
        }
        200 => {}
        404 => return Ok(None),
        405 | 501 => return full_head(wire, place, selector).await,
        _ => return Err(answer::refuse(place, response).await),
    }
    let announced = announced_digest(response.headers());
    check_announced(place, selector, announced)?;
    let Some(digest) = announced.or_else(|| selector.parse().ok()) else {
        return full_head(wire, place, selector).await;
    };
    let size = response.headers().get(CONTENT_LENGTH);
    let size = size.and_then(|size| size.to_str().ok()?.parse().ok());
    Ok(Some(ManifestHead { digest, media_type: content_type(response.headers()), size }))
}

/// The same by GET, for registries whose HEAD does not tell the digest.
async fn full_head(
    wire: &Wire,
    place: &Place,
    selector: &str,
) -> Result<Option<ManifestHead>, RegistryError> {
    let manifest = get(wire, place, selector).await?;
    Ok(manifest.map(|manifest| ManifestHead {
        digest: manifest.digest,
        media_type: manifest.media_type,
        size: Some(manifest.bytes.len() as u64),
    }))
}

pub(super) async fn get(
    wire: &Wire,
    place: &Place,
    selector: &str,
) -> Result<Option<RawManifest>, RegistryError> {
    let call = Call::new(place, Method::GET, url(place, selector)?).header(ACCEPT, ACCEPTED);
    let mut attempts = place.attempts();
    loop {
        match get_once(wire, &call, selector).await {
            Ok(found) => return Ok(found),
            Err(error) => attempts.after(error).await?,
        }
    }
}

async fn get_once(
    wire: &Wire,
    call: &Call<'_>,
    selector: &str,
) -> Result<Option<RawManifest>, RegistryError> {
    let place = call.place;
    let mut response = wire.send(call).await?;
    match response.status().as_u16() {
        200 if answer::is_html(response.headers()) => {
            return Err(place.garbage(&response, "an HTML page"));
        }
        200 => {}
        404 => return Ok(None),
        _ => return Err(answer::refuse(place, response).await),
    }
    let what = named(place, selector);
    let bytes = answer::body(place, &mut response, MAX_MANIFEST, &what).await?;
    let actual = hashing::sha256(&bytes);
    let asked = selector.parse().ok();
    for expected in [asked, announced_digest(response.headers())].into_iter().flatten() {
        if expected != actual {
            return Err(RegistryError::DigestMismatch { what, expected, actual });
        }
    }
    let media_type = media_type(place, &response, &bytes)?;
    Ok(Some(RawManifest { digest: actual, media_type, bytes }))
}

pub(super) async fn put(
    wire: &Wire,
    place: &Place,
    selector: &str,
    media_type: &str,
    bytes: Bytes,
) -> Result<Digest, RegistryError> {
    let digest = hashing::sha256(&bytes);
    check_announced(place, selector, Some(digest))?;
    let call = Call::new(place, Method::PUT, url(place, selector)?)
        .header(CONTENT_TYPE, media_type)
        .payload(Payload::Bytes(bytes));
    let response = wire.request(&call).await?;
    if !matches!(response.status().as_u16(), 200..=202) {
        return Err(answer::refuse(place, response).await);
    }
    match announced_digest(response.headers()) {
        Some(stored) if stored != digest => Err(RegistryError::DigestMismatch {
            what: format!("{} as it was stored", named(place, selector)),
            expected: digest,
            actual: stored,
        }),
        _ => Ok(digest),
    }
}

fn named(place: &Place, selector: &str) -> String {
    let separator = if selector.contains(':') { '@' } else { ':' };
    format!("manifest {}{separator}{selector}", place.repository)
}

/// The URL of a manifest; the selector must be a tag or digest, so that it stays one path part.
fn url(place: &Place, selector: &str) -> Result<Url, RegistryError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-:".contains(c);
    let tag_like = selector.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if !tag_like || !selector.chars().all(plain) {
        let option = format!("{}:{selector}", place.repository);
        return Err(RegistryError::Option { option, reason: "it has no valid tag".to_owned() });
    }
    Ok(place.url(&format!("manifests/{selector}")))
}

/// Compares a digest in hand with the selector, if that is one.
fn check_announced(
    place: &Place,
    selector: &str,
    digest: Option<Digest>,
) -> Result<(), RegistryError> {
    match (selector.parse::<Digest>(), digest) {
        (Ok(expected), Some(actual)) if expected != actual => {
            let what = named(place, selector);
            Err(RegistryError::DigestMismatch { what, expected, actual })
        }
        _ => Ok(()),
    }
}

fn announced_digest(headers: &HeaderMap) -> Option<Digest> {
    headers.get(CONTENT_DIGEST)?.to_str().ok()?.parse().ok()
}

fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn media_type(place: &Place, response: &Response, bytes: &Bytes) -> Result<String, RegistryError> {
    let typed: Typed = serde_json::from_slice(bytes)
        .map_err(|_| place.garbage(response, "something that is no manifest"))?;
    Ok(typed.media_type.unwrap_or_else(|| content_type(response.headers())))
}
