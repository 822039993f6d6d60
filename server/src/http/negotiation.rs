//! Conditional requests and content codings, by RFC 9110.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::guard::outgoing::Body;
use super::request::Request;
use super::response::Response;

/// Shorter bodies are not compressed.
const MIN_COMPRESSED: usize = 1024;

/// Whether `If-None-Match` names the entity tag, by weak comparison, or is `*`.
pub(crate) fn has_current(request: &Request, etag: &str) -> bool {
    request
        .headers("If-None-Match")
        .any(|value| names_tag(value, etag))
}

/// Whether `If-Match` names the entity tag, by strong comparison, or is `*`; `None` if it
/// was not sent.
pub(crate) fn if_match(request: &Request, etag: &str) -> Option<bool> {
    let mut values = request.headers("If-Match").peekable();
    values.peek()?;
    let is_meant = |tag: &str| tag.trim() == "*" || tag.trim() == etag;
    let mut tags = values.flat_map(|value| value.split(','));
    Some(tags.any(is_meant))
}

/// Whether `Accept-Encoding` takes gzip.
pub(crate) fn takes_gzip(request: &Request) -> bool {
    let mut codings = request
        .headers("Accept-Encoding")
        .flat_map(|value| value.split(','));
    accepts_gzip(&mut codings)
}

/// The response as the request takes it: compressed, if that is worth it.
pub(crate) fn compress(response: Response, request: &Request) -> Response {
    let response = response.with_header("Vary", "Accept-Encoding");
    let body = response.body.as_bytes();
    if body.len() < MIN_COMPRESSED || !takes_gzip(request) {
        return response;
    }

    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    let gzip = written.expect("memory takes all");
    Response {
        body: Body::Owned(gzip),
        ..response
    }
    .with_header("Content-Encoding", "gzip")
}

fn names_tag(value: &str, etag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    // Our own tags hold no comma, so splitting at each comma finds them. A foreign tag
    // that holds a comma falls into pieces that match nothing.
    value.trim() == "*" || value.split(',').any(|tag| opaque(tag) == opaque(etag))
}

/// Whether one of the codings is gzip. gzip's own weight decides, or else that of `*`.
fn accepts_gzip(codings: &mut dyn Iterator<Item = &str>) -> bool {
    let mut is_any_taken = false;

    for coding in codings {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let is_refused = parts.any(|parameter| {
            let weight = parameter
                .strip_prefix("q=")
                .or_else(|| parameter.strip_prefix("Q="));
            weight.is_some_and(|weight| {
                weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0)
            })
        });

        match name {
            "*" => is_any_taken = !is_refused,
            _ if name.eq_ignore_ascii_case("gzip")
                || name.eq_ignore_ascii_case("x-gzip") =>
            {
                return !is_refused;
            }
            _ => {}
        }
    }

    is_any_taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_compare_weakly_and_come_in_lists() {
        let etag = "W/\"abc\"";
        for value in ["W/\"abc\"", "\"abc\"", "\"x\", W/\"abc\"", "*", " * "] {
            assert!(names_tag(value, etag), "{value}");
        }
        for value in ["", "abc", "W/\"ab\"", "\"x\", \"y\"", "\"a,abc\"", "\"*\""] {
            assert!(!names_tag(value, etag), "{value}");
        }
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        let accepts = |value: &'static str| accepts_gzip(&mut value.split(','));
        for value in [
            "gzip",
            "deflate, GZIP;q=0.5",
            "*",
            "br;q=1, *;q=0.1",
            "x-gzip",
        ] {
            assert!(accepts(value), "{value}");
        }
        for value in [
            "",
            "identity",
            "gzip;q=0",
            "gzip; q=0.000, *",
            "*;q=0",
            "br",
        ] {
            assert!(!accepts(value), "{value}");
        }
    }
}
