//! Opens the configured backend. No other file knows all of them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use fleetbeat_protocol::Timestamp;

use super::alert_store::{Object, ObjectKind};
use super::backend::Store;
use super::embedded::{self, Embedded, IfMissing};
use super::error::{Setup, StoreError};
use super::history::{Extent, HistorySettings};
#[cfg(feature = "mongodb")]
use super::mongodb::{self, MongoDb, Patience};
use crate::config::Storage;

/// Settings that can never work, each as its key and what is wrong with it, as far as
/// that can be told without opening or asking anything.
pub(crate) fn find_wrong_settings(storage: &Storage) -> Vec<(&'static str, String)> {
    let wrong = match storage {
        Storage::Embedded { path } => embedded::find_wrong_folder(path),
        #[cfg(feature = "mongodb")]
        Storage::MongoDb(settings) => mongodb::find_wrong_settings(settings),
        #[cfg(not(feature = "mongodb"))]
        Storage::MongoDb(_) => vec![without_mongodb()],
    };
    let setting = |error| match error {
        StoreError::Setup(Setup::Setting { key, reason }) => (key, reason),
        other => ("storage", other.to_string()),
    };
    wrong.into_iter().map(setting).collect()
}

/// Opens the store for the server. The embedded store then belongs to this server alone,
/// and keeps the history of heartbeats; a MongoDB that is away is waited for.
///
/// # Errors
/// What the operator has to put right, or why the database refuses.
pub(crate) fn open(
    storage: &Storage,
    history: &HistorySettings,
) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match storage {
        Storage::Embedded { path } => {
            Arc::new(Embedded::open(path)?.with_history(path, history)?)
        }
        #[cfg(feature = "mongodb")]
        Storage::MongoDb(settings) => {
            Arc::new(MongoDb::open(settings, Patience::UntilThere)?.with_history(history))
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

/// The channels in the store, for a command that must change nothing, not even a schema;
/// `None` where they cannot be read so.
pub(crate) fn peek_channels(storage: &Storage) -> Option<Vec<Object>> {
    let kind = ObjectKind::Channel;
    match storage {
        Storage::Embedded { path } => Embedded::peek(path, kind).ok(),
        #[cfg(feature = "mongodb")]
        Storage::MongoDb(settings) => MongoDb::peek(settings, kind).ok(),
        #[cfg(not(feature = "mongodb"))]
        Storage::MongoDb(_) => None,
    }
}

/// Opens the store with its history for a command that runs beside a server and reads.
///
/// # Errors
/// As [`open_beside_server`].
pub(crate) fn open_history(storage: &Storage) -> Result<Box<dyn Store>, StoreError> {
    Ok(match storage {
        Storage::Embedded { path } => {
            // No room is to be looked for: the command keeps nothing.
            let settings = HistorySettings {
                max_bytes: Some(u64::MAX),
                ..HistorySettings::default()
            };
            let store = Embedded::open_beside_server(path, IfMissing::Fail)?;
            Box::new(store.with_history(path, &settings)?)
        }
        Storage::MongoDb(_) => open_beside_server(storage)?,
    })
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
/// exist, and one of history.db, if it is wanted, to the file with the ending `.history`. Servers and commands may work meanwhile. Gives what was saved, in words for a
/// person.
///
/// # Errors
/// The file exists or cannot be written; there is no database; or the store is in
/// MongoDB, which has a tool of its own.
pub(crate) fn backup(
    storage: &Storage,
    file: &Path,
    extent: Extent,
) -> Result<impl fmt::Display + use<>, StoreError> {
    match storage {
        Storage::Embedded { path } => embedded::backup(path, file, extent),
        Storage::MongoDb(_) => Err(other_tool("mongodump")),
    }
}

/// Puts the embedded database in `file`, a backup, in the place of the database that is
/// there, which is kept beside it under a name with the time `now`; and so with history.db,
/// if it is wanted. Gives what was restored, in words for a person.
///
/// # Errors
/// A server runs, the file is not a whole database of a known version, or the folder
/// cannot be written; or the store is in MongoDB, which has a tool of its own.
pub(crate) fn restore(
    storage: &Storage,
    file: &Path,
    extent: Extent,
    now: Timestamp,
) -> Result<impl fmt::Display + use<>, StoreError> {
    match storage {
        Storage::Embedded { path } => embedded::restore(path, file, extent, now),
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

#[cfg(all(test, feature = "mongodb"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::MongoDbSettings;

    fn find_wrong(url: &str, redis: &[&str]) -> Vec<(&'static str, String)> {
        find_wrong_settings(&Storage::MongoDb(MongoDbSettings {
            url: url.to_owned(),
            database: "fleetbeat".to_owned(),
            redis: redis.iter().map(|url| (*url).to_owned()).collect(),
            connections: 4,
            sweep_interval: Duration::from_secs(60),
        }))
    }

    #[test]
    fn urls_that_can_never_work_are_found_without_asking_anybody() {
        let good = "mongodb://127.0.0.1:1";
        for (url, redis, key, named) in [
            (
                "mongodb://u:p@ss@127.0.0.1:1/",
                &[][..],
                "mongodb.url",
                "%40",
            ),
            ("localhost:27017", &[], "mongodb.url", "mongodb://HOST"),
            (
                "mongodb://h/?nosuchoption=1",
                &[],
                "mongodb.url",
                "nosuchoption",
            ),
            ("mongodb://h:x", &[], "mongodb.url", "mongodb://HOST"),
            (
                "mongodb://h/?tls=true&tlsCAFile=/nowhere.pem",
                &[],
                "mongodb.url",
                "nowhere.pem",
            ),
            (
                "mongodb+srv://h.example.com/?tls=true&tlsCAFile=/nowhere.pem",
                &[],
                "mongodb.url",
                "nowhere.pem",
            ),
            (
                good,
                &["cache.example.com:6379"],
                "redis.url",
                "redis://HOST",
            ),
            (good, &["redis-sentinel://s/m"], "redis.url", "Sentinel"),
            (
                good,
                &["redis://h:1", "redis://h:x"],
                "redis.url",
                "redis://HOST",
            ),
            (good, &["redis://h/none"], "redis.url", "database number"),
        ] {
            let wrong = find_wrong(url, redis);
            assert!(
                matches!(wrong.as_slice(), [(found, message)]
                    if *found == key && message.contains(named)),
                "{url} {redis:?}: {wrong:?}"
            );
        }

        let srv = "mongodb+srv://u:p%40ss@nowhere.example.com/?retryWrites=true";
        for url in [good, srv, "mongodb://u:p%40ss@a,b:1/db?replicaSet=rs0"] {
            assert_eq!(find_wrong(url, &["rediss://u:p%40ss@h:1/2"]), [], "{url}");
        }
    }

    #[test]
    fn no_spelling_of_a_url_shows_a_part_of_the_password() {
        let schemes = "mongodb:// mongodb+srv:// mongo:// mongodb:/ redis:// rediss:// \
                       redis+unix:// redis-sentinel:// MONGODB://";
        let spellings = [
            "fleet:PASSWORD@host",
            "fleet:PASSWORD@host:1/db?tls=true",
            "fleet:PASSWORD@host:99999",
            "fleet:PASSWORD@host:1?tls=maybe",
            "fleet:PASSWORD@host,other:x",
            "fleet:PASSWORD@",
            "fleet:PASSWORD",
            ":PASSWORD@host",
            "PASSWORD@host:x",
            "PASSWORD:fleet@host",
            "host:PASSWORD",
            "host:1/fleet:PASSWORD",
            "host/?password=PASSWORD",
            "host/?tlsCertificateKeyFilePassword=PASSWORD",
            "fleet:PASSWORD@host/?tls=true&tlsCAFile=/nowhere",
            "fleet:PASSWORD@[::1",
            "host?authMechanismProperties=AWS_SESSION_TOKEN:PASSWORD&x=y",
        ];
        let between: Vec<char> = ":/?#[]@%&=+, !$'()*;^|\\\"{}<>~ü\t".chars().collect();
        let mut wrong = 0;
        for scheme in schemes.split_whitespace().chain([""]) {
            for (spelling, c) in spellings
                .iter()
                .flat_map(|spelling| between.iter().map(move |c| (spelling, c)))
            {
                let password = format!("S3cret{c}Pw9{c}{c}z7");
                let url = format!("{scheme}{}", spelling.replace("PASSWORD", &password));
                for (_, told) in find_wrong(&url, &[&url]) {
                    wrong += 1;
                    let told = told.to_lowercase();
                    let leaks = ["s3cret", "pw9", "z7"].map(|part| told.contains(part));
                    assert_eq!(leaks, [false; 3], "{url}: {told}");
                }
            }
        }
        assert!(wrong > 5000, "{wrong}");
    }
}
