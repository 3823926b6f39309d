//! Git servers on loopback: `git http-backend` behind a small CGI server, `git daemon`, and an
//! `ssh` that goes nowhere but does what sshd would do.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use super::command::bare;
use super::sandbox::{Sandbox, set_mode};

/// How a server of HTTP behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manners {
    /// The `USER:PASSWORD` that it wants.
    pub(crate) login: Option<String>,
    /// Whether it never hears of newer versions of the protocol, as an old one.
    pub(crate) old: bool,
    /// After how many bytes of a pack's answer it hangs up.
    pub(crate) hangs_up_after: Option<usize>,
    /// Which byte of a pack's answer it changes, counted from the end.
    pub(crate) changes: Option<usize>,
    /// Where it sends who asks what it can do.
    pub(crate) redirects_to: Option<String>,
    /// What it says to everybody, instead of serving anything.
    pub(crate) says: Option<&'static str>,
    /// A directory with a certificate, if it speaks TLS; see [`super::registry::certificates`].
    pub(crate) certificates: Option<PathBuf>,
}

/// A request as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Method, path and query.
    pub(crate) line: String,
    /// The `Authorization` header.
    pub(crate) authorization: Option<String>,
}

/// A server of HTTP with the repositories below a directory.
#[derive(Debug)]
pub(crate) struct GitServer {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// The head of a request, and its body.
struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl GitServer {
    /// Serves the repositories below `root` until the test program ends.
    pub(crate) fn start(root: &Path, manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (root, log) = (root.to_owned(), Arc::clone(&asked));
        let tls = manners.certificates.as_deref().map(tls);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (root, manners, log) = (root.clone(), manners.clone(), Arc::clone(&log));
                let tls = tls.clone();
                std::thread::spawn(move || match tls {
                    None => serve(stream, &root, &manners, &log),
                    Some(config) => {
                        let session = rustls::ServerConnection::new(config).expect("a valid setup");
                        let stream = rustls::StreamOwned::new(session, stream);
                        serve(stream, &root, &manners, &log);
                    }
                });
            }
        });
        Self { address, asked }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The URL of a repository.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    /// Everything that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no server panics").clone()
    }
}

/// `git daemon` for the repositories below `root`; returns host and port.
pub(crate) fn daemon(root: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("a bound socket has an address").to_string();
    let root = root.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let output = stream.try_clone().expect("sockets can be shared");
            let mut child = bare("git")
                .args(["daemon", "--inetd", "--export-all", "--informative-errors"])
                .arg(format!("--base-path={}", root.display()))
                .env("HOME", "/nonexistent")
                .stdin(Stdio::from(OwnedFd::from(stream)))
                .stdout(Stdio::from(OwnedFd::from(output)))
                .stderr(Stdio::null())
                .spawn()
                .expect("git is installed");
            std::thread::spawn(move || child.wait());
        }
    });
    address
}

/// Writes an `ssh` into a directory of the sandbox; returns a `PATH` in which it comes first. It
/// writes its arguments and environment beside itself and then runs `script`, in which `$last` is
/// the command that sshd would give to the user's shell.
pub(crate) fn fake_ssh(sandbox: &Sandbox, script: &str) -> (String, PathBuf) {
    let text = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$@\" > \"$0.arguments\"\nenv | sort > \"$0.environment\"\n\
         for last; do :; done\n{script}\n"
    );
    let program = sandbox.write("ssh-bin/ssh", text);
    set_mode(&program, 0o755);
    let path = super::variables::text("PATH").unwrap_or_default();
    (format!("{}:{path}", sandbox.path("ssh-bin").display()), program)
}

fn tls(directory: &Path) -> Arc<rustls::ServerConfig> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::from_pem_file(directory.join("server.pem")).expect("it was made");
    let key = PrivateKeyDer::from_pem_file(directory.join("server-key.pem")).expect("it was made");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports them")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key);
    Arc::new(config.expect("the key is the certificate's"))
}

fn serve(mut stream: impl Read + Write, root: &Path, manners: &Manners, log: &Mutex<Vec<Asked>>) {
    // A client that goes away in the middle is what some tests are about.
    let _ = read_request(&mut stream).map(|request| {
        let line = format!("{} {}?{}", request.method, request.path, request.query);
        let authorization = request.header("authorization").map(str::to_owned);
        log.lock().expect("no server panics").push(Asked { line, authorization });
        let _ = answer(&request, root, manners, &mut stream).and_then(|()| stream.flush());
    });
}

fn answer(
    request: &Request,
    root: &Path,
    manners: &Manners,
    writer: &mut impl Write,
) -> std::io::Result<()> {
    if let Some(text) = manners.says {
        return writer.write_all(text.as_bytes());
    }
    if let Some(target) = manners.redirects_to.as_ref().filter(|_| request.method == "GET") {
        let place = format!("{target}{}?{}", request.path, request.query);
        return write!(writer, "HTTP/1.1 302 Found\r\nLocation: {place}\r\n{END}");
    }
    if let Some(login) = &manners.login {
        use base64::Engine as _;
        let token = base64::engine::general_purpose::STANDARD.encode(login);
        if request.header("authorization") != Some(&format!("Basic {token}")) {
            let challenge = "WWW-Authenticate: Basic realm=\"git\"\r\n";
            return write!(writer, "HTTP/1.1 401 Unauthorized\r\n{challenge}{END}");
        }
    }
    let mut output = backend(request, root, manners);
    let end = output.windows(4).position(|part| part == b"\r\n\r\n").expect("CGI has headers");
    let is_pack = request.method == "POST" && output.windows(4).any(|part| part == b"PACK");
    if let Some(at) = manners.changes.filter(|_| is_pack) {
        let at = output.len() - at;
        output[at] ^= 0x10;
    }
    let (head, body) = (String::from_utf8_lossy(&output[..end]), &output[end + 4..]);
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    let headers: String = head
        .lines()
        .filter(|line| !line.starts_with("Status: "))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let length = body.len();
    write!(
        writer,
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    let most = manners.hangs_up_after.filter(|_| is_pack).unwrap_or(length).min(length);
    writer.write_all(&body[..most])
}

/// The end of an answer without content.
const END: &str = "Content-Length: 0\r\nConnection: close\r\n\r\n";

/// Runs `git http-backend` (its manual names the variables).
fn backend(request: &Request, root: &Path, manners: &Manners) -> Vec<u8> {
    let mut command = bare("git");
    command
        .arg("http-backend")
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", &request.path)
        .env("QUERY_STRING", &request.query)
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("REMOTE_ADDR", "127.0.0.1");
    if let Some(value) = request.header("content-type") {
        command.env("CONTENT_TYPE", value);
    }
    if let Some(value) = request.header("git-protocol").filter(|_| !manners.old) {
        command.env("GIT_PROTOCOL", value);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("git is installed");
    let mut input = child.stdin.take().expect("it was asked for");
    // Its answer to a request that it refuses does not wait for the body.
    let _ = input.write_all(&request.body);
    drop(input);
    child.wait_with_output().expect("it is our child").stdout
}

fn read_request(stream: &mut impl Read) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut next = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().map(|_| line.trim_end().to_owned())
    };
    let first = next()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    let mut headers = Vec::new();
    loop {
        let line = next()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, path, query, headers, body: Vec::new() };
    let length = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    request.body = vec![0; length];
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}
