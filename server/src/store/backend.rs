//! A storage backend: all aggregates in one place, and the backend's own life.

use super::alert_store::AlertStore;
use super::api_token::ApiTokenStore;
use super::error::StoreError;
use super::event_store::EventStore;
use super::history::HistoryStore;
use super::key::KeyStore;
use super::server::ServerStore;
use super::user::UserStore;

/// Whether a cache can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheState {
    /// It answers.
    Up,
    /// It does not answer.
    Away,
    /// It answers and takes no writes, so what it holds grows old: it is a replica, or
    /// full.
    RefusesWrites,
}

/// How a backend is, which tells nothing of what it holds.
pub(crate) trait StoreHealth: Send + Sync {
    /// Whether the backend can be read right now.
    ///
    /// # Errors
    /// The database cannot be read.
    fn ping(&self) -> Result<(), StoreError>;

    /// Whether the backend can be written right now: writes something that changes
    /// nothing, and waits until that is on the disk.
    ///
    /// # Errors
    /// The database cannot be written.
    fn try_write(&self) -> Result<(), StoreError>;

    /// The state of the cache that other programs read; `None` for a backend without a
    /// cache.
    fn cache_state(&self) -> Option<CacheState> {
        None
    }

    /// The calls of the cache that have failed since the start.
    fn cache_errors(&self) -> u64 {
        0
    }

    /// Whether this instance has the lease on sweeping; `None` for a backend that serves
    /// one instance alone.
    fn holds_lease(&self) -> Option<bool> {
        None
    }
}

/// A storage backend. A change that a call has acknowledged survives the end of the
/// process and the loss of power.
pub(crate) trait Store:
    ServerStore
    + UserStore
    + ApiTokenStore
    + EventStore
    + KeyStore
    + HistoryStore
    + AlertStore
    + StoreHealth
{
    /// The name of a thread of the backend's own that has ended before [`Store::close`],
    /// if any has: without the thread the backend does half its work.
    fn find_ended_thread(&self) -> Option<&'static str> {
        None
    }

    /// Leaves the store as an operator would want to copy it. No other call follows.
    fn close(&self);
}
