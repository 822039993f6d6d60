//! The errors of MongoDB and its driver in the store's words.

use std::fmt;

use mongodb::error::{Error, ErrorKind, WriteFailure};

use crate::store::error::{Setup, StoreError, Unavailable};

/// MongoDB's name in messages.
const DATABASE: &str = "MongoDB";
/// MongoDB's code for a value that a unique index has already.
pub(super) const DUPLICATE_KEY: i32 = 11000;
/// MongoDB's codes for a wrong login, and for a login without the right to do something.
const AUTHENTICATION_FAILED: i32 = 18;
const UNAUTHORIZED: i32 = 13;

/// Why an operation on MongoDB failed, with the driver's error for callers who need more
/// than a sentence. Other files get a [`StoreError`].
#[derive(Debug)]
pub(super) enum MongoDbError {
    /// The driver's error.
    Driver(Error),
    /// An error that this store found without the driver.
    Store(StoreError),
}

impl MongoDbError {
    /// A refusal in MongoDB's words.
    pub(super) fn refused(reason: impl Into<String>) -> MongoDbError {
        MongoDbError::Store(StoreError::Refused {
            database: DATABASE,
            reason: reason.into(),
        })
    }

    /// Whether MongoDB may answer later.
    pub(super) fn is_away(&self) -> bool {
        match self {
            MongoDbError::Driver(error) => is_connection_error(error),
            MongoDbError::Store(error) => matches!(error, StoreError::Unavailable(_)),
        }
    }

    /// Whether some of the documents were there already, and nothing else went wrong.
    pub(super) fn is_duplicate_key(&self) -> bool {
        let MongoDbError::Driver(error) = self else {
            return false;
        };
        match &*error.kind {
            ErrorKind::Write(WriteFailure::WriteError(error)) => {
                error.code == DUPLICATE_KEY
            }
            ErrorKind::Command(error) => error.code == DUPLICATE_KEY,
            ErrorKind::InsertMany(error) => {
                error.write_concern_error.is_none()
                    && error
                        .write_errors
                        .iter()
                        .flatten()
                        .all(|error| error.code == DUPLICATE_KEY)
            }
            _ => false,
        }
    }

    /// Of an insert of many documents, the places of those that were there already; `None`
    /// if something else went wrong.
    pub(super) fn duplicates(&self) -> Option<Vec<usize>> {
        let MongoDbError::Driver(error) = self else {
            return None;
        };
        match &*error.kind {
            ErrorKind::InsertMany(errors) if self.is_duplicate_key() => {
                let errors = errors.write_errors.iter().flatten();
                Some(errors.map(|error| error.index).collect())
            }
            _ => None,
        }
    }

    /// Whether waiting cannot help: MongoDB does not let this program in, or this program
    /// does not trust the MongoDB.
    pub(super) fn is_hopeless(&self) -> bool {
        let MongoDbError::Driver(error) = self else {
            return false;
        };
        match &*error.kind {
            ErrorKind::Authentication { .. }
            | ErrorKind::InvalidTlsConfig { .. }
            | ErrorKind::InvalidArgument { .. } => true,
            ErrorKind::Command(error) => {
                [AUTHENTICATION_FAILED, UNAUTHORIZED].contains(&error.code)
            }
            _ => error.to_string().contains("certificate"),
        }
    }

    /// The error of a URL with which the driver cannot even begin. The DNS, where the URL
    /// names a cluster to be looked up, may answer later. `explain` says what is wrong
    /// with the URL in place of the driver, whose words may hold a part of a password.
    pub(super) fn of_url(error: Error, explain: impl FnOnce() -> String) -> MongoDbError {
        if is_connection_error(&error) {
            return MongoDbError::Driver(error);
        }
        wrong_url(explain()).into()
    }

    /// The setting that makes an attempt hopeless.
    pub(super) fn into_setting(self) -> StoreError {
        match self {
            MongoDbError::Driver(error) => wrong_url(error.kind.to_string()),
            MongoDbError::Store(error) => error,
        }
    }
}

impl fmt::Display for MongoDbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MongoDbError::Driver(error) => write!(f, "{DATABASE}: {}", error.kind),
            MongoDbError::Store(error) => error.fmt(f),
        }
    }
}

impl From<Error> for MongoDbError {
    fn from(error: Error) -> MongoDbError {
        MongoDbError::Driver(error)
    }
}

impl From<StoreError> for MongoDbError {
    fn from(error: StoreError) -> MongoDbError {
        MongoDbError::Store(error)
    }
}

impl From<Unavailable> for MongoDbError {
    fn from(error: Unavailable) -> MongoDbError {
        MongoDbError::Store(error.into())
    }
}

impl From<MongoDbError> for StoreError {
    fn from(error: MongoDbError) -> StoreError {
        match error {
            MongoDbError::Driver(error) => {
                let (database, reason) = (DATABASE, error.kind.to_string());
                if is_connection_error(&error) {
                    Unavailable::Unreachable { database, reason }.into()
                } else {
                    StoreError::Refused { database, reason }
                }
            }
            MongoDbError::Store(error) => error,
        }
    }
}

fn wrong_url(reason: String) -> StoreError {
    let key = "mongodb.url";
    Setup::Setting { key, reason }.into()
}

/// Whether the operation failed because there is no MongoDB to talk to.
fn is_connection_error(error: &Error) -> bool {
    matches!(
        *error.kind,
        ErrorKind::Io(_)
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::DnsResolve { .. }
    )
}
