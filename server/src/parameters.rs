//! The parameters behind the `?` of a request.

use std::collections::BTreeSet;

use fleetbeat_protocol::FieldError;

/// Gives each parameter, percent-decoded, to `set`, which says what is wrong with its name
/// or its value.
///
/// # Errors
/// Every parameter that `set` refuses, or that is given twice. One that was silently
/// ignored would be answered with something else than was asked for.
pub(crate) fn parse(
    query: &str,
    mut set: impl FnMut(&str, &str) -> Result<(), String>,
) -> Result<(), Vec<FieldError>> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let result = if seen.contains(&name) {
            Err("is given twice".to_owned())
        } else {
            set(&name, &value)
        };
        if let Err(message) = result {
            errors.push(FieldError::new(name.as_ref(), message));
        }
        seen.insert(name);
    }

    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// A number from 1 to `most`.
///
/// # Errors
/// Says what is wanted.
pub(crate) fn limit(value: &str, most: usize) -> Result<usize, String> {
    let limit = value.parse().ok();
    limit
        .filter(|limit| (1..=most).contains(limit))
        .ok_or_else(|| format!("must be a number from 1 to {most}"))
}

/// A text that says something.
///
/// # Errors
/// Says what is wanted.
pub(crate) fn text(value: &str) -> Result<&str, String> {
    if value.is_empty() {
        Err("must not be empty".to_owned())
    } else {
        Ok(value)
    }
}
