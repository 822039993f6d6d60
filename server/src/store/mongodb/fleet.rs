//! This instance's copy of the whole fleet, from which lists are made.
//!
//! The copy is read from MongoDB once, and then follows the stream of changes in Redis:
//! whenever a list is asked for, the hosts that have changed since the last position in
//! the stream are read, from Redis or, where Redis has no copy, from MongoDB. If that
//! position is gone from the stream, or Redis does not answer, everything is read from
//! MongoDB again.
//!
//! Each minute a background thread compares the copy with all of MongoDB, while the
//! stream goes on being followed. The comparison finds changes that never reached Redis:
//! those of an instance that was killed before copying, and those of another program.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fleetbeat_daemon::condition::Condition;
use fleetbeat_daemon::thread::spawn;
use fleetbeat_protocol::Server;
use mongodb::bson::doc;

use super::databases::{Databases, MAX_ASKED};
use super::document::{Version, VersionedServer};
use super::redis::{ChangesSince, RedisCopies, StreamPosition};
use crate::store::error::{Setup, StoreError, Unavailable};
use crate::store::server::{Fleet, HostName};

/// The whole fleet is compared with MongoDB again after this.
const RELOAD_EVERY: Duration = Duration::from_secs(60);

/// The fleet as this instance knows it.
pub(super) struct FleetCopy {
    pub(super) reload_every: Duration,
    records: Records,
    /// How far the stream of changes has been followed; `None` before the first reading,
    /// or when the position was lost.
    position: Option<StreamPosition>,
    /// When the fleet was read from MongoDB last.
    loaded: Option<Instant>,
    reload: Option<BackgroundReload>,
    /// The fleet could not be read from MongoDB.
    reload_trouble: Condition,
    /// Whether Redis was searched for copies that are newer than MongoDB.
    are_copies_checked: bool,
    /// Redis could not be searched.
    check_trouble: Condition,
    /// Counts the fleets that were handed out.
    revision: u64,
    /// Whether records have changed since the last fleet was handed out.
    has_changed: bool,
}

/// Each host's record and its version, by address.
type Records = BTreeMap<IpAddr, (Version, Arc<Server>)>;

/// A comparison with all of MongoDB in a separate thread, because for a large fleet the
/// comparison takes longer than a change may take to be seen.
struct BackgroundReload {
    thread: JoinHandle<Result<Difference, StoreError>>,
    /// The hosts that the stream has told of meanwhile. The thread may have read their
    /// records as they were before.
    followed: BTreeSet<IpAddr>,
}

/// How MongoDB differs from the copy.
struct Difference {
    changed: Vec<VersionedServer>,
    gone: Vec<IpAddr>,
}

impl FleetCopy {
    /// An empty copy.
    pub(super) fn new() -> FleetCopy {
        FleetCopy {
            reload_every: RELOAD_EVERY,
            records: Records::new(),
            position: None,
            loaded: None,
            reload: None,
            reload_trouble: Condition::default(),
            are_copies_checked: false,
            check_trouble: Condition::default(),
            revision: 0,
            has_changed: false,
        }
    }

    /// The fleet as it is now, or `before` if nothing has changed.
    ///
    /// # Errors
    /// MongoDB cannot be read, and never could be.
    pub(super) fn fleet(
        &mut self,
        databases: &Arc<Databases>,
        before: Option<&Arc<Fleet>>,
    ) -> Result<Arc<Fleet>, StoreError> {
        self.update(databases)?;
        if self.loaded.is_some() && self.position.is_some() {
            self.check_copies(databases);
        }

        let stale = self.reload_trouble.cause().is_some() || !databases.mongodb.is_up();
        let is_same = |before: &&Arc<Fleet>| !self.has_changed && before.stale == stale;
        if let Some(before) = before.filter(is_same) {
            return Ok(before.clone());
        }

        self.has_changed = false;
        self.revision += 1;
        let servers = self.records.values().map(|(_, server)| server.clone());
        Ok(Arc::new(Fleet {
            servers: servers.collect(),
            revision: self.revision,
            stale,
        }))
    }

    /// A host as it was last known.
    pub(super) fn server(&self, host: &HostName) -> Option<Server> {
        let record = match host {
            HostName::Ip(ip) => self.records.get(ip),
            HostName::ServerId(id) => {
                let mut records = self.records.values();
                records.find(|(_, server)| server.server_id == *id)
            }
        };
        record.map(|(_, server)| Server::clone(server))
    }

    /// Ends the thread that may be reading; the store is being closed.
    pub(super) fn stop(&mut self) {
        if let Some(reload) = self.reload.take() {
            let _ = reload.thread.join();
        }
    }

    /// Brings the copy up to date, as far as the databases answer.
    fn update(&mut self, databases: &Arc<Databases>) -> Result<(), StoreError> {
        self.apply_read_back(databases);
        let is_followed = self.follow(databases);
        let reloaded = match self.loaded {
            Some(loaded) if is_followed => self.reload_in_background(databases, loaded),
            _ => self.reload(databases).map(|()| true),
        };
        match reloaded {
            Err(error) if self.loaded.is_none() => return Err(error),
            Err(error) => {
                if self.reload_trouble.begins(error.to_string()) {
                    log::warn!("the list is as it was last known: {error}");
                }
            }
            Ok(true) => drop(self.reload_trouble.ends()),
            Ok(false) => {}
        }
        Ok(())
    }

    /// Applies what this instance has changed itself: whether or not Redis has taken it.
    fn apply_read_back(&mut self, databases: &Databases) {
        for (ip, record) in databases.take_read_back() {
            if let Some(reload) = &mut self.reload {
                reload.followed.insert(ip);
            }
            self.insert_if_newer(record);
        }
    }

    /// Applies what the stream tells; false if it does not tell.
    fn follow(&mut self, databases: &Databases) -> bool {
        let (Some(redis), Some(position)) = (&databases.redis, &self.position) else {
            return false;
        };
        if !redis.tells_changes() {
            return false;
        }
        let Ok(ChangesSince::Hosts(ips, position)) = redis.changes_since(position) else {
            return false;
        };
        let applied = self.apply(databases, redis, ips).is_ok();
        if applied {
            self.position = Some(position);
        }
        applied
    }

    /// Reads the records of these hosts again.
    fn apply(
        &mut self,
        databases: &Databases,
        redis: &RedisCopies,
        mut ips: Vec<IpAddr>,
    ) -> Result<(), StoreError> {
        ips.sort_unstable();
        ips.dedup();
        if let Some(reload) = &mut self.reload {
            reload.followed.extend(&ips);
        }

        let mut missing = Vec::new();
        for (ip, copy) in ips.iter().zip(redis.read(&ips)?) {
            match copy {
                Some(copy) => self.insert_if_newer(copy),
                None => missing.push(*ip),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }

        for (ip, record) in databases.read_servers(&missing)? {
            match record {
                Some(record) => self.insert_if_newer(record),
                None => self.remove(ip),
            }
        }
        Ok(())
    }

    /// Reads everything from MongoDB. The position in the stream is taken first, so that
    /// no change falls in between.
    fn reload(&mut self, databases: &Databases) -> Result<(), StoreError> {
        self.stop();
        let redis = databases.redis.as_ref();
        let position = redis.and_then(|redis| redis.last_position().ok());
        let difference = compare(databases, &self.records)?;
        self.settle(difference, &BTreeSet::new());
        self.position = position;
        Ok(())
    }

    /// Reads everything from MongoDB in a thread, while the stream is followed; true when
    /// that is done.
    fn reload_in_background(
        &mut self,
        databases: &Arc<Databases>,
        loaded: Instant,
    ) -> Result<bool, StoreError> {
        match self.reload.take() {
            Some(reload) if reload.thread.is_finished() => {
                let difference = reload.thread.join();
                let difference =
                    difference.unwrap_or_else(|_| Err(Unavailable::Away.into()))?;
                self.settle(difference, &reload.followed);
                return Ok(true);
            }
            None if loaded.elapsed() >= self.reload_every => {
                let (databases, records) = (databases.clone(), self.records.clone());
                let thread = spawn("reload", move || compare(&databases, &records))
                    .map_err(|error| Setup::Start(error.to_string()))?;
                self.reload = Some(BackgroundReload {
                    thread,
                    followed: BTreeSet::new(),
                });
            }
            running => self.reload = running,
        }
        Ok(false)
    }

    /// Applies the difference to the copy, but for the hosts that the stream has told of
    /// meanwhile, because the copy's records of those may be newer.
    fn settle(&mut self, difference: Difference, followed: &BTreeSet<IpAddr>) {
        for record in difference.changed {
            let ip = record.server.ip;
            if !followed.contains(&ip) {
                self.insert(record);
            } else if self.records.contains_key(&ip) {
                self.insert_if_newer(record);
            }
        }
        for ip in difference.gone {
            if !followed.contains(&ip) {
                self.remove(ip);
            }
        }
        self.loaded = Some(Instant::now());
    }

    fn insert_if_newer(&mut self, record: VersionedServer) {
        let known = self.records.get(&record.server.ip);
        if known.is_none_or(|(version, _)| *version < record.version) {
            self.insert(record);
        }
    }

    fn insert(&mut self, record: VersionedServer) {
        let VersionedServer {
            version, server, ..
        } = record;
        self.records.insert(server.ip, (version, Arc::new(server)));
        self.has_changed = true;
    }

    fn remove(&mut self, ip: IpAddr) {
        self.has_changed |= self.records.remove(&ip).is_some();
    }

    /// Removes copies from Redis that are newer than MongoDB, once in an instance's life:
    /// with the first list that Redis answers for.
    ///
    /// A copy is made of MongoDB's record, so no copy can be newer than the record,
    /// unless MongoDB was restored from a backup, which is done while no instance runs.
    /// The copies from before would then hide MongoDB's records until the copies end.
    fn check_copies(&mut self, databases: &Databases) {
        let (Some(redis), false) = (&databases.redis, self.are_copies_checked) else {
            return;
        };
        match self.remove_impossible_copies(databases, redis) {
            Ok(removed) => {
                self.are_copies_checked = true;
                if removed > 0 {
                    log::warn!(
                        "MongoDB seems to have been restored from a backup: removed \
                         {removed} newer copies from Redis"
                    );
                }
            }
            Err(error) => {
                if self.check_trouble.begins(error.to_string()) {
                    log::warn!(
                        "whether Redis has copies that are newer than MongoDB is not \
                         known yet: {error}"
                    );
                }
            }
        }
    }

    fn remove_impossible_copies(
        &self,
        databases: &Databases,
        redis: &RedisCopies,
    ) -> Result<usize, StoreError> {
        let ips: Vec<IpAddr> = self.records.keys().copied().collect();
        let mut removed = 0;
        for chunk in ips.chunks(MAX_ASKED) {
            let newer = self.copies_newer_than_here(redis, chunk)?;

            // Another instance may have written meanwhile. MongoDB, asked only now, has
            // the record that a good copy was made of.
            let suspects: Vec<IpAddr> = newer.keys().copied().collect();
            let records = databases.read_servers(&suspects)?;
            let is_impossible = |ip: &IpAddr| {
                let record = records.get(ip).and_then(Option::as_ref);
                record.is_some_and(|record| record.version < newer[ip])
            };
            let impossible: Vec<IpAddr> =
                suspects.into_iter().filter(is_impossible).collect();

            if !impossible.is_empty() {
                redis.store(&[], &impossible)?;
                removed += impossible.len();
            }
        }
        Ok(removed)
    }

    /// The hosts of which Redis has a newer copy than this instance, and its version.
    fn copies_newer_than_here(
        &self,
        redis: &RedisCopies,
        ips: &[IpAddr],
    ) -> Result<BTreeMap<IpAddr, Version>, StoreError> {
        let is_newer = |copy: &VersionedServer| {
            let here = self.records.get(&copy.server.ip);
            here.is_some_and(|(version, _)| *version < copy.version)
        };
        let copies = redis.read(ips)?.into_iter().flatten();
        Ok(copies
            .filter(is_newer)
            .map(|copy| (copy.server.ip, copy.version))
            .collect())
    }
}

/// Reads the whole fleet, and keeps only what differs from `records`.
fn compare(databases: &Databases, records: &Records) -> Result<Difference, StoreError> {
    let servers = databases.mongodb.servers();
    let mut seen = BTreeSet::new();
    let changed = databases
        .mongodb
        .collect(servers.find(doc! {}), |document| {
            let record = VersionedServer::from_document(document)?;
            seen.insert(record.server.ip);
            let known = records.get(&record.server.ip);
            let is_same = known.is_some_and(|(version, server)| {
                *version == record.version && **server == record.server
            });
            (!is_same).then_some(record)
        })?;

    let is_gone = |ip: &&IpAddr| !seen.contains(*ip);
    let gone = records.keys().filter(is_gone).copied().collect();
    Ok(Difference { changed, gone })
}
