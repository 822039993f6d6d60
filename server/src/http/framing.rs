//! Where a request's body ends: what its headers say, by the rules of RFC 9112 §6.3, and
//! what `tiny_http` makes of them.
//!
//! The two can differ, because `tiny_http` is less strict. A request that breaks the
//! rules is refused, but its body still has to be disposed of as `tiny_http` sees it.

/// `tiny_http` reads bodies up to this length before it hands a request out.
pub(super) const PREBUFFERED_BYTES: usize = 1024;

/// How the body is delimited, and whether it has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is no body, or it has been read whole.
    Finished,
    /// So many bytes.
    Length(usize),
    /// Until the last chunk.
    Chunked,
}

/// What a request's headers say about its body.
#[derive(Debug)]
pub(super) struct BodyHeaders<'a> {
    /// Every value of `Content-Length`.
    pub(super) lengths: Vec<&'a str>,
    /// Every value of `Transfer-Encoding`.
    pub(super) encodings: Vec<&'a str>,
    /// Whether `Expect` was sent: the peer may wait with the body.
    pub(super) has_expect: bool,
    /// Whether `Connection` asks for an upgrade: `tiny_http` then reads no body.
    pub(super) asks_for_upgrade: bool,
    /// The body's length as `tiny_http` has understood it.
    pub(super) understood_length: Option<usize>,
}

impl BodyHeaders<'_> {
    /// How the body is delimited.
    ///
    /// # Errors
    /// What is wrong with the headers, for the client.
    pub(super) fn framing(&self) -> Result<Framing, &'static str> {
        match (self.lengths.as_slice(), self.encodings.as_slice()) {
            ([], []) => Ok(Framing::Finished),
            ([length], []) if is_length(length) => Ok(self.framing_of_tiny_http()),
            ([_], []) => Err("Content-Length must be a decimal number"),
            ([], [encoding]) if encoding.eq_ignore_ascii_case("chunked") => {
                Ok(Framing::Chunked)
            }
            ([], _) => Err("the only Transfer-Encoding known is chunked"),
            _ => Err("give Content-Length once, and not beside Transfer-Encoding"),
        }
    }

    /// What `tiny_http`'s reader will wait for, whether or not the headers make sense.
    pub(super) fn framing_of_tiny_http(&self) -> Framing {
        let is_read_ahead = |length| {
            length <= PREBUFFERED_BYTES && !self.has_expect && !self.asks_for_upgrade
        };

        match self.understood_length {
            None if !self.encodings.is_empty() => Framing::Chunked,
            None | Some(0) => Framing::Finished,
            Some(length) if is_read_ahead(length) => Framing::Finished,
            Some(length) => Framing::Length(length),
        }
    }
}

/// Whether the text is digits alone, of a number that memory could hold.
fn is_length(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<usize>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<'a>(lengths: &[&'a str], encodings: &[&'a str]) -> BodyHeaders<'a> {
        BodyHeaders {
            lengths: lengths.to_vec(),
            encodings: encodings.to_vec(),
            has_expect: false,
            asks_for_upgrade: false,
            understood_length: lengths.first().and_then(|length| length.parse().ok()),
        }
    }

    #[test]
    fn a_body_ends_where_one_sound_header_says() {
        for (lengths, encodings, expected) in [
            (&[][..], &[][..], Ok(Framing::Finished)),
            (&["0"], &[], Ok(Framing::Finished)),
            (&["1024"], &[], Ok(Framing::Finished)),
            (&["1025"], &[], Ok(Framing::Length(1025))),
            (&[], &["Chunked"], Ok(Framing::Chunked)),
            (&["0x10"], &[], Err("Content-Length")),
            (&["+1"], &[], Err("Content-Length")),
            (&["99999999999999999999"], &[], Err("Content-Length")),
            (&["1", "1"], &[], Err("once")),
            (&["1"], &["chunked"], Err("beside")),
            (&[], &["gzip"], Err("chunked")),
            (&[], &["chunked", "chunked"], Err("chunked")),
        ] {
            let framing = headers(lengths, encodings).framing();
            match (framing, expected) {
                (Err(told), Err(word)) => assert!(told.contains(word), "{told}"),
                (framing, expected) => assert_eq!(framing, expected, "{lengths:?}"),
            }
        }
    }

    #[test]
    fn a_short_body_that_tiny_http_does_not_read_ahead_is_still_to_come() {
        let waits = BodyHeaders {
            has_expect: true,
            ..headers(&["3"], &[])
        };
        let upgrades = BodyHeaders {
            asks_for_upgrade: true,
            ..headers(&["3"], &[])
        };
        assert_eq!(waits.framing(), Ok(Framing::Length(3)));
        assert_eq!(upgrades.framing(), Ok(Framing::Length(3)));
    }
}
