//! Request bodies: read, and as JSON.

use fleetbeat_protocol::{FieldError, Json};

use crate::http::{Failure, Request};

/// The byte order mark that some editors and libraries put before a text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the body, of at most `limit` bytes.
///
/// # Errors
/// 415 for a body in a coding, such as gzip: what it holds could be of any length. 413
/// when the body is longer, 400 when it breaks off or begins with a byte order mark.
pub(super) fn read(request: &mut Request, limit: usize) -> Result<Vec<u8>, Failure> {
    let is_coded = |value: &str| {
        let mut codings = value.split(',').map(str::trim);
        codings
            .any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
    };
    if request.headers("Content-Encoding").any(is_coded) {
        let detail =
            "the request has a Content-Encoding: send the body as it is, without";
        return Err(Failure::unsupported_media_type(detail));
    }

    let body = request.body(limit)?;
    if body.starts_with(BYTE_ORDER_MARK) {
        let detail = "the body begins with a byte order mark (EF BB BF): leave it out";
        return Err(Failure::bad_request(detail));
    }
    Ok(body)
}

/// The body as JSON.
///
/// # Errors
/// 400 for what is not JSON or is nested too deep (128 levels). 422 for a number that is
/// out of any range, which is the one rule that JSON readers apply while they read.
pub(super) fn parse(body: &[u8]) -> Result<Json<'_>, Failure> {
    let error = match serde_json::from_slice(body) {
        Ok(json) => return Ok(json),
        Err(error) => error,
    };
    if !error.to_string().starts_with("number out of range") {
        return Err(not_json(&error));
    }

    // Only now is the path of the number followed, because that costs more than parsing.
    let located = serde_path_to_error::deserialize::<_, Json<'_>>(
        &mut serde_json::Deserializer::from_slice(body),
    );
    let path = located.err().map(|error| error.path().to_string());
    let error = FieldError::new(path.unwrap_or_default(), "is a number out of range");
    Err(Failure::invalid(vec![error]))
}

/// 400 for a body that is not JSON.
pub(super) fn not_json(error: &serde_json::Error) -> Failure {
    Failure::bad_request(format!("the body is not JSON: {error}"))
}
