//! A small HTTP client that hides nothing: one connection for each request, and every
//! header as the server sent it.
//!
//! The load generator runs beside the server on two cores, so the client must cost
//! little. The tests must be able to send what no well-behaved client would.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// No answer takes longer.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body, unchanged.
    pub body: Vec<u8>,
}

impl Answer {
    /// The header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If the body is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{error} in {:?}", String::from_utf8_lossy(&self.body))
        })
    }
}

/// Sends a request with a body and the headers that a body needs, and reads the answer.
///
/// # Errors
/// The connection or the answer breaks off, or takes longer than [`TIMEOUT`].
pub fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    exchange(address, &encode(method, target, headers, body))
}

/// The bytes of a request.
pub fn encode(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256 + body.len());
    let _ = write!(
        bytes,
        "{method} {target} HTTP/1.1\r\nHost: fleetbeat\r\nConnection: close\r\n"
    );

    for (name, value) in headers {
        let _ = write!(bytes, "{name}: {value}\r\n");
    }
    if !body.is_empty() {
        let _ = write!(bytes, "Content-Length: {}\r\n", body.len());
    }

    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// Sends raw bytes and reads one answer.
///
/// # Errors
/// As [`request`].
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> io::Result<Answer> {
    let mut stream = connect(address)?;
    stream.write_all(bytes)?;
    read_answer(&mut stream)
}

/// A connection with timeouts.
///
/// # Errors
/// Nobody listens.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Reads one answer up to its stated length; interim answers (1xx) are skipped.
///
/// # Errors
/// The answer breaks off or is not HTTP.
pub fn read_answer(stream: &mut impl Read) -> io::Result<Answer> {
    let mut received = Vec::new();
    loop {
        let head_end = loop {
            if let Some(end) =
                received.windows(4).position(|window| window == b"\r\n\r\n")
            {
                break end;
            }
            read_more(stream, &mut received)?;
        };

        let (status, headers) = parse_head(&received[..head_end])?;
        received.drain(..head_end + 4);
        if (100..200).contains(&status) {
            continue;
        }

        let length = headers
            .get("content-length")
            .and_then(|value| value.parse().ok());
        if matches!(status, 204 | 304) {
            return Ok(Answer {
                status,
                headers,
                body: Vec::new(),
            });
        }

        let length: usize =
            length.ok_or_else(|| invalid("an answer without Content-Length"))?;
        while received.len() < length {
            read_more(stream, &mut received)?;
        }
        received.truncate(length);
        return Ok(Answer {
            status,
            headers,
            body: received,
        });
    }
}

fn read_more(stream: &mut impl Read, received: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 64 * 1024];
    let count = loop {
        match stream.read(&mut buffer) {
            // A read with a timeout is not resumed by the kernel.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    };

    if count == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the answer breaks off",
        ));
    }
    received.extend_from_slice(&buffer[..count]);
    Ok(())
}

fn parse_head(head: &[u8]) -> io::Result<(u16, BTreeMap<String, String>)> {
    let head =
        std::str::from_utf8(head).map_err(|_| invalid("a head that is not UTF-8"))?;
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|status| status.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok((status.ok_or_else(|| invalid("no status line"))?, headers))
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
