//! Errors for clients: RFC 9457 problem details.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The `code` of a heartbeat that names a host, or an address, for which its key does not
/// speak.
pub const IDENTITY_CONFLICT: &str = "identity_conflict";
/// The `code` of a heartbeat of a host that somebody has removed.
pub const DELETED: &str = "deleted";
/// The `code` of a heartbeat with a key that hosts share, where hosts' own keys alone are
/// taken.
pub const OWN_KEY_NEEDED: &str = "own_key_needed";

/// The body of every error, `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The HTTP status code.
    pub status: u16,
    /// The status code's usual phrase.
    pub title: String,
    /// What went wrong, for a person. A cause that concerns the operator alone is in the
    /// server's log instead.
    pub detail: String,
    /// The request's id; the server's log has the same id.
    pub request_id: String,
    /// For 422: each broken rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// For 404: the address that the host has now which had the asked one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<IpAddr>,
    /// A word for programs, where the status says too little: such as
    /// [`IDENTITY_CONFLICT`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What is missing of a second factor, where that is why the request fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totp: Option<TotpDemand>,
}

/// What is missing of a second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TotpDemand {
    /// The password is right, and a code is needed, too.
    Required,
    /// The user's role needs a second factor, and the user has none yet.
    Setup,
}

/// A broken rule and the field that broke the rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// The field's path as in JavaScript: `load.cpu`, `services[3].name`; empty for the
    /// whole body.
    pub field: String,
    /// The fault, and what would be right.
    pub message: String,
}

impl FieldError {
    /// An error about `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        FieldError {
            field: field.into(),
            message: message.into(),
        }
    }
}
