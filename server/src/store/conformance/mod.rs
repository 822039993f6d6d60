//! What every backend must do: each case runs on an empty store of each backend.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use ::mongodb::bson::doc;
use fleetbeat_protocol::{
    Flags, FlagsPatch, Heartbeat, Load, Role, Server, Service, Status, Timestamp,
};
use jiff::SignedDuration;

use crate::sync::locked;

use super::embedded::Embedded;
use super::mongodb::{MongoDb, Patience};
use super::server::Swept;
use super::{
    Beat, Conflict, ServerStore, Store, StoreError, Supersedes, User, UserStore,
};
use crate::config::MongoDbSettings;

/// One line for each backend: its name, and an expression that opens an empty store in a
/// temporary folder.
macro_rules! backends {
    ($($name:ident: $open:expr;)+) => { $(
        mod $name {
            use super::*;
            cases!($open);
        }
    )+ };
}

macro_rules! cases {
    ($open:expr) => {
        cases!($open; a_first_heartbeat_makes_a_server, a_later_heartbeat_keeps_identity_and_flags,
            a_spooled_heartbeat_counts_only_if_newer, a_host_whose_clock_is_ahead_changes_no_newer_state, sending_a_batch_twice_changes_nothing,
            addresses_of_both_families_are_sorted, a_patch_sets_only_its_flags, names_come_back_as_sent,
            a_sweep_marks_and_deletes, the_revision_moves_with_what_is_shown, users_are_kept,
            the_last_superadmin_stays, flags_and_heartbeats_race_without_loss);
    };
    ($open:expr; $($case:ident),+) => { $(
        #[test]
        fn $case() {
            let folder = tempfile::tempdir().unwrap();
            let open: fn(&std::path::Path) -> Box<dyn Opened> = $open;
            super::$case(open(folder.path()).store());
        }
    )+ };
}

backends! {
    embedded: |folder| Box::new(Embedded::open(folder).unwrap());
    mongodb: |_| Box::new(FreshMongoDb::open(&variable("REDIS_URL")));
    mongodb_with_a_redis_cluster: |_| Box::new(FreshMongoDb::open(&variable("REDIS_CLUSTER_URL")));
    mongodb_with_one_node_of_a_cluster: |_| Box::new(FreshMongoDb::open(variable("REDIS_CLUSTER_URL").split(',').next().unwrap()));
    mongodb_without_redis: |_| Box::new(FreshMongoDb::open(""));
}

/// A store for one test, with what has to be cleared away behind it.
trait Opened {
    fn store(&self) -> &dyn Store;
}

impl Opened for Embedded {
    fn store(&self) -> &dyn Store {
        self
    }
}

/// A database of its own. Redis has one set of keys, so the tests take turns.
struct FreshMongoDb {
    store: MongoDb,
    settings: MongoDbSettings,
    _turn: MutexGuard<'static, ()>,
}

impl FreshMongoDb {
    /// `redis` is a URL, several with commas between, or none.
    fn open(redis: &str) -> FreshMongoDb {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = locked(&TURN);
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
            store: MongoDb::open(&settings, Patience::None).unwrap(),
            settings,
            _turn: turn,
        }
    }
}

impl Opened for FreshMongoDb {
    fn store(&self) -> &dyn Store {
        &self.store
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
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `make test`, which starts the databases")
    })
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// To the millisecond, as the server's clock is.
fn now() -> Timestamp {
    Timestamp::from_millisecond(Timestamp::now().as_millisecond()).unwrap()
}

/// A live heartbeat of `host` at `at`.
pub(crate) fn beat(host: &str, at: Timestamp) -> Beat {
    let heartbeat = Heartbeat {
        ip: Some(ip(host)),
        country_code: "DE".to_owned(),
        country: "Germany".to_owned(),
        region: None,
        city: "Munich".to_owned(),
        hostname: format!("host-{host}"),
        services: vec![Service {
            name: "wg".to_owned(),
            active: true,
        }],
        load: Load {
            cpu: Some(12.5),
            ram: Some(50.0),
            net: None,
        },
        metrics: BTreeMap::new(),
        collected_at: None,
        boot_id: None,
        seq: None,
        agent_version: None,
    };
    Beat {
        ip: ip(host),
        heartbeat,
        at,
        status: Status::Active,
        supersedes: Supersedes::Always,
    }
}

/// A heartbeat of `host` that was spooled at `at`.
pub(crate) fn spooled(host: &str, at: Timestamp, cpu: f64) -> Beat {
    let mut beat = Beat {
        supersedes: Supersedes::IfNewer,
        ..beat(host, at)
    };
    beat.heartbeat.load.cpu = Some(cpu);
    beat.heartbeat.collected_at = Some(at);
    beat
}

/// Every host.
pub(crate) fn servers(store: &dyn Store) -> Vec<Arc<Server>> {
    store.fleet(None).unwrap().servers.clone()
}

fn minutes(count: i64) -> SignedDuration {
    SignedDuration::from_mins(count)
}

fn a_first_heartbeat_makes_a_server(store: &dyn Store) {
    let at = now();
    let beat = beat("10.0.0.1", at);
    store.record(std::slice::from_ref(&beat)).unwrap();
    let server = store.server(ip("10.0.0.1")).unwrap().unwrap();
    let id = server
        .server_id
        .strip_prefix("srv-")
        .expect("an id has a prefix");
    assert!(
        id.len() == 8
            && id
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
        "{id}"
    );
    assert_eq!(
        (server.first_heartbeat, server.last_heartbeat, server.status),
        (at, at, Status::Active)
    );
    assert_eq!(
        (&server.services, server.load),
        (&beat.heartbeat.services, beat.heartbeat.load)
    );
    assert_eq!(
        server.flags,
        Flags {
            enabled: true,
            gaming: false,
            streaming: false,
            paid: false,
            is_static: false
        }
    );
    assert_eq!(servers(store), [Arc::new(server)]);
    assert_eq!(store.server(ip("10.0.0.2")).unwrap(), None);
}

fn a_later_heartbeat_keeps_identity_and_flags(store: &dyn Store) {
    let at = now();
    store.record(&[beat("10.0.0.1", at)]).unwrap();
    let patch = FlagsPatch {
        gaming: Some(true),
        is_static: Some(true),
        ..FlagsPatch::default()
    };
    let before = store.set_flags(ip("10.0.0.1"), patch).unwrap().unwrap();
    let mut later = beat("10.0.0.1", at + minutes(2));
    later.heartbeat.hostname = "renamed".to_owned();
    later.heartbeat.services.clear();
    store.record(&[later]).unwrap();
    let after = store.server(ip("10.0.0.1")).unwrap().unwrap();
    assert_eq!(
        (&after.server_id, after.first_heartbeat, after.flags),
        (&before.server_id, at, before.flags)
    );
    assert_eq!(
        (after.hostname.as_str(), after.last_heartbeat),
        ("renamed", at + minutes(2))
    );
    assert!(after.services.is_empty());
}

fn a_spooled_heartbeat_counts_only_if_newer(store: &dyn Store) {
    let at = now() - minutes(60);
    store.record(&[beat("10.0.0.1", at)]).unwrap();
    store
        .record(&[
            spooled("10.0.0.1", at - minutes(2), 1.0),
            spooled("10.0.0.1", at, 2.0),
        ])
        .unwrap();
    let server = store.server(ip("10.0.0.1")).unwrap().unwrap();
    assert_eq!(
        (server.load.cpu, server.last_heartbeat),
        (Some(12.5), at),
        "neither is newer"
    );
    store
        .record(&[
            spooled("10.0.0.1", at + minutes(4), 4.0),
            spooled("10.0.0.1", at + minutes(2), 3.0),
        ])
        .unwrap();
    let server = store.server(ip("10.0.0.1")).unwrap().unwrap();
    assert_eq!(
        (server.load.cpu, server.last_heartbeat),
        (Some(4.0), at + minutes(4)),
        "the newest of the batch"
    );
    store
        .record(&[Beat {
            status: Status::Down,
            ..spooled("10.0.0.2", at, 5.0)
        }])
        .unwrap();
    assert_eq!(
        store.server(ip("10.0.0.2")).unwrap().unwrap().status,
        Status::Down
    );
}

fn a_host_whose_clock_is_ahead_changes_no_newer_state(store: &dyn Store) {
    let at = now();
    let ahead = |host: &str, minute: i64, cpu: f64| {
        let mut beat = Beat {
            supersedes: Supersedes::IfUnknown,
            ..spooled(host, at, cpu)
        };
        beat.heartbeat.collected_at = Some(at + minutes(minute));
        beat
    };
    store.record(&[beat("10.0.0.1", at - minutes(1))]).unwrap();
    let before = servers(store);
    for _ in 0..2 {
        store
            .record(&[ahead("10.0.0.1", 5, 1.0), ahead("10.0.0.1", 6, 2.0)])
            .unwrap();
        assert_eq!(servers(store), before);
    }
    store.record(&[ahead("10.0.0.2", 5, 3.0)]).unwrap();
    assert_eq!(
        store
            .server(ip("10.0.0.2"))
            .unwrap()
            .unwrap()
            .last_heartbeat,
        at,
        "of an unknown host it is all there is"
    );
}

fn sending_a_batch_twice_changes_nothing(store: &dyn Store) {
    let at = now();
    let batch: Vec<Beat> = (0..10)
        .map(|n| spooled("10.0.0.1", at - minutes(n), 1.0))
        .collect();
    store.record(&batch).unwrap();
    let once = servers(store);
    store.record(&batch).unwrap();
    assert_eq!(servers(store), once);
}

fn addresses_of_both_families_are_sorted(store: &dyn Store) {
    let sorted = [
        "2.0.0.1",
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.10",
        "2001:db8::1",
        "2001:db8::10",
    ];
    let at = now();
    let beats: Vec<Beat> = sorted.iter().rev().map(|host| beat(host, at)).collect();
    store.record(&beats).unwrap();
    let ips: Vec<String> = servers(store)
        .iter()
        .map(|server| server.ip.to_string())
        .collect();
    assert_eq!(ips, sorted);
}

fn a_patch_sets_only_its_flags(store: &dyn Store) {
    store.record(&[beat("2001:db8::1", now())]).unwrap();
    let set = |patch| {
        store
            .set_flags(ip("2001:db8::1"), patch)
            .unwrap()
            .unwrap()
            .flags
    };
    let streaming = FlagsPatch {
        streaming: Some(true),
        ..FlagsPatch::default()
    };
    assert_eq!(
        set(streaming),
        Flags {
            streaming: true,
            ..Flags::default()
        }
    );
    let disabled = FlagsPatch {
        enabled: Some(false),
        paid: Some(true),
        ..FlagsPatch::default()
    };
    assert_eq!(
        set(disabled),
        Flags {
            streaming: true,
            enabled: false,
            paid: true,
            ..Flags::default()
        }
    );
    let expected = set(FlagsPatch::default());
    assert_eq!(
        store.server(ip("2001:db8::1")).unwrap().unwrap().flags,
        expected
    );
    assert_eq!(
        store.set_flags(ip("10.0.0.1"), streaming).unwrap(),
        None,
        "no server is made by a patch"
    );
    assert_eq!(servers(store).len(), 1);
}

fn names_come_back_as_sent(store: &dyn Store) {
    let odd = "$a.b \u{1F980}'\"\\\n%_";
    let mut beat = beat("10.0.0.1", now());
    beat.heartbeat.hostname = odd.to_owned();
    beat.heartbeat.region = Some(odd.to_owned());
    beat.heartbeat.services = vec![Service {
        name: odd.to_owned(),
        active: false,
    }];
    beat.heartbeat.metrics =
        BTreeMap::from([(odd.to_owned(), 0.1), ("large".to_owned(), 1e300)]);
    store.record(std::slice::from_ref(&beat)).unwrap();
    let server = store.server(ip("10.0.0.1")).unwrap().unwrap();
    assert_eq!(
        (server.hostname.as_str(), server.region.as_deref()),
        (odd, Some(odd))
    );
    assert_eq!(
        (server.services, server.metrics),
        (beat.heartbeat.services, beat.heartbeat.metrics)
    );
}

fn a_sweep_marks_and_deletes(store: &dyn Store) {
    let now = now();
    let (down_before, delete_before) = (now - minutes(4), now - minutes(60));
    let hosts = [
        ("10.0.0.1", 0),
        ("10.0.0.2", 5),
        ("10.0.0.3", 61),
        ("10.0.0.4", 61),
    ];
    let beats: Vec<Beat> = hosts
        .iter()
        .map(|(host, age)| beat(host, now - minutes(*age)))
        .collect();
    store.record(&beats).unwrap();
    let is_static = FlagsPatch {
        is_static: Some(true),
        ..FlagsPatch::default()
    };
    store.set_flags(ip("10.0.0.4"), is_static).unwrap();
    assert_eq!(
        store.sweep(down_before, delete_before).unwrap(),
        Swept {
            down: 2,
            deleted: 1
        }
    );
    let left: Vec<_> = servers(store)
        .into_iter()
        .map(|server| (server.ip.to_string(), server.status))
        .collect();
    let expected = [
        ("10.0.0.1", Status::Active),
        ("10.0.0.2", Status::Down),
        ("10.0.0.4", Status::Down),
    ];
    assert_eq!(left, expected.map(|(ip, status)| (ip.to_owned(), status)));
    assert_eq!(
        store.sweep(down_before, delete_before).unwrap(),
        Swept::default(),
        "each change happens once"
    );
    store.record(&[beat("10.0.0.2", now)]).unwrap();
    assert_eq!(
        store.server(ip("10.0.0.2")).unwrap().unwrap().status,
        Status::Active,
        "and back"
    );
}

fn the_revision_moves_with_what_is_shown(store: &dyn Store) {
    let mut known = store.fleet(None).unwrap();
    let mut moved = |store: &dyn Store| {
        let fleet = store.fleet(Some(&known)).unwrap();
        let is_new = !Arc::ptr_eq(&fleet, &known);
        assert!(!fleet.stale && is_new == (fleet.revision != known.revision));
        known = fleet;
        is_new
    };
    // Readers may see a change a moment later, but not two seconds.
    let deadline = Duration::from_secs(2);
    let mut moves = |store: &dyn Store, why: &str| {
        let started = Instant::now();
        while !moved(store) {
            assert!(started.elapsed() < deadline, "{why}");
            thread::sleep(Duration::from_millis(10));
        }
    };
    store
        .record(&[beat("10.0.0.1", now() - minutes(10))])
        .unwrap();
    moves(store, "a heartbeat");
    store
        .set_flags(
            ip("10.0.0.1"),
            FlagsPatch {
                paid: Some(true),
                ..FlagsPatch::default()
            },
        )
        .unwrap();
    moves(store, "a patch");
    store.sweep(now(), Timestamp::UNIX_EPOCH).unwrap();
    moves(store, "a sweep that marks");
    store.sweep(now(), now()).unwrap();
    moves(store, "a sweep that deletes");
    store.sweep(now(), Timestamp::UNIX_EPOCH).unwrap();
    let before = store.fleet(None).unwrap();
    assert!(
        Arc::ptr_eq(&store.fleet(Some(&before)).unwrap(), &before),
        "nothing"
    );
}

fn user(name: &str, role: Role) -> User {
    let hashed_password = format!("hash of {name}");
    User {
        username: name.to_owned(),
        role,
        hashed_password,
        token_version: "1".to_owned(),
    }
}

fn users_are_kept(store: &dyn Store) {
    assert!(store.users().unwrap().is_empty());
    let (ann, bob) = (user("ann", Role::Readonly), user("bob", Role::Superadmin));
    store.add_user(&bob).unwrap();
    store.add_user(&ann).unwrap();
    assert_eq!(store.users().unwrap(), [ann.clone(), bob.clone()]);
    assert!(
        matches!(store.add_user(&user("ann", Role::Admin)), Err(StoreError::Conflict(Conflict::UserExists(name))) if name == "ann")
    );
    assert_eq!(store.user("ann").unwrap(), Some(ann), "the first one stays");
    store.set_password("bob", "another hash", "2").unwrap();
    let changed = User {
        hashed_password: "another hash".to_owned(),
        token_version: "2".to_owned(),
        ..bob
    };
    assert_eq!(store.user("bob").unwrap(), Some(changed));
    assert!(matches!(
        store.set_password("eve", "", ""),
        Err(StoreError::Conflict(Conflict::NoSuchUser(_)))
    ));
    assert_eq!(store.user("eve").unwrap(), None);
}

fn the_last_superadmin_stays(store: &dyn Store) {
    for user in [
        user("ann", Role::Superadmin),
        user("bob", Role::Superadmin),
        user("eve", Role::Admin),
    ] {
        store.add_user(&user).unwrap();
    }
    store.remove_user("ann").unwrap();
    assert!(matches!(
        store.remove_user("bob"),
        Err(StoreError::Conflict(Conflict::LastSuperadmin(_)))
    ));
    store.remove_user("eve").unwrap();
    assert!(matches!(
        store.remove_user("eve"),
        Err(StoreError::Conflict(Conflict::NoSuchUser(_)))
    ));
    assert_eq!(store.users().unwrap().len(), 1);
}

fn flags_and_heartbeats_race_without_loss(store: &dyn Store) {
    const ROUNDS: i64 = 300;
    let at = now();
    store.record(&[beat("10.0.0.1", at)]).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=ROUNDS {
                store
                    .record(&[beat("10.0.0.1", at + SignedDuration::from_millis(n))])
                    .unwrap();
            }
        });
        for n in 1..=ROUNDS {
            let patch = FlagsPatch {
                gaming: Some(n % 2 == 0),
                paid: Some(n % 3 == 0),
                ..FlagsPatch::default()
            };
            let flags = store
                .set_flags(ip("10.0.0.1"), patch)
                .unwrap()
                .unwrap()
                .flags;
            assert_eq!((flags.gaming, flags.paid), (n % 2 == 0, n % 3 == 0));
            let flags = store.server(ip("10.0.0.1")).unwrap().unwrap().flags;
            assert_eq!(
                (flags.gaming, flags.paid),
                (n % 2 == 0, n % 3 == 0),
                "after {n} patches"
            );
        }
    });
    let server = store.server(ip("10.0.0.1")).unwrap().unwrap();
    assert_eq!(
        server.last_heartbeat,
        at + SignedDuration::from_millis(ROUNDS)
    );
    assert_eq!((server.flags.gaming, server.flags.paid), (true, true));
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
        .set_flags(
            ip("10.0.0.3"),
            FlagsPatch {
                paid: Some(true),
                ..FlagsPatch::default()
            },
        )
        .unwrap();
    wait(&[("renamed", false), ("host-10.0.0.3", true)]);
}
