//! A real registry (Debian's `docker-registry`) on a free loopback port, with everything that it
//! was asked for.
//!
//! The port is chosen by the kernel and read from the registry's log, so two tests cannot meet on
//! one. The registry is killed with its owner, even when the test program itself is killed.

use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use regex::Regex;

use super::command::{Run, bare};
use super::layout;
use super::sandbox::Sandbox;

/// The user that [`Access::Password`] knows.
pub(crate) const USER: &str = "builder";
/// The user's password.
pub(crate) const PASSWORD: &str = "correct-horse";
/// How long a registry may take to start or to log a request.
const PATIENCE: Duration = Duration::from_secs(30);
/// The start of the repositories that exist only to leave a line in the log.
const MARK: &str = "longshore-mark-";

/// How a registry lets clients in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Plain HTTP for everybody.
    Plain,
    /// Plain HTTP for [`USER`].
    Password,
    /// TLS with a certificate of a certificate authority that nobody knows.
    Tls,
}

/// One request as the registry saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The HTTP method.
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// The status of the answer.
    pub(crate) status: u16,
}

/// A running registry.
#[derive(Debug)]
pub(crate) struct Registry {
    process: Child,
    access: Access,
    address: String,
    directory: PathBuf,
    log: Arc<Log>,
}

/// The lines that the registry has printed so far.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Registry {
    /// Starts an empty registry whose files lie in the sandbox.
    pub(crate) fn start(sandbox: &Sandbox, access: Access) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("registry-")
            .tempdir_in(sandbox.root())
            .expect("mkdir")
            .keep();
        let settings = sandbox.write(directory.join("config.yml"), settings(&directory, access));
        let mut process = bare("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(settings)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry is installed");
        let log = Arc::new(Log::default());
        log.follow(process.stdout.take().expect("stdout is piped"));
        log.follow(process.stderr.take().expect("stderr is piped"));
        let line = log.wait_for("listening on ");
        let address = Regex::new(r"listening on (127\.0\.0\.1:\d+)").expect("a valid pattern");
        let address = address.captures(&line).expect("the line names the address")[1].to_owned();
        Self { process, access, address, directory, log }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// A reference of an image or repository in this registry.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// The authority's certificate of a registry with TLS.
    pub(crate) fn authority(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// Copies the image of an OCI layout into this registry and returns its reference.
    pub(crate) fn push(&self, sandbox: &Sandbox, layout: &Path, name: &str) -> String {
        let reference = self.reference(name);
        self.skopeo(sandbox, "copy", "dest-")
            .arg(format!("oci:{}:{}", layout.display(), layout::TAG))
            .arg(format!("docker://{reference}"))
            .succeed();
        reference
    }

    /// `skopeo VERB` with this registry's access; `side` is `src-`, `dest-` or nothing.
    pub(crate) fn skopeo(&self, sandbox: &Sandbox, verb: &str, side: &str) -> Run {
        let run = sandbox.tool("skopeo").args(["--insecure-policy", verb]);
        match self.access {
            Access::Plain => run.arg(format!("--{side}tls-verify=false")),
            Access::Password => run
                .arg(format!("--{side}tls-verify=false"))
                .arg(format!("--{side}creds={USER}:{PASSWORD}")),
            Access::Tls => run.arg(format!("--{side}cert-dir={}", self.directory.display())),
        }
    }

    /// Writes a docker `config.json` with a password for this registry into `directory`.
    pub(crate) fn write_docker_config(&self, directory: &Path, password: &str) {
        use base64::Engine as _;
        let token = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{password}"));
        let config = serde_json::json!({"auths": {&self.address: {"auth": token}}});
        super::sandbox::write(&directory.join("config.json"), config.to_string());
    }

    /// Returns a position in the log: everything that was asked until now lies before it.
    pub(crate) fn position(&self, sandbox: &Sandbox) -> usize {
        let count = self.log.count();
        let repository = format!("{MARK}{count}");
        // The answer is an error; what matters is that the request gets its line.
        self.skopeo(sandbox, "inspect", "")
            .arg(format!("docker://{}", self.reference(&repository)))
            .outcome();
        self.log.wait_for(&format!(" /v2/{repository}/"));
        self.log.count()
    }

    /// Returns the requests since `position`.
    pub(crate) fn requests_since(&self, sandbox: &Sandbox, position: usize) -> Vec<Request> {
        let end = self.position(sandbox);
        let lines = self.log.lines.lock().expect("no reader panics");
        let requests = lines[position..end].iter().filter_map(|line| Request::parse(line));
        requests.filter(|request| !request.path.contains(MARK)).collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It has nothing to finish: its files go away with the sandbox.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Request {
    /// Parses a line of the access log, in Apache's combined format; other lines give nothing.
    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once("] \"")?;
        let (request, rest) = rest.split_once("\" ")?;
        let mut words = request.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let status = rest.split(' ').next()?.parse().ok()?;
        Some(Self { method, path, status })
    }

    /// True for requests that move content or change the registry: what a build that has nothing
    /// to do does not send.
    pub(crate) fn is_work(&self) -> bool {
        let reads_blob = self.method == "GET" && self.path.contains("/blobs/");
        reads_blob || !matches!(self.method.as_str(), "GET" | "HEAD")
    }
}

impl Log {
    /// Collects the lines of `stream` until it ends.
    fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        let log = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                log.lines.lock().expect("no reader panics").push(line);
                log.grown.notify_all();
            }
        });
    }

    fn count(&self) -> usize {
        self.lines.lock().expect("no reader panics").len()
    }

    /// Waits for a line that contains `part`, and returns it.
    fn wait_for(&self, part: &str) -> String {
        let lines = self.lines.lock().expect("no reader panics");
        let missing = |lines: &mut Vec<String>| !lines.iter().any(|line| line.contains(part));
        let (lines, _) =
            self.grown.wait_timeout_while(lines, PATIENCE, missing).expect("no reader panics");
        let found = lines.iter().find(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("no {part:?} in the registry's log:\n{lines:#?}")).clone()
    }
}

fn settings(directory: &Path, access: Access) -> String {
    let root = directory.display();
    let extra = match access {
        Access::Plain => String::new(),
        Access::Password => {
            let users = Run::new("htpasswd").args(["-Bbn", USER, PASSWORD]).succeed();
            fs_err::write(directory.join("htpasswd"), users).expect("write");
            format!("auth: {{htpasswd: {{realm: registry, path: {root}/htpasswd}}}}\n")
        }
        Access::Tls => {
            certificates(directory);
            format!("  tls: {{certificate: {root}/server.pem, key: {root}/server-key.pem}}\n")
        }
    };
    format!(
        "version: 0.1\n\
         log: {{level: info, accesslog: {{disabled: false}}}}\n\
         storage: {{filesystem: {{rootdirectory: {root}/storage}}, delete: {{enabled: true}}}}\n\
         http:\n  addr: 127.0.0.1:0\n  secret: only-for-tests\n{extra}"
    )
}

/// Makes an authority (`ca.crt`) and a certificate for the loopback address. The files of the server end in
/// `.pem`, because skopeo takes every `.crt` of a directory for an authority.
pub(crate) fn certificates(directory: &Path) {
    let openssl = |words: &[&str]| {
        Run::new("openssl").args(words).within(directory).succeed();
    };
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let authority = ["req", "-x509", "-days", "2", "-subj", "/CN=Test Authority"];
    openssl(&[&authority[..], &curve, &["-keyout", "ca-key.pem", "-out", "ca.crt"]].concat());
    let request = ["req", "-new", "-subj", "/CN=registry", "-keyout", "server-key.pem"];
    openssl(&[&request[..], &curve, &["-out", "server.csr"]].concat());
    let names = "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n";
    fs_err::write(directory.join("names"), names).expect("write");
    let sign = ["x509", "-req", "-days", "2", "-in", "server.csr", "-extfile", "names"];
    let by = ["-CA", "ca.crt", "-CAkey", "ca-key.pem", "-CAcreateserial", "-out", "server.pem"];
    openssl(&[&sign[..], &by].concat());
}
