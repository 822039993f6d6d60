//! What messages tell of alerts.

use serde::{Deserialize, Serialize};

/// What is told of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// It has begun to fire.
    Firing,
    /// It is over.
    Resolved,
    /// It has fired and is over: both in one.
    Short,
    /// It still fires; of a group, for more hosts maybe.
    Repeat,
    /// It goes to and fro.
    Flapping,
    /// It went to and fro, and fires for good.
    Settled,
}
