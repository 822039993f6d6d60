//! A request, as handlers see it.

use std::io::{Read, Write};
use std::net::IpAddr;

use super::failure::Failure;
use super::forwarded::{Peer, TrustedProxies};
use super::framing::{BodyHeaders, Framing};

/// A request, with everything that a handler may ask of it.
pub(crate) struct Request {
    method: String,
    path: Vec<String>,
    query: String,
    peer: Peer,
    /// See [`Request::disbelieved_proxy`].
    disbelieved_proxy: Option<IpAddr>,
    id: String,
    inner: tiny_http::Request,
    framing: Framing,
    /// Why no handler may see this request.
    broken: Option<Failure>,
}

impl Request {
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

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    /// The TCP peer that has sent an `X-Forwarded-For` and is not a trusted proxy.
    pub(crate) fn disbelieved_proxy(&self) -> Option<IpAddr> {
        self.disbelieved_proxy
    }

    /// Sixteen hexadecimal digits that name the request in the log and in problems.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The header's value, if it was sent exactly once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = header_values(&self.inner, name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Every value that was sent for a header that is a list.
    pub(crate) fn headers<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        header_values(&self.inner, name)
    }

    /// Reads the body, of at most `limit` bytes.
    ///
    /// # Errors
    /// 413 when the body is longer, 400 when it breaks off or its chunks are malformed.
    pub(crate) fn body(&mut self, limit: usize) -> Result<Vec<u8>, Failure> {
        // Where an upgrade is asked for, tiny_http would give the whole connection as the
        // body.
        if self.framing == Framing::Finished && self.inner.body_length().is_none() {
            return Ok(Vec::new());
        }

        let declared = self.declared_length();
        if declared.is_some_and(|length| length > limit) {
            return Err(Failure::too_large(limit));
        }

        // One byte more than allowed tells a body at the limit from one beyond it.
        let body = self.read(declared, declared.unwrap_or(limit + 1))?;

        if declared.is_some_and(|length| body.len() < length) {
            let detail = "the body breaks off before its Content-Length";
            return Err(Failure::bad_request(detail));
        }
        if body.len() > limit {
            return Err(Failure::too_large(limit));
        }

        self.framing = Framing::Finished;
        Ok(body)
    }

    /// The body's length, where a header has declared it.
    fn declared_length(&self) -> Option<usize> {
        match self.framing {
            Framing::Length(length) => Some(length),
            Framing::Finished => self.inner.body_length(),
            Framing::Chunked => None,
        }
    }

    /// Reads up to `most` bytes of the body.
    fn read(&mut self, declared: Option<usize>, most: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::with_capacity(declared.unwrap_or(0));
        let mut reader = self.inner.as_reader().take(most as u64);

        match reader.read_to_end(&mut body) {
            Ok(_) => Ok(body),
            Err(error) => {
                // Chunks that make no sense have no end to read on to.
                if self.framing == Framing::Chunked {
                    self.framing = Framing::Finished;
                }
                let detail = format!("the body cannot be read: {error}");
                Err(Failure::bad_request(detail))
            }
        }
    }
}

/// What the listener and [`super::exchange`] do with a request.
impl Request {
    /// The request as `tiny_http` has taken it in.
    pub(super) fn new(inner: tiny_http::Request, trusted: &TrustedProxies) -> Request {
        let (path, query) = inner.url().split_once('?').unwrap_or((inner.url(), ""));
        let (path, query) = (decode_path(path), query.to_owned());
        let headers = body_headers(&inner);
        let framing = headers.framing();
        let framing_of_tiny_http = headers.framing_of_tiny_http();

        let wrong = path.as_ref().err().or(framing.as_ref().err());
        let broken = wrong.map(|detail| Failure::bad_request(*detail));
        let connected = inner.remote_addr().map(std::net::SocketAddr::ip);
        let peer = trusted.find_peer(connected, header_values(&inner, "X-Forwarded-For"));
        let forwards = header_values(&inner, "X-Forwarded-For").next().is_some();
        let disbelieved_proxy = connected.filter(|ip| forwards && !trusted.contains(*ip));

        Request {
            method: inner.method().to_string(),
            path: path.unwrap_or_default(),
            query,
            peer,
            disbelieved_proxy,
            id: new_id(),
            framing: framing.unwrap_or(framing_of_tiny_http),
            broken,
            inner,
        }
    }

    /// How the body is delimited, and whether it has been read.
    pub(super) fn framing(&self) -> Framing {
        self.framing
    }

    /// Why no handler may see this request, told once.
    pub(super) fn take_broken(&mut self) -> Option<Failure> {
        self.broken.take()
    }

    /// Whether the peer waits with its body for a "100 Continue".
    pub(super) fn waits_for_continue(&self) -> bool {
        header_values(&self.inner, "Expect").next().is_some()
    }

    /// What is left of the body.
    pub(super) fn unread_body(&mut self) -> &mut dyn Read {
        self.inner.as_reader()
    }

    /// The connection, to write a response to; the body has been read or drained.
    pub(super) fn into_writer(self) -> impl Write {
        self.inner.into_writer()
    }

    /// The connection of a request whose body is still to come, after an interim "100
    /// Continue" that every HTTP/1.1 client skips.
    ///
    /// The only way to tiny_http's writer that leaves the body's reader alone is its
    /// `upgrade`, which writes a head of its own first.
    pub(super) fn into_stream(self) -> impl Read + Write {
        let interim = tiny_http::Response::new_empty(tiny_http::StatusCode(100));
        self.inner.upgrade("none", interim)
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

fn body_headers(request: &tiny_http::Request) -> BodyHeaders<'_> {
    let asks_for_upgrade = header_values(request, "Connection")
        .any(|value| value.to_ascii_lowercase().contains("upgrade"));

    BodyHeaders {
        lengths: header_values(request, "Content-Length").collect(),
        encodings: header_values(request, "Transfer-Encoding").collect(),
        has_expect: header_values(request, "Expect").next().is_some(),
        asks_for_upgrade,
        understood_length: request.body_length(),
    }
}

/// The path's segments, percent-decoded.
fn decode_path(path: &str) -> Result<Vec<String>, &'static str> {
    const NOT_A_PATH: &str = "the request's target must be a path in UTF-8";

    let path = path.strip_prefix('/').ok_or(NOT_A_PATH)?;
    path.split('/')
        .map(|segment| {
            percent_encoding::percent_decode_str(segment)
                .decode_utf8()
                .map(Into::into)
        })
        .collect::<Result<_, _>>()
        .map_err(|_| NOT_A_PATH)
}

fn new_id() -> String {
    let id = getrandom::u64().unwrap_or_default();
    format!("{id:016x}")
}
