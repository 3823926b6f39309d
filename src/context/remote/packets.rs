//! Packets, as git's protocol has them: four hexadecimal digits with the length, then the content
//! (git's "protocol-common", "pkt-line Format"; "protocol-v2" for the delimiter).

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::RemoteError;
use super::error::shown;

/// How long a server may be silent.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The packet that ends a message.
pub(super) const FLUSH: &[u8] = b"0000";
/// The packet that separates the sections of a message.
pub(super) const DELIMITER: &[u8] = b"0001";

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Flush,
    Delimiter,
    /// The end of an answer; only over HTTP.
    End,
    Data(Vec<u8>),
}

/// The packets of a server.
pub(super) struct Packets {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    place: String,
}

impl fmt::Debug for Packets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packets").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Packets {
    pub(super) fn new(reader: impl AsyncRead + Send + 'static, place: &str) -> Self {
        Self { reader: Box::pin(reader), place: place.to_owned() }
    }

    /// The next packet.
    ///
    /// # Errors
    /// When the connection ends or is silent, or what comes is no packet, or the server says `ERR`.
    pub(super) async fn next(&mut self) -> Result<Packet, RemoteError> {
        let mut digits = [0; 4];
        self.fill(&mut digits).await?;
        let length = std::str::from_utf8(&digits).ok();
        let length = length.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let length = length.and_then(|text| usize::from_str_radix(text, 16).ok());
        let size = match length {
            Some(0) => return Ok(Packet::Flush),
            Some(1) => return Ok(Packet::Delimiter),
            Some(2) => return Ok(Packet::End),
            Some(length @ 4..) => length - 4,
            _ => return Err(self.garbage("what it says is not git's protocol")),
        };
        let mut content = vec![0; size];
        self.fill(&mut content).await?;
        match content.strip_prefix(b"ERR ") {
            None => Ok(Packet::Data(content)),
            Some(text) => Err(RemoteError::Refused {
                place: self.place.clone(),
                detail: shown(&String::from_utf8_lossy(text)),
            }),
        }
    }

    /// The next packet, which must be a line of text; nothing at a flush or delimiter.
    pub(super) async fn line(&mut self) -> Result<Option<String>, RemoteError> {
        match self.next().await? {
            Packet::Data(content) => {
                let text = String::from_utf8_lossy(&content);
                Ok(Some(text.strip_suffix('\n').unwrap_or(&text).to_owned()))
            }
            Packet::Flush | Packet::Delimiter | Packet::End => Ok(None),
        }
    }

    pub(super) fn garbage(&self, reason: &str) -> RemoteError {
        RemoteError::Garbage { place: self.place.clone(), reason: reason.to_owned() }
    }

    async fn fill(&mut self, buffer: &mut [u8]) -> Result<(), RemoteError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = self.reader.read(&mut buffer[filled..]);
            let read = tokio::time::timeout(PATIENCE, read).await.map_err(|_| {
                RemoteError::Stalled { place: self.place.clone(), seconds: PATIENCE.as_secs() }
            })?;
            match read {
                Ok(0) => {
                    let (place, detail) = (self.place.clone(), String::new());
                    return Err(RemoteError::Broken { place, detail });
                }
                Ok(read) => filled += read,
                Err(error) => {
                    let (place, detail) = (self.place.clone(), shown(&error.to_string()));
                    return Err(RemoteError::Broken { place, detail });
                }
            }
        }
        Ok(())
    }
}

/// A line of text as a packet.
pub(super) fn line(text: &str) -> Vec<u8> {
    packet(format!("{text}\n").as_bytes())
}

/// Anything as a packet; it must be short.
pub(super) fn packet(content: &[u8]) -> Vec<u8> {
    [format!("{:04x}", content.len() + 4).as_bytes(), content].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Packet>, RemoteError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut packets = Packets::new(std::io::Cursor::new(bytes.to_vec()), "a test");
            let mut all = Vec::new();
            loop {
                match packets.next().await {
                    Ok(packet) => all.push(packet),
                    Err(RemoteError::Broken { .. }) => return Ok(all),
                    Err(error) => return Err(error),
                }
            }
        })
    }

    #[test]
    fn packets_are_told_apart() {
        let bytes = [FLUSH, DELIMITER, b"0002", b"0004", &line("a b"), &packet(b"\0x")].concat();
        let data = |bytes: &[u8]| Packet::Data(bytes.to_vec());
        assert_eq!(
            read(&bytes).unwrap(),
            [
                Packet::Flush,
                Packet::Delimiter,
                Packet::End,
                data(b""),
                data(b"a b\n"),
                data(b"\0x")
            ]
        );
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for bytes in [&b"<!do"[..], b"0003", b"+00a", b"00 4"] {
            assert!(matches!(read(bytes), Err(RemoteError::Garbage { .. })), "{bytes:?}");
        }
        let error = read(&line("ERR fatal: no\x1b such\n thing.")).unwrap_err();
        assert_eq!(error.to_string(), "a test refused: no such thing");
    }

    proptest! {
        #[test]
        fn anything_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes);
        }

        #[test]
        fn what_is_written_is_read(parts in proptest::collection::vec("[a-z]{0,9}", 0..5)) {
            let bytes: Vec<u8> = parts.iter().flat_map(|part| packet(part.as_bytes())).collect();
            let expected: Vec<Packet> =
                parts.iter().map(|part| Packet::Data(part.clone().into_bytes())).collect();
            prop_assert_eq!(read(&bytes).unwrap(), expected);
        }
    }
}
