//! Opens the configured backend. No other file knows all of them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use fleetbeat_protocol::Timestamp;

use super::backend::Store;
use super::embedded::{self, Embedded, IfMissing};
use super::error::{Setup, StoreError};
#[cfg(feature = "mongodb")]
use super::mongodb::{MongoDb, Patience};
use crate::config::Storage;

/// Opens the store for the server. The embedded store then belongs to this server alone;
/// a MongoDB that is away is waited for.
///
/// # Errors
/// What the operator has to put right, or why the database refuses.
pub(crate) fn open(storage: &Storage) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match storage {
        Storage::Embedded { path } => Arc::new(Embedded::open(path)?),
        #[cfg(feature = "mongodb")]
        Storage::MongoDb(settings) => {
            Arc::new(MongoDb::open(settings, Patience::UntilThere)?)
        }
        #[cfg(not(feature = "mongodb"))]
        Storage::MongoDb(_) => return Err(without_mongodb()),
    })
}

/// Opens the store for a command that runs beside a server. An embedded database must be
/// there: a wrong path must not make an empty one.
///
/// # Errors
/// As [`open`], that MongoDB is away, and that there is no database.
pub(crate) fn open_beside_server(
    storage: &Storage,
) -> Result<Box<dyn Store>, StoreError> {
    open_for_command(storage, IfMissing::Fail)
}

/// Opens the store for a command that runs beside a server, or before its first start.
///
/// # Errors
/// As [`open`], and that MongoDB is away.
pub(crate) fn open_before_server(
    storage: &Storage,
) -> Result<Box<dyn Store>, StoreError> {
    open_for_command(storage, IfMissing::Create)
}

fn open_for_command(
    storage: &Storage,
    if_missing: IfMissing,
) -> Result<Box<dyn Store>, StoreError> {
    Ok(match storage {
        Storage::Embedded { path } => {
            Box::new(Embedded::open_beside_server(path, if_missing)?)
        }
        #[cfg(feature = "mongodb")]
        Storage::MongoDb(settings) => Box::new(MongoDb::open(settings, Patience::None)?),
        #[cfg(not(feature = "mongodb"))]
        Storage::MongoDb(_) => return Err(without_mongodb()),
    })
}

/// Writes a consistent copy of the whole embedded database to `file`, which must not
/// exist. Servers and commands may work meanwhile. Gives what was saved, in words for a
/// person.
///
/// # Errors
/// The file exists or cannot be written; there is no database; or the store is in
/// MongoDB, which has a tool of its own.
pub(crate) fn backup(
    storage: &Storage,
    file: &Path,
) -> Result<impl fmt::Display + use<>, StoreError> {
    match storage {
        Storage::Embedded { path } => {
            Embedded::open_beside_server(path, IfMissing::Fail)?.backup(file)
        }
        Storage::MongoDb(_) => Err(other_tool("mongodump")),
    }
}

/// Puts the embedded database in `file`, a backup, in the place of the database that is
/// there, which is kept beside it under a name with the time `now`. Gives what was
/// restored, in words for a person.
///
/// # Errors
/// A server runs, the file is not a whole database of a known version, or the folder
/// cannot be written; or the store is in MongoDB, which has a tool of its own.
pub(crate) fn restore(
    storage: &Storage,
    file: &Path,
    now: Timestamp,
) -> Result<impl fmt::Display + use<>, StoreError> {
    match storage {
        Storage::Embedded { path } => embedded::restore(path, file, now),
        Storage::MongoDb(_) => Err(other_tool("mongorestore")),
    }
}

fn other_tool(tool: &'static str) -> StoreError {
    Setup::OtherTool { tool }.into()
}

#[cfg(not(feature = "mongodb"))]
fn without_mongodb() -> StoreError {
    let key = "storage.backend";
    let reason = "is \"mongodb\", and this fleetbeat-server was built without MongoDB";
    let reason = reason.to_owned();
    Setup::Setting { key, reason }.into()
}
