//! The conversation: what the server can do, which commit is meant, and the pack of that commit.
//!
//! Version 2 is git's "protocol-v2" (`ls-refs`, `fetch`); version 0 is "protocol-pack". Nothing is
//! offered that is had already, so there is no negotiation: one request, one pack.

use bytes::Bytes;
use tokio::sync::mpsc::Sender;

use super::connection::Connection;
use super::error::shown;
use super::packets::{DELIMITER, FLUSH, Packet, line};
use super::{RemoteError, Revision};

const AGENT: &str = concat!("agent=longshore/", env!("CARGO_PKG_VERSION"));
/// How many capabilities, or lines before a pack, are read.
const MOST_LINES: usize = 10_000;

/// What a server can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Server {
    /// Whether version 2 is spoken; version 0 otherwise.
    modern: bool,
    /// Whether it can leave history out.
    shallow: bool,
    /// Whether it wants to be told the format of ids.
    object_format: bool,
    /// Version 0: whether commits may be asked for that no reference names.
    any_commit: bool,
    /// Version 0: the rest of what was read and is used.
    offset_deltas: bool,
    quiet: bool,
}

/// What to look for among a server's references.
struct Search<'a> {
    names: Vec<String>,
    /// What was found under each name.
    found: Vec<Option<String>>,
    revision: &'a Revision,
    /// Whether a reference names the commit that is asked for.
    advertised: bool,
}

impl<'a> Search<'a> {
    fn new(revision: &'a Revision) -> Self {
        let names = match revision {
            Revision::Head => vec!["HEAD".to_owned()],
            Revision::Name(name) if name.starts_with("refs/") => vec![name.clone()],
            // git's own order ("gitrevisions").
            Revision::Name(name) => {
                ["refs/", "refs/tags/", "refs/heads/"].map(|place| format!("{place}{name}")).into()
            }
            Revision::Commit(_) => Vec::new(),
        };
        Self { found: vec![None; names.len()], names, revision, advertised: false }
    }

    fn see(&mut self, id: &str, name: &str) {
        if let Revision::Commit(commit) = self.revision {
            self.advertised |= commit == id;
        }
        if let Some(at) = self.names.iter().position(|wanted| wanted == name) {
            self.found[at] = Some(id.to_owned());
        }
    }

    /// The id to ask for.
    fn result(self, place: &str) -> Result<String, RemoteError> {
        let place = place.to_owned();
        match (self.found.into_iter().flatten().next(), self.revision) {
            (Some(id), _) => Ok(id),
            (None, Revision::Commit(id)) => Ok(id.clone()),
            (None, Revision::Head) => Err(RemoteError::NoCommit { place }),
            (None, Revision::Name(name)) => {
                Err(RemoteError::RefNotFound { place, name: name.clone() })
            }
        }
    }
}

/// Finds out what the server can do and the id of what is asked for.
pub(super) async fn find(
    connection: &mut Connection,
    revision: &Revision,
) -> Result<(Server, String), RemoteError> {
    let mut search = Search::new(revision);
    let mut first = connection.packets.line().await;
    if matches!(&first, Ok(Some(text)) if text.starts_with("# service=")) {
        // Servers of HTTP say first what was asked for.
        connection.packets.next().await?;
        first = connection.packets.line().await;
    }
    let server = match first?.as_deref() {
        Some("version 2") => {
            let server = capabilities(connection).await?;
            if !search.names.is_empty() {
                list(connection, &server, &mut search).await?;
            }
            server
        }
        Some("version 1") => {
            let next = connection.packets.line().await?;
            advertised(connection, next, &mut search).await?
        }
        other => {
            let other = other.map(str::to_owned);
            advertised(connection, other, &mut search).await?
        }
    };
    let advertised = search.advertised;
    let id = search.result(&connection.place)?;
    if !server.modern
        && matches!(revision, Revision::Commit(_))
        && !advertised
        && !server.any_commit
    {
        return Err(RemoteError::CommitRefused {
            place: connection.place.clone(),
            commit: id,
            reason: "it names no such branch or tag, and gives nothing else".to_owned(),
        });
    }
    Ok((server, id))
}

/// Reads the capabilities of version 2.
async fn capabilities(connection: &mut Connection) -> Result<Server, RemoteError> {
    let mut server = Server { modern: true, ..Server::default() };
    let mut fetches = false;
    for _ in 0..MOST_LINES {
        let Some(text) = connection.packets.line().await? else {
            let no_fetch = "it gives nothing away (no fetch)";
            return if fetches { Ok(server) } else { Err(connection.packets.garbage(no_fetch)) };
        };
        let (name, values) = text.split_once('=').unwrap_or((&text, ""));
        match name {
            "fetch" => {
                fetches = true;
                server.shallow = values.split(' ').any(|value| value == "shallow");
            }
            "object-format" if values == "sha1" => server.object_format = true,
            "object-format" => return Err(foreign_ids(connection)),
            _ => {}
        }
    }
    Err(connection.packets.garbage("it says more than a git server does"))
}

/// Asks for the references of version 2.
async fn list(
    connection: &mut Connection,
    server: &Server,
    search: &mut Search<'_>,
) -> Result<(), RemoteError> {
    let mut message = command(server, "ls-refs");
    for name in &search.names {
        message.extend(line(&format!("ref-prefix {name}")));
    }
    message.extend_from_slice(FLUSH);
    connection.send(message).await?;
    while let Some(text) = connection.packets.line().await? {
        let mut words = text.split(' ');
        if let (Some(id), Some(name)) = (words.next(), words.next())
            && is_id(id)
        {
            search.see(id, name);
        }
    }
    Ok(())
}

/// Reads the references of version 0, the first of which comes with the capabilities.
async fn advertised(
    connection: &mut Connection,
    first: Option<String>,
    search: &mut Search<'_>,
) -> Result<Server, RemoteError> {
    let Some(first) = first else {
        return Err(RemoteError::NoCommit { place: connection.place.clone() });
    };
    let (reference, capabilities) = first.split_once('\0').unwrap_or((&first, ""));
    let has = |name: &str| capabilities.split(' ').any(|capability| capability == name);
    let format = capabilities.split(' ').find_map(|one| one.strip_prefix("object-format="));
    if format.is_some_and(|format| format != "sha1") {
        return Err(foreign_ids(connection));
    }
    if !has("side-band-64k") {
        return Err(connection.packets.garbage("what it says is not git's protocol, or very old"));
    }
    let any = ["allow-tip-sha1-in-want", "allow-reachable-sha1-in-want"];
    let server = Server {
        shallow: has("shallow"),
        any_commit: any.iter().any(|name| has(name)),
        offset_deltas: has("ofs-delta"),
        quiet: has("no-progress"),
        ..Server::default()
    };
    let mut text = Some(reference.to_owned());
    while let Some(reference) = text {
        if let Some((id, name)) = reference.split_once(' ')
            && is_id(id)
        {
            search.see(id, name);
        }
        text = connection.packets.line().await?;
    }
    Ok(server)
}

/// Asks for the pack of one commit and hands its bytes on.
pub(super) async fn fetch(
    connection: &mut Connection,
    server: &Server,
    id: &str,
    pack: &Sender<Bytes>,
) -> Result<(), RemoteError> {
    let refused = |error| match error {
        RemoteError::Refused { place, detail } if detail.contains("not our ref") => {
            let reason = "it has no such commit, or does not give commits that it does not name";
            let commit = id.to_owned();
            RemoteError::CommitRefused { place, commit, reason: reason.to_owned() }
        }
        other => other,
    };
    let message = if server.modern { request(server, id) } else { old_request(server, id) };
    connection.send(message).await?;
    let start = if server.modern {
        until_pack(connection).await
    } else {
        old_start(connection, server).await
    };
    start.map_err(refused)?;
    receive(connection, pack).await.map_err(refused)
}

fn command(server: &Server, name: &str) -> Vec<u8> {
    let mut message = line(&format!("command={name}"));
    message.extend(line(AGENT));
    if server.object_format {
        message.extend(line("object-format=sha1"));
    }
    message.extend_from_slice(DELIMITER);
    message
}

fn request(server: &Server, id: &str) -> Vec<u8> {
    let mut message = command(server, "fetch");
    message.extend([line("no-progress"), line("ofs-delta")].concat());
    if server.shallow {
        message.extend(line("deepen 1"));
    }
    message.extend([line(&format!("want {id}")), line("done"), FLUSH.to_vec()].concat());
    message
}

fn old_request(server: &Server, id: &str) -> Vec<u8> {
    let mut want = format!("want {id} side-band-64k {AGENT}");
    for (name, is_there) in [("ofs-delta", server.offset_deltas), ("no-progress", server.quiet)] {
        if is_there {
            want = format!("{want} {name}");
        }
    }
    let mut message = line(&want);
    if server.shallow {
        message.extend(line("deepen 1"));
    }
    message.extend([FLUSH.to_vec(), line("done")].concat());
    message
}

/// Reads the sections of version 2 that come before the pack.
async fn until_pack(connection: &mut Connection) -> Result<(), RemoteError> {
    for _ in 0..MOST_LINES {
        match connection.packets.next().await? {
            Packet::Data(content) if content == b"packfile\n" => return Ok(()),
            // `shallow-info` says what is left out, which is known.
            Packet::Data(_) | Packet::Delimiter => {}
            Packet::Flush | Packet::End => {
                return Err(connection.packets.garbage("it answered without a pack"));
            }
        }
    }
    Err(connection.packets.garbage("it says more than a git server does"))
}

/// Reads what version 0 says before the pack: what is left out, then that nothing is in common.
async fn old_start(connection: &mut Connection, server: &Server) -> Result<(), RemoteError> {
    let mut left_out = !server.shallow;
    for _ in 0..MOST_LINES {
        match connection.packets.line().await? {
            Some(text) if text == "NAK" && left_out => return Ok(()),
            Some(text) if text.starts_with("shallow ") && !left_out => {}
            None if !left_out => left_out = true,
            _ => return Err(connection.packets.garbage("it answered without a pack")),
        }
    }
    Err(connection.packets.garbage("it says more than a git server does"))
}

/// Hands on the pack, which comes in one of three bands (git's "protocol-pack", "Packfile Data").
async fn receive(connection: &mut Connection, pack: &Sender<Bytes>) -> Result<(), RemoteError> {
    loop {
        let Packet::Data(content) = connection.packets.next().await? else {
            return Ok(());
        };
        let content = Bytes::from(content);
        match content.first() {
            Some(1) => {
                // Who takes it has said why it does not any more.
                if pack.send(content.slice(1..)).await.is_err() {
                    return Ok(());
                }
            }
            Some(2) => tracing::debug!(said = %shown(&String::from_utf8_lossy(&content[1..]))),
            Some(3) => {
                let detail = shown(&String::from_utf8_lossy(&content[1..]));
                return Err(RemoteError::Refused { place: connection.place.clone(), detail });
            }
            _ => return Err(connection.packets.garbage("what it says is not git's protocol")),
        }
    }
}

fn is_id(text: &str) -> bool {
    // The id of nothing stands for a repository without references.
    let is_hex = text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex && text.bytes().any(|byte| byte != b'0')
}

fn foreign_ids(connection: &Connection) -> RemoteError {
    connection.packets.garbage("SHA-256 repositories are not supported")
}
