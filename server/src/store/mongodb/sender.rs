//! Which heartbeats of a commit are one host's.

use std::net::IpAddr;

use fleetbeat_protocol::AgentId;

use crate::store::server::{Beat, Speaker};

/// Heartbeats with the same agent, address and kind of key are one host's. A copied host
/// has the agent of another one, and an address of its own.
pub(super) type Sender = (Option<AgentId>, IpAddr, Speaker);

/// Whose heartbeat it is.
pub(super) fn sender(beat: &Beat) -> Sender {
    (beat.heartbeat.agent_id, beat.ip, beat.speaker)
}
