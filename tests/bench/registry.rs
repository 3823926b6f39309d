//! Debian's docker-registry on a free port of the loopback, for as long as its value lives.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::measure::command;

/// A running registry.
pub(crate) struct Registry {
    child: Child,
    log: PathBuf,
    /// Where it listens: host and port.
    pub(crate) host: String,
}

impl Registry {
    /// Starts a registry that keeps its blobs in `directory`.
    pub(crate) fn start(directory: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let host = free.expect("the loopback has a free port").to_string();
        let config = directory.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nhttp: {{addr: \"{host}\"}}\n\
             storage: {{filesystem: {{rootdirectory: {}/registry}}}}\n",
            directory.display()
        );
        fs_err::write(&config, text).expect("the directory is writable");
        let log = directory.join("registry.log");
        let output = fs_err::File::create(&log).expect("the directory is writable");
        let child = command("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(output.into_file())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed");
        let registry = Self { child, log, host };
        registry.wait();
        registry
    }

    fn wait(&self) {
        let start = Instant::now();
        while std::net::TcpStream::connect(&self.host).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "the registry does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How many requests it has answered so far: lines of its access log.
    pub(crate) fn requests(&self) -> usize {
        let log = fs_err::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains(" /v2/")).count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It is gone already, or ends now: there is nothing to do about a failure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
