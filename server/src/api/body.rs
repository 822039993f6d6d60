//! Request bodies in JSON.

use fleetbeat_protocol::{FieldError, Json};

use crate::http::Failure;

/// The body as JSON.
///
/// # Errors
/// 400 for what is no JSON or nested too deep (128 levels); 422 for a number that no one
/// can hold, which is the one rule JSON readers apply while they read.
pub(super) fn parse(body: &[u8]) -> Result<Json<'_>, Failure> {
    let failed = match serde_json::from_slice(body) {
        Ok(json) => return Ok(json),
        Err(error) => error,
    };
    if !failed.to_string().starts_with("number out of range") {
        return Err(Failure::bad_request(format!(
            "the body is not JSON: {failed}"
        )));
    }
    // Only now: following the path costs more than the parsing.
    let located = serde_path_to_error::deserialize::<_, Json<'_>>(
        &mut serde_json::Deserializer::from_slice(body),
    );
    let field = located
        .err()
        .map(|error| error.path().to_string())
        .unwrap_or_default();
    Err(Failure::invalid(vec![FieldError::new(
        field,
        "is a number out of range",
    )]))
}
