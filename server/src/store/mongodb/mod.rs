//! The production store: MongoDB holds the truth, Redis a copy for the apps that read it.
//!
//! Heartbeats and flags are written to MongoDB alone, each by statements that leave the
//! fields of the other as they are, so that the two never race. Every change counts the
//! revision of a record up, and notes when it was made. Each instance asks MongoDB for
//! what has changed lately, for its lists and for the copies in Redis: see
//! ARCHITECTURE.md.
//!
//! This file says which function does what; each subject has a file of its own.

mod alerts;
mod api_tokens;
mod breaker;
mod bulk;
mod connection;
mod copies;
mod databases;
mod document;
mod error;
mod events;
mod flags;
mod fleet;
mod heartbeats;
mod history;
mod keys;
mod lease;
mod lives;
mod numbering;
mod owners;
mod pending;
mod redis;
mod removals;
mod retention;
mod sender;
mod sequence;
mod sweep;
mod url;
mod users;
mod watch;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleetbeat_daemon::lock::lock;
use fleetbeat_daemon::thread::Worker;
use fleetbeat_history::chart::ChartQuery;
use fleetbeat_history::{Chunk, Day, HostSamples, HostTraffic};
use fleetbeat_protocol::{AgentId, KeyHash, Server, Timestamp};
use mongodb::bson::doc;

use self::alerts::Holder;
use self::connection::Connection;
pub(super) use self::connection::Patience;
use self::databases::Databases;
use self::document::read_server;
use self::fleet::FleetCopy;
use self::lease::{SweepLease, WatchLease};
use self::numbering::Numbering;
use self::owners::Outcome;
use self::redis::RedisCopies;
use self::watch::Watch;
use super::alert_store::{
    AlertQuery, AlertRow, AlertSlice, AlertStore, Decision, DeliveryOutcome,
    DeliveryQuery, DeliveryRow, DeliveryState, Object, ObjectChange, ObjectKind, Page,
    SavedAlerts,
};
use super::api_token::{ApiToken, ApiTokenStore};
use super::backend::{CacheState, Store, StoreHealth};
use super::bulk::Bulk;
use super::error::{Conflict, Setup, StoreError};
use super::event::{Act, Cursor, NewEvent};
use super::event_store::{
    EventPage, EventQuery, EventStore, Retention, WatchOrder, Watched,
};
use super::flags::{HostPatch, Judge};
use super::history::{
    DaysRead, GroupHistory, Groups, HistorySettings, HistoryStore, HostHistory, Tended,
    TrafficQuery,
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
use crate::config::MongoDbSettings;

/// Which of the settings can never work, and why, as far as that can be told without
/// asking anybody.
pub(super) fn find_wrong_settings(settings: &MongoDbSettings) -> Vec<StoreError> {
    let mongodb = connection::check_url(&settings.url).map_err(|reason| {
        let key = "mongodb.url";
        StoreError::from(Setup::Setting { key, reason })
    });
    let redis = match settings.redis.as_slice() {
        [] => Ok(()),
        urls => redis::check_urls(urls),
    };
    [mongodb.err(), redis.err()].into_iter().flatten().collect()
}

/// The store on MongoDB and Redis.
pub(super) struct MongoDb {
    databases: Arc<Databases>,
    fleet: Arc<Mutex<FleetCopy>>,
    lease: SweepLease,
    /// The service time at the last sweep, in milliseconds.
    service_time: AtomicI64,
    conflicts: Conflicts,
    watch_lease: WatchLease,
    watch: Mutex<Watch>,
    numbering: Mutex<Numbering>,
    /// The watch's epoch under which this instance looks after the alerts.
    alerts: Mutex<Option<i64>>,
    /// Which heartbeats are kept; `None` for a command beside the servers.
    history: Option<HistorySettings>,
    /// Copies changes to Redis; `None` without Redis.
    copies: Mutex<Option<Worker>>,
    is_closed: AtomicBool,
}

impl MongoDb {
    /// Connects and makes the indexes; several instances may do so at once. With
    /// patience it waits for a MongoDB that is away.
    ///
    /// # Errors
    /// A URL that can never work, a refused login, a TLS failure; without patience also
    /// that MongoDB is away.
    pub(super) fn open(
        settings: &MongoDbSettings,
        patience: Patience,
    ) -> Result<MongoDb, StoreError> {
        let redis = match settings.redis.as_slice() {
            [] => None,
            urls => Some(RedisCopies::new(urls)?),
        };
        let mongodb =
            connection::retry_until_there(patience, || Connection::connect(settings))?;
        let databases = Arc::new(Databases { mongodb, redis });
        connection::retry_until_there(patience, || databases.make_indexes())?;
        connection::retry_until_there(patience, || watch::seed(&databases.mongodb))?;
        connection::retry_until_there(patience, || users::fill_keys(&databases.mongodb))?;

        let service_time = connection::retry_until_there(patience, || {
            sweep::service_time(&databases.mongodb)
        })?;

        let fleet = Arc::new(Mutex::new(FleetCopy::new()));
        let start = |_| copies::start(databases.clone(), fleet.clone());
        let copies = databases.redis.as_ref().map(start).transpose();
        let copies = copies.map_err(|error| Setup::Start(error.to_string()))?;
        Ok(MongoDb {
            databases,
            fleet,
            lease: SweepLease::new(settings.sweep_interval),
            service_time: AtomicI64::new(service_time),
            conflicts: Conflicts::default(),
            watch_lease: WatchLease::new(),
            watch: Mutex::default(),
            numbering: Mutex::default(),
            alerts: Mutex::default(),
            history: None,
            copies: Mutex::new(copies),
            is_closed: AtomicBool::new(false),
        })
    }

    /// The objects of a kind in the database, which is not changed in any way.
    ///
    /// # Errors
    /// MongoDB cannot be read.
    pub(super) fn peek(
        settings: &MongoDbSettings,
        kind: ObjectKind,
    ) -> Result<Vec<Object>, StoreError> {
        let mongodb = Connection::connect(settings)?;
        Ok(alerts::objects(&mongodb, kind)?)
    }

    /// The same store, which keeps heartbeats, too.
    pub(super) fn with_history(mut self, settings: &HistorySettings) -> MongoDb {
        self.history = Some(*settings);
        self
    }

    /// Delivers the events of the hosts at these addresses. What fails here is done by
    /// the watch.
    fn deliver_of_hosts(&self, ips: &BTreeSet<IpAddr>) {
        if ips.is_empty() {
            return;
        }
        let mongodb = &self.databases.mongodb;
        let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
        let hosts = doc! {"ip": {"$in": ips}};
        if let Err(error) = pending::deliver(mongodb, &mongodb.servers(), hosts) {
            log::debug!("events of hosts wait: {error}");
        }
    }

    /// Does what only the instance may do that looks after the alerts. After an error nobody
    /// knows what is done, so everything has to be loaded again, under another epoch.
    fn as_holder<T>(
        &self,
        work: impl FnOnce(Holder<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mongodb = &self.databases.mongodb;
        let mut loaded = lock(&self.alerts);
        let held = self.watch_lease.hold(mongodb)?.map(|held| held.epoch);
        let Some(epoch) = held.filter(|epoch| Some(*epoch) == *loaded) else {
            *loaded = None;
            return Err(Conflict::LostAlerts.into());
        };
        let done = work(self.holder(epoch));
        if done.is_err() {
            *loaded = None;
            self.watch_lease.doubt();
        }
        done
    }

    fn holder(&self, epoch: i64) -> Holder<'_> {
        Holder {
            mongodb: &self.databases.mongodb,
            epoch,
            service_time: self.service_time.load(Ordering::Relaxed),
        }
    }
}

impl ServerStore for MongoDb {
    fn record(&self, beats: &[Beat]) -> Result<Recorded, StoreError> {
        let service_time = self.service_time.load(Ordering::Relaxed);
        let mut outcome = Outcome::default();
        let result = heartbeats::record(
            &self.databases.mongodb,
            beats,
            service_time,
            self.history
                .filter(|history| history.is_enabled)
                .map(|history| history.max_series),
            &self.conflicts,
            &mut outcome,
        );
        if let Err(error) = result {
            self.conflicts.forget(beats, outcome.changed);
            return Err(error.into());
        }
        self.deliver_of_hosts(&outcome.carriers);
        outcome.findings.iter().for_each(Finding::log);
        let denied = beats.iter().enumerate().filter_map(|(place, beat)| {
            let denial = outcome.denied.get(&sender::sender(beat))?;
            Some((place, *denial))
        });
        Ok(Recorded {
            denied: denied.collect(),
            refused: outcome.refused,
        })
    }

    fn fleet(&self, known: Option<&Arc<Fleet>>) -> Result<Arc<Fleet>, StoreError> {
        lock(&self.fleet).fleet(&self.databases.mongodb, known)
    }

    /// Reads the host from MongoDB; while MongoDB is away, as it was last known.
    fn server(&self, host: &HostName) -> Result<Option<Server>, StoreError> {
        let mongodb = &self.databases.mongodb;
        let servers = mongodb.servers();
        match mongodb.run(async { servers.find_one(document::named(host)).await }) {
            Ok(record) => Ok(record.as_ref().and_then(read_server)),
            Err(error) => match lock(&self.fleet).server(host) {
                Some(server) => Ok(Some(server)),
                None => Err(error.into()),
            },
        }
    }

    fn moved_to(&self, ip: IpAddr) -> Result<Option<IpAddr>, StoreError> {
        Ok(owners::moved_to(&self.databases.mongodb, ip)?)
    }

    fn set(
        &self,
        host: &HostName,
        patch: HostPatch<'_>,
        judge: Judge<'_>,
        act: &Act,
    ) -> Result<Option<Server>, StoreError> {
        let mongodb = &self.databases.mongodb;
        let record = flags::set(mongodb, host, patch, judge, act)?;
        Ok(record.as_ref().and_then(read_server))
    }

    fn set_many(&self, hosts: &[String], bulk: &Bulk<'_>) -> Result<usize, StoreError> {
        Ok(bulk::set(&self.databases.mongodb, hosts, bulk)?)
    }

    fn remove_server(
        &self,
        host: &HostName,
        act: &Act,
    ) -> Result<Option<RemovedServer>, StoreError> {
        let mongodb = &self.databases.mongodb;
        let removed = removals::remove(mongodb, host, act)?;
        Ok(removed.and_then(|(record, refused)| {
            let server = read_server(&record)?;
            Some(RemovedServer { server, refused })
        }))
    }

    /// Sweeps if no other instance does.
    fn sweep(&self, order: &SweepOrder) -> Result<Swept, StoreError> {
        let mongodb = &self.databases.mongodb;
        let swept = if self.lease.acquire(mongodb)? {
            sweep::sweep(mongodb, order)?
        } else {
            Swept::default()
        };
        let service_time = sweep::service_time(mongodb)?;
        self.service_time.store(service_time, Ordering::Relaxed);
        Ok(swept)
    }

    fn prune(&self, delete_after: Duration) -> Result<Due, StoreError> {
        Ok(sweep::prune(&self.databases.mongodb, delete_after)?)
    }
}

impl UserStore for MongoDb {
    fn users(&self) -> Result<Vec<User>, StoreError> {
        users::all(&self.databases.mongodb)
    }

    fn user(&self, username: &str) -> Result<Option<User>, StoreError> {
        users::by_name(&self.databases.mongodb, username)
    }

    fn add_user(&self, user: &User, act: &Act) -> Result<(), StoreError> {
        users::add(&self.databases.mongodb, user, act)
    }

    fn change_user(
        &self,
        username: &str,
        change: &UserChange,
        act: &Act,
    ) -> Result<Option<User>, StoreError> {
        users::change(&self.databases.mongodb, username, change, act)
    }

    fn remove_user(&self, username: &str, act: &Act) -> Result<(), StoreError> {
        users::remove(&self.databases.mongodb, username, act)
    }
}

impl ApiTokenStore for MongoDb {
    fn api_tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        Ok(api_tokens::all(&self.databases.mongodb)?)
    }

    fn add_api_token(&self, token: &ApiToken, act: &Act) -> Result<(), StoreError> {
        Ok(api_tokens::add(&self.databases.mongodb, token, act)?)
    }

    fn remove_api_token(&self, id: &str, act: &Act) -> Result<(), StoreError> {
        api_tokens::remove(&self.databases.mongodb, id, act)
    }

    fn note_api_token_use(&self, id: &str, day: Timestamp) -> Result<(), StoreError> {
        Ok(api_tokens::note_use(&self.databases.mongodb, id, day)?)
    }
}

impl HistoryStore for MongoDb {
    /// Does a round if no other instance does.
    fn tend_history(&self, now: Timestamp) -> Result<Option<Tended>, StoreError> {
        let mongodb = &self.databases.mongodb;
        let Some(settings) = &self.history else {
            return Ok(None);
        };
        if self.watch_lease.hold(mongodb)?.is_none() {
            return Ok(None);
        }
        Ok(Some(history::tend(mongodb, settings, now)?))
    }

    fn history(
        &self,
        host: &HostName,
        query: &ChartQuery,
    ) -> Result<Option<HostHistory>, StoreError> {
        Ok(history::chart(&self.databases.mongodb, host, query)?)
    }

    fn history_days(
        &self,
        host: &HostName,
        days: (Day, Day),
        each: &mut dyn FnMut(&Chunk),
    ) -> Result<Option<DaysRead>, StoreError> {
        Ok(history::days(&self.databases.mongodb, host, days, each)?)
    }

    fn traffic(&self, hosts: &[TrafficQuery]) -> Result<Vec<HostTraffic>, StoreError> {
        Ok(history::traffic(&self.databases.mongodb, hosts)?)
    }

    fn add_groups(&self, groups: &[HostSamples]) -> Result<(), StoreError> {
        let is_enabled = self.history.is_some_and(|history| history.is_enabled);
        if is_enabled {
            history::add_groups(&self.databases.mongodb, groups)?;
        }
        Ok(())
    }

    fn group_history(
        &self,
        groups: Groups,
        query: &ChartQuery,
    ) -> Result<Vec<GroupHistory>, StoreError> {
        Ok(history::group_charts(
            &self.databases.mongodb,
            groups,
            query,
        )?)
    }
}

impl EventStore for MongoDb {
    fn append(&self, events: &[NewEvent]) -> Result<(), StoreError> {
        Ok(events::append(&self.databases.mongodb, events)?)
    }

    fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError> {
        Ok(events::find(&self.databases.mongodb, query)?)
    }

    fn newest_event(&self) -> Result<Cursor, StoreError> {
        Ok(Cursor(numbering::published(&self.databases.mongodb)?))
    }

    fn lives(&self, query: &LifeQuery) -> Result<Vec<Life>, StoreError> {
        Ok(lives::find(&self.databases.mongodb, query)?)
    }

    /// Watches if no other instance does.
    fn watch(&self, order: &WatchOrder) -> Result<Watched, StoreError> {
        let mongodb = &self.databases.mongodb;
        let mut watch = lock(&self.watch);
        let Some(held) = self.watch_lease.hold(mongodb)? else {
            watch.forget();
            return Ok(Watched::default());
        };
        let watched = watch.look(mongodb, held.epoch, order);
        if watched.is_err() {
            watch.forget();
        }
        drop(watch);
        let watched = watched?;
        self.number_events()?;
        Ok(watched)
    }

    fn number_events(&self) -> Result<(), StoreError> {
        let mongodb = &self.databases.mongodb;
        let mut numbering = lock(&self.numbering);
        let Some(held) = self.watch_lease.hold(mongodb)? else {
            return Ok(());
        };
        let service_time = self.service_time.load(Ordering::Relaxed);
        let numbered = numbering.number(mongodb, &held, service_time);
        if numbered.is_err() {
            self.watch_lease.doubt();
        }
        Ok(numbered?)
    }

    fn forget_events(&self, retention: &Retention) -> Result<usize, StoreError> {
        let mongodb = &self.databases.mongodb;
        if self.watch_lease.hold(mongodb)?.is_none() {
            return Ok(0);
        }
        Ok(retention::forget(mongodb, retention)?)
    }
}

impl KeyStore for MongoDb {
    fn codes(&self) -> Result<Vec<Code>, StoreError> {
        Ok(keys::codes(&self.databases.mongodb)?)
    }

    fn add_code(&self, code: &Code, act: &Act) -> Result<(), StoreError> {
        Ok(keys::add_code(&self.databases.mongodb, code, act)?)
    }

    fn remove_code(&self, id: &str, act: &Act) -> Result<Option<Code>, StoreError> {
        Ok(keys::remove_code(&self.databases.mongodb, id, act)?)
    }

    fn enroll(
        &self,
        request: &EnrollRequest,
    ) -> Result<Result<Enrolled, EnrollRefusal>, StoreError> {
        Ok(keys::enroll(&self.databases.mongodb, request)?)
    }

    fn keys(&self) -> Result<Vec<ListedKey>, StoreError> {
        Ok(keys::all(&self.databases.mongodb)?)
    }

    fn key(&self, id: AgentId) -> Result<Option<AgentKey>, StoreError> {
        Ok(keys::find(&self.databases.mongodb, id)?)
    }

    fn keys_since(
        &self,
        rev: i64,
        each: &mut dyn FnMut(AgentKey),
    ) -> Result<(), StoreError> {
        Ok(keys::since(&self.databases.mongodb, rev, each)?)
    }

    fn use_next_key(
        &self,
        id: AgentId,
        next: KeyHash,
        at: Timestamp,
    ) -> Result<Option<AgentKey>, StoreError> {
        Ok(keys::use_next(&self.databases.mongodb, id, next, at)?)
    }

    fn revoke_key(&self, id: AgentId, act: &Act) -> Result<Option<AgentKey>, StoreError> {
        Ok(keys::revoke(&self.databases.mongodb, id, act)?)
    }

    fn readmit(&self, id: AgentId, act: &Act) -> Result<Option<AgentKey>, StoreError> {
        Ok(keys::readmit(&self.databases.mongodb, id, act)?)
    }

    fn ask_for_rotation(
        &self,
        id: AgentId,
        act: &Act,
    ) -> Result<Option<AgentKey>, StoreError> {
        Ok(keys::ask_for_rotation(&self.databases.mongodb, id, act)?)
    }
}

impl AlertStore for MongoDb {
    fn alert_objects(&self, kind: ObjectKind) -> Result<Vec<Object>, StoreError> {
        Ok(alerts::objects(&self.databases.mongodb, kind)?)
    }

    fn alert_object(
        &self,
        kind: ObjectKind,
        id: &str,
    ) -> Result<Option<Object>, StoreError> {
        Ok(alerts::object(&self.databases.mongodb, kind, id)?)
    }

    fn put_alert_object(&self, change: &ObjectChange<'_>) -> Result<i64, StoreError> {
        alerts::put_object(&self.databases.mongodb, change)
    }

    fn remove_alert_object(
        &self,
        kind: ObjectKind,
        id: &str,
        event: &NewEvent,
    ) -> Result<bool, StoreError> {
        alerts::remove_object(&self.databases.mongodb, kind, id, event)
    }

    /// Takes the alerts over if no other instance holds the watch's lease.
    fn load_alerts(&self, lately: Timestamp) -> Result<Option<SavedAlerts>, StoreError> {
        let mut loaded = lock(&self.alerts);
        *loaded = None;
        let Some(held) = self.watch_lease.hold(&self.databases.mongodb)? else {
            return Ok(None);
        };
        let saved = alerts::take_over(self.holder(held.epoch), lately);
        match &saved {
            Ok(_) => *loaded = Some(held.epoch),
            Err(_) => self.watch_lease.doubt(),
        }
        saved.map(Some)
    }

    fn alert_state(&self) -> Result<Option<String>, StoreError> {
        Ok(alerts::state(&self.databases.mongodb)?)
    }

    fn write_alerts(&self, slice: &AlertSlice<'_>) -> Result<(), StoreError> {
        self.as_holder(|holder| holder.write(slice))
    }

    fn queue_delivery(&self, delivery: &DeliveryRow) -> Result<(), StoreError> {
        self.as_holder(|holder| holder.queue(delivery))
    }

    fn change_delivery(&self, delivery: &DeliveryRow) -> Result<bool, StoreError> {
        self.as_holder(|holder| holder.change(delivery))
    }

    fn claim_delivery(
        &self,
        id: &str,
        message: &str,
    ) -> Result<Option<String>, StoreError> {
        self.as_holder(|holder| holder.claim(id, message))
    }

    fn settle_delivery(
        &self,
        id: &str,
        outcome: &DeliveryOutcome,
        event: Option<&NewEvent>,
    ) -> Result<(), StoreError> {
        self.as_holder(|holder| holder.settle(id, outcome, event))
    }

    fn take_asked_deliveries(
        &self,
        now: Timestamp,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        self.as_holder(|holder| holder.take_asked(now))
    }

    fn alerts(&self, query: &AlertQuery) -> Result<Page<AlertRow>, StoreError> {
        Ok(alerts::find(&self.databases.mongodb, query)?)
    }

    fn alert(&self, id: &str) -> Result<Option<AlertRow>, StoreError> {
        Ok(alerts::alert(&self.databases.mongodb, id)?)
    }

    fn deliveries(&self, query: &DeliveryQuery) -> Result<Page<DeliveryRow>, StoreError> {
        Ok(alerts::find_deliveries(&self.databases.mongodb, query)?)
    }

    fn count_deliveries(&self, state: DeliveryState) -> Result<u64, StoreError> {
        Ok(alerts::count_deliveries(&self.databases.mongodb, state)?)
    }

    fn delivery(&self, id: &str) -> Result<Option<DeliveryRow>, StoreError> {
        Ok(alerts::delivery(&self.databases.mongodb, id)?)
    }

    fn decide_delivery(
        &self,
        id: &str,
        decision: Decision,
        event: &NewEvent,
    ) -> Result<Option<DeliveryRow>, StoreError> {
        alerts::decide(&self.databases.mongodb, id, decision, event)
    }

    /// Deletes if no other instance holds the watch's lease.
    fn forget_alerts(&self, keep: Duration) -> Result<usize, StoreError> {
        let mongodb = &self.databases.mongodb;
        if self.watch_lease.hold(mongodb)?.is_none() {
            return Ok(0);
        }
        let service_time = self.service_time.load(Ordering::Relaxed);
        Ok(alerts::forget(mongodb, service_time, keep)?)
    }
}

impl StoreHealth for MongoDb {
    fn ping(&self) -> Result<(), StoreError> {
        Ok(self.databases.mongodb.ping()?)
    }

    fn try_write(&self) -> Result<(), StoreError> {
        Ok(lease::try_write(&self.databases.mongodb)?)
    }

    fn cache_state(&self) -> Option<CacheState> {
        self.databases.redis.as_ref().map(RedisCopies::state)
    }

    fn cache_errors(&self) -> u64 {
        self.databases.redis.as_ref().map_or(0, RedisCopies::errors)
    }

    fn holds_lease(&self) -> Option<bool> {
        Some(self.lease.is_held())
    }
}

impl Store for MongoDb {
    fn find_ended_thread(&self) -> Option<&'static str> {
        let has_ended = |copies: &Worker| copies.has_ended();
        let copies = lock(&self.copies).as_ref().is_some_and(has_ended);
        let probe = || self.databases.mongodb.has_probe_ended();
        copies
            .then_some("copies")
            .or_else(|| probe().then_some("mongodb-probe"))
    }

    /// Ends the threads and gives the lease back, once.
    fn close(&self) {
        if self.is_closed.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(copies) = lock(&self.copies).take() {
            copies.stop();
        }
        self.lease.release(&self.databases.mongodb);
        self.watch_lease.release(&self.databases.mongodb);
        self.databases.mongodb.stop();
    }
}

impl Drop for MongoDb {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
impl MongoDb {
    /// Removes everything.
    pub(super) fn drop_database(&self) -> Result<(), StoreError> {
        Ok(self.databases.mongodb.drop_database()?)
    }

    /// The number that an instance takes whose clock says `now`.
    pub(super) fn next_number(&self, now: Timestamp) -> i64 {
        sequence::next(&self.databases.mongodb, now).unwrap()
    }

    /// What kills it in tests.
    pub(super) fn fuse(&self) -> &super::fuse::Fuse {
        &self.databases.mongodb.fuse
    }

    /// Ends all leases, whoever holds them and whether they know it or not.
    pub(super) fn end_leases(&self) {
        let mongodb = &self.databases.mongodb;
        let leases = mongodb.leases();
        let end = doc! {"$set": {"until": mongodb::bson::DateTime::from_millis(0)}};
        let ended = mongodb.run(async { leases.update_many(doc! {}, end).await });
        assert!(ended.is_ok());
    }

    /// Compares all records after this.
    pub(super) fn compare_every(&self, time: Duration) {
        lock(&self.fleet).compare_every = time;
    }

    /// Sees what is changed from now on, without comparing all records.
    pub(super) fn follow_from_now(&self) {
        let now = self.databases.mongodb.clock().unwrap();
        let mut fleet = lock(&self.fleet);
        fleet.compare_every = Duration::MAX;
        fleet.newest_change =
            Some(mongodb::bson::DateTime::from_millis(now.as_millisecond()));
    }

    /// Gives the event with this number a kind that only a later version knows.
    pub(super) fn make_unknown(&self, number: i64) {
        let mongodb = &self.databases.mongodb;
        let events = mongodb.events();
        let update = doc! {"$set": {"kind": "host.renamed"}};
        let made =
            mongodb.run(async { events.update_one(doc! {"n": number}, update).await });
        assert_eq!(made.unwrap().matched_count, 1);
    }

    /// Does to the records what another program does: updates the first that `condition`
    /// selects, or deletes it.
    pub(super) fn tamper(
        &self,
        condition: mongodb::bson::Document,
        update: Option<mongodb::bson::Document>,
    ) {
        let mongodb = &self.databases.mongodb;
        let servers = mongodb.servers();
        let is_done = match update {
            Some(update) => mongodb
                .run(async { servers.update_one(condition, update).await })
                .is_ok(),
            None => mongodb
                .run(async { servers.delete_one(condition).await })
                .is_ok(),
        };
        assert!(is_done);
    }
}
