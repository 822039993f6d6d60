//! The requests of the delivery to the server.

use std::net::IpAddr;

use super::spool::Unsynced;
use super::stamp::{fill_in, stamp_newest};

/// A request for a single call. The call's outcome goes back to the delivery.
pub(crate) struct Request {
    pub(crate) kind: RequestKind,
    /// JSON text.
    pub(crate) body: Vec<u8>,
    /// To be synced if the server does not accept the request, because the heartbeat may
    /// have to outlive a power cut.
    pub(crate) unsynced: Option<Unsynced>,
}

impl Request {
    /// Sends the host's state as that of the host with the address `ip`.
    pub(crate) fn set_address(&mut self, ip: IpAddr) {
        self.body = match self.kind {
            RequestKind::Newest => stamp_newest(&self.body, ip),
            RequestKind::Batch => fill_in(&self.body, ip),
        };
    }
}

/// The content of a request's body; the path on the server follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// The newest heartbeat.
    Newest,
    /// An array of older heartbeats, from the spool.
    Batch,
}
