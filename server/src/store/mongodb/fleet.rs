//! The fleet as this instance knows it: read from MongoDB now and then, kept up to date
//! from Redis.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fleetbeat_protocol::Server;
use mongodb::bson::doc;

use super::document::{Version, Versioned};
use super::redis::{Cache, Changes, Place};
use super::{MAX_ASKED, Shared};
use crate::store::error::{Setup, StoreError, Unavailable};
use crate::store::server::Fleet;

/// The whole fleet is read from MongoDB again after this. It finds what never reached
/// Redis: the change of an instance that was killed in between, a record that another
/// program has changed.
const RELOAD_EVERY: Duration = Duration::from_secs(60);

pub(super) struct Known {
    pub(super) reload_every: Duration,
    servers: Servers,
    /// How far the changes have been read; `None` before the first, or when that place
    /// was lost.
    place: Option<Place>,
    loaded: Option<Instant>,
    reload: Option<Reload>,
    reload_failed: bool,
    /// Whether Redis was searched for copies that cannot be, and whether that has failed
    /// before.
    are_copies_checked: bool,
    check_failed: bool,
    revision: u64,
    changed: bool,
}

type Servers = BTreeMap<IpAddr, (Version, Arc<Server>)>;

/// The whole fleet on its way from MongoDB, in a thread of its own: a large one takes
/// longer than a change may take to be seen.
struct Reload {
    thread: JoinHandle<Result<Difference, StoreError>>,
    /// What Redis has told about meanwhile: the thread may have seen those as they were
    /// before.
    followed: BTreeSet<IpAddr>,
}

/// How MongoDB differs from what was known.
struct Difference {
    changed: Vec<Versioned>,
    gone: Vec<IpAddr>,
}

impl Known {
    pub(super) fn new() -> Known {
        Known {
            reload_every: RELOAD_EVERY,
            servers: Servers::new(),
            place: None,
            loaded: None,
            reload: None,
            reload_failed: false,
            are_copies_checked: false,
            check_failed: false,
            revision: 0,
            changed: false,
        }
    }

    /// The fleet as it is now, or the same as before if nothing has changed.
    pub(super) fn fleet(
        &mut self,
        shared: &Arc<Shared>,
        before: Option<&Arc<Fleet>>,
    ) -> Result<Arc<Fleet>, StoreError> {
        let followed = self.follow(shared);
        let reloaded = match self.loaded {
            Some(loaded) if followed => self.reload_aside(shared, loaded),
            _ => self.reload(shared),
        };
        match reloaded {
            Err(error) if self.loaded.is_none() => return Err(error),
            Err(error) => {
                if !std::mem::replace(&mut self.reload_failed, true) {
                    log::warn!("the list is as it was last known: {error}");
                }
            }
            Ok(true) => self.reload_failed = false,
            Ok(false) => {}
        }
        if self.loaded.is_some() && self.place.is_some() {
            self.check_copies(shared);
        }
        let stale = self.reload_failed || !shared.link.is_up();
        if let Some(before) =
            before.filter(|before| !self.changed && before.stale == stale)
        {
            return Ok(before.clone());
        }
        self.changed = false;
        self.revision += 1;
        let servers = self
            .servers
            .values()
            .map(|(_, server)| server.clone())
            .collect();
        Ok(Arc::new(Fleet {
            servers,
            revision: self.revision,
            stale,
        }))
    }

    /// A host as it was last known.
    pub(super) fn server(&self, ip: IpAddr) -> Option<Server> {
        self.servers
            .get(&ip)
            .map(|(_, server)| Server::clone(server))
    }

    /// Ends the thread that may be reading; the store is being closed.
    pub(super) fn stop(&mut self) {
        if let Some(reload) = self.reload.take() {
            let _ = reload.thread.join();
        }
    }

    /// Applies what Redis says has changed; false if it does not tell.
    fn follow(&mut self, shared: &Shared) -> bool {
        let (Some(cache), Some(place)) = (&shared.cache, self.place.clone()) else {
            return false;
        };
        let Ok(Changes::Since(ips, place)) = cache.changes_since(&place) else {
            return false;
        };
        let applied = self.apply(shared, cache, ips).is_ok();
        if applied {
            self.place = Some(place);
        }
        applied
    }

    fn apply(
        &mut self,
        shared: &Shared,
        cache: &Cache,
        mut ips: Vec<IpAddr>,
    ) -> Result<(), StoreError> {
        ips.sort_unstable();
        ips.dedup();
        if let Some(reload) = &mut self.reload {
            reload.followed.extend(&ips);
        }
        let mut missing = Vec::new();
        for (ip, copy) in ips.iter().zip(cache.read(&ips)?) {
            match copy {
                Some(copy) => self.insert(copy),
                None => missing.push(*ip),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        for (ip, record) in shared.read(&missing)? {
            match record {
                Some(record) => self.insert(record),
                None => self.changed |= self.servers.remove(&ip).is_some(),
            }
        }
        Ok(())
    }

    /// Reads everything from MongoDB. The place in the changes is taken first, so that
    /// none falls in between.
    fn reload(&mut self, shared: &Shared) -> Result<bool, StoreError> {
        self.stop();
        let place = shared
            .cache
            .as_ref()
            .and_then(|cache| cache.last_change().ok());
        let difference = compare(shared, &self.servers)?;
        self.settle(difference, &BTreeSet::new());
        self.place = place;
        Ok(true)
    }

    /// Redis copies what MongoDB holds and so knows nothing newer, unless MongoDB was
    /// restored from a backup, which is done while no instance runs: then the copies from
    /// before would hide its records for as long as they live. So once in an instance's
    /// life, with the first list that Redis answers for, what is impossible is removed.
    fn check_copies(&mut self, shared: &Shared) {
        let (Some(cache), false) = (&shared.cache, self.are_copies_checked) else {
            return;
        };
        match self.remove_impossible_copies(shared, cache) {
            Ok(removed) => {
                self.are_copies_checked = true;
                if removed > 0 {
                    log::warn!(
                        "MongoDB seems to have been restored from a backup: removed {removed} newer copies from Redis"
                    );
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.check_failed, true) {
                    log::warn!(
                        "whether Redis has copies that are newer than MongoDB is not known yet: {error}"
                    );
                }
            }
        }
    }

    fn remove_impossible_copies(
        &self,
        shared: &Shared,
        cache: &Cache,
    ) -> Result<usize, StoreError> {
        let ips: Vec<IpAddr> = self.servers.keys().copied().collect();
        let mut removed = 0;
        for ips in ips.chunks(MAX_ASKED) {
            let mut newer: BTreeMap<IpAddr, Version> = BTreeMap::new();
            for copy in cache.read(ips)?.into_iter().flatten() {
                let known = self.servers.get(&copy.server.ip);
                if known.is_some_and(|(version, _)| *version < copy.rev) {
                    newer.insert(copy.server.ip, copy.rev);
                }
            }
            // Another instance may have written meanwhile. MongoDB, asked only now, has
            // what a good copy was made of.
            let suspects: Vec<IpAddr> = newer.keys().copied().collect();
            let records = shared.read(&suspects)?;
            let is_impossible = |ip: &IpAddr| {
                records
                    .get(ip)
                    .and_then(Option::as_ref)
                    .is_some_and(|record| record.rev < newer[ip])
            };
            let impossible: Vec<IpAddr> =
                suspects.into_iter().filter(is_impossible).collect();
            if !impossible.is_empty() {
                cache.store(&[], &impossible)?;
                removed += impossible.len();
            }
        }
        Ok(removed)
    }

    /// The same while Redis keeps what is known up to date; true when it is done.
    fn reload_aside(
        &mut self,
        shared: &Arc<Shared>,
        loaded: Instant,
    ) -> Result<bool, StoreError> {
        match self.reload.take() {
            Some(reload) if reload.thread.is_finished() => {
                let difference = reload
                    .thread
                    .join()
                    .unwrap_or_else(|_| Err(Unavailable::Away.into()))?;
                self.settle(difference, &reload.followed);
                Ok(true)
            }
            None if loaded.elapsed() >= self.reload_every => {
                let (shared, servers) = (shared.clone(), self.servers.clone());
                let thread = thread::Builder::new().name("reload".to_owned());
                let thread = thread.spawn(move || compare(&shared, &servers));
                let thread = thread.map_err(|error| Setup::Start(error.to_string()))?;
                self.reload = Some(Reload {
                    thread,
                    followed: BTreeSet::new(),
                });
                Ok(false)
            }
            running => {
                self.reload = running;
                Ok(false)
            }
        }
    }

    /// What MongoDB says counts, but for hosts of which something newer is known.
    fn settle(&mut self, difference: Difference, followed: &BTreeSet<IpAddr>) {
        for record in difference.changed {
            let ip = record.server.ip;
            if !followed.contains(&ip) {
                self.servers
                    .insert(ip, (record.rev, Arc::new(record.server)));
                self.changed = true;
            } else if self.servers.contains_key(&ip) {
                self.insert(record);
            }
        }
        for ip in difference.gone.iter().filter(|ip| !followed.contains(ip)) {
            self.changed |= self.servers.remove(ip).is_some();
        }
        self.loaded = Some(Instant::now());
    }

    fn insert(&mut self, record: Versioned) {
        let ip = record.server.ip;
        let is_newer = self
            .servers
            .get(&ip)
            .is_none_or(|(version, _)| *version < record.rev);
        if is_newer {
            self.servers
                .insert(ip, (record.rev, Arc::new(record.server)));
            self.changed = true;
        }
    }
}

/// Reads the whole fleet, and keeps only what differs from `known`.
fn compare(shared: &Shared, known: &Servers) -> Result<Difference, StoreError> {
    let servers = shared.link.servers();
    let mut seen = BTreeSet::new();
    let changed = shared.link.collect(servers.find(doc! {}), |document| {
        let record = Versioned::from_document(document)?;
        seen.insert(record.server.ip);
        let same = known
            .get(&record.server.ip)
            .is_some_and(|(version, server)| {
                *version == record.rev && **server == record.server
            });
        (!same).then_some(record)
    })?;
    let gone = known
        .keys()
        .filter(|ip| !seen.contains(*ip))
        .copied()
        .collect();
    Ok(Difference { changed, gone })
}
