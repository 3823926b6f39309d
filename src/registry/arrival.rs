//! A blob on its way into a file, for those who read it meanwhile.
//!
//! The download and its readers share nothing but the file: a slow reader never holds the network
//! up, and nothing is kept in memory for it. What a [`Follower`] reads was *not* verified; a reader
//! must throw its work away unless the download succeeds. A download that starts anew (the registry
//! knows no ranges, or what an earlier builder left was wrong) writes over what was read: see
//! [`Arrival::restarts`].

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;

/// One blob, before, while and after it is fetched.
#[derive(Debug, Default)]
pub struct Arrival(watch::Sender<State>);

#[derive(Clone, Debug, Default)]
struct State {
    file: Option<Arc<File>>,
    written: u64,
    restarts: u64,
    /// Whether the whole blob is there and verified, once that is decided.
    end: Option<bool>,
}

/// Reads a blob from its first byte, waiting for what has not come yet.
#[derive(Debug)]
pub struct Follower {
    states: watch::Receiver<State>,
    at: u64,
    runtime: Handle,
}

/// The download's side; a download that is given up ends its followers.
#[derive(Debug)]
pub(super) struct Arriving<'a>(&'a Arrival);

impl Arrival {
    /// A blob that nobody fetches yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until a download writes its file.
    pub async fn begun(&self) {
        let mut states = self.0.subscribe();
        let running = states.wait_for(|state| state.file.is_some() && state.end.is_none());
        running.await.expect("the sender lives as long as self");
    }

    /// Reads along. The reader blocks: it is for threads that may.
    ///
    /// # Panics
    /// Outside of an async runtime.
    pub fn follow(&self) -> Follower {
        Follower { states: self.0.subscribe(), at: 0, runtime: Handle::current() }
    }

    /// How often bytes that may have been read were thrown away.
    pub fn restarts(&self) -> u64 {
        self.0.borrow().restarts
    }

    /// A download begins, with `written` bytes in the file already.
    pub(super) fn begin(&self, file: File, written: u64) -> Arriving<'_> {
        self.0.send_modify(|state| {
            *state = State { file: Some(Arc::new(file)), written, end: None, ..*state };
        });
        Arriving(self)
    }
}

impl Arriving<'_> {
    /// The file now has `written` bytes.
    pub(super) fn advance(&self, written: u64) {
        self.0.0.send_modify(|state| state.written = written);
    }

    /// The file is empty again.
    pub(super) fn restart(&self) {
        self.0.0.send_modify(|state| (state.written, state.restarts) = (0, state.restarts + 1));
    }

    /// The whole blob is there and verified.
    pub(super) fn complete(&self) {
        self.0.0.send_modify(|state| state.end = Some(true));
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.end = state.end.or(Some(false)));
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let state = self.states.borrow_and_update().clone();
            if let Some(file) = state.file.as_ref().filter(|_| state.written > self.at) {
                let left = usize::try_from(state.written - self.at).unwrap_or(usize::MAX);
                let most = buffer.len().min(left);
                let read = file.read_at(&mut buffer[..most], self.at)?;
                self.at += read as u64;
                return match read {
                    0 if most > 0 => Err(ended("started anew")),
                    read => Ok(read),
                };
            }
            match state.end {
                Some(true) => return Ok(0),
                Some(false) => return Err(ended("failed")),
                None => {}
            }
            let changed = self.runtime.block_on(self.states.changed());
            changed.map_err(|_| ended("was given up"))?;
        }
    }
}

fn ended(how: &str) -> io::Error {
    io::Error::other(format!("the download {how}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn a_follower_reads_what_comes_and_ends_with_the_download() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for (verified, expected) in [(true, Ok(b"one two".to_vec())), (false, Err(()))] {
            file.as_file().set_len(0).unwrap();
            let arrival = Arrival::new();
            let mut follower = arrival.follow();
            let reading = tokio::task::spawn_blocking(move || {
                let mut all = Vec::new();
                follower.read_to_end(&mut all).map(|_| all).map_err(drop)
            });
            let arriving = arrival.begin(file.reopen().unwrap(), 0);
            arrival.begun().await;
            for (text, written) in [("one ", 4), ("two", 7)] {
                file.as_file_mut().write_all(text.as_bytes()).unwrap();
                arriving.advance(written);
            }
            if verified {
                arriving.complete();
            }
            drop(arriving);
            assert_eq!(reading.await.unwrap(), expected);
            std::io::Seek::rewind(file.as_file_mut()).unwrap();
        }
    }
}
