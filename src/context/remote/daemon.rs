//! git's own daemon (git's "protocol-pack", "Git Transport"): no encryption, no credentials.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::RemoteError;
use super::address::bracketed;
use super::packets::packet;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects and asks for the repository at `path`.
pub(super) async fn connect(
    host: &str,
    port: u16,
    path: &str,
    place: &str,
) -> Result<(OwnedReadHalf, OwnedWriteHalf), RemoteError> {
    let fail = |source: std::io::Error| RemoteError::Unreachable {
        place: place.to_owned(),
        source: source.into(),
    };
    let connecting = TcpStream::connect((host, port));
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
    let stream = connected.map_err(|_| fail(std::io::ErrorKind::TimedOut.into()))?.map_err(fail)?;
    let (reader, mut writer) = stream.into_split();
    let host = bracketed(host);
    let request = format!("git-upload-pack {path}\0host={host}:{port}\0\0version=2\0");
    writer.write_all(&packet(request.as_bytes())).await.map_err(fail)?;
    Ok((reader, writer))
}
