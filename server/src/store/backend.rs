//! A storage backend: all aggregates in one place, and the backend's own life.

use super::error::StoreError;
use super::server::ServerStore;
use super::user::UserStore;

/// A storage backend. A change that a call has acknowledged survives the end of the
/// process and the loss of power.
pub(crate) trait Store: ServerStore + UserStore {
    /// Whether the backend can be read right now.
    ///
    /// # Errors
    /// The database cannot be read.
    fn ping(&self) -> Result<(), StoreError>;

    /// Whether the cache that readers are served from answers; `None` for a backend
    /// without a cache.
    fn cache_is_up(&self) -> Option<bool> {
        None
    }

    /// The name of a thread of the backend's own that has ended before [`Store::close`],
    /// if any has: without the thread the backend does half its work.
    fn find_ended_thread(&self) -> Option<&'static str> {
        None
    }

    /// Leaves the store as an operator would want to copy it. No other call follows.
    fn close(&self);
}
