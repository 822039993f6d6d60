//! The hosts, as far as handlers have them: those of the caller's scope.
//!
//! [`Hosts`] keeps the store and the snapshots to itself, and [`VisibleHosts`] is all that
//! it gives to a handler. So no handler can read or change a host that its caller may not
//! see, by forgetting a check. A host outside of the scope is answered as one that is not
//! there.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_daemon::clock;
use fleetbeat_history::chart::ChartQuery;
use fleetbeat_protocol::{MAX_TAGS, Server, Timestamp};

use crate::auth::{Caller, Watcher};
use crate::fleet::changes::Cursor;
use crate::fleet::query::Query;
use crate::fleet::scope::HostScope;
use crate::fleet::selection::Selection;
use crate::fleet::shown::{Shown, ShownFleet};
use crate::fleet::snapshot::Snapshots;
use crate::fleet::traffic::{Month, Usage};
use crate::fleet::traffic_reports::{NoTraffic, TrafficReports};
use crate::fleet::view::View;
use crate::http::Failure;
use crate::places::Places;
use crate::store::{
    Act, Bulk, Conflict, EventPage, EventQuery, Facts, GroupHistory, Groups, HostHistory,
    HostName, HostPatch, Judge, KnownHosts, Life, LifeQuery, RemovedServer, Store,
    StoreError, TrafficQuery, Verdict,
};

/// The hosts that are changed in one commit.
const CHUNK: usize = 500;
/// The pause between two chunks, in which heartbeats go: as long as a chunk took, within
/// these bounds.
const MIN_PAUSE: Duration = Duration::from_millis(4);
const MAX_PAUSE: Duration = Duration::from_millis(100);

/// Every host.
pub(crate) struct Hosts {
    store: Arc<dyn Store>,
    /// Where lists come from.
    snapshots: Snapshots,
    /// Where addresses are.
    places: Arc<Places>,
    /// The traffic of billing cycles.
    traffic: TrafficReports,
    /// Held by whoever changes many hosts: each takes a worker for seconds.
    bulk: Mutex<()>,
}

/// How far a change of many hosts has come.
#[derive(Debug, Default)]
pub(super) struct BulkDone {
    /// The hosts on which all is set.
    pub(super) changed: usize,
    /// The hosts on which nothing is set.
    pub(super) failed: usize,
    /// The first host that was not come to.
    pub(super) stopped_at: Option<IpAddr>,
}

/// The hosts that a caller sees and changes.
pub(super) struct VisibleHosts<'a> {
    all: &'a Hosts,
    /// `None` for every host.
    scope: Option<&'a HostScope>,
}

/// The hosts that a caller sees, at one moment.
pub(super) struct VisibleFleet<'a> {
    fleet: Arc<ShownFleet>,
    scope: Option<&'a HostScope>,
}

/// The traffic of the hosts that a caller sees.
pub(super) struct VisibleTraffic<'a> {
    fleet: VisibleFleet<'a>,
    /// What is known of each host, in their order.
    usages: Vec<Usage>,
    /// By `server_id`, the hosts that were still in the scope behind the reading, which may
    /// have taken seconds; `None` for every host.
    still: Option<BTreeSet<String>>,
}

impl Hosts {
    /// Those of this store, where so many workers answer requests.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        snapshots: Snapshots,
        places: Arc<Places>,
        workers: usize,
    ) -> Hosts {
        Hosts {
            store,
            snapshots,
            places,
            traffic: TrafficReports::new(workers),
            bulk: Mutex::default(),
        }
    }

    /// The turn of one change of many hosts; `None` while another one is under way.
    fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match self.bulk.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Those that the caller sees and changes.
    pub(super) fn of<'a>(&'a self, caller: &'a Caller) -> VisibleHosts<'a> {
        VisibleHosts {
            all: self,
            scope: caller.scope(),
        }
    }

    /// Every host. Nobody watches over the server who has a scope.
    ///
    /// # Errors
    /// The store cannot be read, or takes too long.
    pub(super) fn all(&self, _: &Watcher) -> Result<Arc<ShownFleet>, StoreError> {
        self.snapshots.fleet()
    }

    /// How long ago the lists were last known to be right; `None` before the first one.
    pub(super) fn age(&self) -> Option<Duration> {
        self.snapshots.age()
    }
}

impl VisibleHosts<'_> {
    /// The hosts that `query` asks for.
    ///
    /// # Errors
    /// The store cannot be read, or takes too long.
    pub(super) fn view(&self, query: Query) -> Result<Arc<View>, StoreError> {
        self.all.snapshots.view(&query.within(self.scope))
    }

    /// What has changed since a client has asked last. A host that has left the scope is
    /// gone, and a cursor of another scope says nothing here.
    ///
    /// # Errors
    /// As [`VisibleHosts::view`].
    pub(super) fn changes(&self, since: Option<Cursor>) -> Result<View, StoreError> {
        self.all.snapshots.changes(since, self.scope)
    }

    /// The hosts as lists have them.
    ///
    /// # Errors
    /// As [`VisibleHosts::view`].
    pub(super) fn fleet(&self) -> Result<VisibleFleet<'_>, StoreError> {
        Ok(VisibleFleet {
            fleet: self.all.snapshots.fleet()?,
            scope: self.scope,
        })
    }

    /// One host as it is shown now.
    ///
    /// # Errors
    /// 404 for a host that is not known or not in the scope; the store cannot be read.
    pub(super) fn host(&self, host: &HostName) -> Result<Shown, Failure> {
        let record = self.record(host)?;
        Ok(self.show(record))
    }

    /// Sets what the patch asks for, and gives the host as it is shown then.
    ///
    /// # Errors
    /// As [`VisibleHosts::host`]; 403 for a patch that would take the host out of the
    /// scope; what [`ServerStore::set`](crate::store::ServerStore::set) refuses.
    pub(super) fn set(
        &self,
        host: &HostName,
        patch: HostPatch<'_>,
        act: &Act,
    ) -> Result<Shown, Failure> {
        let judge = |record: &Server| self.judge(record, &[patch]);
        let set = self
            .all
            .store
            .set(host, patch, self.judged_by(&judge), act)?;
        let record = set.ok_or_else(|| self.unknown(host))?;
        Ok(self.show(record))
    }

    /// The hosts that are meant, sorted by address, as the newest list has them.
    ///
    /// # Errors
    /// The list may be out of date, because the store cannot be read.
    pub(super) fn select(
        &self,
        selection: &Selection,
    ) -> Result<Vec<Arc<Server>>, Failure> {
        let fleet = self.fleet()?;
        if fleet.is_stale() {
            return Err(Failure::storage_away());
        }
        let meant = fleet.servers().filter(|server| selection.wants(server));
        Ok(meant.map(|server| server.record().clone()).collect())
    }

    /// Whether all of the patches could be made on all of the hosts.
    ///
    /// # Errors
    /// 403 for patches that would take a host out of the scope; 409 if a host would have
    /// too many tags.
    pub(super) fn check_all(
        &self,
        hosts: &[Arc<Server>],
        patches: &[HostPatch<'_>],
    ) -> Result<(), Failure> {
        let sets_tags = patches
            .iter()
            .any(|patch| matches!(patch, HostPatch::Tags(_)));
        if self.scope.is_none() && !sets_tags {
            return Ok(());
        }
        for host in hosts {
            let after = after(Server::clone(host), patches);
            let count = after.tags.len();
            if count > MAX_TAGS {
                let conflict = Conflict::TooManyTags { count };
                return Err(Failure::conflict(format!("{}: {conflict}", host.ip)));
            }
            if !self.covers(&after) {
                return Err(StoreError::from(Conflict::LeavesScope).into());
            }
        }
        Ok(())
    }

    /// Sets what the patches ask for on all of the hosts, a chunk after the other. A host
    /// that has left the scope meanwhile, or would leave it, is as one that is gone.
    ///
    /// # Errors
    /// 503 while another such change is under way; the store cannot be written, and no
    /// chunk is done.
    pub(super) fn set_many(
        &self,
        hosts: &[Arc<Server>],
        patches: &[HostPatch<'_>],
        act: &Act,
        facts: Facts,
    ) -> Result<BulkDone, Failure> {
        let Some(_turn) = self.all.turn() else {
            let detail = "another change of many hosts is under way";
            return Err(Failure::unavailable(detail));
        };
        let judge = |record: &Server| self.judge(record, patches);
        let bulk = Bulk {
            patches,
            judge: self.judged_by(&judge),
            act,
            facts,
        };

        self.set_chunks(hosts, &bulk)
    }

    fn set_chunks(
        &self,
        hosts: &[Arc<Server>],
        bulk: &Bulk<'_>,
    ) -> Result<BulkDone, Failure> {
        let mut done = BulkDone::default();
        let mut pause = None;
        for chunk in hosts.chunks(CHUNK) {
            let is_first = pause.is_none();
            thread::sleep(pause.unwrap_or_default());
            let started = Instant::now();
            let ids = chunk.iter().map(|host| host.server_id.clone());
            match self.all.store.set_many(&ids.collect::<Vec<_>>(), bulk) {
                Ok(set) => {
                    done.changed += set;
                    done.failed += chunk.len().saturating_sub(set);
                }
                Err(error) if is_first => return Err(error.into()),
                Err(error) => {
                    log::error!("a change of many hosts has stopped: {error}");
                    done.stopped_at = chunk.first().map(|host| host.ip);
                    break;
                }
            }
            pause = Some(started.elapsed().clamp(MIN_PAUSE, MAX_PAUSE));
        }
        Ok(done)
    }

    /// Removes a host for good, and gives it as it was.
    ///
    /// # Errors
    /// As [`VisibleHosts::host`]; the store cannot be written.
    pub(super) fn remove(
        &self,
        host: &HostName,
        act: &Act,
    ) -> Result<RemovedServer, Failure> {
        let name = self.find(host)?;
        let removed = self.all.store.remove_server(&name, act)?;
        removed.ok_or_else(|| self.unknown(host))
    }

    /// The chart of a host.
    ///
    /// # Errors
    /// As [`VisibleHosts::host`].
    pub(super) fn history(
        &self,
        host: &HostName,
        query: &ChartQuery,
    ) -> Result<HostHistory, Failure> {
        let name = self.find(host)?;
        let history = self.all.store.history(&name, query)?;
        history.ok_or_else(|| self.unknown(host))
    }

    /// When a host went down and came up since `from`.
    ///
    /// # Errors
    /// As [`VisibleHosts::host`].
    pub(super) fn life(&self, host: &HostName, from: Timestamp) -> Result<Life, Failure> {
        let query = LifeQuery {
            host: Some(self.find(host)?),
            from,
        };
        let life = self.all.store.lives(&query)?.into_iter().next();
        life.ok_or_else(|| self.unknown(host))
    }

    /// When each host went down and came up since `from`, by address.
    ///
    /// # Errors
    /// The store cannot be read, or takes too long.
    pub(super) fn lives(&self, from: Timestamp) -> Result<Vec<Life>, StoreError> {
        let mut lives = self.all.store.lives(&LifeQuery { host: None, from })?;
        if self.scope.is_some() {
            let visible = self.fleet()?.server_ids();
            lives.retain(|life| visible.contains(&life.server_id));
        }
        Ok(lives)
    }

    /// The traffic of each host's cycle that begins in `month`; of the present one without
    /// a month.
    ///
    /// # Errors
    /// 503 while the traffic of many hosts is read for others; the store cannot be read, or
    /// takes too long.
    pub(super) fn traffic(
        &self,
        month: Option<Month>,
        now: Timestamp,
    ) -> Result<VisibleTraffic<'_>, Failure> {
        let fleet = self.fleet()?;
        let read = |hosts: &[TrafficQuery]| self.all.store.traffic(hosts);
        let usages = self.all.traffic.find(&read, fleet.servers(), month, now);
        let usages = usages.map_err(|error| match error {
            NoTraffic::Store(error) => error.into(),
            NoTraffic::Busy => {
                let detail = "the traffic of many hosts is being read for others";
                Failure::unavailable(detail)
            }
        })?;
        let still = match self.scope {
            Some(_) => Some(self.fleet()?.server_ids()),
            None => None,
        };
        Ok(VisibleTraffic {
            fleet,
            usages,
            still,
        })
    }

    /// The charts of groups of hosts, which have every host in them.
    ///
    /// # Errors
    /// 403 where there is a scope; the store cannot be read.
    pub(super) fn group_history(
        &self,
        groups: Groups,
        query: &ChartQuery,
    ) -> Result<Vec<GroupHistory>, Failure> {
        if self.scope.is_some() {
            let detail = "this is about every host, and you have a scope";
            return Err(Failure::forbidden(detail));
        }
        Ok(self.all.store.group_history(groups, query)?)
    }

    /// The events that `query` asks for. Where there is a scope, they are those of hosts
    /// that are in it, up to the moment of the newest list.
    ///
    /// # Errors
    /// The store cannot be read, or takes too long.
    pub(super) fn events(&self, query: EventQuery) -> Result<EventPage, StoreError> {
        let mut query = query;
        if self.scope.is_some() {
            let (fleet, up_to) = self.all.snapshots.fleet_and_newest_event()?;
            let scope = self.scope;
            query.within = Some(KnownHosts {
                server_ids: VisibleFleet { fleet, scope }.server_ids(),
                up_to,
            });
        }
        self.all.store.events(&query)
    }

    /// The name by which the store is asked for a visible host. Where there is a scope, it
    /// is the lasting one: the address may be another host's a moment later.
    fn find(&self, host: &HostName) -> Result<HostName, Failure> {
        match self.scope {
            None => Ok(host.clone()),
            Some(_) => Ok(HostName::ServerId(self.record(host)?.server_id)),
        }
    }

    fn record(&self, host: &HostName) -> Result<Server, Failure> {
        let record = self.all.store.server(host)?;
        let record = record.filter(|record| self.covers(record));
        record.ok_or_else(|| self.unknown(host))
    }

    fn covers(&self, record: &Server) -> bool {
        self.scope.is_none_or(|scope| scope.covers(record))
    }

    /// Whether the caller may make the patches: nobody hands a host to others, or takes it
    /// from the own sight, who does not see those others' hosts.
    fn judge(&self, record: &Server, patches: &[HostPatch<'_>]) -> Verdict {
        if !self.covers(record) {
            Verdict::Unseen
        } else if self.covers(&after(record.clone(), patches)) {
            Verdict::Allowed
        } else {
            Verdict::Leaves
        }
    }

    /// The judge, where there is a scope. Without one, the store need not read records.
    fn judged_by<'a>(&self, judge: &'a dyn Fn(&Server) -> Verdict) -> Judge<'a> {
        self.scope.map(|_| judge)
    }

    fn show(&self, record: Server) -> Shown {
        let places = self.all.places.database();
        Shown::new(Arc::new(record), clock::now(), places.as_deref())
    }

    /// 404, with the address that the host has now if it has moved and is visible.
    fn unknown(&self, host: &HostName) -> Failure {
        match self.moved_to(host) {
            Ok(Some(ip)) => Failure::moved(ip),
            Ok(None) => {
                Failure::not_found("there is no host with this address or server_id")
            }
            Err(error) => error.into(),
        }
    }

    fn moved_to(&self, host: &HostName) -> Result<Option<IpAddr>, StoreError> {
        let HostName::Ip(ip) = host else {
            return Ok(None);
        };
        let Some(to) = self.all.store.moved_to(*ip)? else {
            return Ok(None);
        };
        if self.scope.is_none() {
            return Ok(Some(to));
        }
        let record = self.all.store.server(&HostName::Ip(to))?;
        let is_visible = record.is_some_and(|record| self.covers(&record));
        Ok(is_visible.then_some(to))
    }
}

impl VisibleTraffic<'_> {
    /// The hosts, sorted by address.
    pub(super) fn hosts(&self) -> impl Iterator<Item = (&Shown, &Usage)> {
        let is_visible = |server: &Shown| {
            let still = self.still.as_ref();
            still.is_none_or(|still| still.contains(&server.server_id))
        };
        let hosts = self.fleet.servers().zip(&self.usages);
        hosts.filter(move |(server, _)| is_visible(server))
    }

    /// As [`VisibleFleet::is_stale`].
    pub(super) fn is_stale(&self) -> bool {
        self.fleet.is_stale()
    }
}

impl VisibleFleet<'_> {
    /// The hosts, sorted by address.
    pub(super) fn servers(&self) -> impl Iterator<Item = &Shown> {
        let is_visible = |server: &&Shown| {
            let scope = self.scope;
            scope.is_none_or(|scope| scope.covers(server))
        };
        self.fleet.servers.iter().filter(is_visible)
    }

    /// Whether the database could not be asked, so that the hosts may be out of date.
    pub(super) fn is_stale(&self) -> bool {
        self.fleet.stale
    }

    fn server_ids(&self) -> BTreeSet<String> {
        let servers = self.servers();
        servers.map(|server| server.server_id.clone()).collect()
    }
}

/// The host after the patches, as far as scopes ask about it.
fn after(record: Server, patches: &[HostPatch<'_>]) -> Server {
    let mut after = record;
    for patch in patches {
        match patch {
            HostPatch::Flags(patch) => after.flags = patch.apply(after.flags),
            HostPatch::Tags(patch) => {
                for (key, value) in &patch.0 {
                    match value {
                        Some(value) => {
                            drop(after.tags.insert(key.clone(), value.clone()));
                        }
                        None => drop(after.tags.remove(key)),
                    }
                }
            }
            // No scope asks about these.
            HostPatch::State(_) | HostPatch::Settings(_) => {}
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use fleetbeat_protocol::{FlagsPatch, Mode, StatePatch, TagsPatch};

    use super::*;

    #[test]
    fn a_patch_keeps_its_host_in_the_scope() {
        let golden = include_str!("../../../protocol/golden/server.json");
        let mut record: Server = serde_json::from_str(golden).unwrap();
        record.flags.paid = true;
        record.tags = [("customer".to_owned(), "acme".to_owned())].into();
        let scope = HostScope::parse("paid and tag.customer = acme").unwrap();
        let stays = |patch: HostPatch<'_>| {
            scope.covers(&record) && scope.covers(&after(record.clone(), &[patch]))
        };
        let flags = |paid| FlagsPatch {
            paid,
            gaming: Some(true),
            ..FlagsPatch::default()
        };
        let paid = [None, Some(true), Some(false)];
        let stay = paid.map(|paid| stays(HostPatch::Flags(flags(paid))));
        assert_eq!(stay, [true, true, false]);

        let tags = |key: &str, value: Option<&str>| {
            let value = value.map(str::to_owned);
            let patch = TagsPatch([(key.to_owned(), value)].into());
            stays(HostPatch::Tags(&patch))
        };
        assert!(tags("customer", Some("acme")));
        assert!(!tags("customer", Some("other")));
        assert!(!tags("customer", None));
        assert!(tags("env", Some("prod")));

        let state = StatePatch {
            mode: Mode::Drain,
            until: None,
            reason: None,
        };
        assert!(stays(HostPatch::State(&state)));
    }
}
