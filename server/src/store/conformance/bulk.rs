//! What every backend must do with what admins set on many hosts at once.

use fleetbeat_protocol::{
    FlagsPatch, Mode, Server, Settings, SettingsPatch, StatePatch, TagsPatch,
};
use serde_json::{Value, json};

use super::events::{all, query, watch};
use super::fixtures::{act, beat, ip, now, servers};
use crate::store::{
    Act, Bulk, Event, EventKind, HostPatch, Judge, Store, StoreError, Verdict, Who, facts,
};

/// A chunk's size, as in the API.
pub(super) const CHUNK: usize = 500;

/// What is set on each host.
pub(super) struct Wish {
    flags: FlagsPatch,
    tags: TagsPatch,
    state: StatePatch,
    settings: SettingsPatch,
}

impl Wish {
    /// A bit of everything.
    pub(super) fn new() -> Wish {
        let tags = [("rack.1", Some("a")), ("old", None)];
        let tags = tags.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        Wish {
            flags: FlagsPatch {
                paid: Some(true),
                ..FlagsPatch::default()
            },
            tags: TagsPatch(tags.into()),
            state: StatePatch {
                mode: Mode::Drain,
                until: None,
                reason: Some("kernel".to_owned()),
            },
            settings: SettingsPatch {
                values: Settings {
                    capacity: Some(2.5),
                    ..Settings::default()
                },
                names: vec!["capacity", "max_sessions"],
            },
        }
    }

    fn patches(&self) -> [HostPatch<'_>; 4] {
        [
            HostPatch::Flags(self.flags),
            HostPatch::Tags(&self.tags),
            HostPatch::State(&self.state),
            HostPatch::Settings(&self.settings),
        ]
    }

    /// How many of the things are set on the host: 4 for all.
    pub(super) fn count_on(server: &Server) -> usize {
        let is_set = [
            server.flags.paid,
            server.tags.get("rack.1").is_some_and(|rack| rack == "a"),
            server.state.mode == Mode::Drain,
            server.settings.capacity == Some(2.5),
        ];
        is_set.into_iter().filter(|is_set| *is_set).count()
    }
}

/// Sets it on the hosts, as `ann`.
pub(super) fn set(
    store: &dyn Store,
    hosts: &[String],
    wish: &Wish,
    judge: Judge<'_>,
) -> Result<usize, StoreError> {
    let bulk = Bulk {
        patches: &wish.patches(),
        judge,
        act: &ann(),
        facts: facts([
            ("bulk_id", "b".into()),
            ("set", json!({"tags": {"a.b": 1}})),
        ]),
    };
    store.set_many(hosts, &bulk)
}

fn ann() -> Act {
    Act {
        who: Who::User("ann".to_owned()),
        address: Some(ip("2001:db8::7")),
        at: now(),
    }
}

/// So many hosts, by `server_id`, sorted by address.
pub(super) fn populate(store: &dyn Store, count: usize) -> Vec<String> {
    let now = now();
    let address = |n: usize| format!("10.0.{}.{}", n / 200, n % 200);
    let beats: Vec<_> = (0..count).map(|n| beat(&address(n), now)).collect();
    for beats in beats.chunks(250) {
        assert!(store.record(beats).unwrap().refused.is_empty());
    }
    let ids = ids(store);
    assert_eq!(ids.len(), count);
    ids
}

fn ids(store: &dyn Store) -> Vec<String> {
    let servers = servers(store).into_iter();
    servers.map(|server| server.server_id.clone()).collect()
}

/// Every host as the database has it, and not as a list does.
pub(super) fn stored(store: &dyn Store, ids: &[String]) -> Vec<Option<Server>> {
    let name = |id: &String| crate::store::HostName::ServerId(id.clone());
    ids.iter()
        .map(|id| store.server(&name(id)).unwrap())
        .collect()
}

/// The events of changes of many hosts, once the watch has numbered them.
pub(super) fn told(store: &dyn Store) -> Vec<Event> {
    watch(store, now());
    let mut events = all(store, &query(None, 1000));
    events.retain(|event| event.event.kind == EventKind::BulkChanged);
    events
}

/// How many hosts each event tells of.
pub(super) fn hosts_of(events: &[Event]) -> Vec<Value> {
    let events = events.iter();
    events
        .map(|event| event.event.facts["hosts"].clone())
        .collect()
}

pub(super) fn each_chunk_is_set_as_a_whole_and_told_once(store: &dyn Store) {
    let ids = populate(store, CHUNK + 30);
    let wish = Wish::new();
    for chunk in ids.chunks(CHUNK) {
        assert_eq!(set(store, chunk, &wish, None), Ok(chunk.len()));
    }
    for server in stored(store, &ids) {
        let server = server.unwrap();
        assert_eq!(Wish::count_on(&server), 4, "{server:?}");
        assert_eq!(server.state.reason.as_deref(), Some("kernel"));
        assert!(server.state.since.is_some());
    }
    // A list of Redis' copies is a moment behind.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while servers(store)
        .iter()
        .any(|server| Wish::count_on(server) < 4)
    {
        assert!(std::time::Instant::now() < deadline);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }

    // Heartbeats leave what was set, and nothing but the chunks is told.
    store.record(&[beat("10.0.0.0", now())]).unwrap();
    assert_eq!(Wish::count_on(&servers(store)[0]), 4);
    let events = told(store);
    assert_eq!(hosts_of(&events), [json!(CHUNK), json!(30)]);
    for event in &events {
        let act = event.event.act.as_ref().unwrap();
        assert_eq!((&act.who, act.address), (&ann().who, ann().address));
        assert_eq!(event.host, None);
        assert_eq!(event.event.facts["bulk_id"], "b");
        assert_eq!(event.event.facts["set"], json!({"tags": {"a.b": 1}}));
    }
    let kinds = super::events::kinds(store);
    assert!(!kinds.contains(&"flag.changed"), "{kinds:?}");

    // Again.
    assert_eq!(set(store, &ids[..3], &wish, None), Ok(3));
    assert_eq!(
        Wish::count_on(&stored(store, &ids[..1])[0].clone().unwrap()),
        4
    );
    assert_eq!(hosts_of(&told(store)).len(), 3);
}

pub(super) fn a_host_that_cannot_be_set_costs_no_other(store: &dyn Store) {
    let ids = populate(store, 6);
    let full = (0..32).map(|n| (format!("k{n}"), Some(String::new())));
    let full = TagsPatch(full.collect());
    let patch = HostPatch::Tags(&full);
    store
        .set(&ip("10.0.0.1").into(), patch, None, &act())
        .unwrap()
        .unwrap();
    store
        .remove_server(&ip("10.0.0.2").into(), &act())
        .unwrap()
        .unwrap();
    let gone = [ids.clone(), vec!["srv-unknown".to_owned()]].concat();
    let judge = |server: &Server| match server.ip == ip("10.0.0.3") {
        true => Verdict::Unseen,
        false => Verdict::Allowed,
    };

    // One has too many tags, one is gone, one may not be changed, one was never there.
    let wish = Wish::new();
    assert_eq!(set(store, &gone, &wish, Some(&judge)), Ok(3));
    let counts: Vec<Option<usize>> = stored(store, &ids)
        .iter()
        .map(|server| server.as_ref().map(Wish::count_on))
        .collect();
    let expected = [Some(4), Some(0), None, Some(0), Some(4), Some(4)];
    assert_eq!(counts, expected);
    assert_eq!(hosts_of(&told(store)), [json!(3)]);

    assert_eq!(set(store, &ids[1..4], &wish, Some(&judge)), Ok(0));
    assert_eq!(set(store, &[], &wish, None), Ok(0));
    assert_eq!(hosts_of(&told(store)), [json!(3)], "nothing to tell");
}

pub(super) fn many_hosts_and_heartbeats_and_other_admins_race_without_loss(
    store: &dyn Store,
) {
    const ROUNDS: i64 = 20;
    let ids = populate(store, 60);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=ROUNDS {
                let at = now() + jiff::SignedDuration::from_millis(n);
                store.record(&[beat("10.0.0.7", at)]).unwrap();
            }
        });
        scope.spawn(|| {
            for n in 1..=ROUNDS {
                let tags = [("key".to_owned(), Some(n.to_string()))];
                let tags = TagsPatch(tags.into());
                let host = ip("10.0.0.7").into();
                store
                    .set(&host, HostPatch::Tags(&tags), None, &act())
                    .unwrap();
            }
        });
        for _ in 0..ROUNDS {
            assert_eq!(set(store, &ids, &Wish::new(), None), Ok(ids.len()));
        }
    });
    let all = stored(store, &ids);
    assert!(
        all.iter()
            .flatten()
            .all(|server| Wish::count_on(server) == 4)
    );
    let raced = store.server(&ip("10.0.0.7").into()).unwrap().unwrap();
    assert_eq!(raced.tags["key"], ROUNDS.to_string());
    assert_eq!(told(store).len(), usize::try_from(ROUNDS).unwrap());
}
