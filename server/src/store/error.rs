//! The store's errors, sorted by who has to act: nobody (the database may answer later),
//! the operator, or the caller.
//!
//! A backend translates the errors of its engine before any other part of the program
//! sees them, so that the engines can be exchanged.

use std::time::Duration;

use fleetbeat_protocol::MAX_TAGS;

/// Why a call of the store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database may answer later: wait, and ask again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The operator has to act.
    #[error(transparent)]
    Setup(#[from] Setup),
    /// The caller asked for what cannot be.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The database answered with a refusal.
    #[error("{database}: {reason}")]
    Refused {
        /// The database's name, for the log.
        database: &'static str,
        /// The database's own words.
        reason: String,
    },
}

/// Why the database did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unavailable {
    /// The database did not answer when it was last asked, and is not asked at present.
    #[error("the database is away")]
    Away,
    /// The answer takes longer than this time.
    #[error("the store did not answer within {0:?}")]
    Slow(Duration),
    /// The connection cannot be made, or broke.
    #[error("{database}: {reason}")]
    Unreachable {
        /// The database's name, for the log.
        database: &'static str,
        /// Why the connection failed.
        reason: String,
    },
}

/// What the operator has to put right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Setup {
    /// The folder or file cannot be used.
    #[error("{path}: {reason}")]
    Unusable { path: String, reason: String },
    /// The database file is damaged.
    #[error(
        "{path} is damaged ({reason}). Nothing was changed. Put a backup in its place \
         with `fleetbeat-server restore FILE`, or save what can be read with: \
         sqlite3 {path} .recover | sqlite3 recovered.db"
    )]
    Damaged { path: String, reason: String },
    /// The file is not a backup that could be restored.
    #[error("{path} cannot be restored: {reason}. The database is as it was")]
    NoBackup { path: String, reason: String },
    /// Another fleetbeat-server uses the folder.
    #[error("{path} is in use by another fleetbeat-server")]
    Locked { path: String },
    /// The database was written by a newer version.
    #[error(
        "{path} was written by a newer fleetbeat-server (schema {found}, this one knows \
         {known}): upgrade this one"
    )]
    Newer {
        path: String,
        found: i64,
        known: i64,
    },
    /// A server of an older version runs on the folder.
    #[error(
        "{path} is in use by a fleetbeat-server of an older version: restart the server, \
         which brings the database up to date, and try again"
    )]
    Older { path: String },
    /// There is no database where one must be.
    #[error(
        "{path}: there is no database, and nothing was made. storage.path must be the \
         folder of a server that has been started once; -c names the configuration"
    )]
    NoDatabase { path: String },
    /// A setting that can never work.
    #[error("{key}: {reason}")]
    Setting { key: &'static str, reason: String },
    /// The backend's own tool does this, and this program does not.
    #[error("use {tool} for a database in MongoDB")]
    OtherTool { tool: &'static str },
    /// The system gives no further thread.
    #[error("cannot start: {0}")]
    Start(String),
}

/// What the caller asked for and cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Conflict {
    /// The name is taken.
    #[error("user {0:?} exists already")]
    UserExists(String),
    /// The user is not known.
    #[error("there is no user {0:?}")]
    NoSuchUser(String),
    /// The API token is not known.
    #[error("there is no API token {0:?}")]
    NoSuchToken(String),
    /// The host would have so many tags of admins.
    #[error(
        "the host would have {count} tags, more than {MAX_TAGS}: remove some, with null"
    )]
    TooManyTags { count: usize },
    /// The user would lose the host, and whom it would go to is not the user's matter.
    #[error(
        "this would take the host out of your scope: a user without a scope may do this"
    )]
    LeavesScope,
    /// Another one was faster, or the thing is not there.
    #[error("{0} was changed or removed meanwhile: read it again")]
    Changed(String),
    /// There is one of this name already.
    #[error("{0} is there already")]
    Taken(String),
    /// There are as many as there may be.
    #[error("there are at most {most} {what}s: remove some")]
    TooMany { what: &'static str, most: usize },
    /// The message is not one that was given up.
    #[error(
        "the delivery {id} is {state}: only one that is dead can be tried again or dismissed"
    )]
    NotDead { id: String, state: &'static str },
    /// Another instance looks after the alerts now.
    #[error("another instance looks after the alerts now")]
    LostAlerts,
    /// Without this user nobody could manage users.
    #[error("{0:?} is the last superadmin without a scope: make another one first")]
    LastSuperadmin(String),
}

impl StoreError {
    /// Whether starting again with the same configuration would fail again.
    pub(crate) fn is_configuration(&self) -> bool {
        matches!(self, StoreError::Setup(Setup::Setting { .. }))
    }

    /// Whether the database could not be reached, and has not refused anything.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self, StoreError::Unavailable(_))
    }
}
