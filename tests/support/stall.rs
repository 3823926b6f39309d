//! A way to a registry that ends in the middle: a proxy that passes on so many bytes, and then
//! either keeps every connection open without a word, as a network that is gone does, or breaks
//! them and says of the next request that what it asks for is not known.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
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
    loss: Option<Loss>,
}

/// A registry that loses an upload.
#[derive(Debug, Default)]
struct Loss {
    connections: Mutex<Vec<TcpStream>>,
    progress: Mutex<Progress>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Ahead,
    /// The connections are broken, and the next request is to be refused.
    Lost,
    Over,
}

impl Stall {
    /// A proxy before the registry at `address` that passes `bytes` on in one way.
    pub(crate) fn start(address: &str, way: Way, bytes: u64) -> Self {
        Self::begin(address, (way, bytes), None)
    }

    /// A proxy that breaks all connections after `bytes` of requests, refuses the next request with
    /// 404, and passes everything on from then.
    pub(crate) fn losing(address: &str, bytes: u64) -> Self {
        Self::begin(address, (Way::Up, bytes), Some(Loss::default()))
    }

    fn begin(address: &str, (way, bytes): (Way, u64), loss: Option<Loss>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let own = listener.local_addr().expect("a bound socket has an address").to_string();
        let (said, stalled) = channel();
        let budget = Arc::new(Budget { way, left: AtomicU64::new(bytes), stalled: said, loss });
        let target = address.to_owned();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if budget.refuses(&client) {
                    continue;
                }
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

impl Loss {
    /// Whether this is the first time that the bytes are used up.
    fn begins(&self) -> bool {
        let mut progress = self.progress.lock().expect("no holder panics");
        let begins = *progress == Progress::Ahead;
        if begins {
            *progress = Progress::Lost;
        }
        begins
    }

    fn cut(&self) {
        for connection in self.connections.lock().expect("no holder panics").drain(..) {
            // It may be closed already.
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Budget {
    /// Answers the first request after the loss, and keeps the other connections in mind.
    fn refuses(&self, mut client: &TcpStream) -> bool {
        let Some(loss) = &self.loss else { return false };
        let mut progress = loss.progress.lock().expect("no holder panics");
        if *progress == Progress::Lost {
            *progress = Progress::Over;
            let (mut request, answer) = ([0; 4096], "404 Not Found\r\nContent-Length: 0\r\n");
            let _ = client.read(&mut request);
            let _ = write!(client, "HTTP/1.1 {answer}Connection: close\r\n\r\n");
            return true;
        }
        let kept = client.try_clone().expect("dup");
        loss.connections.lock().expect("no holder panics").push(kept);
        false
    }

    fn pass(&self, way: Way, (mut from, mut to): (TcpStream, TcpStream)) {
        let mut piece = [0; 16 * 1024];
        while let Ok(read) = from.read(&mut piece) {
            let counts = way == self.way;
            let taken = |left: u64| left.checked_sub(read as u64);
            let spent = counts
                && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_err();
            if spent && self.loss.as_ref().is_none_or(Loss::begins) {
                // Nobody listens after the first time.
                let _ = self.stalled.send(());
                match &self.loss {
                    Some(loss) => return loss.cut(),
                    None => loop {
                        std::thread::park();
                    },
                }
            }
            if read == 0 || to.write_all(&piece[..read]).is_err() {
                let _ = to.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
    }
}
