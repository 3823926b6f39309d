//! The smart HTTP protocol (git's "protocol-http"): what the server can do is asked for by GET,
//! and every message goes by POST.
//!
//! The GET may be redirected, and what comes after goes where it led; credentials go to the origin
//! of the address alone. A redirect from HTTPS to HTTP is refused, and so is one of a POST.

use std::io;

use futures_util::TryStreamExt as _;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use tokio_util::io::StreamReader;

use super::address::authority;
use super::connection::Doors;
use super::packets::{PATIENCE, Packets};
use super::{Credentials, RemoteError};

const MAX_REDIRECTS: usize = 5;
/// What the GET asks for, below the repository.
const INFO: &str = "/info/refs";
const SERVICE: &str = "git-upload-pack";
const ADVERTISEMENT: &str = "application/x-git-upload-pack-advertisement";
const REQUEST: &str = "application/x-git-upload-pack-request";
const RESULT: &str = "application/x-git-upload-pack-result";

/// Where messages go.
pub(super) struct WebLink {
    client: Client,
    /// The repository, where redirects led.
    base: Url,
    place: String,
    /// The value of the header and what messages call it.
    authorization: Option<String>,
    with: String,
}

impl WebLink {
    /// Asks the server what it can do; the packets are its answer.
    pub(super) async fn open(
        address: &Url,
        place: &str,
        credentials: Option<&Credentials>,
        doors: &Doors<'_>,
    ) -> Result<(Self, Packets), RemoteError> {
        let mut url = below(address, INFO);
        url.set_query(Some("service=git-upload-pack"));
        let with = match credentials {
            Some(credentials) => format!("with the credentials from {}", credentials.origin()),
            None => "without credentials".to_owned(),
        };
        let mut link = Self {
            client: client(&url, place, doors)?,
            base: address.clone(),
            place: place.to_owned(),
            authorization: credentials.map(Credentials::header),
            with,
        };
        for _ in 0..=MAX_REDIRECTS {
            let request = link.client.get(url.clone()).header(ACCEPT, ADVERTISEMENT);
            let response = link.exchange(request, &url, address).await?;
            let Some(next) = link.redirect(&url, &response)? else {
                link.check(&response, ADVERTISEMENT)?;
                link.base = link.base_of(&url)?;
                if link.base.origin() != address.origin() {
                    link.authorization = None;
                }
                let packets = link.packets(response);
                return Ok((link, packets));
            };
            link.client = client(&next, place, doors)?;
            url = next;
        }
        Err(link.garbage(format!("it redirects more than {MAX_REDIRECTS} times")))
    }

    /// Sends a message; the packets are its answer.
    pub(super) async fn post(&self, message: Vec<u8>) -> Result<Packets, RemoteError> {
        let url = below(&self.base, &format!("/{SERVICE}"));
        let request = self.client.post(url.clone()).header(CONTENT_TYPE, REQUEST);
        let request = request.header(ACCEPT, RESULT).body(message);
        let response = self.exchange(request, &url, &self.base).await?;
        self.check(&response, RESULT)?;
        Ok(self.packets(response))
    }

    /// Sends a request; credentials go with it if `url` is of the origin of `home`.
    async fn exchange(
        &self,
        request: RequestBuilder,
        url: &Url,
        home: &Url,
    ) -> Result<Response, RemoteError> {
        let mut request = request.header("Git-Protocol", "version=2");
        if let Some(value) = self.authorization.as_ref().filter(|_| url.origin() == home.origin()) {
            request = request.header(AUTHORIZATION, value);
        }
        let place = || self.place.clone();
        match tokio::time::timeout(PATIENCE, request.send()).await {
            Ok(Ok(response)) => {
                let status = response.status().as_u16();
                tracing::debug!(at = %authority(url), path = url.path(), status, "git over HTTP");
                Ok(response)
            }
            Ok(Err(error)) => {
                let source = Box::new(error.without_url());
                Err(RemoteError::Unreachable { place: place(), source })
            }
            Err(_) => Err(RemoteError::Stalled { place: place(), seconds: PATIENCE.as_secs() }),
        }
    }

    fn redirect(&self, from: &Url, response: &Response) -> Result<Option<Url>, RemoteError> {
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let target = target.and_then(|target| from.join(target).ok());
        let target = target.filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(mut target) = target else {
            return Err(self.garbage("it redirects to nowhere".to_owned()));
        };
        if from.scheme() == "https" && target.scheme() == "http" {
            return Err(self.garbage("it redirects from https to http".to_owned()));
        }
        // Whatever a server puts there, it is not who we are.
        if target.set_username("").and_then(|()| target.set_password(None)).is_err() {
            return Err(self.garbage("it redirects to nowhere".to_owned()));
        }
        Ok(Some(target))
    }

    /// The repository of a URL that ends as the first one did.
    fn base_of(&self, url: &Url) -> Result<Url, RemoteError> {
        let Some(path) = url.path().strip_suffix(INFO) else {
            return Err(self.garbage("it redirects to what is no repository".to_owned()));
        };
        let mut base = url.clone();
        base.set_path(path);
        base.set_query(None);
        base.set_fragment(None);
        Ok(base)
    }

    fn check(&self, response: &Response, content_type: &str) -> Result<(), RemoteError> {
        let place = self.place.clone();
        let status = response.status();
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let detail = format!("status {}", status.as_u16());
                let with = self.with.clone();
                return Err(RemoteError::Unauthorized { place, with, detail });
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                let detail = format!("status {}, asked {}", status.as_u16(), self.with);
                return Err(RemoteError::RepositoryNotFound { place, detail });
            }
            _ => {
                let detail = format!("status {}", status.as_u16());
                return Err(RemoteError::Refused { place, detail });
            }
        }
        let found = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        match found {
            Some(found) if found.eq_ignore_ascii_case(content_type) => Ok(()),
            _ => Err(self.garbage("what answers there is no git server".to_owned())),
        }
    }

    fn packets(&self, response: Response) -> Packets {
        let stream = response.bytes_stream();
        let stream = stream.map_err(|error| io::Error::other(error.without_url()));
        Packets::new(StreamReader::new(stream), &self.place)
    }

    fn garbage(&self, reason: String) -> RemoteError {
        RemoteError::Garbage { place: self.place.clone(), reason }
    }
}

fn client(url: &Url, place: &str, doors: &Doors<'_>) -> Result<Client, RemoteError> {
    let client = (doors.client)(&authority(url));
    client.map_err(|source| RemoteError::Client { place: place.to_owned(), source })
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}
