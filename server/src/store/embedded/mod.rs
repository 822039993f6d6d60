//! The embedded store: one SQLite file, which operators can open with `sqlite3`.
//!
//! The server holds a lock on the folder. The user and backup commands work beside the
//! server, without the lock. This file says which function does what; each subject has a
//! file of its own.

mod alerts;
mod api_tokens;
mod backup;
mod changed;
mod connection;
mod contents;
mod error;
mod event_query;
mod events;
mod flags;
mod fleet;
mod folder;
mod history;
mod keys;
mod lives;
mod open_chunks;
mod owners;
mod restore;
mod retention;
mod row;
mod schema;
mod servers;
mod sweep;
mod touched;
mod users;
mod watch;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleetbeat_history::chart::ChartQuery;
use fleetbeat_history::{Chunk, Day, HostSamples, HostTraffic};
use fleetbeat_protocol::{AgentId, KeyHash, Server, Timestamp};
use rusqlite::OptionalExtension;

use self::connection::{Check, Connections, has_current_schema, open_reader};
use self::contents::Saved;
use self::fleet::FleetReader;
use self::history::History;
use self::owners::Outcome;
pub(super) use self::restore::restore;
use self::touched::Touched;
use super::alert_store::{
    AlertQuery, AlertRow, AlertSlice, AlertStore, Decision, DeliveryOutcome,
    DeliveryQuery, DeliveryRow, DeliveryState, Object, ObjectChange, ObjectKind, Page,
    SavedAlerts,
};
use super::api_token::{ApiToken, ApiTokenStore};
use super::backend::{Store, StoreHealth};
use super::bulk::Bulk;
use super::error::{Setup, StoreError};
use super::event::{Act, Cursor, NewEvent};
use super::event_store::{
    EventPage, EventQuery, EventStore, Retention, WatchOrder, Watched,
};
use super::flags::{HostPatch, Judge};
use super::history::{
    DaysRead, Extent, GroupHistory, Groups, HistorySettings, HistoryStore, HostHistory,
    Tended, TrafficQuery,
};
use super::identity::{Conflicts, Finding};
use super::key::{
    AgentKey, Code, EnrollRefusal, EnrollRequest, Enrolled, KeyStore, ListedKey,
};
use super::life::{Life, LifeQuery};
use super::server::{
    Beat, Due, Fleet, HostName, Recorded, RemovedServer, ServerStore, SweepOrder, Swept,
};
use super::user::{User, UserChange, UserStore};

/// The store in one folder.
pub(super) struct Embedded {
    connections: Connections,
    fleet: FleetReader,
    conflicts: Conflicts,
    /// The hosts that the watch has to look at.
    touched: Touched,
    /// Where heartbeats are kept; `None` for a command beside the server.
    history: Option<History>,
}

/// What a command does where there is no database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum IfMissing {
    /// Fail: the path is wrong, most likely, and an empty database helps nobody.
    Fail,
    /// Make one, as the server's first start would.
    Create,
}

/// Writes a consistent copy of the whole database in `folder` to `file`, which must not
/// exist, and so with history.db, if it is wanted. Gives what is in the copies. A server
/// may run meanwhile, and its disk be full: the databases are only read.
///
/// # Errors
/// There is no database, or a file exists or cannot be written.
pub(super) fn backup(
    folder: &Path,
    file: &Path,
    extent: Extent,
) -> Result<Saved, StoreError> {
    folder::find_database(folder)?;
    update_schema(folder)?;
    let database = open_reader(&folder.join(folder::DATABASE))?;
    let contents = backup::backup(&database, file)?;
    let history = match extent {
        Extent::Database => None,
        // Behind the database: what is merged in between is in both, and not in none.
        Extent::WithHistory => {
            let copied = backup::backup_history(&folder.join(folder::HISTORY), file);
            Some(copied.inspect_err(|_| drop(restore::remove_database(file)))?)
        }
    };
    Ok(Saved { contents, history })
}

/// Brings an older database to the present schema.
///
/// # Errors
/// A server of an older version runs.
fn update_schema(folder: &Path) -> Result<(), StoreError> {
    if !has_current_schema(&folder.join(folder::DATABASE))? {
        let lock = folder::take_lock(folder).map_err(explain_older)?;
        drop(Connections::open(folder, Some(lock), Check::Header)?);
    }
    Ok(())
}

impl Embedded {
    /// Opens the folder for the server, which must be the only one there.
    ///
    /// # Errors
    /// The folder cannot be made or written, another server has it, or the database is
    /// damaged or newer.
    pub(super) fn open(folder: &Path) -> Result<Embedded, StoreError> {
        folder::create_private_folder(folder)?;
        let lock = folder::take_lock(folder)?;
        Connections::open(folder, Some(lock), Check::Whole).map(Embedded::new)
    }

    /// Opens the folder for a command that may run beside the server. The schema is
    /// changed under the server's lock only.
    ///
    /// # Errors
    /// As [`Embedded::open`]; there is no database, and none is to be made; or a server
    /// of an older version runs.
    pub(super) fn open_beside_server(
        folder: &Path,
        if_missing: IfMissing,
    ) -> Result<Embedded, StoreError> {
        if if_missing == IfMissing::Create {
            folder::create_private_folder(folder)?;
        } else {
            folder::find_database(folder)?;
        }
        update_schema(folder)?;
        Connections::open(folder, None, Check::Header).map(Embedded::new)
    }

    /// The objects of a kind in the database of `folder`, which is not changed in any way.
    ///
    /// # Errors
    /// There is no database, or it cannot be read, or its schema has no objects yet.
    pub(super) fn peek(
        folder: &Path,
        kind: ObjectKind,
    ) -> Result<Vec<Object>, StoreError> {
        folder::find_database(folder)?;
        let reader = open_reader(&folder.join(folder::DATABASE))?;
        Ok(alerts::objects(&reader, kind)?)
    }

    fn new(connections: Connections) -> Embedded {
        Embedded {
            connections,
            fleet: FleetReader::default(),
            conflicts: Conflicts::default(),
            touched: Touched::default(),
            history: None,
        }
    }

    /// The same store, which keeps heartbeats in the `folder`, too.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub(super) fn with_history(
        mut self,
        folder: &Path,
        settings: &HistorySettings,
    ) -> Result<Embedded, StoreError> {
        let history = History::new(&self.connections, folder, settings)?;
        self.history = Some(history);
        Ok(self)
    }

    /// What kills it in tests.
    #[cfg(test)]
    pub(super) fn fuse(&self) -> &super::fuse::Fuse {
        &self.connections.fuse
    }
}

/// Why no database can ever be in `folder`, as far as a look at it tells.
pub(super) fn find_wrong_folder(folder: &Path) -> Vec<StoreError> {
    let wrong = folder::explain_no_folder(folder).map(|reason| {
        let key = "storage.path";
        Setup::Setting { key, reason }.into()
    });
    wrong.into_iter().collect()
}

/// A schema that is not current, under the lock of a server: the server is an older one.
fn explain_older(error: StoreError) -> StoreError {
    match error {
        StoreError::Setup(Setup::Locked { path }) => Setup::Older { path }.into(),
        error => error,
    }
}

impl ServerStore for Embedded {
    fn record(&self, beats: &[Beat]) -> Result<Recorded, StoreError> {
        let history = self.history.as_ref();
        let mut outcome = Outcome {
            history: history.map(History::begin).unwrap_or_default(),
            ..Outcome::default()
        };
        let mut recorded = Recorded::default();
        let stored = self.connections.write(|transaction| {
            for (place, beat) in beats.iter().enumerate() {
                let denied =
                    owners::record(transaction, beat, &self.conflicts, &mut outcome)?;
                recorded.denied.extend(denied.map(|denial| (place, denial)));
            }
            Ok(())
        });
        if let Err(error) = stored {
            self.conflicts.forget(beats, outcome.changed);
            self.touched.add_all();
            return Err(error);
        }

        self.touched.note(beats);
        self.touched.add(outcome.changed);
        if let Some(history) = history {
            history.note(&outcome.history);
        }
        outcome.findings.iter().for_each(Finding::log);
        Ok(recorded)
    }

    fn fleet(&self, known: Option<&Arc<Fleet>>) -> Result<Arc<Fleet>, StoreError> {
        self.fleet.read(&self.connections, known)
    }

    fn server(&self, host: &HostName) -> Result<Option<Server>, StoreError> {
        self.connections
            .read(|connection| servers::by_name(connection, host))
    }

    fn moved_to(&self, ip: IpAddr) -> Result<Option<IpAddr>, StoreError> {
        self.connections
            .read(|connection| owners::moved_to(connection, ip))
    }

    fn set(
        &self,
        host: &HostName,
        patch: HostPatch<'_>,
        judge: Judge<'_>,
        act: &Act,
    ) -> Result<Option<Server>, StoreError> {
        self.connections
            .write(|transaction| servers::set(transaction, host, patch, judge, act))
    }

    fn set_many(&self, hosts: &[String], bulk: &Bulk<'_>) -> Result<usize, StoreError> {
        self.connections
            .write(|transaction| servers::set_many(transaction, hosts, bulk))
    }

    fn remove_server(
        &self,
        host: &HostName,
        act: &Act,
    ) -> Result<Option<RemovedServer>, StoreError> {
        let removed = self.connections.write(|transaction| {
            let Some(server) = servers::by_name(transaction, host)? else {
                return Ok(None);
            };
            let refused = owners::remove_for_good(transaction, &server, act)?;
            Ok(Some(RemovedServer { server, refused }))
        })?;
        // If the host comes back, its first heartbeat may say what the last one has said.
        let ip = removed.as_ref().map(|removed| removed.server.ip);
        self.touched.add(ip);
        Ok(removed)
    }

    fn sweep(&self, order: &SweepOrder) -> Result<Swept, StoreError> {
        let down = |down: &[IpAddr]| self.touched.add(down.iter().copied());
        let swept = sweep::sweep(&self.connections, order, down);
        if swept.is_err() {
            self.touched.add_all();
        }
        swept
    }

    fn prune(&self, delete_after: Duration) -> Result<Due, StoreError> {
        sweep::prune(&self.connections, delete_after)
    }
}

impl UserStore for Embedded {
    fn users(&self) -> Result<Vec<User>, StoreError> {
        self.connections.read(users::all)
    }

    fn user(&self, username: &str) -> Result<Option<User>, StoreError> {
        self.connections
            .read(|connection| users::by_name(connection, username))
    }

    fn add_user(&self, user: &User, act: &Act) -> Result<(), StoreError> {
        self.connections
            .write(|transaction| users::add(transaction, user, act))
    }

    fn change_user(
        &self,
        username: &str,
        change: &UserChange,
        act: &Act,
    ) -> Result<Option<User>, StoreError> {
        self.connections
            .write(|transaction| users::change(transaction, username, change, act))
    }

    fn remove_user(&self, username: &str, act: &Act) -> Result<(), StoreError> {
        self.connections
            .write(|transaction| users::remove(transaction, username, act))
    }
}

impl ApiTokenStore for Embedded {
    fn api_tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        self.connections.read(api_tokens::all)
    }

    fn add_api_token(&self, token: &ApiToken, act: &Act) -> Result<(), StoreError> {
        self.connections
            .write(|transaction| Ok(api_tokens::add(transaction, token, act)?))
    }

    fn remove_api_token(&self, id: &str, act: &Act) -> Result<(), StoreError> {
        self.connections
            .write(|transaction| api_tokens::remove(transaction, id, act))
    }

    fn note_api_token_use(&self, id: &str, day: Timestamp) -> Result<(), StoreError> {
        self.connections
            .write(|transaction| Ok(api_tokens::note_use(transaction, id, day)?))
    }
}

impl EventStore for Embedded {
    fn append(&self, events: &[NewEvent]) -> Result<(), StoreError> {
        self.connections.write(|transaction| {
            for event in events {
                events::write(transaction, None, event)?;
            }
            Ok(())
        })
    }

    fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        self.connections
            .read(|connection| event_query::find(connection, query))
    }

    fn newest_event(&self) -> Result<Cursor, StoreError> {
        self.connections.read(event_query::newest)
    }

    fn lives(&self, query: &LifeQuery) -> Result<Vec<Life>, StoreError> {
        self.connections
            .read(|connection| lives::find(connection, query))
    }

    fn watch(&self, order: &WatchOrder) -> Result<Watched, StoreError> {
        let touched = self.touched.take();
        let watched = watch::watch(&self.connections, order, &touched);
        if watched.is_err() {
            self.touched.add_all();
        }
        watched
    }

    fn forget_events(&self, retention: &Retention) -> Result<usize, StoreError> {
        retention::forget(&self.connections, retention)
    }
}

impl HistoryStore for Embedded {
    fn tend_history(&self, now: Timestamp) -> Result<Option<Tended>, StoreError> {
        let history = self.history.as_ref();
        history
            .map(|history| history.tend(&self.connections, now))
            .transpose()
    }

    fn history(
        &self,
        host: &HostName,
        query: &ChartQuery,
    ) -> Result<Option<HostHistory>, StoreError> {
        match &self.history {
            Some(history) => history.chart(&self.connections, host, query),
            None => Ok(None),
        }
    }

    fn history_days(
        &self,
        host: &HostName,
        days: (Day, Day),
        each: &mut dyn FnMut(&Chunk),
    ) -> Result<Option<DaysRead>, StoreError> {
        match &self.history {
            Some(history) => history.days(&self.connections, host, days, each),
            None => Ok(None),
        }
    }

    fn traffic(&self, hosts: &[TrafficQuery]) -> Result<Vec<HostTraffic>, StoreError> {
        match &self.history {
            Some(history) => history.traffic(&self.connections, hosts),
            None => Ok(vec![HostTraffic::default(); hosts.len()]),
        }
    }

    fn add_groups(&self, groups: &[HostSamples]) -> Result<(), StoreError> {
        match &self.history {
            Some(history) => history.add_groups(groups),
            None => Ok(()),
        }
    }

    fn group_history(
        &self,
        groups: Groups,
        query: &ChartQuery,
    ) -> Result<Vec<GroupHistory>, StoreError> {
        let history = self.history.as_ref();
        let charts = history.map(|history| history.group_charts(groups, query));
        Ok(charts.unwrap_or_default())
    }
}

impl KeyStore for Embedded {
    fn codes(&self) -> Result<Vec<Code>, StoreError> {
        self.connections.read(keys::codes)
    }

    fn add_code(&self, code: &Code, act: &Act) -> Result<(), StoreError> {
        self.connections
            .write(|transaction| keys::add_code(transaction, code, act))
    }

    fn remove_code(&self, id: &str, act: &Act) -> Result<Option<Code>, StoreError> {
        self.connections
            .write(|transaction| keys::remove_code(transaction, id, act))
    }

    fn enroll(
        &self,
        request: &EnrollRequest,
    ) -> Result<Result<Enrolled, EnrollRefusal>, StoreError> {
        self.connections
            .write(|transaction| keys::enroll(transaction, request))
    }

    fn keys(&self) -> Result<Vec<ListedKey>, StoreError> {
        self.connections.read(keys::all)
    }

    fn key(&self, id: AgentId) -> Result<Option<AgentKey>, StoreError> {
        self.connections
            .read(|connection| keys::find(connection, id))
    }

    fn keys_since(
        &self,
        rev: i64,
        each: &mut dyn FnMut(AgentKey),
    ) -> Result<(), StoreError> {
        self.connections
            .read(|connection| keys::since(connection, rev, each))
    }

    fn use_next_key(
        &self,
        id: AgentId,
        next: KeyHash,
        at: Timestamp,
    ) -> Result<Option<AgentKey>, StoreError> {
        self.connections
            .write(|transaction| keys::use_next(transaction, id, next, at))
    }

    fn revoke_key(&self, id: AgentId, act: &Act) -> Result<Option<AgentKey>, StoreError> {
        self.connections
            .write(|transaction| keys::revoke(transaction, id, act))
    }

    fn readmit(&self, id: AgentId, act: &Act) -> Result<Option<AgentKey>, StoreError> {
        self.connections
            .write(|transaction| keys::readmit(transaction, id, act))
    }

    fn ask_for_rotation(
        &self,
        id: AgentId,
        act: &Act,
    ) -> Result<Option<AgentKey>, StoreError> {
        self.connections
            .write(|transaction| keys::ask_for_rotation(transaction, id, act))
    }
}

impl AlertStore for Embedded {
    fn alert_objects(&self, kind: ObjectKind) -> Result<Vec<Object>, StoreError> {
        self.connections
            .read(|connection| alerts::objects(connection, kind))
    }

    fn alert_object(
        &self,
        kind: ObjectKind,
        id: &str,
    ) -> Result<Option<Object>, StoreError> {
        self.connections
            .read(|connection| alerts::object(connection, kind, id))
    }

    fn put_alert_object(&self, change: &ObjectChange<'_>) -> Result<i64, StoreError> {
        self.connections
            .write(|transaction| alerts::put_object(transaction, change))
    }

    fn remove_alert_object(
        &self,
        kind: ObjectKind,
        id: &str,
        event: &NewEvent,
    ) -> Result<bool, StoreError> {
        self.connections
            .write(|transaction| alerts::remove_object(transaction, kind, id, event))
    }

    fn load_alerts(&self, lately: Timestamp) -> Result<Option<SavedAlerts>, StoreError> {
        self.connections
            .write(|transaction| alerts::load(transaction, lately).map(Some))
    }

    fn alert_state(&self) -> Result<Option<String>, StoreError> {
        self.connections.read(alerts::state)
    }

    fn write_alerts(&self, slice: &AlertSlice<'_>) -> Result<(), StoreError> {
        self.connections
            .write(|transaction| alerts::write(transaction, slice))
    }

    fn queue_delivery(&self, delivery: &DeliveryRow) -> Result<(), StoreError> {
        self.connections
            .write(|transaction| alerts::queue(transaction, delivery))
    }

    fn change_delivery(&self, delivery: &DeliveryRow) -> Result<bool, StoreError> {
        self.connections
            .write(|transaction| alerts::change(transaction, delivery))
    }

    fn claim_delivery(
        &self,
        id: &str,
        message: &str,
    ) -> Result<Option<String>, StoreError> {
        self.connections
            .write(|transaction| alerts::claim(transaction, id, message))
    }

    fn settle_delivery(
        &self,
        id: &str,
        outcome: &DeliveryOutcome,
        event: Option<&NewEvent>,
    ) -> Result<(), StoreError> {
        self.connections
            .write(|transaction| alerts::settle(transaction, id, outcome, event))
    }

    fn take_asked_deliveries(
        &self,
        now: Timestamp,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        if !self.connections.read(alerts::has_asked)? {
            return Ok(Vec::new());
        }
        self.connections
            .write(|transaction| alerts::take_asked(transaction, now))
    }

    fn alerts(&self, query: &AlertQuery) -> Result<Page<AlertRow>, StoreError> {
        self.connections
            .read(|connection| alerts::find(connection, query))
    }

    fn alert(&self, id: &str) -> Result<Option<AlertRow>, StoreError> {
        self.connections
            .read(|connection| alerts::alert(connection, id))
    }

    fn deliveries(&self, query: &DeliveryQuery) -> Result<Page<DeliveryRow>, StoreError> {
        self.connections
            .read(|connection| alerts::find_deliveries(connection, query))
    }

    fn count_deliveries(&self, state: DeliveryState) -> Result<u64, StoreError> {
        self.connections
            .read(|connection| alerts::count_deliveries(connection, state))
    }

    fn delivery(&self, id: &str) -> Result<Option<DeliveryRow>, StoreError> {
        self.connections
            .read(|connection| alerts::delivery(connection, id))
    }

    fn decide_delivery(
        &self,
        id: &str,
        decision: Decision,
        event: &NewEvent,
    ) -> Result<Option<DeliveryRow>, StoreError> {
        self.connections
            .write(|transaction| alerts::decide(transaction, id, decision, event))
    }

    fn forget_alerts(&self, keep: Duration) -> Result<usize, StoreError> {
        alerts::forget(&self.connections, keep)
    }
}

impl StoreHealth for Embedded {
    fn ping(&self) -> Result<(), StoreError> {
        let any = self.connections.read(|connection| {
            connection
                .query_row("SELECT 1 FROM users LIMIT 1", [], |_| Ok(()))
                .optional()
        });
        any.map(|_| ())
    }

    /// Writes the schema's version again, which is a page in the write-ahead log.
    fn try_write(&self) -> Result<(), StoreError> {
        self.connections.write(|transaction| {
            let version: i64 =
                transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            transaction.pragma_update(None, "user_version", version)?;
            Ok(())
        })
    }
}

impl Store for Embedded {
    /// Empties the write-ahead log, so that one file holds everything.
    fn close(&self) {
        if let Err(error) = self.connections.checkpoint() {
            log::warn!("the write-ahead log stays beside the database: {error}");
        }
    }
}
