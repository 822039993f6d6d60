//! The requests of the delivery to the server.

use super::spool::Unsynced;

/// A request for a single call. The call's outcome goes back to the delivery.
pub(crate) struct Request {
    pub(crate) kind: RequestKind,
    /// JSON text.
    pub(crate) body: Vec<u8>,
    /// To be synced if the server does not accept the request, because the heartbeat may
    /// have to outlive a power cut.
    pub(crate) unsynced: Option<Unsynced>,
}

/// The content of a request's body; the path on the server follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// The newest heartbeat.
    Newest,
    /// An array of older heartbeats, from the spool.
    Batch,
}
