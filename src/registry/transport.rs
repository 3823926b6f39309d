//! One HTTP exchange with a registry: client choice, redirects, authorization, idle limits.
//!
//! Authorization is sent to the registry's own origin only. Redirects are followed here and not in
//! the HTTP library, because each host has its own TLS settings and because a redirect from HTTPS
//! to plain HTTP is refused unless the target may be insecure.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, LOCATION};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::auth::{Auth, Ticket};
use super::credentials::Proof;
use super::error::is_transient_status;
use super::keyring::{Keyring, Login};
use super::retry::{Attempts, Schedule};
use super::tls::Clients;
use super::{NetworkError, RegistryError, RegistryOptions, Side, answer, location};
use crate::model::Repository;
use crate::ring::RingReader;

/// How long the other side may be silent.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// The same while a registry moves a finished upload to its place, which takes object stores long.
pub(super) const COMMIT_PATIENCE: Duration = Duration::from_secs(300);
const MAX_REDIRECTS: usize = 5;
const PIECE: usize = 256 * 1024;

/// Everything a request needs besides itself.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) options: RegistryOptions,
    pub(super) clients: Clients,
    pub(super) keyring: Keyring,
    pub(super) auth: Auth,
}

/// A repository as it is reached: its address, credentials and patience.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) repository: Repository,
    pub(super) side: Side,
    /// The registry's root, as in `https://reg.example/`.
    pub(super) root: Url,
    pub(super) login: Option<Login>,
    pub(super) schedule: Schedule,
}

/// A request to a registry, which can be sent any number of times.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) place: &'a Place,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload,
    /// A repository of the same registry whose pull right is needed too.
    pub(super) mount_from: Option<&'a str>,
    pub(super) patience: Duration,
}

/// A request's body.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    Empty,
    Bytes(Bytes),
    /// A part of a file, streamed from disk.
    File {
        path: PathBuf,
        offset: u64,
        length: u64,
    },
    /// A part of what is still being written, or all the rest, whose length is not known yet.
    Ring {
        reader: RingReader,
        offset: u64,
        length: Option<u64>,
    },
}

impl Place {
    /// The URL of `tail` below the repository.
    pub(super) fn url(&self, tail: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(&format!("/v2/{}/{tail}", self.repository.path));
        url
    }

    pub(super) fn host(&self) -> String {
        location::authority(&self.root)
    }

    /// What errors call the work.
    pub(super) fn action(&self) -> String {
        let verb = match self.side {
            Side::Pull => "pull from",
            Side::Push => "push to",
        };
        format!("{verb} {}", self.repository)
    }

    /// Where the credentials come from, as errors say it.
    pub(super) fn credentials(&self) -> String {
        match &self.login {
            Some(Login { origin, .. }) => format!("with the credentials from {origin}"),
            None => "without credentials".to_owned(),
        }
    }

    /// The error of a host that wants other or more rights (status 401, else 403); where a
    /// credential helper would have been needed, the error says so.
    pub(super) fn unauthorized(&self, host: String, status: u16, detail: String) -> RegistryError {
        if let Some(Login { proof: Proof::Helper(helper), origin }) = &self.login {
            let (helper, origin) = (helper.clone(), origin.clone());
            return RegistryError::Helper { host: self.host(), helper, origin };
        }
        let (action, credentials) = (self.action(), self.credentials());
        match status {
            401 => RegistryError::Unauthorized { host, action, credentials, detail },
            _ => RegistryError::Denied { host, action, credentials, detail },
        }
    }

    pub(super) fn attempts(&self) -> Attempts {
        self.schedule.attempts()
    }

    pub(super) fn garbage(&self, response: &Response, reason: &str) -> RegistryError {
        RegistryError::Garbage {
            place: location::shown(response.url()),
            status: response.status().as_u16(),
            reason: reason.to_owned(),
        }
    }
}

impl<'a> Call<'a> {
    pub(super) fn new(place: &'a Place, method: Method, url: Url) -> Self {
        let headers = HeaderMap::new();
        let payload = Payload::Empty;
        Self { place, method, url, headers, payload, mount_from: None, patience: PATIENCE }
    }

    /// Adds a header whose value is known to be valid (digests, numbers, media types).
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        match value.parse() {
            Ok(value) => drop(self.headers.append(name, value)),
            Err(error) => tracing::debug!(%error, %name, "a header is left out"),
        }
        self
    }

    pub(super) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    pub(super) fn mount_from(mut self, path: Option<&'a str>) -> Self {
        self.mount_from = path;
        self
    }

    pub(super) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl Wire {
    /// Sends a call, again after passing failures; gives back any other answer but 401.
    pub(super) async fn request(&self, call: &Call<'_>) -> Result<Response, RegistryError> {
        let mut attempts = call.place.attempts();
        loop {
            let error = match self.send(call).await {
                Ok(response) if !is_transient_status(response.status().as_u16()) => {
                    return Ok(response);
                }
                Ok(response) => answer::refuse(call.place, response).await,
                Err(error) => error,
            };
            attempts.after(error).await?;
        }
    }

    /// Sends a call once, and once more with fresh authorization if the registry asks for it.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Response, RegistryError> {
        let ticket = self.auth.ticket(self, call).await?;
        let response = self.exchange(call, ticket.as_ref()).await?;
        if !challenged(call, &response) {
            return Ok(response);
        }
        let fresh = self.auth.renew(self, call, response, ticket).await?;
        let response = self.exchange(call, Some(&fresh)).await?;
        if challenged(call, &response) {
            return Err(answer::refuse(call.place, response).await);
        }
        Ok(response)
    }

    /// Sends a call and follows redirects.
    pub(super) async fn exchange(
        &self,
        call: &Call<'_>,
        ticket: Option<&Ticket>,
    ) -> Result<Response, RegistryError> {
        let mut url = call.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let client =
                self.clients.get(&self.options, &location::authority(&url), call.place.side)?;
            let mut request =
                client.request(call.method.clone(), url.clone()).headers(call.headers.clone());
            if let Some(ticket) = ticket.filter(|_| url.origin() == call.place.root.origin()) {
                request = request.header(AUTHORIZATION, ticket.header());
            }
            let (request, progress) = attach(request, &call.payload).await?;
            let response = self.answer(call, &url, request, &progress).await?;
            let Some(next) = redirect(call, &response) else { return Ok(response) };
            self.check_redirect(call.place, &response, &next)?;
            url = next;
        }
        Err(RegistryError::Garbage {
            place: location::shown(&call.url),
            status: StatusCode::FOUND.as_u16(),
            reason: format!("more than {MAX_REDIRECTS} redirects"),
        })
    }

    /// Waits for the head of an answer as long as bytes are still going out.
    async fn answer(
        &self,
        call: &Call<'_>,
        url: &Url,
        request: RequestBuilder,
        progress: &AtomicU64,
    ) -> Result<Response, RegistryError> {
        let mut sending = pin!(request.send());
        let mut seen = progress.load(Ordering::Relaxed);
        loop {
            match tokio::time::timeout(call.patience, &mut sending).await {
                Ok(Ok(response)) => {
                    let status = response.status().as_u16();
                    tracing::debug!(method = %call.method, at = %location::shown(url), status);
                    return Ok(response);
                }
                Ok(Err(error)) => return Err(network(call.place, url, error)),
                Err(_) => {
                    let now = progress.load(Ordering::Relaxed);
                    if now == seen {
                        return Err(stalled(call.place, url, call.patience));
                    }
                    seen = now;
                }
            }
        }
    }

    fn check_redirect(
        &self,
        place: &Place,
        response: &Response,
        next: &Url,
    ) -> Result<(), RegistryError> {
        let downgraded = response.url().scheme() == "https" && next.scheme() == "http";
        if downgraded && !self.may_be_insecure(&location::authority(next), place.side) {
            let reason = format!("a redirect from https to http ({})", location::shown(next));
            return Err(place.garbage(response, &reason));
        }
        Ok(())
    }
}

/// Turns the HTTP library's error into ours.
pub(super) fn network(place: &Place, url: &Url, error: reqwest::Error) -> RegistryError {
    let host = location::authority(url);
    let source = NetworkError::new(error);
    if source.is_certificate() {
        return RegistryError::Untrusted { host, source };
    }
    RegistryError::Unreachable { host, action: place.action(), source }
}

/// The error of a host that says nothing.
pub(super) fn stalled(place: &Place, url: &Url, patience: Duration) -> RegistryError {
    let host = location::authority(url);
    RegistryError::Stalled { host, action: place.action(), seconds: patience.as_secs() }
}

/// Whether the registry itself (not a host it redirected to) asks for authorization.
fn challenged(call: &Call<'_>, response: &Response) -> bool {
    response.status() == StatusCode::UNAUTHORIZED
        && response.url().origin() == call.place.root.origin()
}

/// Where a redirect leads, if the answer is one that this method may follow: 307 and 308 keep the
/// method; the others change it and are followed for GET and HEAD only.
fn redirect(call: &Call<'_>, response: &Response) -> Option<Url> {
    let follows = match response.status().as_u16() {
        307 | 308 => true,
        301..=303 => matches!(call.method, Method::GET | Method::HEAD),
        _ => false,
    };
    let target = response.headers().get(LOCATION).filter(|_| follows)?;
    location::resolve(response.url(), target.to_str().ok()?)
}

/// Adds the body, and the counter of the pieces that were taken from it.
async fn attach(
    request: RequestBuilder,
    payload: &Payload,
) -> Result<(RequestBuilder, Arc<AtomicU64>), RegistryError> {
    let progress = Arc::new(AtomicU64::new(0));
    let request = match payload {
        Payload::Empty => request,
        Payload::Bytes(bytes) => request.body(bytes.clone()),
        Payload::File { path, offset, length } => {
            let failed = |error| RegistryError::io(path, error);
            let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
            file.seek(std::io::SeekFrom::Start(*offset)).await.map_err(failed)?;
            let taken = Arc::clone(&progress);
            let pieces =
                ReaderStream::with_capacity(file.take(*length), PIECE).inspect(move |_| {
                    taken.fetch_add(1, Ordering::Relaxed);
                });
            request.header(CONTENT_LENGTH, *length).body(reqwest::Body::wrap_stream(pieces))
        }
        Payload::Ring { reader, offset, length } => {
            let taken = Arc::clone(&progress);
            let pieces = reader.pieces(*offset, *length).inspect(move |_| {
                taken.fetch_add(1, Ordering::Relaxed);
            });
            let body = reqwest::Body::wrap_stream(pieces);
            match length {
                Some(length) => request.header(CONTENT_LENGTH, *length).body(body),
                None => request.body(body),
            }
        }
    };
    Ok((request, progress))
}
