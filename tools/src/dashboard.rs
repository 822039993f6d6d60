//! A dashboard that is open: asks for the list again and again, and takes it only when it
//! has changed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::client;

/// A dashboard asks so often.
const POLL: Duration = Duration::from_secs(5);

/// Asks for changes until `done`; gives the number of bytes received.
///
/// # Panics
/// If the list is refused.
pub fn look(server: SocketAddr, token: &str, done: &AtomicBool) -> u64 {
    let (bearer, mut etag, mut bytes) = (format!("Bearer {token}"), String::new(), 0);
    let mut due = Instant::now();

    while !done.load(Ordering::Relaxed) {
        if Instant::now() < due {
            thread::sleep(Duration::from_millis(50));
            continue;
        }
        due += POLL;

        let headers = [
            ("Authorization", bearer.as_str()),
            ("Accept-Encoding", "gzip"),
            ("If-None-Match", etag.as_str()),
        ];
        let request = client::encode("GET", "/servers?all_servers=true", &headers, b"");

        let answer = client::exchange(server, &request).expect("the list");
        assert!([200, 304].contains(&answer.status), "{}", answer.status);
        bytes += answer.body.len() as u64;
        answer
            .header("etag")
            .unwrap_or_default()
            .clone_into(&mut etag);
    }
    bytes
}
