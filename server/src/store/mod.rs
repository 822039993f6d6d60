//! What the server remembers, in domain verbs. Every backend passes the one conformance
//! suite.

mod embedded;
mod mongodb;

#[cfg(test)]
pub(crate) mod conformance;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use fleetbeat_protocol::{FlagsPatch, Heartbeat, Role, Server, Status, Timestamp};

pub(crate) use embedded::Embedded;
pub(crate) use mongodb::{MongoDb, Settings as MongoDbSettings};

/// A heartbeat that passed every rule, with what the server decided about it.
#[derive(Debug, Clone)]
pub(crate) struct Beat {
    /// Which host it is about.
    pub(crate) ip: IpAddr,
    /// What it says.
    pub(crate) heartbeat: Heartbeat,
    /// When it counts: the server's clock, or for a spooled one the time it was
    /// collected.
    pub(crate) at: Timestamp,
    /// The status it gives the host: a spooled one may be too old to make it active.
    pub(crate) status: Status,
    /// When it is its host's state.
    pub(crate) counts: Counts,
}

/// When a heartbeat is its host's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counts {
    /// It has just arrived.
    Now,
    /// It was spooled: it is history, and the state where it is newer.
    IfNewer,
    /// It was spooled by a host whose clock is ahead, so nobody knows whether it is
    /// newer: it is history, and the state of a host that is not known yet.
    IfUnknown,
}

impl Beat {
    /// The time under which a spooled heartbeat is history: as it was sent.
    pub(crate) fn collected_at(&self) -> Option<Timestamp> {
        self.heartbeat
            .collected_at
            .filter(|_| self.counts != Counts::Now)
    }
}

/// `srv-` and eight random hexadecimal digits. In a large fleet two collide now and then:
/// the database refuses.
fn new_server_id() -> String {
    format!("srv-{:08x}", getrandom::u32().unwrap_or_default())
}

/// A user with what must not leave the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) username: String,
    pub(crate) role: Role,
    pub(crate) hashed_password: String,
    /// Differs after each change of password or role; a token carries the one it was made
    /// under.
    pub(crate) token_version: String,
}

/// Every host at one moment.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// Sorted by address.
    pub(crate) servers: Vec<Arc<Server>>,
    /// Differs from those of all other fleets of this process.
    pub(crate) revision: u64,
    /// The database could not be asked: this is what was known last.
    pub(crate) stale: bool,
}

/// What a sweep changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) down: usize,
    pub(crate) deleted: usize,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The folder or file cannot be used.
    #[error("{path}: {reason}")]
    Unusable { path: String, reason: String },
    /// The database file is damaged.
    #[error(
        "{path} is damaged ({reason}). Nothing was changed. Put a backup in its place with `fleetbeat-server \
         restore FILE`, or save what can be read with: sqlite3 {path} .recover | sqlite3 recovered.db"
    )]
    Damaged { path: String, reason: String },
    /// The file is not what could be restored.
    #[error("{path} cannot be restored: {reason}. The database is as it was")]
    NoBackup { path: String, reason: String },
    /// Another fleetbeat-server uses the folder.
    #[error("{path} is in use by another fleetbeat-server")]
    Locked { path: String },
    /// The database was written by a newer version.
    #[error(
        "{path} was written by a newer fleetbeat-server (schema {found}, this one knows {known}): upgrade this one"
    )]
    Newer {
        path: String,
        found: i64,
        known: i64,
    },
    /// SQLite refused.
    #[error("the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// MongoDB refused.
    #[error("MongoDB: {}", .0.kind)]
    MongoDb(#[from] ::mongodb::error::Error),
    /// MongoDB did not do all of it.
    #[error("MongoDB: {0}")]
    Refused(String),
    /// Redis refused.
    #[error("Redis: {0}")]
    Redis(String),
    /// The database did not answer when it was last asked.
    #[error("the database is away")]
    Away,
    /// A setting that can never work.
    #[error("{key}: {reason}")]
    Setting { key: &'static str, reason: String },
    /// A thread, or what else a store needs of the system.
    #[error("cannot start: {0}")]
    Start(String),
    /// Reading the fleet failed for everybody who waited for it.
    #[error("{0}")]
    Shared(Arc<StoreError>),
    /// Reading the fleet takes too long.
    #[error("the store did not answer within {0:?}")]
    Slow(Duration),
    /// A user of that name is there already.
    #[error("user {0:?} exists already")]
    UserExists(String),
    /// There is no such user.
    #[error("there is no user {0:?}")]
    NoSuchUser(String),
    /// Without this user nobody could manage users.
    #[error("{0:?} is the last superadmin: make another one first")]
    LastSuperadmin(String),
}

impl StoreError {
    /// Whether the database may answer later.
    fn is_away(&self) -> bool {
        match self {
            StoreError::Away | StoreError::Slow(_) => true,
            StoreError::MongoDb(error) => mongodb::is_connection_error(error),
            _ => false,
        }
    }
}

/// The fleet's state and its users, durable: what a call has acknowledged survives the
/// process and the power.
pub(crate) trait Store: Send + Sync {
    /// Stores the heartbeats in their order. Gives the hosts whose record the database
    /// would not take, however often it is asked; the others are stored. An error means
    /// that none may be.
    fn record(&self, beats: &[Beat]) -> Result<BTreeSet<IpAddr>, StoreError>;

    /// Every host; the very fleet `known` if nothing has changed since. Asked by one
    /// thread, at most once a second.
    fn fleet(&self, known: Option<&Arc<Fleet>>) -> Result<Arc<Fleet>, StoreError>;

    /// One host.
    fn server(&self, ip: IpAddr) -> Result<Option<Server>, StoreError>;

    /// Sets the patch's flags and gives the host as it is now; `None` if there is none.
    fn set_flags(
        &self,
        ip: IpAddr,
        patch: FlagsPatch,
    ) -> Result<Option<Server>, StoreError>;

    /// Marks hosts down whose last heartbeat is before `down_before`, deletes those that
    /// are not static and whose last heartbeat is before `delete_before`, and history
    /// before the latter.
    fn sweep(
        &self,
        down_before: Timestamp,
        delete_before: Timestamp,
    ) -> Result<Swept, StoreError>;

    /// Every user, sorted by name.
    fn users(&self) -> Result<Vec<User>, StoreError>;

    /// One user.
    fn user(&self, username: &str) -> Result<Option<User>, StoreError>;

    /// Adds a user.
    fn add_user(&self, user: &User) -> Result<(), StoreError>;

    /// Replaces the password's hash and the token version, which ends the user's tokens.
    fn set_password(
        &self,
        username: &str,
        hashed_password: &str,
        token_version: &str,
    ) -> Result<(), StoreError>;

    /// Removes a user, but never the last superadmin.
    fn remove_user(&self, username: &str) -> Result<(), StoreError>;

    /// Called last: leaves the store as somebody would want to copy it.
    fn close(&self);

    /// Whether the store can be read right now.
    fn ping(&self) -> Result<(), StoreError>;

    /// Whether the cache that readers are served from answers; `None` for a store that
    /// needs none.
    fn cache_is_up(&self) -> Option<bool> {
        None
    }
}
