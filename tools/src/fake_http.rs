//! A peer over HTTP that answers as a test has written down, and notes what it was sent.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::stand_in::{Certificate, StandIn, read_request};

/// Time between two bytes of a peer that drips.
const DRIP: Duration = Duration::from_millis(200);
/// Pause between two looks at what has come.
const POLL: Duration = Duration::from_millis(10);

/// What the peer does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Answers.
    Status {
        /// The status.
        status: u16,
        /// The headers besides the length.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: String,
    },
    /// Answers, and never gets to the end of the head.
    Drip,
    /// Answers with the status and a body of 100 MB.
    Huge(u16),
    /// Hangs up.
    HangUp,
}

impl Reply {
    /// An answer without further headers.
    pub fn status(status: u16, body: &str) -> Reply {
        Reply::Status {
            status,
            headers: Vec::new(),
            body: body.to_owned(),
        }
    }

    /// The same answer with a header more.
    pub fn with(mut self, name: &'static str, value: &str) -> Reply {
        if let Reply::Status { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

/// A request that the peer was sent.
#[derive(Debug, Clone)]
pub struct Received {
    /// When it had come.
    pub at: Instant,
    /// Such as `POST`.
    pub method: String,
    /// The path with the query.
    pub path: String,
    /// The headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Received {
    /// The value of a header, whose name is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If the body is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("a body in JSON")
    }
}

/// What the peer and its thread share.
#[derive(Default)]
struct Shared {
    replies: VecDeque<Reply>,
    received: Vec<Received>,
    hole: Option<Hole>,
}

/// What becomes of connections while the peer is a black hole: they stay open, and nobody
/// reads from them.
#[derive(Default)]
struct Hole {
    connections: Vec<Box<dyn Send>>,
}

/// The peer; dropping the value ends its thread.
pub struct FakeHttp {
    stand_in: StandIn,
    shared: Arc<Mutex<Shared>>,
    scheme: &'static str,
}

impl FakeHttp {
    /// Answers the first requests with `replies`, and all further ones with 200.
    pub fn start(replies: impl IntoIterator<Item = Reply>) -> FakeHttp {
        let shared = share(replies);
        let served = Arc::clone(&shared);
        FakeHttp {
            stand_in: StandIn::start(move |stream| serve(stream, &served)),
            shared,
            scheme: "http",
        }
    }

    /// The same with TLS and the certificate.
    pub fn start_with_tls(
        certificate: &Certificate,
        replies: impl IntoIterator<Item = Reply>,
    ) -> FakeHttp {
        let shared = share(replies);
        let (served, certificate) = (Arc::clone(&shared), certificate.clone());
        let treat = move |stream: TcpStream| {
            if let Some(stream) = certificate.accept(stream) {
                serve(stream, &served);
            }
        };
        FakeHttp {
            stand_in: StandIn::start(treat),
            shared,
            scheme: "https",
        }
    }

    /// The address that the peer listens on.
    pub fn address(&self) -> SocketAddr {
        self.stand_in.address()
    }

    /// The URL of `path` at the peer.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address())
    }

    /// Puts a reply behind those that wait.
    pub fn push(&self, reply: Reply) {
        lock(&self.shared).replies.push_back(reply);
    }

    /// From now on the peer takes connections, and never reads or answers.
    pub fn begin_black_hole(&self) {
        lock(&self.shared).hole.get_or_insert_default();
    }

    /// The peer is well again. It hangs up on those that have waited.
    pub fn end_black_hole(&self) {
        let hole = lock(&self.shared).hole.take();
        drop(hole);
    }

    /// How many connections a black hole has swallowed so far; 0 where there is none.
    pub fn swallowed(&self) -> usize {
        let shared = lock(&self.shared);
        shared
            .hole
            .as_ref()
            .map_or(0, |hole| hole.connections.len())
    }

    /// All requests so far.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared).received.clone()
    }

    /// The requests, as soon as there are `count`.
    ///
    /// # Panics
    /// If there are fewer at the end of `limit`.
    pub fn wait_for(&self, count: usize, limit: Duration) -> Vec<Received> {
        let ends_at = Instant::now() + limit;
        loop {
            let received = self.received();
            if received.len() >= count {
                return received;
            }
            assert!(Instant::now() < ends_at, "only {received:#?}");
            thread::sleep(POLL);
        }
    }
}

fn share(replies: impl IntoIterator<Item = Reply>) -> Arc<Mutex<Shared>> {
    Arc::new(Mutex::new(Shared {
        replies: replies.into_iter().collect(),
        received: Vec::new(),
        hole: None,
    }))
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut stream: impl Read + Write + Send + 'static, shared: &Mutex<Shared>) {
    if let Some(hole) = &mut lock(shared).hole {
        hole.connections.push(Box::new(stream));
        return;
    }
    let Some(request) = read_request(&mut stream) else {
        return;
    };
    let reply = {
        let mut shared = lock(shared);
        shared.received.push(parse(&request));
        shared.replies.pop_front()
    };

    let reply = reply.unwrap_or_else(|| Reply::status(200, "{}"));
    let _ = answer(&mut stream, &reply);
    let _ = stream.flush();
}

fn parse(request: &[u8]) -> Received {
    let text = String::from_utf8_lossy(request);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_ascii_lowercase(), value.to_owned()))
    });
    Received {
        at: Instant::now(),
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body: body.to_owned(),
    }
}

fn answer(stream: &mut impl Write, reply: &Reply) -> std::io::Result<()> {
    match reply {
        Reply::HangUp => Ok(()),
        Reply::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX: ")?;
            loop {
                stream.write_all(b"x")?;
                stream.flush()?;
                thread::sleep(DRIP);
            }
        }
        Reply::Huge(status) => {
            const LENGTH: usize = 100_000_000;
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {LENGTH}\r\n\r\n");
            stream.write_all(head.as_bytes())?;
            let piece = [b'x'; 10_000];
            (0..LENGTH / piece.len()).try_for_each(|_| stream.write_all(&piece))
        }
        Reply::Status {
            status,
            headers,
            body,
        } => {
            let length = body.len();
            let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n");
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            stream.write_all(format!("{head}\r\n{body}").as_bytes())
        }
    }
}
