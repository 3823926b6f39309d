//! A blob on its way into a file, for those who read it meanwhile.
//!
//! The download and its readers share nothing but the file: a slow reader never holds the network
//! up, and nothing is kept in memory for it. What a [`Follower`] reads was *not* verified; a reader
//! must throw its work away unless the download succeeds. A download that starts anew (the registry
//! knows no ranges, or what an earlier builder left was wrong) writes over what was read: see
//! [`Arrival::restarts`].

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt as _;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;

/// How long a follower waits before its reader may think again.
const SILENCE: Duration = Duration::from_millis(100);

/// One blob, before, while and after it is fetched.
#[derive(Clone, Debug, Default)]
pub struct Arrival(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    begun: Notify,
}

#[derive(Clone, Debug, Default)]
struct State {
    file: Option<Arc<File>>,
    written: u64,
    restarts: u64,
    /// Whether the whole blob is there and verified, once that is decided.
    end: Option<bool>,
}

/// Reads a blob from its first byte, waiting for what has not come yet. After a while of silence a
/// read fails with [`ErrorKind::Interrupted`], and may be repeated.
#[derive(Debug)]
pub struct Follower {
    shared: Arc<Shared>,
    at: u64,
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
        loop {
            let mut begun = pin!(self.0.begun.notified());
            begun.as_mut().enable();
            let state = self.state().clone();
            if state.file.is_some() && state.end.is_none() {
                return;
            }
            begun.await;
        }
    }

    /// Reads along. The reader blocks: it is for threads that may.
    pub fn follow(&self) -> Follower {
        Follower { shared: Arc::clone(&self.0), at: 0 }
    }

    /// How often bytes that may have been read were thrown away.
    pub fn restarts(&self) -> u64 {
        self.state().restarts
    }

    /// A download begins, with nothing that may be read yet.
    pub(super) fn begin(&self, file: File) -> Arriving<'_> {
        self.change(|state| {
            *state = State { file: Some(Arc::new(file)), written: 0, end: None, ..*state };
        });
        self.0.begun.notify_waiters();
        Arriving(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder of this lock panics")
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.0.changed.notify_all();
    }
}

impl Arriving<'_> {
    /// The file now has `written` bytes.
    pub(super) fn advance(&self, written: u64) {
        self.0.change(|state| state.written = written);
    }

    /// The file is empty again.
    pub(super) fn restart(&self) {
        self.0.change(|state| (state.written, state.restarts) = (0, state.restarts + 1));
    }

    /// The whole blob is there and verified.
    pub(super) fn complete(&self) {
        self.0.change(|state| state.end = Some(true));
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.end = state.end.or(Some(false)));
    }
}

impl Follower {
    /// Waits a while for more than what was read, or the end.
    fn wait(&self) -> State {
        let state = self.shared.state.lock().expect("no holder of this lock panics");
        let is_silent = |state: &mut State| state.written <= self.at && state.end.is_none();
        let waited = self.shared.changed.wait_timeout_while(state, SILENCE, is_silent);
        waited.expect("no holder of this lock panics").0.clone()
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.wait();
        let Some(file) = state.file.as_ref().filter(|_| state.written > self.at) else {
            return match state.end {
                Some(true) => Ok(0),
                Some(false) => Err(io::Error::other("the download failed")),
                None => Err(ErrorKind::Interrupted.into()),
            };
        };
        let left = usize::try_from(state.written - self.at).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let read = file.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        match read {
            0 if most > 0 => Err(io::Error::other("the download started anew")),
            read => Ok(read),
        }
    }
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
            let arriving = arrival.begin(file.reopen().unwrap());
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
