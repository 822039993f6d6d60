//! A reverse proxy between agents and the server that notes every heartbeat the server
//! has accepted.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use serde_json::Value;

use crate::client;

/// Connections at once.
const THREADS: usize = 16;

/// A heartbeat that the server has answered with 200.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// When the answer came.
    pub at: Instant,
    /// The host's address.
    pub ip: String,
    /// The heartbeat's number: milliseconds since the boot.
    pub seq: u64,
    /// The number of the request that carried the heartbeat.
    pub request: usize,
    /// Whether the heartbeat came out of a spool.
    pub is_spooled: bool,
}

/// The proxy; dropping the value ends its threads.
pub struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// The parts of a [`Recorder`] that its threads need, too.
struct Shared {
    target: SocketAddr,
    /// Whether connections end at once.
    is_cut: AtomicBool,
    is_over: AtomicBool,
    tally: Mutex<Tally>,
}

/// The answers of the server so far.
#[derive(Default)]
struct Tally {
    accepted: Vec<Accepted>,
    requests: usize,
    rejected: usize,
    unauthorized: usize,
}

impl Recorder {
    /// Starts a proxy before `target`.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn start(target: SocketAddr) -> Recorder {
        let listener =
            Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port"));
        let address = listener.local_addr().expect("a bound listener");
        let (is_cut, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = Arc::new(Shared {
            target,
            is_cut,
            is_over,
            tally: Mutex::default(),
        });

        let serve = || {
            let (listener, shared) = (Arc::clone(&listener), Arc::clone(&shared));
            thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    if shared.is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    // The server has accepted nothing of a request that breaks off here.
                    let _ = shared.pass(&stream);
                }
            })
        };

        let threads = (0..THREADS).map(|_| serve()).collect();
        Recorder {
            address,
            shared,
            threads,
        }
    }

    /// The address that the proxy listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Hangs up on every agent, or no longer. While the server is away, another process
    /// may have got its port.
    pub fn cut(&self, is_cut: bool) {
        self.shared.is_cut.store(is_cut, Ordering::Relaxed);
    }

    /// The heartbeats accepted so far.
    ///
    /// # Panics
    /// If the server rejected a heartbeat.
    pub fn accepted(&self) -> Vec<Accepted> {
        let tally = self.shared.tally.lock().expect("no thread panics");
        assert_eq!(tally.rejected, 0, "the server rejected heartbeats");
        tally.accepted.clone()
    }

    /// How many requests the server has answered with 401.
    ///
    /// # Panics
    /// If a thread of the recorder has panicked.
    pub fn unauthorized(&self) -> usize {
        self.shared
            .tally
            .lock()
            .expect("no thread panics")
            .unauthorized
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Each thread ends with its next connection, so there is a connection for each
        // thread.
        for _ in &self.threads {
            let _ = TcpStream::connect(self.address);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn pass(&self, agent: &TcpStream) -> io::Result<()> {
        agent.set_read_timeout(Some(client::TIMEOUT))?;
        let mut reader = BufReader::new(agent);
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let from = head.len();
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
            let line = head[from..].to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value
                    .trim()
                    .parse()
                    .map_err(|_| io::ErrorKind::InvalidData)?;
            }
        }

        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if self.is_cut.load(Ordering::Relaxed) {
            return Ok(());
        }

        let answer = client::exchange(self.target, &[head.as_bytes(), &body].concat())?;
        if answer.status == 200 && head.starts_with("POST /heartbeat") {
            self.note(head.starts_with("POST /heartbeats "), &body, &answer.json());
        } else if answer.status == 401 {
            self.tally.lock().expect("no thread panics").unauthorized += 1;
        }

        let retry_after = answer
            .header("retry-after")
            .map(|value| format!("Retry-After: {value}\r\n"));
        let head = format!(
            "HTTP/1.1 {} X\r\n{}Content-Length: {}\r\nConnection: close\r\n\r\n",
            answer.status,
            retry_after.unwrap_or_default(),
            answer.body.len()
        );
        let mut agent = agent;
        agent.write_all(&[head.as_bytes(), &answer.body].concat())
    }

    fn note(&self, is_spooled: bool, body: &[u8], answer: &Value) {
        let at = Instant::now();
        let body: Value = serde_json::from_slice(body).expect("what is accepted is JSON");
        let heartbeats = if is_spooled {
            body.as_array().cloned().unwrap_or_default()
        } else {
            vec![body]
        };

        let mut tally = self.tally.lock().expect("no thread panics");
        tally.requests += 1;
        tally.rejected += answer["rejected"].as_array().map_or(0, Vec::len);
        let request = tally.requests;
        tally.accepted.extend(heartbeats.iter().map(|heartbeat| {
            Accepted {
                at,
                ip: heartbeat["ip"]
                    .as_str()
                    .expect("each agent knows its address")
                    .to_owned(),
                seq: heartbeat["seq"]
                    .as_u64()
                    .expect("each heartbeat has a number"),
                request,
                is_spooled,
            }
        }));
    }
}
