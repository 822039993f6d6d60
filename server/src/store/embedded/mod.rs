//! The embedded store: one SQLite file, which operators can open with `sqlite3`.
//!
//! One connection writes, behind a lock; a few others read, which in WAL mode never wait
//! for it. A commit is on the disk before it returns (`synchronous=FULL`). The server
//! holds a lock on the folder; the user and backup commands do not, and work beside it.

mod error;
mod restore;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_protocol::{Flags, FlagsPatch, Load, Role, Server, Status, Timestamp};
use rusqlite::config::DbConfig;
use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Row, Transaction, named_params, params,
};

use self::error::{explain_open_error, is_busy, is_taken_server_id, unusable};
use super::backend::Store;
use super::error::{Conflict, Setup, StoreError};
use super::server::{Beat, Fleet, ServerStore, Supersedes, Swept, new_server_id};
use super::user::{User, UserStore};
use crate::sync::locked;

/// How long a statement waits for another process, such as the user command. Below the 3
/// s in which an agent must get its answer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Pages of 4 KiB in the write-ahead log before they go into the database. A beating
/// fleet rewrites the same pages again and again: four times SQLite's default lets a
/// checkpoint write most of them once.
const CHECKPOINT_PAGES: u32 = 4000;
/// Eight hexadecimal digits collide now and then in a large fleet; so many in a row do
/// not.
const SERVER_ID_TRIES: usize = 16;

/// Rows of history deleted in one transaction.
const HISTORY_CHUNK: u32 = 5000;

/// The database in its folder.
const FILE: &str = "fleetbeat.db";

/// The schema, one step for each `user_version`; a released step never changes.
const MIGRATIONS: [&str; 1] = ["
    CREATE TABLE servers (
        ip TEXT PRIMARY KEY,
        server_id TEXT NOT NULL UNIQUE,
        hostname TEXT NOT NULL,
        country_code TEXT NOT NULL,
        country TEXT NOT NULL,
        region TEXT,
        city TEXT NOT NULL,
        status TEXT NOT NULL,
        last_heartbeat INTEGER NOT NULL,    -- milliseconds since 1970, UTC
        first_heartbeat INTEGER NOT NULL,
        cpu REAL, ram REAL, net REAL,       -- percent, NULL where not measured
        services TEXT NOT NULL,             -- JSON, as in the API
        metrics TEXT NOT NULL,              -- JSON, as in the API
        gaming INTEGER NOT NULL,
        streaming INTEGER NOT NULL,
        paid INTEGER NOT NULL,
        enabled INTEGER NOT NULL,
        static INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE history (
        ip TEXT NOT NULL,
        collected_at INTEGER NOT NULL,
        heartbeat TEXT NOT NULL,            -- JSON, as the agent spooled it
        PRIMARY KEY (ip, collected_at)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX history_by_time ON history (collected_at);
    CREATE TABLE users (
        username TEXT PRIMARY KEY,
        role TEXT NOT NULL,
        hashed_password TEXT NOT NULL,
        token_version TEXT NOT NULL
    ) STRICT;
"];

const SERVER_COLUMNS: &str = "server_id, ip, hostname, country_code, country, region, city, status, \
    last_heartbeat, first_heartbeat, cpu, ram, net, services, metrics, gaming, streaming, paid, enabled, static";

/// The store on one folder.
pub(crate) struct Embedded {
    writer: Mutex<Connection>,
    /// Idle reading connections; there are never more than there were readers at once.
    readers: Mutex<Vec<Connection>>,
    file: PathBuf,
    revision: AtomicU64,
    /// Held as long as the server runs; closing the file releases it, however the process
    /// ends.
    _lock: Option<File>,
}

impl Embedded {
    /// Opens the folder for the server, which must be the only one there.
    ///
    /// # Errors
    /// The folder cannot be made or written, another server has it, or the database is
    /// damaged or newer.
    pub(crate) fn open(folder: &Path) -> Result<Embedded, StoreError> {
        create_private_folder(folder)?;
        let lock = take_lock(folder)?;
        Self::connect(folder, Some(lock), Check::Whole)
    }

    /// Opens the folder for a command that may run beside the server, and before its
    /// first start.
    ///
    /// # Errors
    /// As [`Embedded::open`], but for the lock.
    pub(crate) fn open_beside_server(folder: &Path) -> Result<Embedded, StoreError> {
        create_private_folder(folder)?;
        Self::connect(folder, None, Check::Header)
    }

    fn connect(
        folder: &Path,
        lock: Option<File>,
        check: Check,
    ) -> Result<Embedded, StoreError> {
        let file = folder.join(FILE);
        let explain = |error| explain_open_error(&file, error);
        create_private_file(&file).map_err(|error| unusable(&file, &error))?;
        let mut writer = Connection::open(&file).map_err(explain)?;
        prepare_writer(&mut writer, check).map_err(explain)?;
        migrate(&mut writer, &file)?;
        let writer = Mutex::new(writer);
        Ok(Embedded {
            writer,
            readers: Mutex::default(),
            file,
            revision: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Writes a consistent copy of the whole database to `file`, which must not exist.
    ///
    /// # Errors
    /// The file exists or cannot be written.
    pub(crate) fn backup(&self, file: &Path) -> Result<(), StoreError> {
        let created = File::options()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(file);
        created.map_err(|error| unusable(file, &error))?;
        let name = file.to_str().ok_or_else(|| {
            unusable(file, &io::Error::from(io::ErrorKind::InvalidInput))
        })?;
        self.writer().execute("VACUUM INTO ?1", [name])?;
        Ok(())
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        // A panic between two statements rolls its transaction back; the connection stays
        // good.
        locked(&self.writer)
    }

    /// Runs `change` in a transaction that is on the disk when this returns.
    fn write<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut writer = self.writer();
        let transaction =
            writer.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let value = change(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    /// [`Embedded::write`] for a change that [`Store::fleet`] shows.
    fn write_servers<T>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let value = self.write(change)?;
        self.revision.fetch_add(1, Ordering::Release);
        Ok(value)
    }

    fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let idle = locked(&self.readers).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open_reader(&self.file)?,
        };
        let value = query(&connection)?;
        locked(&self.readers).push(connection);
        Ok(value)
    }
}

impl ServerStore for Embedded {
    fn record(&self, beats: &[Beat]) -> Result<BTreeSet<IpAddr>, StoreError> {
        self.write_servers(|transaction| {
            beats
                .iter()
                .try_for_each(|beat| record_one(transaction, beat))
        })?;
        Ok(BTreeSet::new())
    }

    fn fleet(&self, known: Option<&Arc<Fleet>>) -> Result<Arc<Fleet>, StoreError> {
        // Read before the servers: a change in between makes the next fleet, not a missed
        // one.
        let revision = self.revision.load(Ordering::Acquire);
        if let Some(known) = known.filter(|known| known.revision == revision) {
            return Ok(known.clone());
        }
        let mut servers = self.read(|connection| {
            let mut statement = connection
                .prepare_cached(&format!("SELECT {SERVER_COLUMNS} FROM servers"))?;
            let mut rows = statement.query([])?;
            let mut servers = Vec::new();
            while let Some(row) = rows.next()? {
                match server_from_row(row) {
                    Ok(server) => servers.push(Arc::new(server)),
                    // Somebody has edited the file; the others must not suffer.
                    Err(error) => log::warn!("a damaged row is left out: {error}"),
                }
            }
            Ok(servers)
        })?;
        servers.sort_unstable_by_key(|server| server.ip);
        Ok(Arc::new(Fleet {
            servers,
            revision,
            stale: false,
        }))
    }

    fn server(&self, ip: IpAddr) -> Result<Option<Server>, StoreError> {
        self.read(|connection| server_by_ip(connection, ip))
    }

    fn set_flags(
        &self,
        ip: IpAddr,
        patch: FlagsPatch,
    ) -> Result<Option<Server>, StoreError> {
        self.write_servers(|transaction| {
            let mut statement = transaction.prepare_cached(
                "UPDATE servers SET gaming = coalesce(?2, gaming), streaming = coalesce(?3, streaming), \
                 paid = coalesce(?4, paid), enabled = coalesce(?5, enabled), static = coalesce(?6, static) \
                 WHERE ip = ?1",
            )?;
            let FlagsPatch { gaming, streaming, paid, enabled, is_static } = patch;
            statement.execute(params![ip.to_string(), gaming, streaming, paid, enabled, is_static])?;
            Ok(server_by_ip(transaction, ip)?)
        })
    }

    fn sweep(
        &self,
        down_before: Timestamp,
        delete_before: Timestamp,
    ) -> Result<Swept, StoreError> {
        let swept = self.write(|transaction| {
            let delete_before = delete_before.as_millisecond();
            transaction.execute(
                "DELETE FROM history WHERE ip IN (SELECT ip FROM servers WHERE last_heartbeat < ?1 AND static = 0)",
                [delete_before],
            )?;
            let deleted = transaction
                .execute("DELETE FROM servers WHERE last_heartbeat < ?1 AND static = 0", [delete_before])?;
            let down = transaction.execute(
                "UPDATE servers SET status = 'down' WHERE last_heartbeat < ?1 AND status <> 'down'",
                [down_before.as_millisecond()],
            )?;
            Ok(Swept { down, deleted })
        })?;
        if swept != Swept::default() {
            self.revision.fetch_add(1, Ordering::Release);
        }
        // Some at a time, so that heartbeats need not wait for the end of a long outage's
        // history.
        let outdated = "DELETE FROM history WHERE (ip, collected_at) IN \
            (SELECT ip, collected_at FROM history WHERE collected_at < ?1 LIMIT ?2)";
        while HISTORY_CHUNK as usize
            == self.write(|transaction| {
                Ok(transaction.execute(
                    outdated,
                    params![delete_before.as_millisecond(), HISTORY_CHUNK],
                )?)
            })?
        {}
        Ok(swept)
    }
}

impl UserStore for Embedded {
    fn users(&self) -> Result<Vec<User>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT username, role, hashed_password, token_version FROM users ORDER BY username",
            )?;
            statement.query_map([], user_from_row)?.collect()
        })
    }

    fn user(&self, username: &str) -> Result<Option<User>, StoreError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT username, role, hashed_password, token_version FROM users WHERE username = ?1",
            )?;
            statement.query_row([username], user_from_row).optional()
        })
    }

    fn add_user(&self, user: &User) -> Result<(), StoreError> {
        self.write(|transaction| {
            let added = transaction.execute(
                "INSERT INTO users (username, role, hashed_password, token_version) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT DO NOTHING",
                params![user.username, user.role.as_str(), user.hashed_password, user.token_version],
            )?;
            if added == 0 { Err(Conflict::UserExists(user.username.clone()).into()) } else { Ok(()) }
        })
    }

    fn set_password(
        &self,
        username: &str,
        hashed_password: &str,
        token_version: &str,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            let changed = transaction.execute(
                "UPDATE users SET hashed_password = ?2, token_version = ?3 WHERE username = ?1",
                [username, hashed_password, token_version],
            )?;
            if changed == 0 { Err(Conflict::NoSuchUser(username.to_owned()).into()) } else { Ok(()) }
        })
    }

    fn remove_user(&self, username: &str) -> Result<(), StoreError> {
        self.write(|transaction| {
            let role: Option<String> = transaction
                .query_row(
                    "SELECT role FROM users WHERE username = ?1",
                    [username],
                    |row| row.get(0),
                )
                .optional()?;
            let superadmins: i64 = transaction.query_row(
                "SELECT count(*) FROM users WHERE role = 'superadmin'",
                [],
                |row| row.get(0),
            )?;
            match role.as_deref() {
                None => return Err(Conflict::NoSuchUser(username.to_owned()).into()),
                Some("superadmin") if superadmins == 1 => {
                    return Err(Conflict::LastSuperadmin(username.to_owned()).into());
                }
                Some(_) => transaction
                    .execute("DELETE FROM users WHERE username = ?1", [username])?,
            };
            Ok(())
        })
    }
}

impl Store for Embedded {
    fn close(&self) {
        // The write-ahead log into the database: then the one file is everything.
        if let Err(error) =
            self.writer()
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        {
            log::warn!("the write-ahead log stays beside the database: {error}");
        }
    }

    fn ping(&self) -> Result<(), StoreError> {
        self.read(|connection| {
            connection
                .query_row("SELECT 1 FROM users LIMIT 1", [], |_| Ok(()))
                .optional()
        })
        .map(|_| ())
    }
}

fn record_one(transaction: &Transaction<'_>, beat: &Beat) -> Result<(), StoreError> {
    if let Some(collected_at) = beat.collected_at() {
        let heartbeat =
            serde_json::to_string(&beat.heartbeat).expect("a heartbeat is plain JSON");
        let mut insert = transaction.prepare_cached(
            "INSERT INTO history (ip, collected_at, heartbeat) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )?;
        insert.execute(params![
            beat.ip.to_string(),
            collected_at.as_millisecond(),
            heartbeat
        ])?;
    }
    for _ in 0..SERVER_ID_TRIES {
        match upsert_server(transaction, beat) {
            Err(error) if is_taken_server_id(&error) => {}
            result => return Ok(result?),
        }
    }
    Err(rusqlite::Error::StatementChangedRows(0).into())
}

/// One statement decides between insert and update; a spooled heartbeat updates only what
/// is older. Flags are written on insert alone, so no heartbeat can change one.
fn upsert_server(transaction: &Transaction<'_>, beat: &Beat) -> rusqlite::Result<()> {
    let Beat {
        ip,
        heartbeat,
        at,
        status,
        supersedes,
    } = beat;
    let json = |value: serde_json::Result<String>| {
        value.expect("services and metrics are plain JSON")
    };
    let flags = Flags::default();
    let mut upsert = transaction.prepare_cached(
        "INSERT INTO servers (ip, server_id, hostname, country_code, country, region, city, status, \
            last_heartbeat, first_heartbeat, cpu, ram, net, services, metrics, gaming, streaming, paid, enabled, static) \
         VALUES (:ip, :server_id, :hostname, :country_code, :country, :region, :city, :status, :at, :at, :cpu, :ram, \
            :net, :services, :metrics, :gaming, :streaming, :paid, :enabled, :static) \
         ON CONFLICT (ip) DO UPDATE SET hostname = excluded.hostname, country_code = excluded.country_code, \
            country = excluded.country, region = excluded.region, city = excluded.city, status = excluded.status, \
            last_heartbeat = excluded.last_heartbeat, cpu = excluded.cpu, ram = excluded.ram, net = excluded.net, \
            services = excluded.services, metrics = excluded.metrics \
         WHERE :always OR (:if_newer AND excluded.last_heartbeat > servers.last_heartbeat)",
    )?;
    upsert.execute(named_params! {
        ":ip": ip.to_string(),
        ":server_id": new_server_id(),
        ":hostname": heartbeat.hostname,
        ":country_code": heartbeat.country_code,
        ":country": heartbeat.country,
        ":region": heartbeat.region,
        ":city": heartbeat.city,
        ":status": status.as_str(),
        ":at": at.as_millisecond(),
        ":cpu": heartbeat.load.cpu,
        ":ram": heartbeat.load.ram,
        ":net": heartbeat.load.net,
        ":services": json(serde_json::to_string(&heartbeat.services)),
        ":metrics": json(serde_json::to_string(&heartbeat.metrics)),
        ":gaming": flags.gaming,
        ":streaming": flags.streaming,
        ":paid": flags.paid,
        ":enabled": flags.enabled,
        ":static": flags.is_static,
        ":always": *supersedes == Supersedes::Always,
        ":if_newer": *supersedes == Supersedes::IfNewer,
    })?;
    Ok(())
}

fn server_by_ip(connection: &Connection, ip: IpAddr) -> rusqlite::Result<Option<Server>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {SERVER_COLUMNS} FROM servers WHERE ip = ?1"
    ))?;
    statement
        .query_row([ip.to_string()], server_from_row)
        .optional()
}

/// A host from the columns of [`SERVER_COLUMNS`].
fn server_from_row(row: &Row<'_>) -> rusqlite::Result<Server> {
    let status: String = row.get(7)?;
    Ok(Server {
        server_id: row.get(0)?,
        ip: parsed(row, 1, str::parse::<IpAddr>)?,
        hostname: row.get(2)?,
        country_code: row.get(3)?,
        country: row.get(4)?,
        region: row.get(5)?,
        city: row.get(6)?,
        status: if status == Status::Active.as_str() {
            Status::Active
        } else {
            Status::Down
        },
        last_heartbeat: timestamp(row, 8)?,
        first_heartbeat: timestamp(row, 9)?,
        load: Load {
            cpu: row.get(10)?,
            ram: row.get(11)?,
            net: row.get(12)?,
        },
        services: parsed(row, 13, serde_json::from_str)?,
        metrics: parsed(row, 14, serde_json::from_str::<BTreeMap<String, f64>>)?,
        flags: Flags {
            gaming: row.get(15)?,
            streaming: row.get(16)?,
            paid: row.get(17)?,
            enabled: row.get(18)?,
            is_static: row.get(19)?,
        },
    })
}

fn user_from_row(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        username: row.get(0)?,
        role: parsed(row, 1, |text| {
            text.parse::<Role>().map_err(io::Error::other)
        })?,
        hashed_password: row.get(2)?,
        token_version: row.get(3)?,
    })
}

fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let millisecond = row.get(column)?;
    Timestamp::from_millisecond(millisecond).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Integer,
            error.into(),
        )
    })
}

/// A text column through a parser.
fn parsed<'a, T, E>(
    row: &'a Row<'_>,
    column: usize,
    parse: impl FnOnce(&'a str) -> Result<T, E>,
) -> rusqlite::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let text = row.get_ref(column)?.as_str()?;
    parse(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            Box::new(error),
        )
    })
}

/// Makes the folder if it is missing, readable by its owner alone: it holds password
/// hashes and keys.
fn create_private_folder(folder: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| unusable(folder, &error))
}

/// Makes a file that only the server's user may read, where there is none. SQLite gives
/// the files it makes beside the database the same mode.
fn create_private_file(file: &Path) -> io::Result<()> {
    match File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(file)
    {
        Ok(created) => give_to_owner_of_folder(&created, file),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// What root makes in the folder of the server's user belongs to that user, or the server
/// could not open it. For what was made just now alone: anything else by that name may be
/// a link to what is not the user's.
fn give_to_owner_of_folder(created: &File, path: &Path) -> io::Result<()> {
    let folder = fs::metadata(path.parent().unwrap_or(path))?;
    if created.metadata()?.uid() == folder.uid() {
        return Ok(());
    }
    fchown(created, Some(folder.uid()), Some(folder.gid()))
}

/// The lock that a server holds on its folder.
fn take_lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let lock =
        create_private_file(&path).and_then(|()| File::options().write(true).open(&path));
    let lock = lock.map_err(|error| unusable(&path, &error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(Setup::Locked {
            path: folder.display().to_string(),
        }
        .into()),
        Err(fs::TryLockError::Error(error)) => Err(unusable(&path, &error)),
    }
}

/// How much of the database is looked at before it is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    Header,
    Whole,
}

fn prepare_writer(connection: &mut Connection, check: Check) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Closing a connection writes the log of a killed server into the database. Not into
    // a damaged one.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    if check == Check::Whole {
        let found: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            return Err(rusqlite::Error::SqliteFailure(corrupt, Some(found)));
        }
    }
    retry_while_busy(|| {
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))
    })?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// The change of the journal's mode does not wait for another process that makes it, too.
fn retry_while_busy(
    mut attempt: impl FnMut() -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match attempt() {
            Err(error) if Instant::now() < deadline && is_busy(&error) => {
                thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

fn open_reader(file: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // The pages of a full scan are not worth keeping: each reader would hold its own
    // copy.
    connection.pragma_update(None, "cache_size", -256)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection, file: &Path) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    // Immediate: of two processes that open a new folder at once, one makes the schema
    // and the other waits.
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found: i64 =
        transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > known {
        return Err(Setup::Newer {
            path: file.display().to_string(),
            found,
            known,
        }
        .into());
    }
    let done = usize::try_from(found).unwrap_or_default();
    for step in &MIGRATIONS[done..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{beat, servers, spooled};

    #[test]
    fn a_folder_has_one_server_but_commands_work_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = Embedded::open(folder.path()).unwrap();
        assert!(matches!(
            Embedded::open(folder.path()),
            Err(StoreError::Setup(Setup::Locked { .. }))
        ));
        assert!(
            Embedded::open_beside_server(folder.path())
                .unwrap()
                .users()
                .unwrap()
                .is_empty()
        );
        drop(first);
        Embedded::open(folder.path()).unwrap();
    }

    #[test]
    fn a_link_in_the_folder_leads_to_nothing_that_is_made_or_given_away() {
        let (folder, elsewhere) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let target = elsewhere.path().join("target");
        std::os::unix::fs::symlink(&target, folder.path().join("lock")).unwrap();
        assert!(matches!(
            Embedded::open(folder.path()),
            Err(StoreError::Setup(Setup::Unusable { .. }))
        ));
        assert!(!target.exists());
    }

    #[test]
    fn a_damaged_database_is_named_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fleetbeat.db");
        let garbage = b"this is no database".repeat(500);
        fs::write(&file, &garbage).unwrap();
        let error = Embedded::open(folder.path()).err().unwrap().to_string();
        assert!(
            error.contains("fleetbeat.db is damaged") && error.contains(".recover"),
            "{error}"
        );
        assert_eq!(fs::read(&file).unwrap(), garbage);
    }

    #[test]
    fn a_damaged_page_is_found_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        let beats: Vec<Beat> = (0..200)
            .map(|n| beat(&format!("10.0.0.{n}"), Timestamp::UNIX_EPOCH))
            .collect();
        store.record(&beats).unwrap();
        drop(store);
        let file = folder.path().join("fleetbeat.db");
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2 / 4096 * 4096;
        bytes[middle..middle + 4096].fill(0xab);
        fs::write(&file, &bytes).unwrap();
        assert!(matches!(
            Embedded::open(folder.path()),
            Err(StoreError::Setup(Setup::Damaged { .. }))
        ));
        assert_eq!(fs::read(&file).unwrap(), bytes);
    }

    #[test]
    fn what_a_killed_server_left_beside_a_damaged_database_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        let beats: Vec<Beat> = (0..200)
            .map(|n| beat(&format!("10.0.0.{n}"), Timestamp::UNIX_EPOCH))
            .collect();
        store.record(&beats).unwrap();
        store.close();
        store
            .record(&[beat("10.0.1.1", Timestamp::UNIX_EPOCH)])
            .unwrap();
        // As a kill leaves them: the log beside the database, and nobody who closes it.
        let killed = tempfile::tempdir().unwrap();
        let names = ["fleetbeat.db", "fleetbeat.db-wal"];
        let bytes = names.map(|name| {
            let mut bytes = fs::read(folder.path().join(name)).unwrap();
            assert!(!bytes.is_empty(), "{name}");
            if name == "fleetbeat.db" {
                let middle = bytes.len() / 2 / 4096 * 4096;
                bytes[middle..middle + 4096].fill(0xab);
            }
            fs::write(killed.path().join(name), &bytes).unwrap();
            bytes
        });
        assert!(matches!(
            Embedded::open(killed.path()),
            Err(StoreError::Setup(Setup::Damaged { .. }))
        ));
        assert_eq!(
            names.map(|name| fs::read(killed.path().join(name)).unwrap()),
            bytes
        );
    }

    #[test]
    fn a_commit_waits_for_the_disk_and_files_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        store
            .record(&[beat("10.0.0.1", Timestamp::UNIX_EPOCH)])
            .unwrap();
        let full = 2;
        let synchronous = store
            .writer()
            .query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0))
            .unwrap();
        assert_eq!(synchronous, full);
        store.backup(&folder.path().join("copy.db")).unwrap();
        for name in ["fleetbeat.db", "fleetbeat.db-wal", "copy.db"] {
            let mode = fs::metadata(folder.path().join(name))
                .unwrap()
                .permissions()
                .mode()
                & 0o777;
            assert_eq!(mode, 0o600, "{name}");
        }
    }

    #[test]
    fn a_damaged_row_does_not_hide_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        store
            .record(&[
                beat("10.0.0.1", Timestamp::UNIX_EPOCH),
                beat("10.0.0.2", Timestamp::UNIX_EPOCH),
            ])
            .unwrap();
        store
            .writer()
            .execute(
                "UPDATE servers SET services = '[' WHERE ip = '10.0.0.1'",
                [],
            )
            .unwrap();
        assert_eq!(servers(&store).len(), 1);
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Embedded::open(folder.path())
            .unwrap()
            .writer()
            .pragma_update(None, "user_version", 99)
            .unwrap();
        assert!(matches!(
            Embedded::open(folder.path()),
            Err(StoreError::Setup(Setup::Newer {
                found: 99,
                known: 1,
                ..
            }))
        ));
    }

    #[test]
    fn what_was_spooled_is_history_once_and_goes_with_its_host() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        let history = || -> i64 {
            store
                .read(|connection| {
                    connection
                        .query_row("SELECT count(*) FROM history", [], |row| row.get(0))
                })
                .unwrap()
        };
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let beats = [300, 200, 100].map(|age| {
            spooled("10.0.0.1", at - jiff::SignedDuration::from_secs(age), 1.0)
        });
        store.record(&beats).unwrap();
        store.record(&beats).unwrap();
        assert_eq!(history(), 3);
        store
            .sweep(at, at - jiff::SignedDuration::from_secs(250))
            .unwrap();
        assert_eq!(history(), 2, "the oldest is older than what is kept");
        store.sweep(at, at).unwrap();
        assert_eq!(history(), 0, "the host is gone");
    }

    #[test]
    fn a_backup_is_whole_and_overwrites_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Embedded::open(folder.path()).unwrap();
        store
            .record(&[beat("10.0.0.1", Timestamp::UNIX_EPOCH)])
            .unwrap();
        let copy = folder.path().join("copy");
        fs::create_dir(&copy).unwrap();
        store.backup(&copy.join("fleetbeat.db")).unwrap();
        assert_eq!(servers(&Embedded::open(&copy).unwrap()), servers(&store));
        assert!(store.backup(&copy.join("fleetbeat.db")).is_err());
    }
}
