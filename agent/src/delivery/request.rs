//! What the delivery wants to be sent.

use super::spool::Unsynced;

/// One call's request. The call's outcome has to be given back to the delivery.
pub(crate) struct Request {
    pub(crate) kind: RequestKind,
    /// JSON text.
    pub(crate) body: Vec<u8>,
    /// What to sync if the server does not accept the request: from then on the heartbeat
    /// may have to outlive a power cut.
    pub(crate) unsynced: Option<Unsynced>,
}

/// What a request's body holds, and with that the path it is posted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// The newest heartbeat.
    Newest,
    /// An array of older heartbeats, from the spool.
    Batch,
}
