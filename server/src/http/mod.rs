//! The HTTP front: the one file that knows tiny_http.
//!
//! tiny_http is small and trusts its peer. What it would do wrong is put right here and
//! stays here:
//!
//! - Every answer is written by us, with a `Content-Length` and `Connection: close`;
//!   tiny_http drops the latter, and its kept connections starve each other.
//! - A body of up to [`PREBUFFERED_BYTES`] has been read before a worker sees the
//!   request. Anything that might still block on the peer goes to the *slow lane*,
//!   threads of their own, so that a peer which promises a body and sends none can never
//!   hold up a heartbeat.
//! - A body that is not read to its end is drained before the connection goes on;
//!   otherwise its rest would be taken for the next request. What is too long to drain is
//!   answered and then abandoned, because dropping tiny_http's reader allocates as many
//!   bytes as the peer has promised and not sent.
//! - A peer that does not read its answer loses its connection after [`UNREAD_TIMEOUT`].
//! - A handler's panic is a 500 and the worker lives.
//! - tiny_http's accept thread ends in silence when it runs out of file descriptors;
//!   [`crate::watchdog`] sees that from outside.

mod failure;
pub(crate) mod negotiation;

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;
use rustix::fs::Mode;

pub(crate) use self::failure::Failure;
use crate::sync::locked;

/// tiny_http reads bodies up to this length before it hands the request out.
const PREBUFFERED_BYTES: usize = 1024;
/// What is left of a refused body is read and thrown away up to this length before the
/// answer goes out, so that a peer which is still sending reads the answer instead of a
/// reset connection.
const DRAINED_FIRST_BYTES: usize = 2 * 1024 * 1024;
/// A longer one is answered first and drained then, if no more than this was promised.
const DRAINED_AT_ALL_BYTES: usize = 8 * 1024 * 1024;
/// Bodies up to this length are copied behind their head and sent in one write.
const SMALL_BODY_BYTES: usize = 16 * 1024;
/// Threads that may wait for slow peers; each is started when it is needed.
const SLOW_LANE_THREADS: usize = 256;
/// How long a stop waits for the slow lane.
const SLOW_LANE_STOP: Duration = Duration::from_secs(1);
/// A dead peer's connection is noticed within about twice this.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// A peer that does not take its answer is given up after this.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the front listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    /// A TCP address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// For people.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "http://{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A request, with everything a handler may ask of it.
pub(crate) struct Call {
    method: String,
    path: Vec<String>,
    query: String,
    peer: Peer,
    request_id: String,
    request: tiny_http::Request,
    framing: Framing,
    /// Why no handler may see this request.
    broken: Option<Failure>,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The client's address as far as trusted proxies tell it; `None` behind a Unix
    /// socket whose peer says nothing.
    pub(crate) ip: Option<IpAddr>,
}

/// How the body is delimited, and whether it has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// There is none, or it has been read whole.
    Finished,
    /// So many bytes.
    Length(usize),
    /// Until the last chunk.
    Chunked,
}

/// What a handler returns: an answer now, or work that will answer later from another
/// thread.
pub(crate) enum Reply {
    Now(Response),
    Later(Box<dyn FnOnce(Exchange) + Send>),
}

/// The right and the duty to answer one request. Dropped without an answer, it answers
/// 500.
pub(crate) struct Exchange {
    call: Option<Call>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body,
}

/// The bytes of an answer; views of the fleet are shared between many.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Static(&'static [u8]),
    Owned(Vec<u8>),
    Shared(Arc<Vec<u8>>),
}

impl Body {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Body::Static(bytes) => bytes,
            Body::Owned(bytes) => bytes,
            Body::Shared(bytes) => bytes,
        }
    }
}

impl Response {
    /// `value` as JSON.
    pub(crate) fn json(status: u16, value: &impl serde::Serialize) -> Response {
        let body = serde_json::to_vec(value)
            .expect("wire types have string keys and finite numbers");
        Response {
            status,
            headers: vec![
                ("Content-Type", "application/json".to_owned()),
                ("Cache-Control", "no-store".to_owned()),
            ],
            body: Body::Owned(body),
        }
    }

    pub(crate) fn with_header(
        mut self,
        name: &'static str,
        value: impl Into<String>,
    ) -> Response {
        self.headers.push((name, value.into()));
        self
    }
}

impl Call {
    /// The method in upper case, `HEAD` included.
    pub(crate) fn method(&self) -> &str {
        &self.method
    }

    /// The path's segments, percent-decoded: `/server/::1/config` is `["server", "::1",
    /// "config"]`, `/` is `[""]`.
    pub(crate) fn path(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    /// The raw query, without `?`.
    pub(crate) fn query(&self) -> &str {
        &self.query
    }

    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The header's value, if it was sent exactly once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = header_values(&self.request, name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Every value that was sent for a header that is a list.
    pub(crate) fn headers<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        header_values(&self.request, name)
    }

    /// The body, of at most `limit` bytes.
    ///
    /// # Errors
    /// 413 when it is longer, 400 when it breaks off or its chunks are malformed.
    pub(crate) fn body(&mut self, limit: usize) -> Result<Vec<u8>, Failure> {
        // Where an upgrade is asked for, tiny_http would give the whole connection as the
        // body.
        if self.framing == Framing::Finished && self.request.body_length().is_none() {
            return Ok(Vec::new());
        }
        let declared = match self.framing {
            Framing::Length(length) => Some(length),
            Framing::Finished => self.request.body_length(),
            Framing::Chunked => None,
        };
        if declared.is_some_and(|length| length > limit) {
            return Err(Failure::too_large(limit));
        }
        let mut body = Vec::with_capacity(declared.unwrap_or(0));
        // One byte more than allowed tells a body at the limit from one beyond it.
        let most = declared.unwrap_or(limit + 1);
        if let Err(error) = self
            .request
            .as_reader()
            .take(most as u64)
            .read_to_end(&mut body)
        {
            if self.framing == Framing::Chunked {
                // Where chunks make no sense there is no end to read on to.
                self.framing = Framing::Finished;
            }
            return Err(Failure::bad_request(format!(
                "the body cannot be read: {error}"
            )));
        }
        if declared.is_some_and(|length| body.len() < length) {
            return Err(Failure::bad_request(
                "the body breaks off before its Content-Length",
            ));
        }
        if body.len() > limit {
            return Err(Failure::too_large(limit));
        }
        self.framing = Framing::Finished;
        Ok(body)
    }

    fn new(request: tiny_http::Request, trusted: &TrustedProxies) -> Call {
        let (path, query) = request.url().split_once('?').unwrap_or((request.url(), ""));
        let (path, query) = (decode_path(path), query.to_owned());
        let framing = framing(&request);
        let broken = path
            .as_ref()
            .err()
            .or(framing.as_ref().err())
            .map(|detail| Failure::bad_request(*detail));
        Call {
            method: request.method().to_string(),
            path: path.unwrap_or_default(),
            query,
            peer: Peer {
                ip: trusted.client(&request),
            },
            request_id: request_id(),
            framing: framing.unwrap_or_else(|_| what_tiny_http_reads(&request)),
            broken,
            request,
        }
    }

    /// Whether reading the body, or throwing it away, may block on the peer.
    fn is_slow(&self) -> bool {
        self.framing != Framing::Finished
    }
}

fn header_values<'a>(
    request: &'a tiny_http::Request,
    name: &str,
) -> impl Iterator<Item = &'a str> {
    let named = request
        .headers()
        .iter()
        .filter(move |header| header.field.as_str().as_str().eq_ignore_ascii_case(name));
    named.map(|header| header.value.as_str().trim())
}

fn decode_path(path: &str) -> Result<Vec<String>, &'static str> {
    const NO_PATH: &str = "the request's target must be a path in UTF-8";
    let path = path.strip_prefix('/').ok_or(NO_PATH)?;
    path.split('/')
        .map(|segment| {
            percent_encoding::percent_decode_str(segment)
                .decode_utf8()
                .map(Into::into)
        })
        .collect::<Result<_, _>>()
        .map_err(|_| NO_PATH)
}

/// Where the body ends, by the rules of RFC 9112 §6.3, which are stricter than
/// tiny_http's.
fn framing(request: &tiny_http::Request) -> Result<Framing, &'static str> {
    let lengths: Vec<&str> = header_values(request, "Content-Length").collect();
    let encodings: Vec<&str> = header_values(request, "Transfer-Encoding").collect();
    match (lengths.as_slice(), encodings.as_slice()) {
        ([], []) => Ok(Framing::Finished),
        ([length], [])
            if length.bytes().all(|byte| byte.is_ascii_digit())
                && length.parse::<usize>().is_ok() =>
        {
            Ok(what_tiny_http_reads(request))
        }
        ([_], []) => Err("Content-Length must be a decimal number"),
        ([], [encoding]) if encoding.eq_ignore_ascii_case("chunked") => {
            Ok(Framing::Chunked)
        }
        ([], _) => Err("the only Transfer-Encoding known is chunked"),
        _ => Err("give Content-Length once, and not beside Transfer-Encoding"),
    }
}

/// What tiny_http's reader will wait for, whether or not the headers make sense.
fn what_tiny_http_reads(request: &tiny_http::Request) -> Framing {
    let has = |name| header_values(request, name).next().is_some();
    let upgrades = header_values(request, "Connection")
        .any(|value| value.to_ascii_lowercase().contains("upgrade"));
    match request.body_length() {
        None if has("Transfer-Encoding") => Framing::Chunked,
        None | Some(0) => Framing::Finished,
        Some(length) if length <= PREBUFFERED_BYTES && !has("Expect") && !upgrades => {
            Framing::Finished
        }
        Some(length) => Framing::Length(length),
    }
}

/// Sixteen hexadecimal digits.
fn request_id() -> String {
    let id = getrandom::u64().unwrap_or_default();
    format!("{id:016x}")
}

impl Exchange {
    fn new(call: Call) -> Exchange {
        Exchange { call: Some(call) }
    }

    /// The request's id, for the log.
    pub(crate) fn request_id(&self) -> &str {
        self.call.as_ref().map_or("", Call::request_id)
    }

    /// Sends the answer. A peer that has gone is no error of ours.
    pub(crate) fn answer(mut self, response: &Response) {
        if let Some(call) = self.call.take() {
            send(call, response);
        }
    }

    /// Sends `result`; a failure is logged if it is ours.
    pub(crate) fn finish(self, result: Result<Response, Failure>) {
        let response =
            result.unwrap_or_else(|failure| failure.into_response(self.request_id()));
        self.answer(&response);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            let response = Failure::internal("a handler ended without an answer")
                .into_response(call.request_id());
            send(call, &response);
        }
    }
}

/// Writes the answer and disposes of what is left of the request.
fn send(mut call: Call, response: &Response) {
    let head_only = call.method == "HEAD";
    // Whoever asks for a "100 Continue" waits with the body: the answer goes first.
    let waits = header_values(&call.request, "Expect").next().is_some();
    let drained = match call.framing {
        Framing::Finished => true,
        Framing::Length(length) if waits || length > DRAINED_FIRST_BYTES => false,
        Framing::Chunked if waits => false,
        Framing::Length(_) | Framing::Chunked => {
            discard(call.request.as_reader(), DRAINED_FIRST_BYTES)
        }
    };
    if drained {
        let mut writer = call.request.into_writer();
        let _ = write_answer(&mut writer, response, head_only);
    } else {
        answer_and_drain(call, response, head_only);
    }
}

/// For a request whose body is still to come: the only way to its writer that leaves the
/// body's reader alone is tiny_http's `upgrade`, which prints a head of its own first. An
/// interim 100 is a head that every HTTP/1.1 client skips.
fn answer_and_drain(call: Call, response: &Response, head_only: bool) {
    let is_short = match call.framing {
        Framing::Length(length) => length <= DRAINED_AT_ALL_BYTES,
        Framing::Finished | Framing::Chunked => true,
    };
    let interim = tiny_http::Response::new_empty(tiny_http::StatusCode(100));
    let mut stream = call.request.upgrade("none", interim);
    let _ = write_answer(&mut stream, response, head_only);
    if !is_short || !discard(&mut stream, DRAINED_AT_ALL_BYTES) {
        log::warn!("abandoned a connection whose body is too long");
        // Dropped, or read up to an early end, the reader of a promised length would
        // allocate what is left of it; behind it the rest of the body would be taken for
        // a request. It stays, and one of tiny_http's threads with it.
        std::mem::forget(stream);
    }
}

/// Reads and throws away up to `most` bytes; false if there are more.
fn discard(reader: &mut (impl Read + ?Sized), most: usize) -> bool {
    let mut buffer = [0; 16 * 1024];
    let mut left = most;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return true,
            Ok(count) if count <= left => left -= count,
            Ok(_) => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A peer that is gone, or chunks that make no sense: tiny_http ends the
            // connection.
            Err(_) => return true,
        }
    }
}

fn write_answer(
    writer: &mut (impl Write + ?Sized),
    response: &Response,
    head_only: bool,
) -> io::Result<()> {
    let body = response.body.as_bytes();
    let mut head = String::with_capacity(
        512 + if body.len() <= SMALL_BODY_BYTES {
            body.len()
        } else {
            0
        },
    );
    let _ = write!(
        head,
        "HTTP/1.1 {} {}\r\n",
        response.status,
        reason(response.status)
    );
    for (name, value) in &response.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let date = httpdate::fmt_http_date(SystemTime::now());
    // A 304 stands for a body whose length depends on the coding that its client would
    // have got.
    if response.status != 304 {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    let _ = write!(head, "Date: {date}\r\nConnection: close\r\n\r\n");
    let mut bytes = head.into_bytes();
    if head_only || response.status == 304 {
        writer.write_all(&bytes)?;
    } else if body.len() <= SMALL_BODY_BYTES {
        bytes.extend_from_slice(body);
        writer.write_all(&bytes)?;
    } else {
        writer.write_all(&bytes)?;
        writer.write_all(body)?;
    }
    writer.flush()
}

/// The phrase for each status that this server sends.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Other",
    }
}

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrustedProxies(pub(crate) Vec<IpNet>);

impl TrustedProxies {
    /// The client's address: from the right, the first one in the chain that is no
    /// trusted proxy. A Unix socket's peer is always trusted: the file's permissions have
    /// let it in.
    fn client(&self, request: &tiny_http::Request) -> Option<IpAddr> {
        let mut client = request
            .remote_addr()
            .map(|address| address.ip().to_canonical());
        let forwarded: Vec<&str> = header_values(request, "X-Forwarded-For")
            .flat_map(|value| value.split(','))
            .collect();
        for hop in forwarded.into_iter().rev() {
            let trusted =
                client.is_none_or(|ip| self.0.iter().any(|net| net.contains(&ip)));
            match fleetbeat_protocol::parse_ip(hop.trim()) {
                Some(ip) if trusted => client = Some(ip),
                _ => break,
            }
        }
        client
    }
}

/// The listener and its threads.
pub(crate) struct Front {
    server: Arc<tiny_http::Server>,
    workers: Vec<JoinHandle<()>>,
    slow_lane: Arc<SlowLane>,
    address: Listen,
}

/// Answers a request; called from many threads at once.
pub(crate) type Handler = dyn Fn(&mut Call) -> Result<Reply, Failure> + Send + Sync;

impl Front {
    /// Listens and starts the threads.
    ///
    /// # Errors
    /// The address cannot be had.
    pub(crate) fn start(
        listen: &Listen,
        trusted: TrustedProxies,
        workers: usize,
        handler: &Arc<Handler>,
    ) -> io::Result<Front> {
        let (server, address) = match listen {
            Listen::Tcp(address) => {
                let listener = listen_tcp(*address)?;
                let address = Listen::Tcp(listener.local_addr()?);
                (tiny_http::Server::from_listener(listener, None), address)
            }
            Listen::Unix(path) => (
                tiny_http::Server::from_listener(listen_unix(path)?, None),
                listen.clone(),
            ),
        };
        let server = Arc::new(server.map_err(io::Error::other)?);
        let trusted = Arc::new(trusted);
        let slow_lane = Arc::new(SlowLane {
            handler: handler.clone(),
            state: Mutex::default(),
        });
        let workers = (0..workers)
            .map(|n| {
                let (server, trusted, handler) =
                    (server.clone(), trusted.clone(), handler.clone());
                let slow_lane = slow_lane.clone();
                thread::Builder::new()
                    .name(format!("worker-{n}"))
                    .spawn(move || run_worker(&server, &trusted, &slow_lane, &*handler))
            })
            .collect::<io::Result<_>>()?;
        Ok(Front {
            server,
            workers,
            slow_lane,
            address,
        })
    }

    /// The address, with the port that was taken.
    pub(crate) fn address(&self) -> &Listen {
        &self.address
    }

    /// Takes no more requests, waits until the workers have answered theirs, and closes
    /// the listener. A slow peer is not waited for.
    pub(crate) fn stop(self) {
        for _ in &self.workers {
            self.server.unblock();
        }
        for worker in self.workers {
            let _ = worker.join();
        }
        // One that is stuck on a peer ends with the process.
        let deadline = Instant::now() + SLOW_LANE_STOP;
        while Instant::now() < deadline && locked(&self.slow_lane.state).threads > 0 {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // Accepted sockets inherit these from their listener on Linux; tiny_http lets nobody
    // near them later.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &socket2::TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE / 3)
            .with_retries(3),
    )?;
    socket.set_tcp_user_timeout(Some(UNREAD_TIMEOUT))?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// Binds the path, over a socket that a killed predecessor left, and lets owner and group
/// in.
fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::from(io::ErrorKind::AddrInUse));
    }
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| {
        std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type())
    });
    if is_socket {
        std::fs::remove_file(path)?;
    }
    // Bound with its final mode: there is no moment in which others could connect.
    let before = rustix::process::umask(Mode::from_raw_mode(0o117));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

fn run_worker(
    server: &tiny_http::Server,
    trusted: &TrustedProxies,
    slow_lane: &Arc<SlowLane>,
    handler: &Handler,
) {
    // An error means unblock(), or an accept thread that died: the watch sees the latter.
    while let Ok(request) = server.recv() {
        let call = Call::new(request, trusted);
        if call.is_slow() {
            slow_lane.take(call)
        } else {
            serve(call, handler)
        }
    }
}

/// Threads for requests that may have to wait for their peer.
struct SlowLane {
    handler: Arc<Handler>,
    state: Mutex<SlowLaneState>,
}

#[derive(Default)]
struct SlowLaneState {
    threads: usize,
    /// What waits while all threads are busy. Each is a connection that tiny_http holds a
    /// thread for anyway, so the limit on open files bounds this, too.
    waiting: VecDeque<Call>,
}

impl SlowLane {
    /// Serves the call in a thread of its own, which then serves what has come to wait
    /// meanwhile.
    fn take(self: &Arc<Self>, call: Call) {
        let mut state = locked(&self.state);
        state.waiting.push_back(call);
        if state.threads == SLOW_LANE_THREADS {
            return;
        }
        state.threads += 1;
        drop(state);
        let lane = self.clone();
        let started = thread::Builder::new()
            .name("slow".to_owned())
            .spawn(move || lane.run());
        if let Err(error) = started {
            log::error!("no thread for a slow request: {error}");
            locked(&self.state).threads -= 1;
        }
    }

    fn run(&self) {
        loop {
            let mut state = locked(&self.state);
            let Some(call) = state.waiting.pop_front() else {
                state.threads -= 1;
                return;
            };
            drop(state);
            serve(call, &*self.handler);
        }
    }
}

fn serve(mut call: Call, handler: &Handler) {
    let reply = match call.broken.take() {
        Some(failure) => Err(failure),
        None => catch_unwind(AssertUnwindSafe(|| handler(&mut call)))
            .unwrap_or_else(|_| Err(Failure::internal("the handler panicked"))),
    };
    let exchange = Exchange::new(call);
    match reply {
        Ok(Reply::Now(response)) => exchange.answer(&response),
        Ok(Reply::Later(work)) => work(exchange),
        Err(failure) => exchange.finish(Err(failure)),
    }
}
