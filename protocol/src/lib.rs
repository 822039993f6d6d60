//! What crosses the wire between agent, server and dashboard, and the rules it must keep.
//!
//! Types and rules only: nothing in here does I/O or reads a clock. `golden/` holds one
//! JSON body for each type; the tests here and the dashboard's read the same files, so
//! neither side can drift alone. Types only ever gain fields.

mod account;
mod field;
mod heartbeat;
mod json;
mod problem;
mod server;

pub use account::{Account, Role, Token};
pub use heartbeat::{
    BatchAnswer, Heartbeat, HeartbeatAnswer, Load, RejectedHeartbeat, Service,
};
pub use heartbeat::{
    MAX_BATCH, MAX_BATCH_BYTES, MAX_HEARTBEAT_BYTES, MAX_METRICS, MAX_NAME_CHARS,
    MAX_SERVICES, MAX_TEXT_CHARS,
};
pub use json::Json;
pub use problem::{FieldError, Problem};
pub use server::{Flags, FlagsPatch, Server, Status, parse_ip};

/// An instant in UTC; RFC 3339 with `Z` in JSON.
pub type Timestamp = jiff::Timestamp;
