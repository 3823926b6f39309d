//! A way to a registry that ends in the middle: a proxy that passes on so many bytes and then
//! keeps every connection open without a word, as a network that is gone does.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How long the bytes may take to come.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to the registry.
    Up,
    /// From the registry to the client.
    Down,
}

/// A proxy before a registry.
#[derive(Debug)]
pub(crate) struct Stall {
    /// Host and port.
    pub(crate) address: String,
    stalled: Receiver<()>,
}

#[derive(Debug)]
struct Budget {
    way: Way,
    left: AtomicU64,
    stalled: Sender<()>,
}

impl Stall {
    /// A proxy before the registry at `address` that passes `bytes` on in one way.
    pub(crate) fn start(address: &str, way: Way, bytes: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let own = listener.local_addr().expect("a bound socket has an address").to_string();
        let (said, stalled) = channel();
        let budget = Arc::new(Budget { way, left: AtomicU64::new(bytes), stalled: said });
        let target = address.to_owned();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(&target).expect("the registry runs");
                for way in [Way::Up, Way::Down] {
                    let clone = |stream: &TcpStream| stream.try_clone().expect("dup");
                    let ends = match way {
                        Way::Up => (clone(&client), clone(&server)),
                        Way::Down => (clone(&server), clone(&client)),
                    };
                    let budget = Arc::clone(&budget);
                    std::thread::spawn(move || budget.pass(way, ends));
                }
            }
        });
        Self { address: own, stalled }
    }

    /// Waits until the bytes are used up.
    pub(crate) fn wait(&self) {
        self.stalled.recv_timeout(PATIENCE).expect("the bytes come");
    }
}

impl Budget {
    fn pass(&self, way: Way, (mut from, mut to): (TcpStream, TcpStream)) {
        let mut piece = [0; 16 * 1024];
        while let Ok(read) = from.read(&mut piece) {
            let counts = way == self.way;
            let taken = |left: u64| left.checked_sub(read as u64);
            let spent = counts
                && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_err();
            if spent {
                // Nobody listens after the first time.
                let _ = self.stalled.send(());
                loop {
                    std::thread::park();
                }
            }
            if read == 0 || to.write_all(&piece[..read]).is_err() {
                let _ = to.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
    }
}
