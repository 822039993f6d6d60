//! The fleet as it is shown at one moment.
//!
//! A record has what heartbeats said and what admins have set. What follows from that may
//! also depend on the time: maintenance ends by itself, and a host that has come back gets
//! more and more clients. So nothing that follows is stored. It is worked out here for one
//! moment, which is good until the next such change.

use std::ops::Deref;
use std::sync::Arc;

use fleetbeat_protocol::{HostState, Mode, Offer, Server, ShownGeo, Timestamp};
use serde::{Serialize, Serializer};

use super::load::{self, RAMP_STEP, Ramp};
use super::site::Site;
use crate::places::Database;
use crate::store::Fleet;

/// The metric by which a host asks to be drained: 1.
const DRAIN: &str = "drain";
/// What people are told of a host that has asked.
const ASKED: &str = "the host asks for it: its metric drain is 1";

/// A host as it is shown at one moment: the record, but for the state, which is the one in
/// effect, and for the names of the place, which admins know better than the agent. Also
/// what follows from the record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shown {
    /// As the store has it; the same one as `server` where nothing differs.
    record: Arc<Server>,
    server: Arc<Server>,
    offer: Offer,
    geo: ShownGeo,
}

impl Shown {
    /// The host as it is shown at `now`; `places` fills what is not known of its place.
    pub(crate) fn new(
        record: Arc<Server>,
        now: Timestamp,
        places: Option<&Database>,
    ) -> Shown {
        let state = state_in_effect(&record, now);
        let mut site = Site::of(&record);
        if let Some(places) = places.filter(|_| site.is_open()) {
            site.fill(places.find(record.ip));
        }

        let (geo, names) = (site.geo, site.other_names(&record));
        let mut server = record.clone();
        if server.state != state || names.is_some() {
            let changed = Arc::make_mut(&mut server);
            changed.state = state;
            if let Some([country_code, country, city]) = names {
                changed.country_code = country_code;
                changed.country = country;
                changed.city = city;
            }
        }
        Shown {
            offer: load::offer(&server, ramp(&server, now)),
            record,
            server,
            geo,
        }
    }

    /// The host as the store has it.
    pub(crate) fn record(&self) -> &Arc<Server> {
        &self.record
    }

    /// The host as it is shown, to be kept.
    pub(super) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// What follows from the record.
    pub(crate) fn offer(&self) -> &Offer {
        &self.offer
    }
}

impl Shown {
    /// Whether the host is shown as in `other`. Most records are not even read again.
    pub(super) fn is_as(&self, other: &Shown) -> bool {
        let is_same = Arc::ptr_eq(&self.server, &other.server);
        (is_same || self.server == other.server)
            && (self.offer, self.geo) == (other.offer, other.geo)
    }
}

impl Deref for Shown {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// What a host has on the wire.
        #[derive(Serialize)]
        struct Parts<'a> {
            #[serde(flatten)]
            server: &'a Server,
            #[serde(flatten)]
            offer: Offer,
            geo: ShownGeo,
        }

        let parts = Parts {
            server: &self.server,
            offer: self.offer,
            geo: self.geo,
        };
        parts.serialize(serializer)
    }
}

/// How far up the host is since it has come back: since it was down, or since its state
/// is normal again.
fn ramp(server: &Server, now: Timestamp) -> Ramp {
    let is_normal = server.state.mode == Mode::Normal;
    let normal_since = server.state.since.filter(|_| is_normal);
    let back = server.up_since.into_iter().chain(normal_since).max();
    back.map_or(Ramp::TOP, |back| {
        Ramp::new(back.as_second(), now.as_second())
    })
}

/// The next moment at which hosts rise that have come back.
fn next_rise(now: Timestamp) -> Timestamp {
    let step_s = RAMP_STEP.as_secs().cast_signed();
    let next_s = (now.as_second().div_euclid(step_s) + 1) * step_s;
    Timestamp::from_second(next_s).unwrap_or(Timestamp::MAX)
}

/// What admins have set, unless it is over. A host can add drain to a normal state, and
/// takes nothing away from what admins have set.
fn state_in_effect(record: &Server, now: Timestamp) -> HostState {
    let state = record.state.at(now);
    let asks_for_drain = record.metrics.get(DRAIN) == Some(&1.0);
    if state.mode != Mode::Normal || !asks_for_drain {
        return state;
    }
    HostState {
        mode: Mode::Drain,
        reason: Some(ASKED.to_owned()),
        ..HostState::default()
    }
}

/// Every host as it is shown at one moment.
#[derive(Debug)]
pub(crate) struct ShownFleet {
    /// The records.
    pub(super) fleet: Arc<Fleet>,
    /// Sorted by address.
    pub(crate) servers: Vec<Shown>,
    /// Whether the database could not be asked, so that the fleet may be out of date.
    pub(crate) stale: bool,
    /// The moment.
    at: Timestamp,
    /// When a host will be shown otherwise, though its record is the same.
    until: Timestamp,
    /// What has filled the places.
    places: Option<Arc<Database>>,
}

impl ShownFleet {
    /// The fleet as it is shown at `now`.
    pub(crate) fn new(
        fleet: Arc<Fleet>,
        now: Timestamp,
        places: Option<Arc<Database>>,
    ) -> ShownFleet {
        ShownFleet::after(None, fleet, now, places)
    }

    /// The same. Hosts whose records are those of `before` are shown as there, as far as
    /// that is good.
    pub(super) fn after(
        before: Option<&ShownFleet>,
        fleet: Arc<Fleet>,
        now: Timestamp,
        places: Option<Arc<Database>>,
    ) -> ShownFleet {
        let ends = fleet.servers.iter().filter_map(|record| record.state.end());
        let ends = ends.filter(|end| *end > now);
        let before = before.filter(|before| {
            before.is_good_at(now) && is_same(before.places.as_ref(), places.as_ref())
        });
        let mut known = before
            .into_iter()
            .flat_map(|before| &before.servers)
            .peekable();
        let shown = |record: &Arc<Server>| {
            while known.next_if(|known| known.ip < record.ip).is_some() {}
            let known = known.next_if(|known| known.ip == record.ip);
            match known.filter(|known| Arc::ptr_eq(&known.record, record)) {
                Some(known) => known.clone(),
                None => Shown::new(record.clone(), now, places.as_deref()),
            }
        };
        let servers: Vec<Shown> = fleet.servers.iter().map(shown).collect();
        let is_rising = |server: &Shown| ramp(server, now) != Ramp::TOP;
        let rise = servers.iter().any(is_rising).then(|| next_rise(now));
        let next = ends.chain(rise).min();
        ShownFleet {
            servers,
            stale: fleet.stale,
            at: now,
            until: next.unwrap_or(Timestamp::MAX),
            places,
            fleet,
        }
    }

    /// Whether a host is to be shown otherwise by `now`.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.until <= now
    }

    /// Whether the same records are shown in the same way at `now`. The clock may have
    /// been set back.
    pub(super) fn is_good_at(&self, now: Timestamp) -> bool {
        self.at <= now && !self.is_over(now)
    }
}

fn is_same(one: Option<&Arc<Database>>, other: Option<&Arc<Database>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn state(mode: Mode, until: Option<i64>) -> HostState {
        HostState {
            mode,
            until: until.map(at),
            ..HostState::default()
        }
    }

    fn record(state: HostState, drain: Option<f64>) -> Arc<Server> {
        let golden = include_str!("../../../protocol/golden/server.json");
        let mut server: Server = serde_json::from_str(golden).unwrap();
        server.state = state;
        server.up_since = None;
        let metric = drain.map(|value| (DRAIN.to_owned(), value));
        server.metrics.extend(metric);
        Arc::new(server)
    }

    #[test]
    fn a_host_adds_drain_and_never_lifts_what_admins_have_set() {
        use Mode::{Drain, Maintenance, Normal};
        for (set, until, metric, now, shown) in [
            (Normal, None, None, 0, Normal),
            (Normal, None, Some(0.0), 0, Normal),
            (Normal, None, Some(0.5), 0, Normal),
            (Normal, None, Some(1.0), 0, Drain),
            (Drain, None, Some(0.0), 0, Drain),
            (Drain, None, Some(1.0), 0, Drain),
            (Drain, Some(10), None, 9, Drain),
            (Drain, Some(10), None, 10, Normal),
            (Drain, Some(10), Some(1.0), 10, Drain),
            (Maintenance, Some(10), Some(1.0), 9, Maintenance),
            (Maintenance, Some(10), Some(1.0), 10, Drain),
            (Maintenance, Some(10), Some(0.0), 10, Normal),
        ] {
            let record = record(state(set, until), metric);
            let server = Shown::new(record, at(now), None);
            assert_eq!(
                server.state.mode, shown,
                "{set:?} {until:?} {metric:?} {now}"
            );
        }
    }

    #[test]
    fn a_record_that_is_shown_as_it_is_is_not_copied() {
        let record = record(state(Mode::Maintenance, Some(10)), Some(1.0));
        assert!(Arc::ptr_eq(
            &Shown::new(record.clone(), at(9), None).server,
            &record
        ));
    }

    #[test]
    fn a_fleet_is_good_until_the_next_state_ends() {
        let states = [
            state(Mode::Maintenance, Some(30)),
            state(Mode::Drain, Some(20)),
            state(Mode::Maintenance, Some(10)),
            state(Mode::Normal, None),
            state(Mode::Drain, None),
        ];
        let fleet = Arc::new(Fleet {
            servers: states.map(|state| record(state, None)).into(),
            revision: 0,
            stale: false,
        });
        let shown = |second: i64| ShownFleet::new(fleet.clone(), at(second), None);
        let ms = SignedDuration::from_millis(1);
        for (from, to) in [(0, 10), (10, 20), (25, 30)] {
            let shown = shown(from);
            assert!(shown.is_good_at(at(from)) && shown.is_good_at(at(to) - ms));
            assert!(shown.is_over(at(to)) && !shown.is_good_at(at(to)));
            assert!(!shown.is_good_at(at(from) - ms), "the clock was set back");
        }
        // Those of which the state is over rise together.
        assert!(shown(30).is_good_at(at(60) - ms) && shown(30).is_over(at(60)));
        assert!(shown(600).is_good_at(Timestamp::MAX - ms));
    }

    #[test]
    fn a_host_that_has_come_back_rises_at_the_same_moments_as_all_others() {
        let back = |up_since: i64, state: HostState| {
            let mut server = Arc::unwrap_or_clone(record(state, None));
            server.up_since = Some(at(up_since));
            server.load = fleetbeat_protocol::Load::default();
            server.settings = fleetbeat_protocol::Settings::default();
            Arc::new(server)
        };
        let since = |mode: Mode, second: i64| HostState {
            since: Some(at(second)),
            ..state(mode, None)
        };
        let servers = vec![
            back(1000, HostState::default()),
            back(0, state(Mode::Maintenance, Some(1010))),
            back(0, since(Mode::Normal, 1015)),
            back(0, since(Mode::Normal, 0)),
        ];
        let fleet = Arc::new(Fleet {
            servers,
            revision: 0,
            stale: false,
        });
        let weights = |second: i64| {
            let shown = ShownFleet::new(fleet.clone(), at(second), None);
            let weights = shown.servers.iter().map(|server| server.offer().weight);
            (weights.collect::<Vec<_>>(), shown.until)
        };
        assert_eq!(weights(1009), (vec![25, 0, 250, 250], at(1010)));
        assert_eq!(weights(1019), (vec![25, 25, 25, 250], at(1020)));
        assert_eq!(weights(1020), (vec![50, 50, 50, 250], at(1050)));
        assert_eq!(weights(1259), (vec![225, 225, 225, 250], at(1260)));
        assert_eq!(weights(1260), (vec![250; 4], Timestamp::MAX));
    }

    #[test]
    fn a_fleet_that_is_followed_is_shown_as_one_that_is_not() {
        let host = |last: u8, state: HostState| {
            let mut server = Arc::unwrap_or_clone(record(state, None));
            server.ip = [10, 0, 0, last].into();
            server.up_since = Some(at(i64::from(last)));
            Arc::new(server)
        };
        let normal = HostState::default;
        let [first, second] = [1, 2].map(|last| host(last, normal()));
        let drained = host(3, state(Mode::Drain, Some(40)));
        let fleets = [
            vec![first.clone(), drained.clone()],
            vec![first.clone(), second.clone(), drained.clone()],
            vec![second.clone(), drained.clone()],
            vec![host(2, state(Mode::Drain, None)), drained.clone()],
            vec![drained],
            vec![first, second],
            vec![],
        ];
        let mut before: Option<ShownFleet> = None;
        let mut kept = 0;
        // Within a step of the ramp, past an end, into the next step, and back.
        for (servers, second) in fleets
            .iter()
            .cycle()
            .zip([31, 32, 39, 40, 59, 60, 50].repeat(9))
        {
            let fleet = Arc::new(Fleet {
                servers: servers.clone(),
                revision: 0,
                stale: false,
            });
            let next =
                ShownFleet::after(before.as_ref(), fleet.clone(), at(second), None);
            let fresh = ShownFleet::new(fleet, at(second), None);
            assert_eq!(next.servers, fresh.servers, "{second}");
            assert_eq!(next.until, fresh.until);
            let held = before.map(|before| before.servers).unwrap_or_default();
            let is_held = |server: &&Shown| {
                held.iter()
                    .any(|held| Arc::ptr_eq(&held.server, &server.server))
            };
            kept += next.servers.iter().filter(is_held).count();
            before = Some(next);
        }
        assert!(kept > 20, "{kept}");
    }

    #[test]
    fn a_host_is_written_as_the_golden_body_says() {
        let golden = include_str!("../../../protocol/golden/server.json");
        let record: Server = serde_json::from_str(golden).unwrap();
        let now = "2026-01-31T12:05:00Z".parse().unwrap();
        let shown = Shown::new(Arc::new(record), now, None);
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        assert_eq!(serde_json::to_value(shown).unwrap(), golden);
    }
}
