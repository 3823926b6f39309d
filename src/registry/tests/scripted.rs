//! A small HTTP/1.1 server whose answers a test decides, one request a connection.
//!
//! It hangs up on TLS, so that clients fall back to plain HTTP, and answers the probe of the API's
//! root by itself; everything else is recorded and given to the test's function.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const TLS_HANDSHAKE: u8 = 0x16;

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(super) enum Reply {
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// Announces the whole body, sends this many bytes of it and hangs up.
    Cut {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
        sent: usize,
    },
    /// Hangs up without a word.
    HangUp,
}

pub(super) struct Script {
    pub(super) authority: String,
    requests: Arc<Mutex<Vec<Request>>>,
    serving: JoinHandle<()>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Method and path without the query.
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method, self.target.split('?').next().unwrap())
    }

    pub(super) fn query(&self) -> BTreeMap<String, String> {
        let url = reqwest::Url::parse(&format!("http://x{}", self.target)).unwrap();
        url.query_pairs().into_owned().collect()
    }
}

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: Vec::new() }
    }

    pub(super) fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        match &mut self {
            Self::Answer { body, .. } | Self::Cut { body, .. } => *body = bytes.into(),
            Self::HangUp => {}
        }
        self
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        match &mut self {
            Self::Answer { headers, .. } | Self::Cut { headers, .. } => {
                headers.push((name.to_owned(), value.into()));
            }
            Self::HangUp => {}
        }
        self
    }

    pub(super) fn json(status: u16, value: &serde_json::Value) -> Self {
        Self::status(status).header("Content-Type", "application/json").body(value.to_string())
    }

    /// An error body as registries send it.
    pub(super) fn refusal(status: u16, code: &str, message: &str) -> Self {
        let error = serde_json::json!({"errors": [{"code": code, "message": message}]});
        Self::json(status, &error)
    }

    /// Hangs up after `sent` bytes of the body.
    pub(super) fn cut_after(self, sent: usize) -> Self {
        match self {
            Self::Answer { status, headers, body } => Self::Cut { status, headers, body, sent },
            other => other,
        }
    }
}

impl Script {
    /// Starts a server; `answer` sees the request and how many came before it.
    pub(super) async fn start(
        answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (recorded, answer) = (Arc::clone(&requests), Arc::new(answer));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (recorded, answer) = (Arc::clone(&recorded), Arc::clone(&answer));
                tokio::spawn(async move { serve(stream, &recorded, answer.as_ref()).await });
            }
        });
        Self { authority, requests, serving }
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The requests so far, as method and path.
    pub(super) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(Request::line).collect()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    recorded: &Mutex<Vec<Request>>,
    answer: &(dyn Fn(&Request, usize) -> Reply + Send + Sync),
) {
    let Some(request) = read(&mut stream).await else { return };
    let reply = if request.target == "/v2/" {
        Reply::status(200)
    } else {
        let before = {
            let mut recorded = recorded.lock().unwrap();
            recorded.push(request.clone());
            recorded.len() - 1
        };
        answer(&request, before)
    };
    let (status, headers, body, sent) = match reply {
        Reply::HangUp => return,
        Reply::Answer { status, headers, body } => (status, headers, body, usize::MAX),
        Reply::Cut { status, headers, body, sent } => (status, headers, body, sent),
    };
    let lines: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = match headers.iter().any(|(name, _)| name == "Content-Length") {
        true => String::new(),
        false => format!("Content-Length: {}\r\n", body.len()),
    };
    let head =
        format!("HTTP/1.1 {status} X\r\nConnection: close\r\n{length}{}\r\n", lines.concat());
    let sent = if request.method == "HEAD" { 0 } else { sent.min(body.len()) };
    // The client may have hung up; that is its right.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body[..sent]).await;
    let _ = stream.shutdown().await;
}

/// A body of `length` bytes that begins with `body`.
async fn sized(stream: &mut TcpStream, mut body: Vec<u8>, length: usize) -> Option<Vec<u8>> {
    let mut piece = vec![0; 64 * 1024];
    while body.len() < length {
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        body.extend_from_slice(&piece[..count]);
    }
    Some(body)
}

/// A body in chunks (RFC 9112, section 7.1) that begins with `raw`; trailers are not expected.
async fn chunked(stream: &mut TcpStream, raw: Vec<u8>) -> Option<Vec<u8>> {
    let mut input = tokio::io::BufReader::new(std::io::Cursor::new(raw).chain(stream));
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        input.read_line(&mut line).await.ok()?;
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        let start = body.len();
        body.resize(start + length, 0);
        input.read_exact(&mut body[start..]).await.ok()?;
        input.read_exact(&mut [0; 2]).await.ok()?;
        if length == 0 {
            return Some(body);
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&piece[..count]);
        if bytes[0] == TLS_HANDSHAKE {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body = bytes.split_off(head_end);
    let body = match headers.get("transfer-encoding") {
        Some(_) => chunked(stream, body).await?,
        None => {
            let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
            sized(stream, body, length).await?
        }
    };
    Some(Request { method, target, headers, body })
}
