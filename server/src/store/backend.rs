//! A storage backend: all aggregates in one place, and the backend's own life.

use super::error::StoreError;
use super::server::ServerStore;
use super::user::UserStore;

/// A storage backend. What one of its calls has acknowledged survives the end of the
/// process and the loss of power.
pub(crate) trait Store: ServerStore + UserStore {
    /// Whether the backend can be read right now.
    ///
    /// # Errors
    /// Why it cannot.
    fn ping(&self) -> Result<(), StoreError>;

    /// Whether the cache that readers are served from answers; `None` for a backend that
    /// needs no cache.
    fn cache_is_up(&self) -> Option<bool> {
        None
    }

    /// Leaves the store as an operator would want to copy it. No other call follows.
    fn close(&self);
}
