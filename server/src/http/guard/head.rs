//! The head of a request: read strictly, and refused where two programs could understand
//! it differently.
//!
//! httparse reads the fields. What httparse lets pass and this server does not is looked
//! for first, byte by byte as the bytes come: bytes that are not ASCII, NUL, a CR or an LF
//! alone, and lines that continue the line before.

use std::str::FromStr;

use tiny_http::{Header, Method};

use crate::http::failure::Failure;

/// The longest head, with the blank line that ends it.
pub(crate) const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The most fields of a head.
const MAX_FIELDS: usize = 100;

/// Where a request's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body.
    None,
    /// After so many bytes.
    Length(usize),
    /// After the last chunk.
    Chunked,
}

/// A request's head.
#[derive(Debug)]
pub(crate) struct Head {
    /// The method.
    pub(crate) method: Method,
    /// Path and query, without scheme and authority.
    pub(crate) target: String,
    /// The fields, in the order in which they were sent.
    pub(crate) headers: Vec<Header>,
    /// Where the body ends.
    pub(crate) framing: Framing,
    /// Whether the client waits with its body for a "100 Continue".
    pub(crate) waits_for_continue: bool,
}

/// The bytes of a head, while they come.
#[derive(Debug, Default)]
pub(crate) struct HeadReader {
    bytes: Vec<u8>,
    /// The bytes that have been looked at, and are sound.
    checked: usize,
    /// The bytes of empty lines before the head. They count as a part of it: a peer could
    /// send nothing else, for ever.
    skipped: usize,
}

impl HeadReader {
    /// Whether nothing has come.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes what has come. Gives the head, once it is whole, with what came behind it.
    ///
    /// # Errors
    /// Why the head is refused: 400, 417, 431 or 505.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
    ) -> Result<Option<(Head, Vec<u8>)>, Failure> {
        self.bytes.extend_from_slice(bytes);
        self.skip_empty_lines();

        let end = self.find_end()?;
        let most = MAX_HEAD_BYTES.saturating_sub(self.skipped);
        if end.unwrap_or(self.bytes.len()) > most
            || (end.is_none() && self.bytes.len() == most)
        {
            return Err(Failure::head_too_large(MAX_HEAD_BYTES));
        }
        let Some(end) = end else {
            return Ok(None);
        };

        let behind = self.bytes.split_off(end);
        Ok(Some((parse(&self.bytes)?, behind)))
    }

    /// RFC 9112 §2.2: a server skips empty lines before a request.
    fn skip_empty_lines(&mut self) {
        let lines = self.bytes.chunks_exact(2);
        let empty = 2 * lines.take_while(|line| *line == b"\r\n").count();
        // A CR alone may have been looked at.
        if empty > 0 && self.checked <= 1 {
            self.bytes.drain(..empty);
            self.skipped += empty;
            self.checked = 0;
        }
    }

    /// Looks at the bytes that have not been looked at. Gives the head's length, once the
    /// blank line has come.
    fn find_end(&mut self) -> Result<Option<usize>, Failure> {
        for index in self.checked..self.bytes.len() {
            let before = |distance| index.checked_sub(distance).map(|at| self.bytes[at]);
            let (byte, previous) = (self.bytes[index], before(1));
            let starts_line = previous == Some(b'\n');

            let wrong = match byte {
                0 => Some("the head holds a NUL byte"),
                0x80.. => Some("the head holds a byte that is not ASCII"),
                b'\n' if previous != Some(b'\r') => Some("a line ends with LF alone"),
                b' ' | b'\t' if starts_line => Some("a field is continued on a new line"),
                _ if byte != b'\n' && previous == Some(b'\r') => {
                    Some("the head holds a CR alone")
                }
                _ => None,
            };
            if let Some(wrong) = wrong {
                return Err(Failure::bad_request(wrong));
            }

            if byte == b'\n' && before(2) == Some(b'\n') {
                return Ok(Some(index + 1));
            }
        }

        self.checked = self.bytes.len();
        Ok(None)
    }
}

/// The head that the bytes hold whole.
fn parse(bytes: &[u8]) -> Result<Head, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => {
            return Err(Failure::bad_request("the request is not HTTP"));
        }
        Err(error) => return Err(explain(error, bytes)),
    }

    let method = request.method.unwrap_or_default();
    let headers = request.headers.iter().map(read_field);
    let headers: Vec<Header> = headers.collect::<Result<_, _>>()?;
    let is_1_1 = request.version == Some(1);
    check_host(&headers, is_1_1)?;

    Ok(Head {
        method: Method::from_str(method)
            .map_err(|()| Failure::bad_request("the method is not a token"))?,
        target: strip_authority(request.path.unwrap_or_default()).to_owned(),
        framing: find_framing(&headers, is_1_1)?,
        waits_for_continue: is_1_1 && asks_for_continue(&headers)?,
        headers,
    })
}

/// RFC 9112 §3.2: a request names one host, and may name none before HTTP/1.1.
fn check_host(headers: &[Header], is_1_1: bool) -> Result<(), Failure> {
    let hosts = headers.iter().filter(|header| header.field.equiv("Host"));
    match hosts.count() {
        1 => Ok(()),
        0 if !is_1_1 => Ok(()),
        _ => Err(Failure::bad_request("give the field Host once")),
    }
}

fn read_field(field: &httparse::Header<'_>) -> Result<Header, Failure> {
    Header::from_bytes(field.name, field.value)
        .map_err(|()| Failure::bad_request("the head holds a byte that is not ASCII"))
}

/// What the client is told of a head that httparse refuses.
fn explain(error: httparse::Error, bytes: &[u8]) -> Failure {
    let first_line = bytes
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let last_word = first_line.rsplit(|byte| *byte == b' ').next();

    match error {
        httparse::Error::TooManyHeaders => Failure::too_many_fields(MAX_FIELDS),
        httparse::Error::Version
            if last_word.is_some_and(|word| word.starts_with(b"HTTP/")) =>
        {
            Failure::unknown_version()
        }
        error => Failure::bad_request(format!("the request is not HTTP: {error}")),
    }
}

/// The path and query of an absolute-form target, as clients send it to proxies; another
/// target as it is.
fn strip_authority(target: &str) -> &str {
    let scheme = ["http://", "https://"].into_iter().find(|scheme| {
        let start = target.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let Some(scheme) = scheme else {
        return target;
    };

    let behind = &target[scheme.len()..];
    behind.find(['/', '?']).map_or("/", |path| &behind[path..])
}

/// Where the body ends, by RFC 9112 §6.3, but for its leniencies.
fn find_framing(headers: &[Header], is_1_1: bool) -> Result<Framing, Failure> {
    let values = |name: &'static str| -> Vec<&str> {
        let named = headers.iter().filter(|header| header.field.equiv(name));
        named.map(|header| header.value.as_str().trim()).collect()
    };
    let (lengths, codings) = (values("Content-Length"), values("Transfer-Encoding"));

    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Framing::None),
        ([length], []) => match parse_length(length) {
            Some(0) => Ok(Framing::None),
            Some(length) => Ok(Framing::Length(length)),
            None => Err(Failure::bad_request(
                "Content-Length must be a decimal number",
            )),
        },
        ([], [coding]) if is_1_1 && coding.eq_ignore_ascii_case("chunked") => {
            Ok(Framing::Chunked)
        }
        ([], _) => Err(Failure::bad_request(
            "the only Transfer-Encoding known is chunked, and only in HTTP/1.1",
        )),
        _ => Err(Failure::bad_request(
            "give Content-Length once, and not beside Transfer-Encoding",
        )),
    }
}

/// Digits alone, of a number that memory could hold.
fn parse_length(text: &str) -> Option<usize> {
    let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}

/// Whether `Expect` says that the client waits.
fn asks_for_continue(headers: &[Header]) -> Result<bool, Failure> {
    let mut expected = headers
        .iter()
        .filter(|header| header.field.equiv("Expect"))
        .map(|header| header.value.as_str().trim());

    match (expected.next(), expected.next()) {
        (None, _) => Ok(false),
        (Some(value), None) if value.eq_ignore_ascii_case("100-continue") => Ok(true),
        _ => Err(Failure::unknown_expectation()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a request that comes byte by byte, and all at once.
    fn read(bytes: &[u8]) -> Result<(Head, Vec<u8>), u16> {
        let read = |step| {
            let mut reader = HeadReader::default();
            let mut end = 0;
            for piece in bytes.chunks(step) {
                end += piece.len();
                if let Some((head, behind)) =
                    reader.take(piece).map_err(|failure| failure.status())?
                {
                    return Ok((head, [&behind, &bytes[end..]].concat()));
                }
            }
            Err(0)
        };
        let (slow, fast) = (read(1), read(bytes.len().max(1)));
        let status = |result: &Result<_, u16>| result.as_ref().err().copied();
        assert_eq!(status(&slow), status(&fast));
        fast
    }

    #[track_caller]
    fn status_of(fields: &str) -> u16 {
        let request = format!("POST /heartbeat HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        read(request.as_bytes()).err().unwrap_or(200)
    }

    #[test]
    fn a_sound_head_is_read_and_what_is_behind_it_is_kept() {
        let request =
            b"\r\nPOST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\nX:\t y \r\n\r\nab\xffde";
        let (head, behind) = read(request).unwrap();
        assert_eq!(head.method, Method::Post);
        assert_eq!(head.target, "/a?b");
        assert_eq!(head.framing, Framing::Length(7));
        assert_eq!(head.headers[2].value.as_str(), "y");
        assert!(!head.waits_for_continue);
        assert_eq!(behind, b"ab\xffde");

        assert_eq!(read(b"GET / HTTP/1.1\r\nHost: x\r\n").err(), Some(0));
    }

    #[test]
    fn what_two_programs_could_understand_differently_is_refused() {
        for fields in [
            "Content-Length: 0x10\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: \r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Content-Length : 5\r\n",
            "X: a\r\n b\r\n",
            "X: a\r\n\tb\r\n",
            "X: a\nY: b\r\n",
            "X: a\rY: b\r\n",
            "X: a\0b\r\n",
            "X: São Paulo\r\n",
            "Né: a\r\n",
            ": a\r\n",
            "no colon\r\n",
            "X: \x07\r\n",
            "Host: y\r\n",
        ] {
            assert_eq!(status_of(fields), 400, "{fields:?}");
        }
        for fields in [
            "Content-Length: 007\r\n",
            "transfer-encoding: Chunked\r\n",
            "X:\r\n",
        ] {
            assert_eq!(status_of(fields), 200, "{fields:?}");
        }
    }

    #[test]
    fn other_versions_and_what_is_not_http_are_refused() {
        for (request, status) in [
            (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], 505),
            (b"GET / HTTP/1.2\r\n\r\n", 505),
            (b"GET / HTTP/3\r\n\r\n", 505),
            (b"GET / SHTTP/1.1\r\n\r\n", 400),
            (b"GET /\r\n\r\n", 400),
            (b"GET  / HTTP/1.1\r\n\r\n", 400),
            (b" GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n", 400),
            (b"G@T / HTTP/1.1\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
            (b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            (b"\n\nGET / HTTP/1.1\r\n\r\n", 400),
        ] {
            assert_eq!(read(request).err(), Some(status), "{request:?}");
        }
    }

    #[test]
    fn a_head_has_a_length_and_a_number_of_fields() {
        let of_length = |length: usize| {
            let start = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
            let value = "a".repeat(length - start.len() - 4);
            read(format!("{start}{value}\r\n\r\n").as_bytes()).err()
        };
        assert_eq!(of_length(MAX_HEAD_BYTES), None);
        assert_eq!(of_length(MAX_HEAD_BYTES + 1), Some(431));
        assert_eq!(read(&vec![b'a'; MAX_HEAD_BYTES]).err(), Some(431));
        assert_eq!(read(&b"\r\n".repeat(MAX_HEAD_BYTES / 2)).err(), Some(431));
        assert_eq!(read(&b"\r\n".repeat(MAX_HEAD_BYTES / 2 - 1)).err(), Some(0));

        let of_fields = |count: usize| {
            let fields = "X: a\r\n".repeat(count);
            read(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes()).err()
        };
        assert_eq!(of_fields(MAX_FIELDS - 1), None);
        assert_eq!(of_fields(MAX_FIELDS), Some(431));
    }

    #[test]
    fn a_target_may_name_scheme_and_host() {
        for (target, path) in [
            ("/a?b", "/a?b"),
            ("http://h/a?b", "/a?b"),
            ("HTTPS://h:1", "/"),
            ("http://h?b", "?b"),
            ("*", "*"),
            ("ftp://h/a", "ftp://h/a"),
        ] {
            assert_eq!(strip_authority(target), path);
        }
    }

    #[test]
    fn a_request_names_its_host_once() {
        assert_eq!(read(b"GET / HTTP/1.1\r\n\r\n").err(), Some(400));
        assert_eq!(read(b"GET / HTTP/1.1\r\nhost:\r\n\r\n").err(), None);
        assert_eq!(read(b"GET / HTTP/1.0\r\n\r\n").err(), None);
    }

    #[test]
    fn only_100_continue_can_be_expected() {
        let head = |expect: &str, version: &str| {
            let request =
                format!("PUT / HTTP/{version}\r\nHost: h\r\nExpect: {expect}\r\n\r\n");
            read(request.as_bytes()).map(|(head, _)| head.waits_for_continue)
        };
        assert_eq!(head("100-Continue", "1.1"), Ok(true));
        assert_eq!(head("100-continue", "1.0"), Ok(false));
        assert_eq!(head("200-ok", "1.1"), Err(417));
    }
}
