//! A connection to a git server, whichever way it is reached: packets come, messages go.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::address::Way;
use super::http::WebLink;
use super::packets::{FLUSH, PATIENCE, Packets};
use super::ssh::SshProgram;
use super::{ClientError, Credentials, RemoteAddress, RemoteError, daemon, ssh};

/// What connections are made with.
pub struct Doors<'a> {
    /// Gives the HTTP client for a host (with its port).
    pub client: &'a (dyn Fn(&str) -> Result<reqwest::Client, ClientError> + Send + Sync),
    /// The whole environment of `ssh`.
    pub ssh_environment: &'a BTreeMap<String, String>,
}

impl fmt::Debug for Doors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").finish_non_exhaustive()
    }
}

/// A connection to one repository.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) place: String,
    pub(super) packets: Packets,
    link: Link,
    program: Option<SshProgram>,
}

/// How messages go.
enum Link {
    /// Each in a request of its own.
    Web(WebLink),
    /// One after the other.
    Stream(Pin<Box<dyn AsyncWrite + Send>>),
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Web(_) => "Web",
            Self::Stream(_) => "Stream",
        })
    }
}

impl Connection {
    /// Reaches the server; its first packets are what it can do.
    pub(super) async fn open(
        address: &RemoteAddress,
        credentials: Option<&Credentials>,
        doors: &Doors<'_>,
    ) -> Result<Self, RemoteError> {
        let place = address.to_string();
        let (packets, link, program) = match &address.way {
            Way::Http(url) => {
                let (link, packets) = WebLink::open(url, &place, credentials, doors).await?;
                (packets, Link::Web(link), None)
            }
            Way::Daemon { host, port, path } => {
                let (reader, writer) = daemon::connect(host, *port, path, &place).await?;
                (Packets::new(reader, &place), Link::Stream(Box::pin(writer)), None)
            }
            Way::Ssh { user, host, port, path } => {
                let login = ssh::Login { user: user.as_deref(), host, port: *port };
                let (program, reader, writer) =
                    SshProgram::start(&login, path, &place, doors.ssh_environment)?;
                (Packets::new(reader, &place), Link::Stream(Box::pin(writer)), Some(program))
            }
        };
        Ok(Self { place, packets, link, program })
    }

    /// Sends a message; the packets that come next are its answer.
    pub(super) async fn send(&mut self, message: Vec<u8>) -> Result<(), RemoteError> {
        match &mut self.link {
            Link::Web(link) => self.packets = link.post(message).await?,
            Link::Stream(writer) => {
                let sent = async {
                    writer.write_all(&message).await?;
                    writer.flush().await
                };
                let sent = tokio::time::timeout(PATIENCE, sent).await;
                let place = self.place.clone();
                sent.map_err(|_| RemoteError::Stalled {
                    place: place.clone(),
                    seconds: PATIENCE.as_secs(),
                })?
                // Why it is closed shows in what was said last.
                .map_err(|_| RemoteError::Broken { place, detail: String::new() })?;
            }
        }
        Ok(())
    }

    /// Says goodbye.
    pub(super) async fn end(mut self) {
        if let Link::Stream(writer) = &mut self.link {
            // Everything is here; a server that is gone already is no failure.
            let _ = writer.write_all(FLUSH).await;
        }
    }

    /// Puts what the program that carries the connection said into an error.
    pub(super) async fn explain(self, error: RemoteError) -> RemoteError {
        let RemoteError::Broken { place, .. } = &error else { return error };
        let Self { program: Some(program), link, packets, .. } = self else { return error };
        drop((link, packets));
        ssh::reason(place.clone(), &program.last_words().await)
    }
}
