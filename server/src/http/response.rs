//! Responses, and what a response is on the wire.

use std::io;

use tiny_http::{HTTPVersion, Header};

use super::guard::outgoing::{Body, Outgoing};

/// Room for a head, so that it seldom grows.
const USUAL_HEAD_BYTES: usize = 512;

/// The answer to a request.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    /// One of the statuses that [`reason`] knows.
    pub(crate) status: u16,
    /// The headers, but for `Content-Length`, `Date` and `Connection`, which every
    /// response gets as it is written.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The bytes behind the head; not sent with a 204 or a 304.
    pub(crate) body: Body,
}

/// The headers of every response, besides `Date`, `Content-Length` and `Connection`.
const ALWAYS: [(&str, &str); 2] = [
    ("Server", "fleetbeat-server"),
    ("X-Content-Type-Options", "nosniff"),
];

/// How much of a response its client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Head and body.
    Whole,
    /// The head alone, for `HEAD`.
    HeadOnly,
}

impl Extent {
    /// How much of the response to a request of this method is wanted.
    pub(super) fn of(method: &str) -> Extent {
        match method {
            "HEAD" => Extent::HeadOnly,
            _ => Extent::Whole,
        }
    }
}

impl Response {
    /// `value` as JSON, which no cache may keep.
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

    /// 204: done, and there is nothing to tell.
    pub(crate) fn no_content() -> Response {
        Response {
            status: 204,
            headers: vec![("Cache-Control", "no-store".to_owned())],
            body: Body::Static(b""),
        }
    }

    /// The same response with one header more.
    pub(crate) fn with_header(
        mut self,
        name: &'static str,
        value: impl Into<String>,
    ) -> Response {
        self.headers.push((name, value.into()));
        self
    }

    /// The bytes behind the head that a client gets.
    pub(super) fn body_bytes(&self, extent: Extent) -> usize {
        match self.has_body(extent) {
            true => self.body.as_bytes().len(),
            false => 0,
        }
    }

    fn has_body(&self, extent: Extent) -> bool {
        extent == Extent::Whole && !has_no_length(self.status)
    }

    /// The response as bytes for its client.
    pub(super) fn encode(&self, extent: Extent) -> Outgoing {
        let body = self.has_body(extent).then(|| self.body.clone());
        Outgoing::new(self.head(), body)
    }

    /// The status line and all headers, written by `tiny_http`.
    fn head(&self) -> Vec<u8> {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (*name, value.as_str()));
        let headers = ALWAYS
            .into_iter()
            .chain(headers)
            .filter_map(|(name, value)| Header::from_bytes(name, value).ok());
        let length = match has_no_length(self.status) {
            true => 0,
            false => self.body.as_bytes().len(),
        };

        let response = tiny_http::Response::new(
            self.status.into(),
            headers.collect(),
            io::empty(),
            Some(length),
            None,
        );
        let mut head = Vec::with_capacity(USUAL_HEAD_BYTES);
        // Never chunked, however long the body is. Writing to memory does not fail.
        let _ = response.with_chunked_threshold(usize::MAX).raw_print(
            &mut head,
            HTTPVersion(1, 1),
            &[],
            true,
            None,
        );

        end_head(&mut head, self.status);
        head
    }
}

/// Whether a response of this status says no length. A 204 has no body, and RFC 9110
/// forbids it a length. A 304 stands for a body whose length depends on the content coding
/// that its client would have got.
fn has_no_length(status: u16) -> bool {
    matches!(status, 204 | 304)
}

/// Says that the connection ends, which `tiny_http` does not let its callers say, and takes
/// back a length that the status must not have.
fn end_head(head: &mut Vec<u8>, status: u16) {
    let end: &[u8] = match has_no_length(status) {
        true => b"Content-Length: 0\r\n\r\n",
        false => b"\r\n",
    };
    if let Some(rest) = head.strip_suffix(end) {
        head.truncate(rest.len());
    }
    head.extend_from_slice(b"Connection: close\r\n\r\n");
}

/// The phrase for each status that this server sends.
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        304 => "Not Modified",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Other",
    }
}
