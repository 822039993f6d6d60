//! Instances that are killed at each of their writes, and instances that fight for the
//! lease: every transition is told exactly once.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_protocol::{AgentId, FlagsPatch, Role, Scope, Service, Timestamp};
use jiff::SignedDuration;

use super::bulk::{self, Wish};
use super::fixtures::{act, beat, ip, minutes};
use super::keys;
use super::users::user;
use crate::store::embedded::Embedded;
use crate::store::fuse::{Fuse, Last};
use crate::store::{
    ApiToken, Beat, Conflict, Cursor, EnrollRequest, EventQuery, HostPatch, ScopeChange,
    Speaker, Store, StoreError, SweepOrder, UserChange, WatchOrder,
};

/// What happens, one step after the other.
const STEPS: usize = 20;

/// The beginning of the story.
fn start() -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_hours(500_000)
}

fn speaking(host: &str, agent: u128, at: Timestamp, boot: &str, runs: bool) -> Beat {
    let mut beat = beat(host, at);
    beat.heartbeat.agent_id = Some(AgentId::from_bits(agent));
    beat.heartbeat.boot_id = Some(boot.to_owned());
    beat.heartbeat.services = vec![Service {
        name: "wg".to_owned(),
        active: runs,
    }];
    beat
}

/// Does a step, which may have been done already by an instance that was killed.
fn step(store: &dyn Store, step: usize) -> Result<(), StoreError> {
    let at = start() + minutes(i64::try_from(step).unwrap());
    // A slow database may refuse a heartbeat, which its agent would send again.
    let record = |beats: &[Beat]| {
        let refused = store.record(beats)?.refused;
        if refused.is_empty() {
            return Ok(());
        }
        let (database, reason) = ("the database", format!("hosts {refused:?}"));
        Err(StoreError::Refused { database, reason })
    };
    let done = |result: Result<(), StoreError>| match result {
        Err(StoreError::Conflict(
            Conflict::UserExists(_) | Conflict::NoSuchUser(_) | Conflict::NoSuchToken(_),
        )) => Ok(()),
        result => result,
    };
    match step {
        0 => record(&[
            speaking("10.0.0.1", 1, at, "a", true),
            speaking("10.0.0.2", 2, at, "a", true),
        ]),
        1 => record(&[speaking("10.0.0.1", 1, at, "a", false)]),
        2 => {
            let paid = FlagsPatch {
                paid: Some(true),
                enabled: Some(false),
                ..FlagsPatch::default()
            };
            store
                .set(
                    &ip("10.0.0.1").into(),
                    HostPatch::Flags(paid),
                    None,
                    &act_at(at),
                )
                .map(drop)
        }
        // Moves, and has booted.
        3 => record(&[speaking("10.0.0.3", 1, at, "a", false)]),
        4 => done(store.add_user(&user("ann", Role::Superadmin), &act_at(at)))
            .and_then(|()| done(store.add_user(&user("bob", Role::Admin), &act_at(at)))),
        // Whoever looks, as a person would, does it no second time.
        5 if store
            .user("bob")?
            .is_some_and(|bob| bob.token_version == "2") =>
        {
            Ok(())
        }
        5 => done(change(store, "bob", None, Some("another hash"), at)),
        // The second host is silent.
        6 => record(&[speaking("10.0.0.3", 1, at, "a", true)])
            .and_then(|()| sweep(store, at)),
        7 => done(store.remove_user("bob", &act_at(at))),
        8 => Ok(()),
        9 => record(&[speaking("10.0.0.2", 2, at, "b", true)]),
        // The first host is silent, and a copy of the second one speaks.
        10 => record(&[speaking("10.0.0.2", 2, at, "b", true)])
            .and_then(|()| sweep(store, at)),
        11 => record(&[speaking("10.0.0.9", 2, at, "c", true)]),
        // The second host is installed again.
        12 => record(&[speaking("10.0.0.2", 3, at, "e", true)]),
        // A host boots with another address, and is heard nowhere else for a while.
        13 => record(&[speaking("10.0.0.6", 6, at, "a", true)]),
        14 => record(&[speaking("10.0.0.7", 6, at, "b", true)]),
        15 => record(&[speaking("10.0.0.7", 6, at + minutes(20), "b", true)]),
        16 => done(store.add_user(&user("eve", Role::Readonly), &act_at(at))),
        17 if !store.api_tokens()?.is_empty() => Ok(()),
        17 => store.add_api_token(&api_token(at), &act_at(at)),
        18 => done(change(store, "eve", Some(Role::Admin), None, at))
            .and_then(|()| done(store.remove_api_token("token", &act_at(at)))),
        _ => store
            .remove_server(&ip("10.0.0.9").into(), &act_at(at))
            .map(drop),
    }?;
    store
        .watch(&WatchOrder {
            now: at,
            down_after: Duration::from_secs(4 * 60),
        })
        .map(drop)
}

/// Does a step, again if the database is slow.
fn insist(store: &dyn Store, number: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = step(store, number) {
        assert!(Instant::now() < deadline, "step {number}: {error}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn sweep(store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
    let order = SweepOrder {
        now,
        served: Duration::ZERO,
        down_after: Duration::from_secs(3 * 60),
        delete_after: Duration::from_secs(60 * 60),
    };
    store.sweep(&order).map(drop)
}

fn act_at(at: Timestamp) -> crate::store::Act {
    crate::store::Act { at, ..act() }
}

fn change(
    store: &dyn Store,
    username: &str,
    role: Option<Role>,
    hashed_password: Option<&str>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let change = UserChange::Account {
        role,
        hashed_password: hashed_password.map(str::to_owned),
        scope: ScopeChange::Keep,
        token_version: "2".to_owned(),
    };
    store.change_user(username, &change, &act_at(at)).map(drop)
}

fn api_token(at: Timestamp) -> ApiToken {
    ApiToken {
        created_at: at,
        expires_at: at,
        ..ApiToken::example("token", "ann", &[Scope::SdRead])
    }
}

/// What was told of each host and user, in its order.
fn told(store: &dyn Store) -> BTreeMap<String, Vec<String>> {
    let query = EventQuery {
        after: Some(Cursor(0)),
        ..EventQuery::newest(1000)
    };
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in store.events(&query).unwrap().events {
        let host = event.host.map(|host| host.server_id.unwrap_or_default());
        let subject = host.or(event.event.user).unwrap_or_default();
        let facts = serde_json::to_string(&event.event.facts).unwrap();
        let kind = event.event.kind.as_str();
        told.entry(subject)
            .or_default()
            .push(format!("{kind} {facts}"));
    }
    told
}

/// What was told, whatever the hosts' ids are.
fn story(store: &dyn Store) -> Vec<Vec<String>> {
    let mut story: Vec<Vec<String>> = told(store).into_values().collect();
    story.sort();
    story
}

/// A backend whose instances can be killed.
pub(super) trait Mortal {
    /// An instance on the same database as the others.
    fn instance(&self) -> Box<dyn Instance>;
}

pub(super) trait Instance: Store {
    fn fuse(&self) -> &Fuse;
}

/// Tells the story with an instance that is killed at the write behind `writes` others,
/// and with another one from there on.
fn live(backend: &dyn Mortal, writes: usize, last: Last) -> Vec<Vec<String>> {
    let mut instance = backend.instance();
    instance.fuse().set(writes, last);
    for number in 0..STEPS {
        if step(&*instance, number).is_err() {
            drop(instance);
            instance = backend.instance();
            insist(&*instance, number);
        }
    }
    // The last write may have been the one, and nobody has asked for more.
    drop(instance);
    let reader = backend.instance();
    insist(&*reader, STEPS - 1);
    story(&*reader)
}

/// Kills an instance of a fresh backend at its writes, before and after: at one in
/// `stride`, each time at others.
fn kill_at_each_write<B: Mortal>(fresh: impl Fn() -> B, stride: usize) {
    let offset = getrandom::u32().map_or(0, |random| random as usize % stride);
    let undisturbed = live(&fresh(), usize::MAX, Last::Undone);
    let all: usize = undisturbed.iter().map(Vec::len).sum();
    assert_eq!(all, 30, "{undisturbed:#?}");

    let backend = fresh();
    let instance = backend.instance();
    for number in 0..STEPS {
        insist(&*instance, number);
    }
    let writes = instance.fuse().used();
    drop(instance);
    drop(backend);
    assert!(writes > STEPS, "{writes}");
    for write in (offset..writes).step_by(stride) {
        for last in [Last::Undone, Last::Done] {
            let story = live(&fresh(), write, last);
            assert_eq!(
                story, undisturbed,
                "killed at {write} of {writes}, {last:?}"
            );
        }
    }
}

/// A step that is done again until it succeeds.
type Step<'a> = &'a dyn Fn(&dyn Store) -> Result<(), StoreError>;

/// A code is made and a host is enrolled, by an instance that is killed at the write behind
/// `writes` others and then by another one. Gives what was told.
fn enroll(backend: &dyn Mortal, writes: usize, last: Last) -> (Vec<String>, usize) {
    let mut instance = backend.instance();
    instance.fuse().set(writes, last);
    let host = AgentId::from_bits(1);
    let heard = |store: &dyn Store, speaker| {
        let own = speaking("10.0.0.1", 1, start(), "a", true);
        let recorded = store.record(&[Beat { speaker, ..own }])?;
        assert!(recorded.refused.is_empty());
        Ok(recorded.denied.len())
    };
    let shared = Speaker::Shared { has_key: false };
    let steps: [Step<'_>; 5] = [
        &|store| heard(store, shared).map(drop),
        &|store| match store.add_code(&keys::code("c", 1), &act()) {
            // Whoever looks, as a person would, makes no second one.
            Err(_) if !store.codes()?.is_empty() => Ok(()),
            result => result,
        },
        &|store| {
            let enrolled = store.enroll(&keys::request(1, 1, Some("c")))?;
            assert!(enrolled.is_ok(), "{enrolled:?}");
            Ok(())
        },
        &|store| {
            let follow = EnrollRequest {
                presented: Some(keys::request(1, 1, None).hash),
                ..keys::request(1, 2, None)
            };
            let used = store
                .key(host)?
                .is_some_and(|key| key.hash == Some(follow.hash));
            if !used {
                let enrolled = store.enroll(&follow)?;
                assert!(enrolled.is_ok(), "{enrolled:?}");
            }
            store.use_next_key(host, follow.hash, start()).map(drop)
        },
        &|store| store.revoke_key(host, &act()).map(drop),
    ];
    for step in steps {
        let mut is_done = step(&*instance).is_ok();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_done {
            drop(instance);
            instance = backend.instance();
            is_done = step(&*instance).is_ok();
            assert!(Instant::now() < deadline);
        }
    }
    let used = instance.fuse().used();
    drop(instance);

    let reader = backend.instance();
    let store = &*reader;
    insist(store, STEPS - 1);
    assert_eq!(store.codes().unwrap()[0].uses, 1);
    assert_eq!(heard(store, shared).unwrap(), 1, "the record is closed");
    let mut told: Vec<String> = story(store).concat();
    let is_of_keys = |told: &String| told.starts_with("key") || told.starts_with("code");
    told.retain(is_of_keys);
    told.sort();
    (told, used)
}

fn kill_enrolments<B: Mortal>(fresh: impl Fn() -> B) {
    let (undisturbed, writes) = enroll(&fresh(), usize::MAX, Last::Undone);
    assert_eq!(undisturbed.len(), 4, "{undisturbed:#?}");
    assert!(writes >= 6, "{writes}");
    for write in 0..writes {
        for last in [Last::Undone, Last::Done] {
            let (told, _) = enroll(&fresh(), write, last);
            assert_eq!(told, undisturbed, "killed at {write} of {writes}, {last:?}");
        }
    }
}

/// A chunk is set by an instance that is killed at the write behind `writes` others. Gives
/// how many hosts have how much of it, of 4, and how many writes there were.
fn set_chunk(backend: &dyn Mortal, writes: usize, last: Last) -> ([usize; 5], usize) {
    const HOSTS: usize = 12;
    let instance = backend.instance();
    let ids = bulk::populate(&*instance, HOSTS);
    let before = instance.fuse().used();
    instance.fuse().set(writes, last);
    let set = bulk::set(&*instance, &ids, &Wish::new(), None);
    let used = instance.fuse().used() - before;
    assert!(set.is_err() || set == Ok(HOSTS), "{set:?}");
    drop(instance);

    let reader = backend.instance();
    let mut counts = [0; 5];
    for server in bulk::stored(&*reader, &ids).iter().flatten() {
        counts[Wish::count_on(server)] += 1;
    }
    assert_eq!(
        counts[0] + counts[4],
        HOSTS,
        "each host is whole: {counts:?}"
    );
    assert!(set.is_err() || counts[4] == HOSTS, "{counts:?}");
    let told = bulk::told(&*reader).len();
    assert_eq!(told, usize::from(counts[4] > 0), "{counts:?}");

    // Whoever asks again gets all.
    assert_eq!(bulk::set(&*reader, &ids, &Wish::new(), None), Ok(HOSTS));
    assert_eq!(bulk::told(&*reader).len(), told + 1);
    (counts, used)
}

/// Gives how many hosts were set, of all, at each kill.
fn kill_chunks<B: Mortal>(fresh: impl Fn() -> B) -> Vec<[usize; 5]> {
    let (_, writes) = set_chunk(&fresh(), usize::MAX, Last::Undone);
    assert!(writes >= 1);
    let kills =
        (0..writes).flat_map(|write| [(write, Last::Undone), (write, Last::Done)]);
    kills
        .map(|(write, last)| set_chunk(&fresh(), write, last).0)
        .collect()
}

/// SQLite in a folder of its own.
pub(super) struct Folder(pub(super) tempfile::TempDir);

impl Mortal for Folder {
    fn instance(&self) -> Box<dyn Instance> {
        Box::new(Embedded::open(self.0.path()).unwrap())
    }
}

impl Instance for Embedded {
    fn fuse(&self) -> &Fuse {
        Embedded::fuse(self)
    }
}

#[test]
fn an_embedded_store_that_is_killed_at_any_write_tells_all_once() {
    kill_at_each_write(|| Folder(tempfile::tempdir().unwrap()), 1);
}

#[test]
fn an_enrolment_that_is_killed_at_any_write_and_asked_for_again_ends_well() {
    kill_enrolments(|| Folder(tempfile::tempdir().unwrap()));
}

#[test]
fn a_chunk_of_many_hosts_that_is_killed_is_set_on_all_or_none() {
    let kills = kill_chunks(|| Folder(tempfile::tempdir().unwrap()));
    assert_eq!(kills, [[12, 0, 0, 0, 0], [0, 0, 0, 0, 12]]);
}

#[cfg(feature = "mongodb")]
mod on_mongodb {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::mongodb_databases::{FreshMongoDb, variable};
    use super::*;
    use crate::store::mongodb::MongoDb;
    use crate::store::{EventStore, ServerStore};

    impl Mortal for FreshMongoDb {
        /// The instance before has lost the lease, whether it knows that or not.
        fn instance(&self) -> Box<dyn Instance> {
            let instance = self.another();
            instance.end_leases();
            Box::new(instance)
        }
    }

    impl Instance for MongoDb {
        fn fuse(&self) -> &Fuse {
            MongoDb::fuse(self)
        }
    }

    #[test]
    fn an_instance_on_mongodb_that_is_killed_at_any_write_tells_all_once() {
        // All of them take minutes.
        let stride = 11;
        kill_at_each_write(|| FreshMongoDb::open(""), stride);
    }

    #[test]
    fn an_enrolment_that_is_killed_at_any_write_and_asked_for_again_ends_well() {
        kill_enrolments(|| FreshMongoDb::open(""));
    }

    #[test]
    fn a_chunk_of_many_hosts_that_is_killed_leaves_whole_hosts_and_is_told() {
        let kills = kill_chunks(|| FreshMongoDb::open(""));
        assert!(kills.len() >= 8, "{kills:?}");
        assert!(kills.iter().any(|counts| counts[4] > 0), "{kills:?}");
    }

    #[test]
    fn instances_that_fight_for_the_lease_neither_double_nor_lose() {
        const WRITERS: usize = 3;
        const EACH: usize = 60;
        let opened = FreshMongoDb::open(&variable("REDIS_URL"));
        let instances = [&opened.store, &opened.another()];
        let writing = AtomicUsize::new(WRITERS);
        let watch = |instance: &MongoDb, at: Timestamp| {
            instance.watch(&WatchOrder {
                now: at,
                down_after: Duration::from_secs(4 * 60),
            })
        };

        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (writing, instances) = (&writing, &instances);
                scope.spawn(move || {
                    let host = format!("10.0.0.{writer}");
                    let agent = u128::try_from(writer).unwrap() + 1;
                    for n in 0..EACH {
                        let at =
                            start() + SignedDuration::from_secs(n.try_into().unwrap());
                        let beat = speaking(&host, agent, at, &n.to_string(), n % 2 == 0);
                        let instance = instances[n % 2];
                        instance.record(&[beat]).unwrap();
                        let patch = FlagsPatch {
                            paid: Some(n % 2 == 0),
                            ..FlagsPatch::default()
                        };
                        let name = ip(&host).into();
                        instance
                            .set(&name, HostPatch::Flags(patch), None, &act_at(at))
                            .unwrap();
                    }
                    writing.fetch_sub(1, Ordering::Release);
                });
            }
            let mut watching = Vec::new();
            for instance in instances {
                let writing = &writing;
                watching.push(scope.spawn(move || {
                    while writing.load(Ordering::Acquire) > 0 {
                        // Each takes the lease from the other, which goes on as if it
                        // still had it.
                        instance.end_leases();
                        let _ = watch(instance, start());
                        let _ = instance.number_events();
                    }
                }));
            }

            let deadline = Instant::now() + Duration::from_secs(240);
            let reader = instances[0];
            let (mut after, mut seen) = (Cursor(0), Vec::new());
            let mut is_last = false;
            loop {
                let query = EventQuery {
                    after: Some(after),
                    ..EventQuery::newest(9)
                };
                let page = reader.events(&query).unwrap();
                after = page.cursor;
                let is_empty = page.events.is_empty();
                seen.extend(page.events);
                if is_last && is_empty {
                    break;
                }
                assert!(Instant::now() < deadline, "{} events", seen.len());
                if writing.load(Ordering::Acquire) == 0 && !is_last {
                    // From now on nobody takes the lease away.
                    for watching in watching.drain(..) {
                        watching.join().unwrap();
                    }
                    reader.end_leases();
                    watch(reader, start())
                        .or_else(|_| watch(reader, start()))
                        .unwrap();
                    is_last = true;
                }
            }

            let ids: BTreeSet<Cursor> = seen.iter().map(|event| event.id).collect();
            assert_eq!(ids.len(), seen.len(), "nothing twice");
            let all = told(reader);
            let followed = seen.len();
            let stored: usize = all.values().map(Vec::len).sum();
            assert_eq!(followed, stored, "nothing missed");
            assert_eq!(all.len(), WRITERS, "{all:#?}");
            for host in all.values() {
                let of = |kind: &str| -> Vec<&String> {
                    host.iter().filter(|told| told.starts_with(kind)).collect()
                };
                assert_eq!(of("host.new").len(), 1, "{host:#?}");
                let flags = of("flag.changed");
                assert_eq!(flags.len(), EACH, "{host:#?}");
                let takes_turns =
                    |told: &[&String]| told.windows(2).all(|pair| pair[0] != pair[1]);
                assert!(takes_turns(&flags), "{flags:#?}");
                assert!(takes_turns(&of("service")), "{host:#?}");
            }
        });
    }
}
