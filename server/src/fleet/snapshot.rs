//! Snapshots: `GET /servers` answers from the fleet as it was about a second ago.
//!
//! However many clients ask, the store is read at most once a second, and each view of
//! the fleet is filtered, serialized and compressed once. Only the compressed form is
//! kept; a client that does not take gzip gets it unpacked.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use fleetbeat_daemon::clock;
use fleetbeat_daemon::lock::lock;

use super::changes::{Changes, Cursor};
use super::query::Query;
use super::scope::HostScope;
use super::shown::{Shown, ShownFleet};
use super::view::View;
use super::views::Views;
use crate::jobs::{Jobs, Pulse};
use crate::places::Places;
use crate::store::{Cursor as EventCursor, Store, StoreError, Unavailable};

/// A snapshot is not read again before it is this old…
const MIN_AGE: Duration = Duration::from_secs(1);
/// …nor before it has been used this many times as long as it took to make, so that a
/// fleet that takes a second to read does not occupy a core for good.
const AGE_PER_COST: u32 = 4;
/// A request waits no longer than this for a snapshot.
const MAX_WAIT: Duration = Duration::from_secs(3);
/// For so long after somebody has asked for it, each snapshot notes the newest event. On
/// MongoDB that is a question to the database, which lists do without.
const NOTES_EVENTS_FOR: Duration = Duration::from_secs(60);

/// The newest snapshot, and the thread that makes the next. One thread, and not any
/// worker, because the memory of a large fleet is then given back to where
/// the next snapshot takes it from.
#[derive(Clone)]
pub(crate) struct Snapshots {
    shared: Arc<Shared>,
    /// A random number: the fleets of this process are counted from 0.
    process: u64,
}

/// The state that handlers and the snapshot thread share.
#[derive(Default)]
struct Shared {
    latest: Mutex<Latest>,
    changed: Condvar,
}

/// The latest snapshot, and whether the next is wanted.
#[derive(Default)]
struct Latest {
    snapshot: Option<Arc<Snapshot>>,
    /// Why the last attempt has made no snapshot.
    error: Option<StoreError>,
    /// Attempts so far.
    attempts: u64,
    is_next_wanted: bool,
    /// When somebody has asked for the newest event last.
    events_wanted: Option<Instant>,
    is_closed: bool,
}

/// The fleet at one moment.
struct Snapshot {
    fleet: Arc<ShownFleet>,
    changes: Changes,
    /// The newest event that there was before the store was last asked; `None` if nobody
    /// wants to know.
    newest_event: Mutex<Option<EventCursor>>,
    /// When the store was last asked and had nothing newer.
    checked: Mutex<Instant>,
    /// When the fleet was last known to be so: while the database is away, that stays.
    known: Mutex<Instant>,
    /// How long after that the snapshot may be used without asking the store.
    fresh_for: Duration,
    /// Each view is made once, by the first request for the view; other requests for the
    /// same view wait.
    views: Mutex<Views>,
    /// The places in `fleet` of each country's hosts, by code and by name in lower case.
    /// Made by the first request for a country.
    countries: OnceLock<HashMap<String, Vec<usize>>>,
}

impl Snapshots {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no further thread.
    pub(crate) fn start(
        jobs: &mut Jobs,
        store: Arc<dyn Store>,
        places: Arc<Places>,
    ) -> io::Result<Snapshots> {
        let shared = Arc::new(Shared::default());
        let (closed, served) = (shared.clone(), shared.clone());

        jobs.start_at_queue(
            "snapshot",
            move || closed.close(),
            move |pulse| served.make_all(&*store, &places, pulse),
        )?;

        let process = getrandom::u64().map_err(io::Error::other)?;
        Ok(Snapshots { shared, process })
    }

    /// The servers that `query` asks for.
    ///
    /// # Errors
    /// The store cannot be read, or takes too long.
    pub(crate) fn view(&self, query: &Query) -> Result<Arc<View>, StoreError> {
        Ok(self.shared.current()?.view(query))
    }

    /// What has changed since `since`, of the hosts of the scope.
    ///
    /// # Errors
    /// As [`Snapshots::view`].
    pub(crate) fn changes(
        &self,
        since: Option<Cursor>,
        scope: Option<&HostScope>,
    ) -> Result<View, StoreError> {
        let snapshot = self.shared.current()?;
        let Snapshot { fleet, changes, .. } = &*snapshot;
        // So a cursor of another scope is one of another process.
        let process = self.process ^ scope.map_or(0, HostScope::number);
        let told = changes.tell(fleet, since, process, scope);
        Ok(View::new(&told, fleet.stale))
    }

    /// The whole fleet, as fresh as a view of it.
    ///
    /// # Errors
    /// As [`Snapshots::view`].
    pub(crate) fn fleet(&self) -> Result<Arc<ShownFleet>, StoreError> {
        Ok(self.shared.current()?.fleet.clone())
    }

    /// The same, and the newest event that there was before the fleet was read: so of each
    /// event up to that one, the host is in the fleet if it is there at all.
    ///
    /// # Errors
    /// As [`Snapshots::view`].
    pub(crate) fn fleet_and_newest_event(
        &self,
    ) -> Result<(Arc<ShownFleet>, EventCursor), StoreError> {
        lock(&self.shared.latest).events_wanted = Some(Instant::now());
        let snapshot = self.shared.current()?;
        if let Some(newest) = snapshot.newest_event() {
            return Ok((snapshot.fleet.clone(), newest));
        }
        self.shared.next_with_event()
    }

    /// How long ago the fleet of the latest snapshot was last known to be so; `None`
    /// before the first snapshot.
    pub(crate) fn age(&self) -> Option<Duration> {
        let latest = lock(&self.shared.latest);
        let snapshot = latest.snapshot.as_ref();
        snapshot.map(|snapshot| lock(&snapshot.known).elapsed())
    }
}

impl Shared {
    /// A fresh snapshot. While the next is made, the old snapshot serves for half a
    /// period more; later requests wait.
    fn current(&self) -> Result<Arc<Snapshot>, StoreError> {
        let mut latest = lock(&self.latest);
        if let Some(snapshot) = latest.younger_than(2) {
            return Ok(snapshot);
        }

        if !latest.is_next_wanted {
            latest.is_next_wanted = true;
            self.changed.notify_all();
        }
        if let Some(snapshot) = latest.younger_than(3) {
            return Ok(snapshot);
        }

        let before = latest.attempts;
        let is_pending =
            |latest: &mut Latest| latest.attempts == before && !latest.is_closed;
        let waited = self
            .changed
            .wait_timeout_while(latest, MAX_WAIT, is_pending);
        let latest = waited.unwrap_or_else(PoisonError::into_inner).0;

        match (&latest.error, &latest.snapshot) {
            (Some(error), _) => Err(error.clone()),
            // Made just now; or a large fleet is still being read, and an old snapshot is
            // better than nothing.
            (None, Some(snapshot)) => Ok(snapshot.clone()),
            (None, None) => Err(Unavailable::Slow(MAX_WAIT).into()),
        }
    }

    /// The fleet of the next snapshot that notes the newest event, and that event.
    fn next_with_event(&self) -> Result<(Arc<ShownFleet>, EventCursor), StoreError> {
        let deadline = Instant::now() + MAX_WAIT;
        let mut latest = lock(&self.latest);
        // The one that is being made may note none. More tries help nobody: then the
        // database is away.
        for _ in 0..2 {
            latest.is_next_wanted = true;
            self.changed.notify_all();
            let before = latest.attempts;
            let is_pending =
                |latest: &mut Latest| latest.attempts == before && !latest.is_closed;
            let left = deadline.saturating_duration_since(Instant::now());
            let waited = self.changed.wait_timeout_while(latest, left, is_pending);
            latest = waited.unwrap_or_else(PoisonError::into_inner).0;

            if let Some(error) = &latest.error {
                return Err(error.clone());
            }
            if let Some(snapshot) = &latest.snapshot
                && let Some(newest) = snapshot.newest_event()
            {
                return Ok((snapshot.fleet.clone(), newest));
            }
        }
        Err(Unavailable::Slow(MAX_WAIT).into())
    }

    /// Makes snapshots on demand until the server stops.
    fn make_all(&self, store: &dyn Store, places: &Places, pulse: &Pulse) {
        while let Some(before) = self.next_wanted() {
            let made = pulse.round(|| make(store, places, before));

            let mut latest = lock(&self.latest);
            match made {
                Ok(snapshot) => (latest.snapshot, latest.error) = (Some(snapshot), None),
                Err(error) => latest.error = Some(error),
            }
            latest.attempts += 1;
            latest.is_next_wanted = false;
            drop(latest);
            self.changed.notify_all();
        }
    }

    /// Waits until a snapshot is wanted, and gives the snapshot before; `None`
    /// when the server stops.
    fn next_wanted(&self) -> Option<Before> {
        let is_idle = |latest: &mut Latest| !latest.is_next_wanted && !latest.is_closed;
        let latest = self
            .changed
            .wait_while(lock(&self.latest), is_idle)
            .unwrap_or_else(PoisonError::into_inner);

        let asked = latest.events_wanted;
        (!latest.is_closed).then(|| Before {
            snapshot: latest.snapshot.clone(),
            notes_events: asked.is_some_and(|at| at.elapsed() < NOTES_EVENTS_FOR),
        })
    }

    fn close(&self) {
        lock(&self.latest).is_closed = true;
        self.changed.notify_all();
    }
}

impl Latest {
    /// The snapshot, if younger than so many halves of its `fresh_for`, and if no state
    /// that it shows is over.
    fn younger_than(&self, half_periods: u32) -> Option<Arc<Snapshot>> {
        let limit = |snapshot: &Snapshot| snapshot.fresh_for * half_periods / 2;
        let is_younger = |snapshot: &&Arc<Snapshot>| {
            lock(&snapshot.checked).elapsed() < limit(snapshot)
        };
        let now = clock::now();
        let is_over = |snapshot: &Arc<Snapshot>| snapshot.fleet.is_over(now);
        let snapshot = self.snapshot.as_ref().filter(is_younger);
        snapshot.filter(|snapshot| !is_over(snapshot)).cloned()
    }
}

/// What the next snapshot is made from.
struct Before {
    /// The snapshot before; none at the start.
    snapshot: Option<Arc<Snapshot>>,
    /// Whether the next one notes the newest event.
    notes_events: bool,
}

/// The fleet as it is shown now; the snapshot before if nothing has changed since.
fn make(
    store: &dyn Store,
    places: &Places,
    before: Before,
) -> Result<Arc<Snapshot>, StoreError> {
    let started = Instant::now();
    let newest_event = match before.notes_events {
        // The fleet may be known without the database.
        true => store.newest_event().ok(),
        false => None,
    };
    let before = before.snapshot;
    let records = store.fleet(before.as_ref().map(|before| &before.fleet.fleet))?;
    let now = clock::now();

    let known = match &before {
        Some(before) if records.stale => *lock(&before.known),
        _ => started,
    };
    if let Some(before) = &before
        && Arc::ptr_eq(&before.fleet.fleet, &records)
        && before.fleet.is_good_at(now)
    {
        *lock(&before.newest_event) = newest_event;
        *lock(&before.checked) = started;
        *lock(&before.known) = known;
        return Ok(before.clone());
    }

    let shown_before = before.as_ref().map(|before| &*before.fleet);
    let fleet = ShownFleet::after(shown_before, records, now, places.database());
    let fleet = Arc::new(fleet);
    let changes = match &before {
        Some(before) => before.changes.next(&before.fleet, &fleet),
        None => Changes::of_first(&fleet),
    };
    let fresh_for = MIN_AGE.max(started.elapsed() * AGE_PER_COST);
    Ok(Arc::new(Snapshot {
        fleet,
        changes,
        newest_event: Mutex::new(newest_event),
        checked: Mutex::new(started),
        known: Mutex::new(known),
        fresh_for,
        views: Mutex::default(),
        countries: OnceLock::new(),
    }))
}

impl Snapshot {
    /// The newest event that there was before the fleet was read, if it was noted.
    fn newest_event(&self) -> Option<EventCursor> {
        *lock(&self.newest_event)
    }

    /// The servers that `query` asks for, made at the first call.
    fn view(&self, query: &Query) -> Arc<View> {
        let query = &query.of_fleet(self.fleet.servers.len());
        let cell = lock(&self.views).find(query);
        if let Some(view) = cell.get() {
            return view.clone();
        }

        let mut is_made_here = false;
        let view = cell.get_or_init(|| {
            is_made_here = true;
            Arc::new(View::new(&self.select(query), self.fleet.stale))
        });
        if is_made_here {
            lock(&self.views).made(query, view.gzip.len());
        }
        view.clone()
    }

    /// The servers that `query` asks for. An app asks for a country and a few hosts of
    /// it, so the hosts of other countries are not looked at.
    fn select(&self, query: &Query) -> Vec<&Shown> {
        let servers = &self.fleet.servers;
        let Some(country) = query.country() else {
            return query.select(servers);
        };
        let countries = self.countries.get_or_init(|| index_by_country(servers));
        let places = countries.get(country).map(Vec::as_slice);
        query.select(
            places
                .unwrap_or_default()
                .iter()
                .map(|place| &servers[*place]),
        )
    }
}

/// The places of each country's hosts, by the country's code and by its name, both in
/// lower case.
fn index_by_country(servers: &[Shown]) -> HashMap<String, Vec<usize>> {
    let mut index: HashMap<String, Vec<usize>> = HashMap::new();
    for (place, server) in servers.iter().enumerate() {
        let [code, name] =
            [&server.country_code, &server.country].map(|text| text.to_lowercase());
        let is_code = code == name;
        index.entry(code).or_default().push(place);
        if !is_code {
            index.entry(name).or_default().push(place);
        }
    }
    index
}

#[cfg(test)]
mod tests {
    use fleetbeat_protocol::{Server, Timestamp};

    use super::*;
    use crate::store::Fleet;

    fn parse(query: &str) -> Query {
        Query::parse(query, Timestamp::UNIX_EPOCH).unwrap()
    }

    /// A fleet in so many countries: `C0` with the name `Country 0`, and so on.
    fn snapshot(hosts: u32, countries: u32) -> Snapshot {
        let golden = include_str!("../../../protocol/golden/server.json");
        let golden: Server = serde_json::from_str(golden).unwrap();
        let server = |n: u32| {
            let mut server = golden.clone();
            server.ip = std::net::Ipv4Addr::from_bits(0x0A00_0000 + n).into();
            server.country_code = format!("C{}", n % countries);
            server.country = format!("Country {}", n % countries);
            server.load.cpu = Some(f64::from(n * 7919 % 1000) / 10.0);
            Arc::new(server)
        };
        let records = Fleet {
            servers: (0..hosts).map(server).collect(),
            revision: 0,
            stale: false,
        };
        let fleet = ShownFleet::new(Arc::new(records), Timestamp::UNIX_EPOCH, None);
        Snapshot {
            changes: Changes::of_first(&fleet),
            fleet: Arc::new(fleet),
            newest_event: Mutex::default(),
            checked: Mutex::new(Instant::now()),
            known: Mutex::new(Instant::now()),
            fresh_for: MIN_AGE,
            views: Mutex::default(),
            countries: OnceLock::new(),
        }
    }

    #[test]
    fn a_country_is_found_by_code_and_name_as_in_a_search_of_all() {
        let snapshot = snapshot(100, 7);
        for text in [
            "country=c3",
            "country=COUNTRY 3&sort=-cpu",
            "country=C6&sort=cpu&limit=4",
            "country=nowhere",
            "sort=-cpu&limit=7",
        ] {
            let query = parse(&text.replace(' ', "%20"));
            let all = query.select(&snapshot.fleet.servers);
            assert_eq!(snapshot.select(&query), all, "{text}");
            assert_eq!(
                all.is_empty(),
                text.contains("nowhere") || text.contains("=0")
            );
        }
    }

    #[test]
    fn selectors_with_one_canonical_form_share_a_view() {
        let snapshot = snapshot(10, 2);
        let view = |text: &str| snapshot.view(&parse(text));
        let one = view("select=country=c1+and+(load.cpu<1e2)");
        assert!(Arc::ptr_eq(
            &one,
            &view("select=country+=+c1+and+load.cpu+<+100")
        ));
        assert!(!Arc::ptr_eq(
            &one,
            &view("select=country=c0+and+load.cpu<100")
        ));
        assert_eq!(one.etag, view("country=c1").etag);
    }

    #[test]
    fn each_scope_has_views_of_its_own() {
        let snapshot = snapshot(10, 2);
        let view = |scope: Option<&str>| {
            let scope = scope.map(|text| HostScope::parse(text).unwrap());
            snapshot.view(&Query::default().within(scope.as_ref()))
        };
        let one = view(Some("ip = 10.0.0.1"));
        assert!(Arc::ptr_eq(&one, &view(Some("ip=10.0.0.1"))));
        assert!(!Arc::ptr_eq(&one, &view(Some("ip = 10.0.0.2"))));
        let etags = [&one, &view(Some("ip = 10.0.0.2")), &view(None)];
        let etags: std::collections::BTreeSet<&str> =
            etags.map(|view| view.etag.as_str()).into();
        assert_eq!(etags.len(), 3);
    }

    #[test]
    fn limits_that_leave_nobody_out_share_a_view() {
        let snapshot = snapshot(10, 1);
        let view = |text: &str| snapshot.view(&parse(text));
        assert!(Arc::ptr_eq(&view("limit=10"), &view("limit=5000")));
        assert!(Arc::ptr_eq(&view("limit=10"), &view("")));
        assert!(!Arc::ptr_eq(&view("limit=9"), &view("")));
    }

    #[test]
    fn a_view_of_each_country_is_made_once_however_many_there_are() {
        let snapshot = snapshot(1000, 50);
        let ask = || -> Vec<Arc<View>> {
            let query = |n| parse(&format!("country=c{n}&sort=cpu&limit=3"));
            let views = (0..50).map(|n| snapshot.view(&query(n)));
            views.chain([snapshot.view(&Query::default())]).collect()
        };
        let (first, second) = (ask(), ask());
        let is_same = |(a, b): (&Arc<View>, &Arc<View>)| Arc::ptr_eq(a, b);
        assert!(first.iter().zip(&second).all(is_same));
    }
}
