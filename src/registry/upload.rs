//! Putting blobs (the spec, "Pushing blobs" and "Mounting a blob from another repository").
//!
//! The cheapest way first: is it there, can it be mounted, upload. Blobs of up to 8 MiB go in one
//! PUT. Larger ones go as one streamed PATCH, as every registry knows it from Docker, then a PUT;
//! when that breaks, the registry is asked how far it got (the upload's status) and the rest
//! follows, and when it lost the session, a new one starts from the beginning. Where a proxy takes
//! no body of that size (413), the blob goes in chunks of 8 MiB.

use std::path::PathBuf;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use super::options::canonical_host;
use super::transport::{COMMIT_PATIENCE, Call, Payload, Place, Wire};
use super::{RegistryError, answer, location};
use crate::model::{Digest, Repository};

/// Blobs up to this size go in one PUT.
pub(super) const MAX_MONOLITHIC: u64 = 8 * 1024 * 1024;
pub(super) const SMALL_CHUNK: u64 = 8 * 1024 * 1024;
/// How often an upload may start anew because the registry lost the session.
pub(super) const MAX_RESTARTS: u32 = 3;
pub(super) const OCTETS: &str = "application/octet-stream";

/// A finished blob on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobFile {
    /// Where its bytes are.
    pub path: PathBuf,
    /// Their digest.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
}

/// How a blob came to be in the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry took it from another repository.
    Mounted,
    /// Its bytes were sent.
    Uploaded,
}

/// What is to be uploaded.
#[derive(Debug)]
pub(super) enum Content<'a> {
    File(&'a BlobFile),
    Bytes(Bytes, Digest),
}

impl Content<'_> {
    fn digest(&self) -> &Digest {
        match self {
            Self::File(blob) => &blob.digest,
            Self::Bytes(_, digest) => digest,
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::File(blob) => blob.size,
            Self::Bytes(bytes, _) => bytes.len() as u64,
        }
    }

    /// `length` bytes from `offset`, which lie within the content.
    fn part(&self, offset: u64, length: u64) -> Payload {
        match self {
            Self::File(blob) => Payload::File { path: blob.path.clone(), offset, length },
            Self::Bytes(bytes, _) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
                Payload::Bytes(bytes.slice(start..end.min(bytes.len())))
            }
        }
    }

    /// Compares the file with its description before anything is sent.
    async fn check(&self) -> Result<(), RegistryError> {
        let Self::File(blob) = self else { return Ok(()) };
        let found = tokio::fs::metadata(&blob.path).await;
        let actual = found.map_err(|error| RegistryError::io(&blob.path, error))?.len();
        if actual == blob.size {
            return Ok(());
        }
        let what = blob.path.display().to_string();
        Err(RegistryError::SizeMismatch { what, expected: blob.size, actual })
    }
}

pub(super) async fn exists(
    wire: &Wire,
    place: &Place,
    digest: &Digest,
) -> Result<bool, RegistryError> {
    let call = Call::new(place, Method::HEAD, place.url(&format!("blobs/{digest}")));
    let response = wire.request(&call).await?;
    match response.status() {
        StatusCode::OK if answer::is_html(response.headers()) => {
            Err(place.garbage(&response, "an HTML page"))
        }
        StatusCode::OK => Ok(true),
        StatusCode::NOT_FOUND => Ok(false),
        _ => Err(answer::refuse(place, response).await),
    }
}

pub(super) async fn push(
    wire: &Wire,
    place: &Place,
    content: &Content<'_>,
    mount_from: &[Repository],
) -> Result<Pushed, RegistryError> {
    content.check().await?;
    if exists(wire, place, content.digest()).await? {
        return Ok(Pushed::Existed);
    }
    let session = match mount(wire, place, content.digest(), mount_from).await? {
        Started::Mounted => return Ok(Pushed::Mounted),
        Started::Session(location) => Some(location),
        Started::Nothing => None,
    };
    let mut upload =
        Upload { wire, place, content, session, sent: 0, furthest: 0, chunk: u64::MAX };
    upload.run().await?;
    Ok(Pushed::Uploaded)
}

pub(super) async fn mount_or_has(
    wire: &Wire,
    place: &Place,
    digest: &Digest,
    from: &[Repository],
) -> Result<bool, RegistryError> {
    if exists(wire, place, digest).await? {
        return Ok(true);
    }
    match mount(wire, place, digest, from).await? {
        Started::Mounted => Ok(true),
        Started::Nothing => Ok(false),
        Started::Session(location) => {
            cancel(wire, place, location).await;
            Ok(false)
        }
    }
}

pub(super) async fn check(wire: &Wire, place: &Place) -> Result<(), RegistryError> {
    if let Started::Session(location) = start(wire, place, None).await? {
        cancel(wire, place, location).await;
    }
    Ok(())
}

/// What became of starting an upload.
pub(super) enum Started {
    Mounted,
    /// An open upload, and where it goes on.
    Session(Url),
    Nothing,
}

/// Tries to mount from each candidate of the same registry. A refusal only means that it cannot be
/// mounted from there; an upload that the registry opened instead is kept.
async fn mount(
    wire: &Wire,
    place: &Place,
    digest: &Digest,
    from: &[Repository],
) -> Result<Started, RegistryError> {
    let own = canonical_host(&place.repository.registry);
    let mut opened = Started::Nothing;
    for source in from.iter().filter(|source| canonical_host(&source.registry) == own) {
        if source.path == place.repository.path {
            continue;
        }
        match start(wire, place, Some((digest, &source.path))).await {
            Ok(Started::Mounted) => {
                if let Started::Session(location) = opened {
                    cancel(wire, place, location).await;
                }
                return Ok(Started::Mounted);
            }
            Ok(Started::Session(location)) => {
                if let Started::Session(older) = opened {
                    cancel(wire, place, older).await;
                }
                opened = Started::Session(location);
            }
            Ok(Started::Nothing) => {}
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => tracing::debug!(%source, %digest, %error, "not mounted"),
        }
    }
    Ok(opened)
}

async fn start(
    wire: &Wire,
    place: &Place,
    mount: Option<(&Digest, &str)>,
) -> Result<Started, RegistryError> {
    let mut attempts = place.attempts();
    loop {
        match start_once(wire, place, mount).await {
            Ok(started) => return Ok(started),
            Err(error) => attempts.after(error).await?,
        }
    }
}

pub(super) async fn start_once(
    wire: &Wire,
    place: &Place,
    mount: Option<(&Digest, &str)>,
) -> Result<Started, RegistryError> {
    let mut url = place.url("blobs/uploads/");
    if let Some((digest, from)) = mount {
        let digest = digest.to_string();
        url.query_pairs_mut().append_pair("mount", &digest).append_pair("from", from);
    }
    let call = Call::new(place, Method::POST, url)
        .payload(Payload::Bytes(Bytes::new()))
        .mount_from(mount.map(|(_, from)| from));
    let response = wire.send(&call).await?;
    match response.status() {
        StatusCode::CREATED if mount.is_some() => Ok(Started::Mounted),
        StatusCode::ACCEPTED => Ok(Started::Session(next_location(place, &response)?)),
        _ => Err(answer::refuse(place, response).await),
    }
}

/// Gives an upload up; if that fails the registry cleans up itself some day.
pub(super) async fn cancel(wire: &Wire, place: &Place, location: Url) {
    match wire.send(&Call::new(place, Method::DELETE, location)).await {
        Ok(response) => tracing::debug!(status = %response.status(), "upload cancelled"),
        Err(error) => tracing::debug!(%error, "upload not cancelled"),
    }
}

pub(super) fn next_location(place: &Place, response: &Response) -> Result<Url, RegistryError> {
    response
        .headers()
        .get(LOCATION)
        .and_then(|header| location::resolve(response.url(), header.to_str().ok()?))
        .ok_or_else(|| place.garbage(response, "no usable Location of the upload"))
}

/// Ends an upload with the `rest` of its bytes.
pub(super) async fn commit(
    wire: &Wire,
    place: &Place,
    mut location: Url,
    digest: &Digest,
    rest: Payload,
) -> Result<(), RegistryError> {
    location.query_pairs_mut().append_pair("digest", &digest.to_string());
    let call = Call::new(place, Method::PUT, location)
        .header(CONTENT_TYPE, OCTETS)
        .payload(rest)
        .patience(COMMIT_PATIENCE);
    let response = wire.send(&call).await?;
    match response.status().as_u16() {
        201 | 204 => Ok(()),
        _ => Err(answer::refuse(place, response).await),
    }
}

/// Asks how far the registry got with an upload, and where it goes on; `None` when it does not
/// know or say.
pub(super) async fn status(wire: &Wire, place: &Place, location: Url) -> Option<(Url, u64)> {
    match wire.send(&Call::new(place, Method::GET, location.clone())).await {
        Ok(response) if matches!(response.status().as_u16(), 200 | 202 | 204) => {
            let taken = received(&response)?;
            Some((next_location(place, &response).unwrap_or(location), taken))
        }
        Ok(response) => {
            tracing::debug!(status = %response.status(), "the upload's status is not known");
            None
        }
        Err(error) => {
            tracing::debug!(%error, "the upload's status is not known");
            None
        }
    }
}

/// One blob on its way.
struct Upload<'a> {
    wire: &'a Wire,
    place: &'a Place,
    content: &'a Content<'a>,
    session: Option<Url>,
    /// How many bytes the registry has confirmed in this session.
    sent: u64,
    furthest: u64,
    chunk: u64,
}

impl Upload<'_> {
    async fn run(&mut self) -> Result<(), RegistryError> {
        let mut attempts = self.place.attempts();
        let mut restarts = 0;
        while let Err(error) = self.attempt().await {
            if self.sent > self.furthest {
                self.furthest = self.sent;
                attempts.progressed();
            }
            let open = self.session.is_some();
            if open && is_too_large(&error) && self.chunk > SMALL_CHUNK {
                self.chunk = SMALL_CHUNK;
                self.forget();
            } else if open && is_lost_session(&error) && restarts < MAX_RESTARTS {
                restarts += 1;
                self.forget();
            } else {
                attempts.after(error).await?;
                self.recover().await;
            }
            // What broke may have been the answer only.
            if self.session.is_none()
                && exists(self.wire, self.place, self.content.digest()).await?
            {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn attempt(&mut self) -> Result<(), RegistryError> {
        let location = match self.session.clone() {
            Some(location) => location,
            None => match start_once(self.wire, self.place, None).await? {
                Started::Session(location) => location,
                Started::Mounted | Started::Nothing => return Ok(()),
            },
        };
        self.session = Some(location.clone());
        let size = self.content.size();
        let whole = self.sent == 0 && size <= MAX_MONOLITHIC.min(self.chunk);
        if whole {
            return self.commit(location, self.content.part(0, size)).await;
        }
        let mut location = location;
        while self.sent < size {
            location = self.patch(location, size).await?;
            self.session = Some(location.clone());
        }
        self.commit(location, Payload::Bytes(Bytes::new())).await
    }

    /// Sends the next chunk. `Content-Range` is sent only when there is more than one, for not all
    /// registries know it.
    async fn patch(&mut self, location: Url, size: u64) -> Result<Url, RegistryError> {
        let length = (size - self.sent).min(self.chunk);
        let end = self.sent + length;
        let mut call = Call::new(self.place, Method::PATCH, location.clone())
            .header(CONTENT_TYPE, OCTETS)
            .payload(self.content.part(self.sent, length))
            .patience(COMMIT_PATIENCE);
        if length < size {
            call = call.header(CONTENT_RANGE, &format!("{}-{}", self.sent, end - 1));
        }
        let response = self.wire.send(&call).await?;
        if !matches!(response.status().as_u16(), 201 | 202 | 204) {
            return Err(answer::refuse(self.place, response).await);
        }
        self.sent = received(&response).filter(|taken| *taken <= end).unwrap_or(end);
        Ok(next_location(self.place, &response).unwrap_or(location))
    }

    async fn commit(&mut self, location: Url, rest: Payload) -> Result<(), RegistryError> {
        commit(self.wire, self.place, location, self.content.digest(), rest).await
    }

    /// After a failure: asks how far the registry got, or gives the session up.
    async fn recover(&mut self) {
        let size = self.content.size();
        let location = self.session.take().filter(|_| size > MAX_MONOLITHIC);
        self.forget();
        if let Some(location) = location {
            let known = status(self.wire, self.place, location).await;
            if let Some((location, taken)) = known.filter(|(_, taken)| *taken <= size) {
                (self.session, self.sent) = (Some(location), taken);
            }
        }
    }

    fn forget(&mut self) {
        self.session = None;
        self.sent = 0;
    }
}

/// How many bytes the registry has, by `Range: 0-END`. `0-0` means none: registries send it for
/// an empty upload, and whoever has one byte answers the next chunk with a range error.
pub(super) fn received(response: &Response) -> Option<u64> {
    range_length(response.headers().get(RANGE)?.to_str().ok()?)
}

fn range_length(range: &str) -> Option<u64> {
    let range = range.trim();
    let (start, end) = range.strip_prefix("bytes=").unwrap_or(range).split_once('-')?;
    match (start.parse::<u64>().ok()?, end.parse::<u64>().ok()?) {
        (0, 0) => Some(0),
        (0, end) => end.checked_add(1),
        _ => None,
    }
}

pub(super) fn is_too_large(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Refused { answer, .. } if answer.status == 413)
        || matches!(error, RegistryError::Garbage { status: 413, .. })
}

/// Whether the upload cannot go on but a new one may succeed.
pub(super) fn is_lost_session(error: &RegistryError) -> bool {
    const CODES: [&str; 3] = ["BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "RANGE_INVALID"];
    match error {
        RegistryError::Refused { answer, .. } => {
            matches!(answer.status, 404 | 410 | 416) || answer.has_code(&CODES)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_tell_how_much_was_received() {
        for (range, length) in [
            ("0-0", Some(0)),
            ("0-99", Some(100)),
            ("bytes=0-99", Some(100)),
            ("5-99", None),
            ("0--1", None),
            ("", None),
            ("0-18446744073709551615", None),
        ] {
            assert_eq!(range_length(range), length, "{range}");
        }
    }

    #[test]
    fn parts_of_bytes_stay_within_them() {
        let content =
            Content::Bytes(Bytes::from_static(b"hello"), crate::hashing::sha256(b"hello"));
        for (offset, length, part) in [(0, 5, "hello"), (3, 9, "lo"), (9, 1, "")] {
            let Payload::Bytes(bytes) = content.part(offset, length) else { panic!("not bytes") };
            assert_eq!(bytes, part.as_bytes());
        }
    }
}
