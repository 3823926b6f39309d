//! A reverse proxy in front of a registry that counts what passes and can refuse requests.
//!
//! Every connection carries one request: the proxy asks both sides to close, so the end of an
//! answer is the end of the connection. It hangs up on TLS, so that clients fall back to plain
//! HTTP, as on the loopback address of a registry without certificates.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const TLS_HANDSHAKE: u8 = 0x16;
const REFUSAL: &str = r#"{"errors":[{"code":"DENIED","message":"read only"}]}"#;

/// One request, and how many bytes its answer's body had.
#[derive(Clone, Debug)]
pub(crate) struct Passed {
    /// The HTTP method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Bytes of the answer's body.
    pub(crate) bytes: u64,
}

/// Which requests are refused, by method and path.
type Refuses = fn(&str, &str) -> bool;

/// A running proxy; its threads end with the test program.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: String,
    passed: Arc<Mutex<Vec<Passed>>>,
}

impl Proxy {
    /// Starts a proxy in front of the registry at `upstream`.
    pub(crate) fn start(upstream: &str, refuses: Refuses) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let passed: Arc<Mutex<Vec<Passed>>> = Arc::default();
        let (upstream, record) = (upstream.to_owned(), Arc::clone(&passed));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (upstream, record) = (upstream.clone(), Arc::clone(&record));
                std::thread::spawn(move || {
                    // A client that hangs up is no failure of the proxy.
                    if let Ok(Some(one)) = pass(client, &upstream, refuses) {
                        record.lock().expect("no holder panics").push(one);
                    }
                });
            }
        });
        Self { address, passed }
    }

    /// A reference of an image or repository as clients of the proxy write it.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Forgets what has passed so far.
    pub(crate) fn forget(&self) {
        self.passed.lock().expect("no holder panics").clear();
    }

    /// The requests whose method is `method` and whose path has `part` in it.
    pub(crate) fn passed(&self, method: &str, part: &str) -> Vec<Passed> {
        let all = self.passed.lock().expect("no holder panics");
        let wanted = |one: &&Passed| one.method == method && one.path.contains(part);
        all.iter().filter(wanted).cloned().collect()
    }

    /// How many bytes of the blob `digest` were sent to clients.
    pub(crate) fn blob_bytes(&self, digest: &str) -> u64 {
        self.passed("GET", &format!("/blobs/{digest}")).iter().map(|one| one.bytes).sum()
    }
}

fn pass(mut client: TcpStream, upstream: &str, refuses: Refuses) -> io::Result<Option<Passed>> {
    let Some((head, rest)) = read_head(&mut client)? else { return Ok(None) };
    let mut words = head.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let path = words.next().unwrap_or_default().to_owned();
    let bytes = if refuses(&method, &path) {
        refuse(&mut client, &head, rest.len())?
    } else {
        forward(&client, upstream, &closing(&head), &rest)?
    };
    Ok(Some(Passed { method, path, bytes }))
}

/// Reads up to the empty line; what came after it is returned too.
fn read_head(client: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 8192];
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok(String::from_utf8(bytes).ok().map(|head| (head, rest)));
        }
        let count = client.read(&mut piece)?;
        if count == 0 || bytes.is_empty() && piece[0] == TLS_HANDSHAKE {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece[..count]);
    }
}

/// The head of a request after whose answer the connection is closed.
fn closing(head: &str) -> String {
    let kept = head.trim_end().split("\r\n");
    let kept = kept.filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let lines: Vec<&str> = kept.chain(["Connection: close", "", ""]).collect();
    lines.join("\r\n")
}

/// Sends the request on and the answer back; returns the length of the answer's body.
fn forward(client: &TcpStream, upstream: &str, head: &str, rest: &[u8]) -> io::Result<u64> {
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(head.as_bytes())?;
    server.write_all(rest)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    // The body, if there is more of one; it ends when the connection does.
    std::thread::spawn(move || io::copy(&mut from, &mut to));
    let mut client = client.try_clone()?;
    let Some((head, body)) = read_head(&mut server)? else { return Ok(0) };
    client.write_all(head.as_bytes())?;
    client.write_all(&body)?;
    let sent = io::copy(&mut server, &mut client);
    client.shutdown(Shutdown::Both)?;
    Ok(body.len() as u64 + sent?)
}

fn refuse(client: &mut TcpStream, head: &str, had: usize) -> io::Result<u64> {
    let length = head.to_ascii_lowercase();
    let length = length.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or_default();
    // Whoever is still sending would not read the answer.
    io::copy(&mut client.take((length - had.min(length)) as u64), &mut io::sink())?;
    let head = "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Type: application/json";
    let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{REFUSAL}", REFUSAL.len());
    client.write_all(answer.as_bytes())?;
    client.shutdown(Shutdown::Both)?;
    Ok(REFUSAL.len() as u64)
}
