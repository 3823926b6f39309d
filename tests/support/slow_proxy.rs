//! A way to a registry that becomes blocked: the first answers pass, up to a number of bytes.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// A proxy on a loopback address of its own; its threads end with the test program.
#[derive(Debug)]
pub(crate) struct SlowProxy {
    address: String,
    dam: Arc<Dam>,
}

#[derive(Debug)]
struct Dam {
    /// Bytes that may still pass.
    left: Mutex<usize>,
    open: Condvar,
}

impl SlowProxy {
    /// Passes `bytes` bytes of the answers of `registry`, and the rest only after
    /// [`SlowProxy::release`].
    pub(crate) fn start(registry: &str, bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("a bound socket has an address").to_string();
        let dam = Arc::new(Dam { left: Mutex::new(bytes), open: Condvar::new() });
        let (registry, shared) = (registry.to_owned(), Arc::clone(&dam));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&registry) else { return };
                let both = || Ok::<_, std::io::Error>((client.try_clone()?, server.try_clone()?));
                let Ok((from, to)) = both() else { return };
                std::thread::spawn(move || pass(from, to, None));
                let dam = Arc::clone(&shared);
                std::thread::spawn(move || pass(server, client, Some(&dam)));
            }
        });
        Self { address, dam }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Lets everything pass from now on.
    pub(crate) fn release(&self) {
        *self.dam.left.lock().expect("no holder panics") = usize::MAX;
        self.dam.open.notify_all();
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, dam: Option<&Dam>) {
    let mut piece = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        if let Some(dam) = dam {
            dam.take(count);
        }
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    // The other side may be gone; that is its right.
    let _ = to.shutdown(Shutdown::Write);
}

impl Dam {
    fn take(&self, count: usize) {
        let left = self.left.lock().expect("no holder panics");
        let mut left = self.open.wait_while(left, |left| *left < count).expect("no holder panics");
        *left -= count;
    }
}
