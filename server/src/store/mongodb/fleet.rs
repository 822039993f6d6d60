//! This instance's copy of the whole fleet, from which lists and the copies in Redis are
//! made.
//!
//! Every change of a record counts the record's `rev` up and sets `changed_at` by
//! MongoDB's clock, and every removal is counted in `state`. So a look at MongoDB asks
//! how many removals there were, and which revisions the records have that have changed
//! lately. Records with another revision than the copy's are read.
//!
//! All revisions are compared after a removal, and each minute. That finds what the looks
//! between have missed: changes by a version that sets no `changed_at`, changes that a
//! clock which was set back has hidden, and the removals of an instance that was killed
//! before it counted them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetbeat_daemon::condition::Condition;
use fleetbeat_protocol::Server;
use mongodb::bson::{Bson, DateTime, Document, doc};

use super::connection::{Connection, MAX_ASKED};
use super::document::{read_revision, read_server};
use super::error::MongoDbError;
use crate::store::error::StoreError;
use crate::store::server::{Fleet, HostName};

/// All revisions are compared after this.
const COMPARE_EVERY: Duration = Duration::from_secs(60);
/// A look goes back so many milliseconds behind the newest change that was seen. Changes
/// that are made at one time are seen in any order, and shards have clocks of their own.
const OVERLAP_MS: i64 = 5000;

/// The fleet as this instance knows it.
pub(super) struct FleetCopy {
    pub(super) compare_every: Duration,
    records: HashMap<Id, Record>,
    /// Each host, and the id of its record, by address.
    servers: BTreeMap<IpAddr, (Id, Arc<Server>)>,
    /// When the newest change was made that was new to the last look with any.
    pub(super) newest_change: Option<DateTime>,
    /// The number of removals at the last comparison.
    removals: i64,
    compared: Option<Instant>,
    looked: Option<Instant>,
    /// The fleet could not be read from MongoDB.
    trouble: Condition,
    /// Addresses whose copy in Redis is to be renewed: at most as many as there were hosts.
    uncopied: BTreeSet<IpAddr>,
    /// Counts the fleets that were handed out.
    revision: u64,
    /// Whether records have changed since the last fleet was handed out.
    has_changed: bool,
}

/// A record's `_id` as text: another program may have given it one of any type.
type Id = Arc<str>;

/// What is known of a record.
struct Record {
    rev: i64,
    /// `None` for a record that is not shown, because it has no address.
    ip: Option<IpAddr>,
}

/// A record whose revision is new.
struct Change {
    id: Bson,
    at: Option<DateTime>,
}

impl FleetCopy {
    /// An empty copy.
    pub(super) fn new() -> FleetCopy {
        FleetCopy {
            compare_every: COMPARE_EVERY,
            records: HashMap::new(),
            servers: BTreeMap::new(),
            newest_change: None,
            removals: 0,
            compared: None,
            looked: None,
            trouble: Condition::default(),
            uncopied: BTreeSet::new(),
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
        mongodb: &Connection,
        before: Option<&Arc<Fleet>>,
    ) -> Result<Arc<Fleet>, StoreError> {
        self.update(mongodb)?;
        let stale = self.trouble.cause().is_some() || !mongodb.is_up();
        let is_same = |before: &&Arc<Fleet>| !self.has_changed && before.stale == stale;
        if let Some(before) = before.filter(is_same) {
            return Ok(before.clone());
        }

        self.has_changed = false;
        self.revision += 1;
        let servers = self.servers.values().map(|(_, server)| server.clone());
        Ok(Arc::new(Fleet {
            servers: servers.collect(),
            revision: self.revision,
            stale,
        }))
    }

    /// A host as it was last known.
    pub(super) fn server(&self, host: &HostName) -> Option<Server> {
        let server = match host {
            HostName::Ip(ip) => self.servers.get(ip),
            HostName::ServerId(id) => {
                let mut servers = self.servers.values();
                servers.find(|(_, server)| server.server_id == *id)
            }
        };
        server.map(|(_, server)| Server::clone(server))
    }

    /// Brings the copy up to date, as far as MongoDB answers, unless that was tried less
    /// than `age` ago.
    ///
    /// # Errors
    /// MongoDB cannot be read, and never could be.
    pub(super) fn update_if_older(
        &mut self,
        mongodb: &Connection,
        age: Duration,
    ) -> Result<(), StoreError> {
        match self.looked {
            Some(looked) if looked.elapsed() < age => Ok(()),
            _ => self.update(mongodb),
        }
    }

    /// Takes some of the hosts that have changed since they were taken last; of an address
    /// at which there is no host, `None`.
    pub(super) fn take_uncopied(
        &mut self,
        most: usize,
    ) -> Vec<(IpAddr, Option<Arc<Server>>)> {
        let ips: Vec<IpAddr> = self.uncopied.iter().take(most).copied().collect();
        let take = |ip| {
            self.uncopied.remove(&ip);
            let server = self.servers.get(&ip);
            (ip, server.map(|(_, server)| server.clone()))
        };
        ips.into_iter().map(take).collect()
    }

    /// The hosts at these addresses are to be taken again.
    pub(super) fn put_back(&mut self, ips: impl IntoIterator<Item = IpAddr>) {
        self.uncopied.extend(ips);
    }

    fn update(&mut self, mongodb: &Connection) -> Result<(), StoreError> {
        let looked = self.look(mongodb);
        self.looked = Some(Instant::now());
        match looked {
            Err(error) if self.compared.is_none() => return Err(error.into()),
            Err(error) => {
                if self.trouble.begins(error.to_string()) {
                    log::warn!("the list is as it was last known: {error}");
                }
            }
            Ok(()) => drop(self.trouble.ends()),
        }
        Ok(())
    }

    /// Reads what has changed.
    fn look(&mut self, mongodb: &Connection) -> Result<(), MongoDbError> {
        // Counted first, so that no removal falls between.
        let removals = count_removals(mongodb)?;
        let is_old = |at: Instant| at.elapsed() >= self.compare_every;
        let is_due = self.compared.is_none_or(is_old) || removals != self.removals;
        let newest = self.newest_change.filter(|_| !is_due);
        let lately = newest.map(|newest| {
            let since = newest.timestamp_millis().saturating_sub(OVERLAP_MS);
            doc! {"changed_at": {"$gte": DateTime::from_millis(since)}}
        });

        let mut there = HashSet::new();
        let changes = self.find(mongodb, lately.unwrap_or_default(), &mut there)?;
        if newest.is_none() {
            let gone = self.records.keys().filter(|id| !there.contains(*id));
            for id in gone.cloned().collect::<Vec<Id>>() {
                self.forget(&id);
            }
        }
        for chunk in changes.chunks(MAX_ASKED) {
            self.read(mongodb, chunk)?;
        }

        // Not the newest of all: a clock that was ahead would hide what comes after.
        let newest_change = changes.iter().filter_map(|change| change.at).max();
        self.newest_change = newest_change.or(self.newest_change);
        if newest.is_none() {
            (self.removals, self.compared) = (removals, Some(Instant::now()));
        }
        Ok(())
    }

    /// The changes among the records that `condition` selects; the ids of all of these
    /// go into `there`.
    fn find(
        &self,
        mongodb: &Connection,
        condition: Document,
        there: &mut HashSet<Id>,
    ) -> Result<Vec<Change>, MongoDbError> {
        let fields = doc! {"rev": 1, "changed_at": 1};
        let servers = mongodb.servers();
        let found = servers.find(condition).projection(fields);
        mongodb.collect(found, |document| {
            let id = document.get("_id")?;
            let text: Id = id.to_string().into();
            let known = self.records.get(&text);
            let is_known =
                known.is_some_and(|known| known.rev == read_revision(document));
            there.insert(text);
            let at = document.get_datetime("changed_at").ok().copied();
            (!is_known).then(|| Change { id: id.clone(), at })
        })
    }

    /// Reads records. One that is gone meanwhile is found missing later.
    fn read(
        &mut self,
        mongodb: &Connection,
        changes: &[Change],
    ) -> Result<(), MongoDbError> {
        let ids: Vec<&Bson> = changes.iter().map(|change| &change.id).collect();
        let servers = mongodb.servers();
        let found = servers.find(doc! {"_id": {"$in": ids}});
        let found = mongodb.collect(found, |document| {
            let id: Id = document.get("_id")?.to_string().into();
            Some((id, read_revision(document), read_server(document)))
        })?;
        for (id, rev, server) in found {
            self.put(id, rev, server);
        }
        Ok(())
    }

    /// Takes a record as it is now.
    fn put(&mut self, id: Id, rev: i64, server: Option<Server>) {
        let ip = server.as_ref().map(|server| server.ip);
        let before = self.records.insert(id.clone(), Record { rev, ip });
        let left = before.and_then(|before| before.ip);
        if let Some(left) = left.filter(|left| ip != Some(*left)) {
            self.leave(left, &id);
        }
        if let Some(server) = server {
            self.uncopied.insert(server.ip);
            self.servers.insert(server.ip, (id, Arc::new(server)));
        }
        self.has_changed = true;
    }

    fn forget(&mut self, id: &Id) {
        if let Some(Record { ip: Some(ip), .. }) = self.records.remove(id) {
            self.leave(ip, id);
        }
    }

    /// The record is not at this address any more, where another one may be already.
    fn leave(&mut self, ip: IpAddr, id: &Id) {
        if self.servers.get(&ip).is_some_and(|(at, _)| at == id) {
            self.servers.remove(&ip);
            self.uncopied.insert(ip);
            self.has_changed = true;
        }
    }
}

/// Counts the removal of records, after which all instances compare their copies.
pub(super) fn note_removals(mongodb: &Connection) -> Result<(), MongoDbError> {
    let state = mongodb.state();
    let count = state.update_one(removals(), doc! {"$inc": {"count": 1_i64}});
    match mongodb.run(async { count.upsert(true).await }) {
        // Another instance has just made the document, and counts another removal.
        Err(error) if error.is_duplicate_key() => Ok(()),
        result => result.map(|_| ()),
    }
}

fn count_removals(mongodb: &Connection) -> Result<i64, MongoDbError> {
    let state = mongodb.state();
    let counted = mongodb.run(async { state.find_one(removals()).await })?;
    let count = counted.and_then(|counted| counted.get_i64("count").ok());
    Ok(count.unwrap_or_default())
}

fn removals() -> Document {
    doc! {"_id": "removals"}
}
