//! Plain HTTP to a registry on the loopback address, to put there what no client would.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::image::digest_of;

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The HTTP status.
    pub(crate) status: u16,
    /// The body.
    pub(crate) body: Vec<u8>,
    head: String,
}

/// Sends one request; `media_type` is that of the body, or the one that is accepted.
pub(crate) fn exchange(
    address: &str,
    (method, path): (&str, &str),
    media_type: &str,
    body: &[u8],
) -> Answer {
    let mut stream = TcpStream::connect(address).expect("the registry listens");
    let kind = if method == "GET" { "Accept" } else { "Content-Type" };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         {kind}: {media_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("the registry reads");
    stream.write_all(body).expect("the registry reads");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the registry answers");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer has a head");
    let body = bytes.split_off(end + 4);
    let head = String::from_utf8(bytes).expect("heads are text");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer { status: status.expect("an answer has a status"), body, head }
}

/// Puts a blob into a repository.
pub(crate) fn put_blob(address: &str, repository: &str, bytes: &[u8]) {
    let start = format!("/v2/{repository}/blobs/uploads/");
    let answer = exchange(address, ("POST", &start), "application/octet-stream", b"");
    let location = answer.head.lines().find_map(|line| line.strip_prefix("Location: "));
    let location = location.unwrap_or_else(|| panic!("no upload: {answer:?}")).trim();
    let path = location.strip_prefix(&format!("http://{address}")).unwrap_or(location);
    let path = format!("{path}&digest={}", digest_of(bytes));
    let answer = exchange(address, ("PUT", &path), "application/octet-stream", bytes);
    assert_eq!(answer.status, 201, "{answer:?}");
}
