//! How much a heartbeat may carry. Agent and server hold to the same numbers: what is
//! over a limit, the agent leaves out and the server refuses.

/// Most services a heartbeat may carry.
pub const MAX_SERVICES: usize = 64;
/// Most metrics a heartbeat may carry.
pub const MAX_METRICS: usize = 64;
/// Longest name of a service or metric, in characters.
pub const MAX_NAME_CHARS: usize = 64;
/// Longest other text, in characters.
pub const MAX_TEXT_CHARS: usize = 253;
/// Most tags that a host may have from its agent, and again from admins.
pub const MAX_TAGS: usize = 32;
/// Longest key of a tag, in characters.
pub(crate) const MAX_TAG_KEY_CHARS: usize = 63;
/// Longest value of a tag, in characters.
pub(crate) const MAX_TAG_VALUE_CHARS: usize = 63;
/// Most attributes of a host.
pub(crate) const MAX_ATTRIBUTES: usize = 16;
/// Longest attribute, in characters.
pub(crate) const MAX_ATTRIBUTE_CHARS: usize = 253;
/// Longest selector, in characters.
pub(crate) const MAX_SELECTOR_CHARS: usize = 1024;
/// Largest body of `POST /heartbeat`, in bytes.
pub const MAX_HEARTBEAT_BYTES: usize = 64 * 1024;
/// Most heartbeats in one `POST /heartbeats`.
pub const MAX_BATCH: usize = 500;
/// Largest body of `POST /heartbeats`, in bytes.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024;
