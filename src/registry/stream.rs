//! Putting a blob while it is made (the spec, "Pushing a blob in chunks").
//!
//! Neither size nor digest is known before the end, so nothing can be looked up or mounted first.
//! The blob goes as one PATCH of unknown length, as Docker sends its layers, and only once it is
//! larger than what a single PUT takes. When that breaks, the registry is asked how far it got and
//! the rest follows in chunks of known extent, so that bytes which were still on their way are
//! noticed; chunks are also what a registry or proxy gets that refuses a body of unknown length.
//! In the end the registry is asked for the digest: what it has already is not committed again.
//!
//! Invariant: the digest that commits the upload is the writer's, so a registry that verifies it
//! never takes a stream that broke for a blob.

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE};
use reqwest::{Method, Url};

use super::transport::{COMMIT_PATIENCE, Call, Payload, Place, Wire};
use super::upload::{
    MAX_MONOLITHIC, MAX_RESTARTS, OCTETS, SMALL_CHUNK, Started, cancel, commit, exists,
    is_lost_session, is_too_large, next_location, received, start_once, status,
};
use super::{Pushed, RegistryError, answer};
use crate::model::Digest;
use crate::ring::RingReader;

/// The body has no length, and the server wants one (RFC 9110, section 15.5.12).
const LENGTH_REQUIRED: u16 = 411;

/// A blob on its way.
struct Streaming<'a> {
    wire: &'a Wire,
    place: &'a Place,
    reader: RingReader,
    session: Option<Url>,
    /// How many bytes the registry has confirmed in this session.
    sent: u64,
    /// Whether the rest goes in chunks.
    in_chunks: bool,
}

pub(super) async fn stream(
    wire: &Wire,
    place: &Place,
    reader: RingReader,
) -> Result<Option<Pushed>, RegistryError> {
    if !reader.reaches(MAX_MONOLITHIC + 1).await {
        return Ok(None);
    }
    let mut streaming = Streaming { wire, place, reader, session: None, sent: 0, in_chunks: false };
    let pushed = streaming.run().await;
    if !matches!(pushed, Ok(Some(Pushed::Uploaded)))
        && let Some(location) = streaming.session
    {
        cancel(wire, place, location).await;
    }
    pushed
}

impl Streaming<'_> {
    async fn run(&mut self) -> Result<Option<Pushed>, RegistryError> {
        let mut attempts = self.place.attempts();
        let (mut restarts, mut furthest) = (0, 0);
        while let Err(error) = self.send().await {
            if self.reader.is_abandoned() {
                return Ok(None);
            }
            if self.sent > furthest {
                furthest = self.sent;
                attempts.progressed();
            }
            let reason = error.to_string();
            if self.wants_chunks(&error) {
                self.forget().await;
            } else if is_lost_session(&error) && restarts < MAX_RESTARTS {
                restarts += 1;
                self.forget().await;
            } else {
                attempts.after(error).await?;
                self.recover().await;
            }
            self.in_chunks = true;
            if !self.reader.rewind(self.sent) {
                let (host, action) = (self.place.host(), self.place.action());
                return Err(RegistryError::Broken { host, action, reason });
            }
        }
        match self.reader.completed() {
            Some((digest, _)) => self.commit(&digest).await.map(Some),
            None => Ok(None),
        }
    }

    /// Sends everything that is not there yet.
    async fn send(&mut self) -> Result<(), RegistryError> {
        if self.session.is_none()
            && let Started::Session(location) = start_once(self.wire, self.place, None).await?
        {
            self.session = Some(location);
        }
        loop {
            let length = match self.in_chunks {
                true => {
                    self.reader.reaches(self.sent.saturating_add(SMALL_CHUNK)).await;
                    Some((self.reader.written() - self.sent).min(SMALL_CHUNK))
                }
                false => None,
            };
            let all = self.reader.completed().is_some_and(|(_, size)| size == self.sent);
            if all || self.reader.is_abandoned() {
                return Ok(());
            }
            self.patch(length).await?;
        }
    }

    async fn patch(&mut self, length: Option<u64>) -> Result<(), RegistryError> {
        let Some(location) = self.session.clone() else { return Ok(()) };
        let payload = Payload::Ring { reader: self.reader.clone(), offset: self.sent, length };
        let mut call = Call::new(self.place, Method::PATCH, location.clone())
            .header(CONTENT_TYPE, OCTETS)
            .payload(payload)
            .patience(COMMIT_PATIENCE);
        if let Some(length) = length {
            let range = format!("{}-{}", self.sent, self.sent + length - 1);
            call = call.header(CONTENT_RANGE, &range);
        }
        let response = self.wire.send(&call).await?;
        if !matches!(response.status().as_u16(), 201 | 202 | 204) {
            return Err(answer::refuse(self.place, response).await);
        }
        let end = match (length, self.reader.completed()) {
            (Some(length), _) => self.sent + length,
            (None, Some((_, size))) => size,
            (None, None) => {
                let reason = "the end of an upload that has not ended";
                return Err(self.place.garbage(&response, reason));
            }
        };
        let taken = received(&response).filter(|taken| (self.sent + 1..=end).contains(taken));
        self.session = Some(next_location(self.place, &response).unwrap_or(location));
        // What follows an answer that took less than was sent has to have a known extent.
        self.in_chunks |= taken.is_some_and(|taken| taken < end);
        self.sent = taken.unwrap_or(end);
        Ok(())
    }

    async fn commit(&self, digest: &Digest) -> Result<Pushed, RegistryError> {
        let mut attempts = self.place.attempts();
        if exists(self.wire, self.place, digest).await? {
            return Ok(Pushed::Existed);
        }
        while let Some(location) = self.session.clone() {
            let rest = Payload::Bytes(Bytes::new());
            match commit(self.wire, self.place, location, digest, rest).await {
                Ok(()) => break,
                Err(error) => attempts.after(error).await?,
            }
            // What broke may have been the answer only.
            if exists(self.wire, self.place, digest).await? {
                break;
            }
        }
        Ok(Pushed::Uploaded)
    }

    fn wants_chunks(&self, error: &RegistryError) -> bool {
        let length_required = matches!(error, RegistryError::Refused { answer, .. }
            if answer.status == LENGTH_REQUIRED);
        !self.in_chunks && (length_required || is_too_large(error))
    }

    /// After a failure: asks how far the registry got, or gives the session up.
    async fn recover(&mut self) {
        let Some(location) = self.session.clone() else { return };
        let written = self.reader.written();
        match status(self.wire, self.place, location).await {
            Some((location, taken)) if taken <= written => {
                (self.session, self.sent) = (Some(location), taken);
            }
            _ => self.forget().await,
        }
    }

    async fn forget(&mut self) {
        if let Some(location) = self.session.take() {
            cancel(self.wire, self.place, location).await;
        }
        self.sent = 0;
    }
}
