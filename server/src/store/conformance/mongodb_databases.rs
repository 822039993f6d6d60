//! MongoDB and Redis as the tests have them, and what only this backend promises.

use std::fs::File;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use ::mongodb::bson::{DateTime, doc};
use fleetbeat_daemon::lock::lock;
use fleetbeat_protocol::{AgentId, FlagsPatch};

use super::event_pages::follow_past_an_unknown_event;
use super::events::query;
use super::fixtures::{act, beat, ip, minutes, now, servers};
use crate::config::MongoDbSettings;
use crate::store::mongodb::{MongoDb, Patience};
use crate::store::{
    EventKind, EventStore, HistorySettings, HostPatch, NewEvent, ServerStore, WatchOrder,
    facts,
};

/// A database of its own. Redis has one set of keys, so the tests take turns.
pub(super) struct FreshMongoDb {
    pub(super) store: MongoDb,
    settings: MongoDbSettings,
    /// Held against the tests of another checkout.
    _turn_of_all: File,
    _turn: MutexGuard<'static, ()>,
}

impl FreshMongoDb {
    /// `redis` is a URL, several with commas between, or none.
    pub(super) fn open(redis: &str) -> FreshMongoDb {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = lock(&TURN);
        let path = std::env::temp_dir().join("fleetbeat-test-redis.lock");
        let turn_of_all = File::create(path).unwrap();
        turn_of_all.lock().unwrap();
        let redis: Vec<String> = redis
            .split(',')
            .filter(|url| !url.is_empty())
            .map(str::to_owned)
            .collect();
        let cluster = variable("REDIS_CLUSTER_URL");
        for url in redis.iter().map(String::as_str).chain(cluster.split(',')) {
            let mut node = redis::Client::open(url).unwrap().get_connection().unwrap();
            // A cluster's replicas follow their masters.
            let _: Result<(), _> = redis::cmd("FLUSHALL").query(&mut node);
        }
        let settings = MongoDbSettings {
            url: variable("MONGODB_URL"),
            database: format!("fleetbeat_test_{:08x}", getrandom::u32().unwrap()),
            redis,
            connections: 8,
            sweep_interval: Duration::from_secs(60),
        };
        FreshMongoDb {
            store: MongoDb::open(&settings, Patience::None)
                .unwrap()
                .with_history(&HistorySettings::default()),
            settings,
            _turn_of_all: turn_of_all,
            _turn: turn,
        }
    }

    /// Another instance on the same databases.
    pub(super) fn another(&self) -> MongoDb {
        MongoDb::open(&self.settings, Patience::None).unwrap()
    }
}

impl Drop for FreshMongoDb {
    fn drop(&mut self) {
        let dropped = self.store.drop_database();
        assert!(
            dropped.is_ok() || thread::panicking(),
            "{}: {dropped:?}",
            self.settings.database
        );
    }
}

/// An environment variable that `make test` sets.
pub(super) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `make test`, which starts the databases")
    })
}

#[test]
fn what_another_program_does_to_mongodb_is_found_while_redis_tells_the_rest() {
    let opened = FreshMongoDb::open(&variable("REDIS_URL"));
    let store = &opened.store;
    store.reload_always();
    let ips = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    store.record(&ips.map(|ip| beat(ip, now()))).unwrap();
    let shown = || -> Vec<(String, bool)> {
        servers(store)
            .into_iter()
            .map(|server| (server.hostname.clone(), server.flags.paid))
            .collect()
    };
    let wait = |expected: &[(&str, bool)]| {
        let started = Instant::now();
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, paid)| ((*name).to_owned(), *paid))
            .collect();
        while shown() != expected {
            assert!(
                started.elapsed() < Duration::from_secs(5),
                "{:?} instead of {expected:?}",
                shown()
            );
            thread::sleep(Duration::from_millis(10));
        }
    };
    wait(&[
        ("host-10.0.0.1", false),
        ("host-10.0.0.2", false),
        ("host-10.0.0.3", false),
    ]);
    store.tamper(
        doc! {"ip": "10.0.0.1"},
        Some(doc! {"$set": {"hostname": "renamed"}}),
    );
    store.tamper(doc! {"ip": "10.0.0.2"}, None);
    store
        .set(
            &ip("10.0.0.3").into(),
            HostPatch::Flags(FlagsPatch {
                paid: Some(true),
                ..FlagsPatch::default()
            }),
            &act(),
        )
        .unwrap();
    wait(&[("renamed", false), ("host-10.0.0.3", true)]);
}

#[test]
fn an_instance_whose_clock_is_ahead_hides_no_host_that_another_one_hears() {
    let opened = FreshMongoDb::open(&variable("REDIS_URL"));
    let store = &opened.store;
    let host = |agent: u128, address: &str, minute: i64| {
        let mut beat = beat(address, now() + minutes(minute));
        beat.heartbeat.hostname = format!("host-{agent}");
        beat.heartbeat.agent_id = Some(AgentId::from_bits(agent));
        beat.heartbeat.boot_id = Some("boot".to_owned());
        beat
    };
    let wait = |expected: &[(&str, &str)]| {
        let started = Instant::now();
        let expected: Vec<_> = expected
            .iter()
            .map(|(ip, name)| ((*ip).to_owned(), (*name).to_owned()))
            .collect();
        let shown = || -> Vec<(String, String)> {
            let all = servers(store).into_iter();
            all.map(|server| (server.ip.to_string(), server.hostname.clone()))
                .collect()
        };
        while shown() != expected {
            let seconds = started.elapsed().as_secs();
            assert!(seconds < 5, "{:?} instead of {expected:?}", shown());
            thread::sleep(Duration::from_millis(10));
        }
    };

    // What an instance leaves whose clock is a minute ahead.
    store.record(&[host(1, "10.0.0.1", 0)]).unwrap();
    let epoch = DateTime::from_millis(store.next_number(now() + minutes(1)));
    let owned_since = doc! {"$set": {"owned_since": epoch}};
    store.tamper(doc! {"ip": "10.0.0.1"}, Some(owned_since));
    store
        .record(&[host(1, "10.0.0.1", 1), host(2, "10.0.0.3", 1)])
        .unwrap();
    wait(&[("10.0.0.1", "host-1"), ("10.0.0.3", "host-2")]);

    store.record(&[host(1, "10.0.0.2", 2)]).unwrap();
    store.record(&[host(2, "10.0.0.1", 2)]).unwrap();
    wait(&[("10.0.0.1", "host-2"), ("10.0.0.2", "host-1")]);
    // A host that is made anew at an address follows its copies, too.
    store.tamper(doc! {"ip": "10.0.0.1"}, None);
    store.record(&[host(3, "10.0.0.1", 3)]).unwrap();
    wait(&[("10.0.0.1", "host-3"), ("10.0.0.2", "host-1")]);
}

#[test]
fn numbers_go_up_though_clocks_differ() {
    let opened = FreshMongoDb::open("");
    let now = now();
    let ahead = now + minutes(1);
    let given = [ahead, now, now, ahead].map(|now| opened.store.next_number(now));
    assert!(given[0] > ahead.as_millisecond(), "{given:?}");
    assert!(given.is_sorted_by(|one, other| one < other), "{given:?}");
}

#[test]
fn an_instance_without_the_watchs_lease_is_in_no_trouble() {
    let opened = FreshMongoDb::open("");
    let (one, two) = (&opened.store, opened.another());
    let order = WatchOrder {
        now: now(),
        down_after: Duration::from_secs(240),
    };
    let kinds = || -> Vec<EventKind> {
        let page = one.events(&query(None, 100)).unwrap();
        page.events.iter().map(|event| event.event.kind).collect()
    };
    one.record(&[beat("10.0.0.1", now())]).unwrap();
    for _ in 0..3 {
        one.watch(&order).unwrap();
        two.watch(&order).unwrap();
        two.number_events().unwrap();
    }
    let refused = NewEvent::new(EventKind::LoginFailed, now(), facts([]));
    two.append(&[refused]).unwrap();
    one.watch(&order).unwrap();
    assert_eq!(kinds(), [EventKind::LoginFailed, EventKind::HostNew]);

    // The other one takes over.
    one.end_leases();
    two.watch(&order).unwrap();
    two.append(&[NewEvent::new(EventKind::LoginFailed, now(), facts([]))])
        .unwrap();
    two.watch(&order).unwrap();
    assert_eq!(kinds().len(), 3);
}

#[test]
fn a_reader_that_follows_passes_over_an_event_of_a_later_version() {
    let opened = FreshMongoDb::open("");
    let store = &opened.store;
    follow_past_an_unknown_event(store, |number| store.make_unknown(number));
}
