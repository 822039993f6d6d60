//! Responses, and writing a response to its connection.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

/// Bodies up to this length are copied behind their head and sent in one write.
const SMALL_BODY_BYTES: usize = 16 * 1024;
/// Room for a head, so that its string seldom grows.
const USUAL_HEAD_BYTES: usize = 512;

/// The answer to a request.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    /// One of the statuses that [`reason`] knows.
    pub(crate) status: u16,
    /// The headers, but for `Content-Length`, `Date` and `Connection`, which every
    /// response gets as it is written.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The bytes behind the head; not sent with a 304.
    pub(crate) body: Body,
}

/// The bytes of a response; views of the fleet are shared between many.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// Bytes that are part of the program.
    Static(&'static [u8]),
    /// Bytes for this response alone.
    Owned(Vec<u8>),
    /// Bytes that other responses have, too.
    Shared(Arc<Vec<u8>>),
}

/// How much of a response its client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Head and body.
    Whole,
    /// The head alone, for `HEAD`.
    HeadOnly,
}

impl Body {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Body::Static(bytes) => bytes,
            Body::Owned(bytes) => bytes,
            Body::Shared(bytes) => bytes,
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

    /// The same response with one header more.
    pub(crate) fn with_header(
        mut self,
        name: &'static str,
        value: impl Into<String>,
    ) -> Response {
        self.headers.push((name, value.into()));
        self
    }

    /// Writes the response to its connection.
    ///
    /// # Errors
    /// The peer has gone, or takes nothing.
    pub(super) fn write_to(
        &self,
        writer: &mut (impl Write + ?Sized),
        extent: Extent,
    ) -> io::Result<()> {
        let mut bytes = self.head().into_bytes();
        let body = self.body.as_bytes();

        if extent == Extent::HeadOnly || self.status == 304 {
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

    /// The status line and all headers, with room behind them for a small body.
    fn head(&self) -> String {
        let body_bytes = self.body.as_bytes().len();
        let room = if body_bytes <= SMALL_BODY_BYTES {
            body_bytes
        } else {
            0
        };
        let mut head = String::with_capacity(USUAL_HEAD_BYTES + room);

        let (status, reason) = (self.status, reason(self.status));
        let _ = write!(head, "HTTP/1.1 {status} {reason}\r\n");
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }

        // A 304 stands for a body whose length depends on the content coding that its
        // client would have got.
        if self.status != 304 {
            let _ = write!(head, "Content-Length: {body_bytes}\r\n");
        }
        let date = httpdate::fmt_http_date(SystemTime::now());
        let _ = write!(head, "Date: {date}\r\nConnection: close\r\n\r\n");

        head
    }
}

/// The phrase for each status that this server sends.
pub(super) fn reason(status: u16) -> &'static str {
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
