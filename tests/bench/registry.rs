//! Debian's docker-registry on a free port of the loopback, for as long as its value lives.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

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
            "version: 0.1\nlog: {{level: info}}\nhttp: {{addr: \"{host}\"}}\n\
             storage: {{filesystem: {{rootdirectory: {}/registry}}}}\n",
            directory.display()
        );
        fs_err::write(&config, text).expect("the directory is writable");
        let log = directory.join("registry.log");
        let output = fs_err::File::create(&log).expect("the directory is writable");
        let mut child = command("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(output.into_file())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry is installed");
        let mut messages = BufReader::new(child.stderr.take().expect("it was asked for")).lines();
        let listens =
            messages.by_ref().map_while(Result::ok).any(|line| line.contains("listening"));
        assert!(listens, "the registry ended before it listened");
        // Its messages are of no interest, but a full pipe would stop it.
        std::thread::spawn(move || messages.for_each(drop));
        Self { child, log, host }
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
