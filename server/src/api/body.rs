//! Request bodies in JSON.

use fleetbeat_protocol::{FieldError, Json};

use crate::http::Failure;

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
