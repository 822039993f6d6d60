//! MongoDB and Redis as the tests have them, and what only this backend promises.

use std::cell::Cell;
use std::fs::File;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use ::mongodb::bson::{DateTime, doc};
use fleetbeat_daemon::lock::lock;
use fleetbeat_protocol::{FlagsPatch, Server};
use redis::cluster::ClusterClient;
use serde_json::{Value, json};

use super::bulk;
use super::event_pages::follow_past_an_unknown_event;
use super::events::{all as all_events, query, watch};
use super::fixtures::{act, beat, ip, minutes, now, servers};
use crate::config::MongoDbSettings;
use crate::store::mongodb::{MongoDb, Patience};
use crate::store::{
    Beat, EventKind, EventStore, HistorySettings, HostPatch, NewEvent, ServerStore,
    Verdict, WatchOrder, facts,
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

/// The same, with an instance beside it that looks once, at the end of the test: without
/// comparing all records it has to find whatever the test has changed.
pub(super) struct FollowedMongoDb {
    follower: MongoDb,
    pub(super) opened: FreshMongoDb,
}

impl FollowedMongoDb {
    pub(super) fn open(redis: &str) -> FollowedMongoDb {
        let opened = FreshMongoDb::open(redis);
        let without_redis = MongoDbSettings {
            redis: Vec::new(),
            ..opened.settings.clone()
        };
        let follower = MongoDb::open(&without_redis, Patience::None).unwrap();
        assert!(servers(&follower).is_empty());
        follower.follow_from_now();
        FollowedMongoDb { follower, opened }
    }
}

impl Drop for FollowedMongoDb {
    fn drop(&mut self) {
        if !thread::panicking() {
            let compared = self.opened.another();
            assert_eq!(servers(&self.follower), servers(&compared));
        }
    }
}

/// An environment variable that `make test` sets.
pub(super) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `make test`, which starts the databases")
    })
}

fn set_paid(store: &MongoDb, host: &str, paid: bool) {
    let paid = Some(paid);
    let patch = FlagsPatch {
        paid,
        ..FlagsPatch::default()
    };
    let patch = HostPatch::Flags(patch);
    store.set(&ip(host).into(), patch, None, &act()).unwrap();
}

/// The hosts' names, and whether they are paid.
fn shown(store: &MongoDb) -> Vec<(String, bool)> {
    let shown = servers(store).into_iter();
    shown
        .map(|server| (server.hostname.clone(), server.flags.paid))
        .collect()
}

fn all(expected: &[(&str, bool)]) -> Vec<(String, bool)> {
    let all = expected.iter();
    all.map(|(name, paid)| ((*name).to_owned(), *paid))
        .collect()
}

#[test]
fn what_says_not_when_it_was_changed_is_found_by_comparing() {
    let opened = FreshMongoDb::open("");
    let store = &opened.store;
    let ips = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    store.record(&ips.map(|ip| beat(ip, now()))).unwrap();
    let [first, second, third] = ips.map(|ip| format!("host-{ip}"));
    let before = all(&[(&first, false), (&second, false), (&third, false)]);
    assert_eq!(shown(store), before);

    // An instance of an earlier version, and one that is killed while it removes a host.
    let long_ago = DateTime::from_millis(0);
    let renamed = doc! {
        "$set": {"hostname": "renamed", "changed_at": long_ago},
        "$inc": {"rev": 1_i64},
    };
    store.tamper(doc! {"ip": "10.0.0.1"}, Some(renamed));
    store.tamper(doc! {"ip": "10.0.0.2"}, None);
    set_paid(store, "10.0.0.3", true);
    let looked = all(&[(&first, false), (&second, false), (&third, true)]);
    assert_eq!(shown(store), looked);
    store.compare_every(Duration::ZERO);
    assert_eq!(shown(store), all(&[("renamed", false), (&third, true)]));
}

#[test]
fn a_clock_that_is_set_back_hides_changes_until_all_are_compared() {
    let opened = FreshMongoDb::open("");
    let store = &opened.store;
    store
        .record(&[beat("10.0.0.1", now()), beat("10.0.0.2", now())])
        .unwrap();
    assert_eq!(shown(store).len(), 2);
    let (hour, name) = (Duration::from_secs(60 * 60), "host-10.0.0.2");
    store.compare_every(hour);

    let tomorrow = (now() + minutes(24 * 60)).as_millisecond();
    let ahead = doc! {
        "$set": {"hostname": "ahead", "changed_at": DateTime::from_millis(tomorrow)},
        "$inc": {"rev": 1_i64},
    };
    store.tamper(doc! {"ip": "10.0.0.1"}, Some(ahead));
    assert_eq!(shown(store), all(&[("ahead", false), (name, false)]));
    set_paid(store, "10.0.0.2", true);
    assert_eq!(shown(store), all(&[("ahead", false), (name, false)]));
    store.compare_every(Duration::ZERO);
    assert_eq!(shown(store), all(&[("ahead", false), (name, true)]));

    // What is made by the clock as it is now is seen again.
    store.compare_every(hour);
    set_paid(store, "10.0.0.2", false);
    assert_eq!(shown(store), all(&[("ahead", false), (name, false)]));
}

#[test]
fn a_fleet_that_arrives_is_told_in_few_commands() {
    let opened = FreshMongoDb::open("");
    let store = &opened.store;
    let watched = |hosts: std::ops::Range<u32>| {
        let hosts = hosts.map(|n| beat(&format!("10.0.{}.{}", n / 200, n % 200), now()));
        let hosts: Vec<Beat> = hosts.collect();
        for part in hosts.chunks(200) {
            assert!(store.record(part).unwrap().refused.is_empty());
        }
        let before = store.fuse().used();
        watch(store, now());
        store.fuse().used() - before
    };

    watched(0..3);
    let of_few = watched(3..6);
    // More than are asked for at once. Threads beside the watch ask now and then, too.
    let of_many = watched(6..606);
    assert!(of_many < of_few + 100, "{of_few} commands, and {of_many}");
    assert_eq!(all_events(store, &query(None, 100)).len(), 606);
}

/// Waits until the copy at this address is as expected.
fn wait_for_copy(
    what: &str,
    read: &mut dyn FnMut() -> Option<String>,
    is_there: impl Fn(Option<&Value>) -> bool,
) {
    let started = Instant::now();
    loop {
        let copy = read();
        let copy: Option<Value> = copy.map(|copy| serde_json::from_str(&copy).unwrap());
        if is_there(copy.as_ref()) {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(10),
            "{what}: {copy:?}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// The copies in Redis follow the records, whatever Redis holds.
fn copies_follow(redis: &str, read: &mut dyn FnMut() -> Option<String>) {
    let opened = FreshMongoDb::open(redis);
    let store = &opened.store;
    store.record(&[beat("10.0.0.1", now())]).unwrap();
    wait_for_copy("a new host", read, |copy| {
        copy.is_some_and(|copy| copy["hostname"] == "host-10.0.0.1")
    });
    set_paid(store, "10.0.0.1", true);
    wait_for_copy("a flag", read, |copy| {
        copy.is_some_and(|copy| copy["paid"] == true)
    });

    // As after a restored backup: what Redis has is not what MongoDB holds.
    let unpaid = doc! {"$set": {"paid": false}};
    store.tamper(doc! {"ip": "10.0.0.1"}, Some(unpaid));
    let another = opened.another();
    wait_for_copy("what a new instance finds", read, |copy| {
        copy.is_some_and(|copy| copy["paid"] == false)
    });
    drop(another);

    store.remove_server(&ip("10.0.0.1").into(), &act()).unwrap();
    wait_for_copy("a host that is gone", read, |copy| copy.is_none());
}

#[test]
fn copies_in_redis_follow_the_records() {
    let url = variable("REDIS_URL");
    let mut redis = redis::Client::open(&*url)
        .unwrap()
        .get_connection()
        .unwrap();
    copies_follow(&url, &mut || {
        let mut get = redis::cmd("GET");
        get.arg("server:10.0.0.1").query(&mut redis).unwrap()
    });
}

#[test]
fn copies_in_a_cluster_follow_the_records_however_many_nodes_are_named() {
    let urls = variable("REDIS_CLUSTER_URL");
    let nodes: Vec<&str> = urls.split(',').collect();
    let client = ClusterClient::new(nodes.clone()).unwrap();
    let mut redis = client.get_connection().unwrap();
    for url in [&*urls, nodes[0]] {
        copies_follow(url, &mut || {
            let mut get = redis::cmd("GET");
            get.arg("server:10.0.0.1").query(&mut redis).unwrap()
        });
    }
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

#[test]
fn the_event_of_many_hosts_tells_how_many_there_were_in_the_last_round() {
    let mongodb = FreshMongoDb::open("");
    let store = &mongodb.store;
    let ids = bulk::populate(store, 10);
    // Three hosts go when all are read and none is set, and the watch comes in the next
    // round.
    let asked = Cell::new(0);
    let judge = |_: &Server| {
        match asked.replace(asked.get() + 1) {
            0 => {
                for host in ["10.0.0.2", "10.0.0.5", "10.0.0.9"] {
                    let removed = store.remove_server(&ip(host).into(), &act());
                    assert!(removed.unwrap().is_some());
                }
            }
            10 => assert_eq!(bulk::hosts_of(&bulk::told(store)), [json!(10)]),
            _ => {}
        }
        Verdict::Allowed
    };
    let wish = bulk::Wish::new();
    assert_eq!(bulk::set(store, &ids, &wish, Some(&judge)), Ok(7));
    assert_eq!(asked.get(), 17);
    assert_eq!(bulk::hosts_of(&bulk::told(store)), [json!(7)]);
}
