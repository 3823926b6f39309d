//! Registries that are none: an address where nobody answers, and one where nonsense is answered.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// Returns a loopback address on which nobody listens.
pub(crate) fn deserted_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("a bound socket has an address").to_string()
}

/// Returns a loopback address that takes connections and never says anything.
pub(crate) fn silent_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("a bound socket has an address").to_string();
    // The kernel takes connections for as long as the socket is open.
    std::mem::forget(listener);
    address
}

/// Answers every request on the returned address with `answer`, until the test program ends.
pub(crate) fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("a bound socket has an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || reply(stream, answer));
        }
    });
    address
}

fn reply(mut stream: TcpStream, answer: &str) {
    // A client that says nothing must not keep the thread for ever.
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let mut request = [0; 4096];
    if stream.read(&mut request).is_ok() {
        let _ = stream.write_all(answer.as_bytes());
    }
}
