//! The fleet as this instance knows it: read from MongoDB now and then, kept up to date from Redis.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetbeat_protocol::Server;
use mongodb::bson::doc;

use super::Shared;
use super::cache::{Cache, Changes, Place};
use super::document::{Version, Versioned};
use crate::store::{Fleet, StoreError};

/// The whole fleet is read from MongoDB again after this. It finds what never reached Redis: the change of an
/// instance that was killed in between, a record that another program has changed.
const RELOAD_EVERY: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Known {
    servers: BTreeMap<IpAddr, (Version, Arc<Server>)>,
    /// How far the changes have been read; `None` before the first, or when that place was lost.
    place: Option<Place>,
    loaded: Option<Instant>,
    reload_failed: bool,
    revision: u64,
    changed: bool,
}

impl Known {
    /// The fleet as it is now, or the same as before if nothing has changed.
    pub(super) fn fleet(
        &mut self,
        shared: &Shared,
        before: Option<&Arc<Fleet>>,
    ) -> Result<Arc<Fleet>, StoreError> {
        let is_due = self.loaded.is_none_or(|loaded| loaded.elapsed() >= RELOAD_EVERY);
        let followed = !is_due && self.follow(shared);
        let reloaded = if followed { Ok(()) } else { self.reload(shared) };
        let failed = reloaded.is_err();
        match reloaded {
            Err(error) if self.loaded.is_none() => return Err(error),
            Err(error) if !self.reload_failed => log::warn!("the list is as it was last known: {error}"),
            _ => {}
        }
        self.reload_failed = failed;
        if failed && is_due {
            // Without MongoDB's word Redis may still tell what others have changed.
            self.follow(shared);
        }
        let stale = failed || !shared.link.is_up();
        if let Some(before) = before.filter(|before| !self.changed && before.stale == stale) {
            return Ok(before.clone());
        }
        self.changed = false;
        self.revision += 1;
        let servers = self.servers.values().map(|(_, server)| server.clone()).collect();
        Ok(Arc::new(Fleet { servers, revision: self.revision, stale }))
    }

    /// A host as it was last known.
    pub(super) fn server(&self, ip: IpAddr) -> Option<Server> {
        self.servers.get(&ip).map(|(_, server)| Server::clone(server))
    }

    /// Applies what Redis says has changed; false if it does not tell.
    fn follow(&mut self, shared: &Shared) -> bool {
        let (Some(cache), Some(place)) = (&shared.cache, self.place.clone()) else { return false };
        let Ok(Changes::Since(ips, place)) = cache.changes_since(&place) else { return false };
        let applied = self.apply(shared, cache, ips).is_ok();
        if applied {
            self.place = Some(place);
        }
        applied
    }

    fn apply(&mut self, shared: &Shared, cache: &Cache, mut ips: Vec<IpAddr>) -> Result<(), StoreError> {
        ips.sort_unstable();
        ips.dedup();
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

    /// Reads everything from MongoDB. The place in the changes is taken first, so that none falls in between.
    fn reload(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let place = shared.cache.as_ref().and_then(|cache| cache.last_change().ok()).flatten();
        let servers = shared.link.servers();
        let records = shared.link.collect(servers.find(doc! {}), Versioned::from_document)?;
        let mut gone = std::mem::take(&mut self.servers);
        for record in records {
            let ip = record.server.ip;
            match gone.remove(&ip) {
                // Unchanged: the old one is shared with the snapshot.
                Some((version, server)) if version == record.rev && *server == record.server => {
                    self.servers.insert(ip, (version, server));
                }
                _ => {
                    self.servers.insert(ip, (record.rev, Arc::new(record.server)));
                    self.changed = true;
                }
            }
        }
        self.changed |= !gone.is_empty();
        self.place = place;
        self.loaded = Some(Instant::now());
        Ok(())
    }

    fn insert(&mut self, record: Versioned) {
        let ip = record.server.ip;
        let is_newer = self.servers.get(&ip).is_none_or(|(version, _)| *version < record.rev);
        if is_newer {
            self.servers.insert(ip, (record.rev, Arc::new(record.server)));
            self.changed = true;
        }
    }
}
