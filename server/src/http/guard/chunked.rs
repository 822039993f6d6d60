//! Chunked bodies, decoded as they come (RFC 9112 §7.1). Trailers are read and dropped.

use crate::http::failure::Failure;

/// The longest line that holds a chunk's size, with its extensions.
const MAX_SIZE_LINE_BYTES: usize = 1024;
/// What lines may take besides the body: so many bytes, and [`LINE_SHARE`] for each byte of
/// the body. A body of chunks of one byte needs five. Without a limit, extensions would
/// keep the poll loop busy with a short body for as long as a peer likes.
const MAX_LINE_BYTES: usize = 16 * 1024;
/// See [`MAX_LINE_BYTES`].
const LINE_SHARE: usize = 8;
/// The longest trailers.
const MAX_TRAILER_BYTES: usize = 16 * 1024;

/// A chunked body that is being read.
#[derive(Debug)]
pub(crate) struct ChunkedReader {
    /// The longest body that is taken.
    limit: usize,
    /// What has come and is not decoded: less than a line.
    raw: Vec<u8>,
    body: Vec<u8>,
    expects: Expects,
    /// The lines with sizes so far.
    line_bytes: usize,
    /// The trailers so far.
    trailer_bytes: usize,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    /// A line with the size of a chunk.
    Size,
    /// So many bytes of a chunk.
    Data(usize),
    /// The line end behind a chunk's bytes.
    DataEnd,
    /// A line of the trailers, or the blank line that ends the body.
    Trailer,
    /// Nothing: the body is whole.
    Nothing,
}

impl ChunkedReader {
    /// Reads a body of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> ChunkedReader {
        ChunkedReader {
            limit,
            raw: Vec::new(),
            body: Vec::new(),
            expects: Expects::Size,
            line_bytes: 0,
            trailer_bytes: 0,
        }
    }

    /// The bytes of the body that have come.
    pub(crate) fn received(&self) -> usize {
        self.body.len()
    }

    /// The memory that the body takes.
    pub(crate) fn memory(&self) -> usize {
        self.body.capacity()
    }

    /// Takes what has come. Gives the body, once it is whole; what comes behind its end is
    /// dropped.
    ///
    /// # Errors
    /// 400 if the chunks make no sense, 413 if the body is too long.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        self.raw.extend_from_slice(bytes);
        let raw = std::mem::take(&mut self.raw);

        let mut rest = raw.as_slice();
        while self.expects != Expects::Nothing
            && let Some(used) = self.step(rest)?
        {
            rest = &rest[used..];
        }
        self.raw = rest.to_vec();

        let is_whole = self.expects == Expects::Nothing;
        Ok(is_whole.then(|| std::mem::take(&mut self.body)))
    }

    /// Reads one element, and gives its length; `None` if it has not come whole.
    fn step(&mut self, rest: &[u8]) -> Result<Option<usize>, Failure> {
        match self.expects {
            Expects::Size => self.read_size(rest),
            Expects::Data(left) => {
                let here = left.min(rest.len());
                self.body.extend_from_slice(&rest[..here]);
                self.expects = match left - here {
                    0 => Expects::DataEnd,
                    left => Expects::Data(left),
                };
                Ok((here > 0 || left == 0).then_some(here))
            }
            Expects::DataEnd => match rest {
                [b'\r', b'\n', ..] => {
                    self.expects = Expects::Size;
                    Ok(Some(2))
                }
                [] | [b'\r'] => Ok(None),
                _ => Err(broken()),
            },
            Expects::Trailer => self.read_trailer(rest),
            Expects::Nothing => Ok(None),
        }
    }

    fn read_size(&mut self, rest: &[u8]) -> Result<Option<usize>, Failure> {
        let Some(line) = find_line(rest, MAX_SIZE_LINE_BYTES)? else {
            return Ok(None);
        };
        // httparse takes a line without a digit for a zero.
        if !line[0].is_ascii_hexdigit() {
            return Err(broken());
        }
        let parsed = httparse::parse_chunk_size(line).map_err(|_| broken())?;
        let httparse::Status::Complete((used, size)) = parsed else {
            return Err(broken());
        };

        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > self.limit - self.body.len() {
            return Err(Failure::too_large(self.limit));
        }
        self.line_bytes += used;
        if self.line_bytes > MAX_LINE_BYTES + LINE_SHARE * self.body.len() {
            return Err(broken());
        }
        self.expects = match size {
            0 => Expects::Trailer,
            size => Expects::Data(size),
        };
        Ok(Some(used))
    }

    fn read_trailer(&mut self, rest: &[u8]) -> Result<Option<usize>, Failure> {
        let Some(line) = find_line(rest, MAX_TRAILER_BYTES - self.trailer_bytes)? else {
            return Ok(None);
        };

        self.trailer_bytes += line.len();
        if line == b"\r\n" {
            self.expects = Expects::Nothing;
        }
        Ok(Some(line.len()))
    }
}

/// The first line with its end, which is CRLF and nothing else; `None` if it has not come
/// whole.
fn find_line(bytes: &[u8], limit: usize) -> Result<Option<&[u8]>, Failure> {
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    let length = match end {
        None => None,
        Some(at) => match (bytes[at], bytes.get(at + 1)) {
            (b'\r', Some(b'\n')) => Some(at + 2),
            (b'\r', None) => None,
            _ => return Err(broken()),
        },
    };

    if length.unwrap_or(bytes.len()) > limit {
        return Err(broken());
    }
    Ok(length.map(|length| &bytes[..length]))
}

fn broken() -> Failure {
    Failure::bad_request("the body's chunks make no sense")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a body of at most eight bytes, byte by byte and all at once.
    fn read(bytes: &[u8]) -> Result<Option<Vec<u8>>, u16> {
        let read = |step| {
            let mut reader = ChunkedReader::new(8);
            for piece in bytes.chunks(step) {
                let body = reader.take(piece).map_err(|failure| failure.status())?;
                if body.is_some() {
                    return Ok(body);
                }
            }
            Ok(None)
        };
        let (slow, fast) = (read(1), read(bytes.len()));
        assert_eq!(slow, fast, "{bytes:?}");
        fast
    }

    #[test]
    fn chunks_become_one_body_and_trailers_are_dropped() {
        for bytes in [
            "5\r\nhello\r\n0\r\n\r\n",
            "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "05;a=b\r\nhello\r\n0;c\r\nX: y\r\nZ: \r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(
                read(bytes.as_bytes()),
                Ok(Some(b"hello".to_vec())),
                "{bytes}"
            );
        }
        assert_eq!(read(b"0\r\n\r\n"), Ok(Some(Vec::new())));
        for unfinished in ["5\r\nhello\r\n0\r\n", "5\r\nhell", "5", "5\r\nhello\r"] {
            assert_eq!(read(unfinished.as_bytes()), Ok(None), "{unfinished}");
        }
    }

    #[test]
    fn chunks_that_make_no_sense_are_refused() {
        let long_line = format!("1;{}", "x".repeat(MAX_SIZE_LINE_BYTES));
        let long_trailer = format!("0\r\nX: {}", "x".repeat(MAX_TRAILER_BYTES));
        for (bytes, status) in [
            ("zz\r\n", 400),
            ("-1\r\n", 400),
            ("+1\r\na\r\n", 400),
            ("0x1\r\na\r\n", 400),
            ("\r\n", 400),
            ("1\na\n0\n\n", 400),
            ("1\r\nab\r\n", 400),
            ("1\r\na\n", 400),
            ("0\r\nX: y\n\r\n", 400),
            ("fffffffffffffffff\r\n", 400),
            (&long_line, 400),
            (&long_trailer, 400),
            ("9\r\n", 413),
            ("5\r\nhello\r\n4\r\n", 413),
            ("ffffffffffffffff\r\n", 413),
        ] {
            assert_eq!(read(bytes.as_bytes()), Err(status), "{bytes}");
        }
    }

    #[test]
    fn lines_may_not_be_longer_than_what_they_bring() {
        let mut honest = ChunkedReader::new(100_000);
        for _ in 0..100_000 {
            assert_eq!(honest.take(b"1\r\na\r\n").unwrap(), None);
        }
        assert!(honest.take(b"0\r\n\r\n").unwrap().is_some());

        let mut greedy = ChunkedReader::new(100_000);
        let chunk = format!("1;{}\r\na\r\n", "x".repeat(1000));
        let take = |n| Some((n, greedy.take(chunk.as_bytes()).err()?.status()));
        // Sixteen lines of 1,004 bytes, and a seventeenth.
        assert_eq!((1..20).find_map(take), Some((17, 400)));
    }
}
