//! What every backend must do with hosts' own keys and with codes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_protocol::{AgentId, FlagsPatch, KeyHash, Server, Timestamp};
use serde_json::Value;

use super::fixtures::{act, ip, minutes, now, spooled, sweep};
use super::identities::{Host, at, find};
use crate::store::{
    AgentKey, Beat, Code, Cursor, Denial, EnrollRefusal, EnrollRequest, Enrolled, Event,
    EventKind, EventQuery, HostPatch, HostRules, Speaker, Store, UnknownHosts,
};

fn hash(n: u8) -> KeyHash {
    KeyHash([n; 32])
}

/// A code for `max_uses` hosts.
pub(super) fn code(id: &str, max_uses: u32) -> Code {
    Code {
        id: id.to_owned(),
        hash: hash(200),
        max_uses,
        uses: 0,
        expires_at: now() + minutes(60),
        flags: FlagsPatch::default(),
        networks: vec!["10.0.0.0/8".parse().unwrap()],
        reinstall: false,
        note: "rack 7".to_owned(),
        created_by: "ann".to_owned(),
        created_at: Timestamp::from_millisecond(now().as_millisecond()).unwrap(),
    }
}

/// What the host `agent` sends to have the key `key` taken.
pub(super) fn request(agent: u128, key: u8, code: Option<&str>) -> EnrollRequest {
    EnrollRequest {
        agent_id: AgentId::from_bits(agent),
        hash: hash(key),
        hostname: format!("host-{agent}"),
        code: code.map(|id| (id.to_owned(), hash(200))),
        presented: None,
        source: Some(ip("10.9.9.9")),
        at: now(),
    }
}

fn enroll(store: &dyn Store, agent: u128, key: u8, code: &str) {
    let enrolled = store.enroll(&request(agent, key, Some(code))).unwrap();
    assert_eq!(enrolled, Ok(Enrolled::Now));
}

fn key(store: &dyn Store, agent: u128) -> AgentKey {
    store.key(AgentId::from_bits(agent)).unwrap().unwrap()
}

/// Every record at the addresses that these tests use, as the store has it now: a list
/// may follow a moment later.
fn records(store: &dyn Store) -> Vec<Server> {
    let addresses = (1..=20).map(|last| format!("10.0.0.{last}"));
    addresses.filter_map(|ip| find(store, &ip)).collect()
}

fn with_own_key(beat: Beat) -> Beat {
    Beat {
        speaker: Speaker::Own { reinstall: false },
        ..beat
    }
}

/// What becomes of a heartbeat.
fn send(store: &dyn Store, beat: Beat) -> Option<Denial> {
    let beats = [beat];
    for _ in 0..5 {
        let recorded = store.record(&beats).unwrap();
        if recorded.refused.is_empty() {
            return recorded.denied.first().map(|(_, denial)| *denial);
        }
    }
    panic!("not stored");
}

fn events(store: &dyn Store) -> Vec<Event> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let query = EventQuery {
        kinds: EventKind::ALL.to_vec(),
        host: None,
        within: None,
        user: None,
        since: None,
        until: None,
        after: Some(Cursor(0)),
        limit: 1000,
    };
    // MongoDB numbers events once it holds the lease.
    loop {
        store.number_events().unwrap();
        let events = store.events(&query).unwrap().events;
        if !events.is_empty() || Instant::now() > deadline {
            return events;
        }
    }
}

pub(super) fn codes_are_kept_and_removed(store: &dyn Store) {
    assert!(store.codes().unwrap().is_empty());
    let first = Code {
        flags: FlagsPatch {
            enabled: Some(false),
            paid: Some(true),
            ..FlagsPatch::default()
        },
        reinstall: true,
        ..code("c1", 3)
    };
    let long_over = Code {
        created_at: first.created_at - minutes(60 * 24 * 90),
        expires_at: first.created_at - minutes(60 * 24 * 31),
        ..code("c0", 1)
    };
    let expires_at = Timestamp::from_millisecond(first.expires_at.as_millisecond());
    let first = Code {
        expires_at: expires_at.unwrap(),
        ..first
    };
    store.add_code(&long_over, &act()).unwrap();
    store.add_code(&first, &act()).unwrap();
    assert_eq!(store.codes().unwrap(), std::slice::from_ref(&first));

    enroll(store, 1, 1, "c1");
    let used = Code { uses: 1, ..first };
    assert_eq!(store.codes().unwrap(), std::slice::from_ref(&used));
    assert_eq!(store.remove_code("c1", &act()).unwrap(), Some(used));
    assert!(store.codes().unwrap().is_empty());
    assert_eq!(store.remove_code("c1", &act()).unwrap(), None);
    let refused = store.enroll(&request(2, 2, Some("c1"))).unwrap();
    assert_eq!(refused, Err(EnrollRefusal::UnknownCode));
    assert!(key(store, 1).revoked_at.is_none(), "its keys stay");
}

pub(super) fn a_code_enrols_no_more_hosts_than_it_may(store: &dyn Store) {
    const HOSTS: u8 = 32;
    for (id, max_uses) in [("once", 1), ("thrice", 3)] {
        store.add_code(&code(id, max_uses), &act()).unwrap();
        let won = AtomicUsize::new(0);
        thread::scope(|scope| {
            for n in 0..HOSTS {
                let won = &won;
                scope.spawn(move || {
                    let agent = u128::from(n) + 1000 * u128::from(max_uses);
                    let wish = request(agent, n, Some(id));
                    match patiently(|| store.enroll(&wish)) {
                        Ok(_) => drop(won.fetch_add(1, Ordering::Relaxed)),
                        Err(refusal) => assert_eq!(refusal, EnrollRefusal::UsedUpCode),
                    }
                });
            }
        });
        assert_eq!(won.into_inner(), max_uses as usize, "{id}");
    }
    let uses: Vec<u32> = store
        .codes()
        .unwrap()
        .iter()
        .map(|code| code.uses)
        .collect();
    assert_eq!(uses.iter().sum::<u32>(), 4);
    assert_eq!(store.keys().unwrap().len(), 4);
}

/// Asks again while the database is slow: many threads are more than some can bear.
fn patiently<T>(ask: impl Fn() -> Result<T, crate::store::StoreError>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match ask() {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        thread::sleep(Duration::from_millis(50));
    }
}

pub(super) fn the_same_enrolment_again_changes_nothing(store: &dyn Store) {
    store.add_code(&code("c", 1), &act()).unwrap();
    enroll(store, 1, 1, "c");
    let before = key(store, 1);
    // The answer was lost: the same call is made again, perhaps twice at once.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let again = patiently(|| store.enroll(&request(1, 1, Some("c"))));
                assert_eq!(again, Ok(Enrolled::Before));
            });
        }
    });
    assert_eq!(key(store, 1), before);
    assert_eq!(store.codes().unwrap()[0].uses, 1);
    let other = store.enroll(&request(2, 2, Some("c"))).unwrap();
    assert_eq!(other, Err(EnrollRefusal::UsedUpCode));
    let unproven = store.enroll(&request(1, 3, None)).unwrap();
    assert_eq!(unproven, Err(EnrollRefusal::NoProof));
}

pub(super) fn a_key_follows_when_it_is_used(store: &dyn Store) {
    store.add_code(&code("c", 1), &act()).unwrap();
    enroll(store, 1, 1, "c");
    let id = AgentId::from_bits(1);
    assert!(store.ask_for_rotation(id, &act()).unwrap().unwrap().rotate);

    let follow = |new| EnrollRequest {
        presented: Some(hash(1)),
        ..request(1, new, None)
    };
    assert_eq!(store.enroll(&follow(2)).unwrap(), Ok(Enrolled::Now));
    assert_eq!(store.enroll(&follow(2)).unwrap(), Ok(Enrolled::Before));
    // The host has lost the new key before it has used it.
    assert_eq!(store.enroll(&follow(3)).unwrap(), Ok(Enrolled::Now));
    let both = key(store, 1);
    assert_eq!(
        (both.hash, both.next, both.rotate),
        (Some(hash(1)), Some(hash(3)), true)
    );

    let unused = store.use_next_key(id, hash(2), now()).unwrap().unwrap();
    assert_eq!(unused, both, "a key that does not follow changes nothing");
    for _ in 0..2 {
        let used = store.use_next_key(id, hash(3), now()).unwrap().unwrap();
        assert_eq!(
            (used.hash, used.next, used.rotate),
            (Some(hash(3)), None, false)
        );
    }
    assert_eq!(
        store.enroll(&follow(4)).unwrap(),
        Err(EnrollRefusal::NoProof),
        "the old key has ended"
    );
    let unknown = AgentId::from_bits(9);
    assert_eq!(store.use_next_key(unknown, hash(3), now()).unwrap(), None);
    assert_eq!(store.ask_for_rotation(unknown, &act()).unwrap(), None);
}

pub(super) fn a_revoked_key_closes_its_record_until_a_code_enrols_the_host(
    store: &dyn Store,
) {
    store.add_code(&code("c", 9), &act()).unwrap();
    enroll(store, 1, 1, "c");
    let (host, id) = (Host::new(1, "a"), AgentId::from_bits(1));
    assert_eq!(
        send(store, with_own_key(host.beat("10.0.0.1", now()))),
        None
    );

    assert!(
        store
            .revoke_key(id, &act())
            .unwrap()
            .unwrap()
            .revoked_at
            .is_some()
    );
    let revoked = key(store, 1);
    let again = store.revoke_key(id, &act()).unwrap().unwrap();
    assert_eq!(again, revoked, "once is enough");
    assert_eq!(
        send(store, host.beat("10.0.0.1", now())),
        Some(Denial::HostHasKey)
    );
    let other = Host::new(2, "b").beat("10.0.0.1", now() + minutes(60));
    assert_eq!(send(store, other), Some(Denial::AddressHasKey));

    let same = store.enroll(&request(1, 1, Some("c"))).unwrap();
    assert_eq!(same, Err(EnrollRefusal::Revoked));
    assert_eq!(
        store.use_next_key(id, hash(1), now()).unwrap(),
        Some(revoked)
    );
    enroll(store, 1, 2, "c");
    assert_eq!(key(store, 1).hash, Some(hash(2)));
    // The first key is known as such for good.
    let back = store.enroll(&request(1, 1, Some("c"))).unwrap();
    assert_eq!(back, Err(EnrollRefusal::Revoked));
    let follow = |new, proven| EnrollRequest {
        presented: Some(hash(proven)),
        ..request(1, new, None)
    };
    let back = store.enroll(&follow(1, 2)).unwrap();
    assert_eq!(back, Err(EnrollRefusal::Revoked));
    assert_eq!(store.enroll(&follow(3, 2)).unwrap(), Ok(Enrolled::Now));
    let used = store.use_next_key(id, hash(3), now()).unwrap().unwrap();
    assert_eq!(
        (used.hash, used.ended),
        (Some(hash(3)), vec![hash(1), hash(2)])
    );
    let back = store.enroll(&follow(2, 3)).unwrap();
    assert_eq!(back, Err(EnrollRefusal::Revoked));
    assert_eq!(
        send(store, with_own_key(host.beat("10.0.0.1", now()))),
        None
    );
    assert_eq!(
        store.revoke_key(AgentId::from_bits(9), &act()).unwrap(),
        None
    );
}

pub(super) fn a_host_with_a_key_is_heard_by_that_key_alone(store: &dyn Store) {
    store.add_code(&code("c", 9), &act()).unwrap();
    let (host, start) = (Host::new(1, "a"), now());
    assert_eq!(send(store, host.beat("10.0.0.1", start)), None);
    enroll(store, 1, 1, "c");
    let before = at(store, "10.0.0.1");

    let without_id = || super::beat("10.0.0.1", start + minutes(2));
    for (beat, expected) in [
        (
            host.beat("10.0.0.1", start + minutes(2)),
            Denial::HostHasKey,
        ),
        (
            host.beat("10.0.0.7", start + minutes(2)),
            Denial::HostHasKey,
        ),
        (without_id(), Denial::AddressHasKey),
        (
            Host::new(2, "b").beat("10.0.0.1", start + minutes(2)),
            Denial::AddressHasKey,
        ),
        // Also when it is silent, and with a heartbeat of the past.
        (
            Host::new(2, "b").beat("10.0.0.1", start + minutes(60)),
            Denial::AddressHasKey,
        ),
        (
            spooled("10.0.0.1", start + minutes(1), 99.0),
            Denial::AddressHasKey,
        ),
    ] {
        assert_eq!(send(store, beat.clone()), Some(expected), "{beat:?}");
        assert_eq!(at(store, "10.0.0.1"), before);
    }
    assert_eq!(records(store).len(), 1);

    let own = with_own_key(host.beat("10.0.0.1", start + minutes(2)));
    assert_eq!(send(store, own), None);
    assert_eq!(at(store, "10.0.0.1").server_id, before.server_id);

    let told = events(store);
    let conflicts: Vec<&Value> = told
        .iter()
        .filter(|event| event.event.kind == EventKind::HostConflict)
        .map(|event| &event.event.facts["reason"])
        .collect();
    assert_eq!(conflicts, ["host_has_key", "address_has_key"], "each once");
}

pub(super) fn a_batch_is_judged_by_element(store: &dyn Store) {
    store.add_code(&code("c", 9), &act()).unwrap();
    let start = now();
    assert_eq!(send(store, Host::new(1, "a").beat("10.0.0.1", start)), None);
    enroll(store, 1, 1, "c");

    let batch = [
        spooled("10.0.0.5", start + minutes(1), 1.0),
        spooled("10.0.0.1", start + minutes(1), 2.0),
        spooled("10.0.0.6", start + minutes(1), 3.0),
        Host::new(1, "a").beat("10.0.0.7", start + minutes(1)),
    ];
    let recorded = store.record(&batch).unwrap();
    assert_eq!(
        recorded.denied,
        [(1, Denial::AddressHasKey), (3, Denial::HostHasKey)]
    );
    assert!(find(store, "10.0.0.5").is_some() && find(store, "10.0.0.6").is_some());
    assert!(find(store, "10.0.0.7").is_none());
}

pub(super) fn a_host_that_gets_a_key_keeps_its_record(store: &dyn Store) {
    store.add_code(&code("c", 9), &act()).unwrap();
    let start = now();
    let seen = |beat: Beat| Beat {
        observed_ip: Some(beat.ip),
        ..beat
    };
    // One that has an id, one that has none, and one at another host's address.
    for (agent, known) in [
        (1, Some(Host::new(1, "a").beat("10.0.0.1", start))),
        (2, Some(super::beat("10.0.0.2", start))),
        (3, None),
    ] {
        let address = format!("10.0.0.{agent}");
        let before = known.map(|beat| {
            assert_eq!(send(store, beat), None);
            at(store, &address).server_id
        });
        enroll(store, agent, 1, "c");
        let own = with_own_key(Host::new(agent, "a").beat(&address, start + minutes(2)));
        assert_eq!(send(store, seen(own)), None);
        if let Some(before) = before {
            assert_eq!(at(store, &address).server_id, before);
        }
    }
    assert_eq!(records(store).len(), 3);
    let listed = store.keys().unwrap();
    let hosts: Vec<String> = listed
        .iter()
        .filter_map(|listed| Some(listed.host.as_ref()?.ip?.to_string()))
        .collect();
    assert_eq!(hosts, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    for (agent, address) in [(1, "10.0.0.1"), (2, "10.0.0.2"), (3, "10.0.0.3")] {
        let shared = Host::new(agent, "a").beat(address, start + minutes(4));
        assert_eq!(send(store, shared), Some(Denial::HostHasKey));
    }
}

pub(super) fn a_new_host_begins_with_the_flags_of_its_code(store: &dyn Store) {
    let beginning = |enabled, paid| FlagsPatch {
        enabled,
        paid,
        ..FlagsPatch::default()
    };
    for (agent, flags, expected) in [
        (1, beginning(None, None), (true, false)),
        (2, beginning(Some(false), None), (false, false)),
        (3, beginning(Some(false), Some(true)), (false, true)),
    ] {
        let address = format!("10.0.0.{agent}");
        let own = with_own_key(Host::new(agent, "a").beat(&address, now()));
        let new = Beat {
            new_flags: flags,
            ..own
        };
        assert_eq!(send(store, new.clone()), None);
        let shown = at(store, &address).flags;
        assert_eq!((shown.enabled, shown.paid), expected);

        // A later heartbeat sets nothing, and an admin's word is later than the code's.
        let patch = beginning(Some(true), Some(false));
        store
            .set(&ip(&address).into(), HostPatch::Flags(patch), None, &act())
            .unwrap();
        assert_eq!(send(store, new), None);
        let shown = at(store, &address).flags;
        assert_eq!((shown.enabled, shown.paid), (true, false));
    }
}

pub(super) fn a_host_with_a_key_moves_with_its_record(store: &dyn Store) {
    let start = now();
    let host = Host::new(1, "a");
    let own = |address, minute| with_own_key(host.beat(address, start + minutes(minute)));
    assert_eq!(send(store, own("10.0.0.1", 0)), None);
    let before = at(store, "10.0.0.1");

    let fixed = Beat {
        rules: HostRules {
            follow_moves: false,
            unknown: UnknownHosts::Welcome,
        },
        ..own("10.0.0.2", 2)
    };
    assert_eq!(send(store, fixed), Some(Denial::Move));
    assert_eq!(at(store, "10.0.0.1"), before);
    assert_eq!(send(store, own("10.0.0.2", 2)), None);
    assert_eq!(at(store, "10.0.0.2").server_id, before.server_id);

    // Booted elsewhere: one heartbeat waits, the next one moves, and there is no other
    // record at any time.
    let booted = |minute| {
        let beat = Host::new(1, "b").beat("10.0.0.3", start + minutes(minute));
        with_own_key(beat)
    };
    for minute in [20, 22] {
        assert_eq!(send(store, booted(minute)), None);
        assert_eq!(records(store).len(), 1);
    }
    assert_eq!(at(store, "10.0.0.3").server_id, before.server_id);
}

/// What one stolen key can do: nothing but its own host.
pub(super) fn one_stolen_key_reaches_its_own_host_alone(store: &dyn Store) {
    store.add_code(&code("c", 9), &act()).unwrap();
    let start = now();
    let stolen = Host::new(1, "a");
    // The stolen host; one with a key; one with the shared key; one without an id; and
    // one with each that has been silent for long.
    for agent in [1, 2, 6] {
        enroll(store, agent, 1, "c");
    }
    let own = |agent, address: &str, minute| {
        with_own_key(Host::new(agent, "a").beat(address, start + minutes(minute)))
    };
    let shared = |agent, address: &str, minute| {
        Host::new(agent, "a").beat(address, start + minutes(minute))
    };
    for beat in [
        own(6, "10.0.0.6", 0),
        shared(7, "10.0.0.7", 0),
        super::beat("10.0.0.8", start),
        own(1, "10.0.0.1", 30),
        own(2, "10.0.0.2", 30),
        shared(3, "10.0.0.3", 30),
        super::beat("10.0.0.4", start + minutes(30)),
    ] {
        assert_eq!(send(store, beat), None);
    }
    sweep(store, start + minutes(30), 0);
    let others = |store: &dyn Store| -> Vec<Server> {
        let all = records(store).into_iter();
        let own = at_id(store, 1);
        all.filter(|server| server.server_id != own).collect()
    };
    let before = others(store);
    assert_eq!(before.len(), 6);

    let mut minute = 31;
    for address in [
        "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.6", "10.0.0.7", "10.0.0.8",
    ] {
        for boot in ["a", "b", "c"] {
            for is_spooled in [false, true] {
                minute += 11;
                let at = start + minutes(minute);
                let mut beat = Host::new(1, boot).beat(address, at);
                if is_spooled {
                    beat = Beat {
                        supersedes: crate::store::Supersedes::IfNewer,
                        ..beat
                    };
                    beat.heartbeat.collected_at = Some(at);
                }
                // Elsewhere nothing of the attempt is seen: not as the others' state, not
                // as a record of its own, not by a removal.
                send(store, with_own_key(beat));
                let told = format!("{address}, boot {boot}, spooled {is_spooled}");
                assert_eq!(others(store), before, "{told}");
                assert_eq!(records(store).len(), 7, "{told}");
            }
        }
    }
    // Nor by an enrolment of another host, or of a further one.
    for (agent, code) in [(2, None), (3, None), (99, None)] {
        let wish = EnrollRequest {
            presented: Some(hash(1)),
            ..request(agent, 5, code)
        };
        // The hash of the key of host 2 is the same here: it is not the stolen key's.
        let wish = match agent {
            2 => EnrollRequest {
                presented: Some(hash(77)),
                ..wish
            },
            _ => wish,
        };
        let refused = store.enroll(&wish).unwrap();
        assert_eq!(refused, Err(EnrollRefusal::NoProof), "{agent}");
    }
    assert_eq!(others(store), before);
    // At a free address it is its own host, and no other.
    let free = stolen.beat("10.0.0.20", start + minutes(minute + 11));
    assert_eq!(send(store, with_own_key(free)), None);
    assert_eq!(records(store).len(), 7);
    assert_eq!(others(store), before);
}

/// The `server_id` of the host `agent`, which has a key.
fn at_id(store: &dyn Store, agent: u128) -> String {
    let id = AgentId::from_bits(agent);
    let listed = store.keys().unwrap().into_iter();
    let mut of_agent = listed.filter(|listed| listed.key.agent_id == id);
    of_agent.next().unwrap().host.unwrap().server_id
}

pub(super) fn a_removed_host_is_refused_until_somebody_readmits_it(store: &dyn Store) {
    let start = now();
    store.add_code(&code("c", 9), &act()).unwrap();
    let shared = |minute| Host::new(1, "a").beat("10.0.0.1", start + minutes(minute));
    let own = |minute| {
        with_own_key(Host::new(2, "a").beat("10.0.0.2", start + minutes(minute)))
    };
    let id = AgentId::from_bits;
    enroll(store, 2, 1, "c");
    assert_eq!(send(store, shared(0)), None);
    assert_eq!(send(store, own(0)), None);
    let remove = |address: &str| {
        let removed = store.remove_server(&ip(address).into(), &act()).unwrap();
        removed.unwrap().refused.unwrap()
    };
    let mark = remove("10.0.0.1");
    assert_eq!(
        (mark.agent_id, mark.hash, mark.is_active()),
        (id(1), None, false)
    );
    assert_eq!(mark, key(store, 1));
    let ended = remove("10.0.0.2");
    assert_eq!(ended.hash, Some(hash(1)));
    assert!(!ended.is_active() && ended.revoked_at.is_none());
    assert_eq!(ended, key(store, 2));

    // Whatever this server remembers of the keys, and wherever the host is by now.
    for minute in 1..3 {
        for beat in [
            shared(minute),
            own(minute),
            Host::new(1, "b").beat("10.0.0.3", start + minutes(minute)),
            with_own_key(Host::new(2, "b").beat("10.0.0.1", start + minutes(minute))),
            Beat {
                speaker: Speaker::Removed,
                ..shared(minute)
            },
        ] {
            assert_eq!(send(store, beat), Some(Denial::Removed));
            assert_eq!(records(store), []);
        }
    }
    // The key of a removed host neither changes nor rotates.
    let follow = EnrollRequest {
        presented: Some(hash(1)),
        ..request(2, 2, None)
    };
    let refused = store.enroll(&follow).unwrap();
    assert_eq!(refused, Err(EnrollRefusal::NoProof));
    let asked = store.ask_for_rotation(id(2), &act()).unwrap().unwrap();
    assert!(!asked.rotate);
    assert_eq!(store.revoke_key(id(1), &act()).unwrap(), Some(mark));

    for agent in [1, 2] {
        let readmitted = store.readmit(id(agent), &act()).unwrap().unwrap();
        assert_eq!(readmitted.removed_at, None);
        assert_eq!(store.readmit(id(agent), &act()).unwrap(), Some(readmitted));
    }
    assert_eq!(store.readmit(id(9), &act()).unwrap(), None);
    assert!(key(store, 2).is_active(), "it has its key again");
    assert_eq!(send(store, shared(4)), None);
    assert_eq!(send(store, own(4)), None);

    // A code lets a host in, too; and a key that was revoked stays so.
    remove("10.0.0.1");
    enroll(store, 1, 3, "c");
    assert_eq!(key(store, 1).removed_at, None);
    let beat = with_own_key(Host::new(1, "a").beat("10.0.0.1", start + minutes(6)));
    assert_eq!(send(store, beat), None);
    store.revoke_key(id(2), &act()).unwrap();
    remove("10.0.0.2");
    let readmitted = store.readmit(id(2), &act()).unwrap().unwrap();
    assert!(!readmitted.is_active());

    let kinds = events(store)
        .into_iter()
        .map(|event| event.event.kind.as_str());
    let kinds: Vec<&str> = kinds.filter(|kind| !kind.starts_with("host.new")).collect();
    let expected = [
        "code.created",
        "key.enrolled",
        "host.deleted",
        "key.revoked",
        "host.deleted",
        "host.readmitted",
        "host.readmitted",
        "host.deleted",
        "key.enrolled",
        "key.revoked",
        "host.deleted",
        "host.readmitted",
    ];
    assert_eq!(kinds, expected);
}

pub(super) fn a_readmitted_host_needs_no_code(store: &dyn Store) {
    let start = now();
    let beat = |minute| Beat {
        rules: HostRules {
            follow_moves: true,
            unknown: UnknownHosts::NeedCode,
        },
        ..Host::new(1, "a").beat("10.0.0.1", start + minutes(minute))
    };
    assert_eq!(send(store, beat(0)), Some(Denial::UnknownHost));
    let known = Host::new(1, "a").beat("10.0.0.1", start + minutes(1));
    assert_eq!(send(store, known), None);
    let removed = store.remove_server(&ip("10.0.0.1").into(), &act()).unwrap();
    assert!(removed.unwrap().refused.is_some());
    assert_eq!(send(store, beat(2)), Some(Denial::Removed));
    store
        .readmit(AgentId::from_bits(1), &act())
        .unwrap()
        .unwrap();
    assert_eq!(send(store, beat(3)), None);
}

pub(super) fn of_two_keys_of_one_host_one_has_a_use(store: &dyn Store) {
    for round in 0..8_u8 {
        let id = format!("c{round}");
        store.add_code(&code(&id, 2), &act()).unwrap();
        let agent = u128::from(round) + 1;
        let taken = AtomicUsize::new(0);
        thread::scope(|scope| {
            for key in 1..4 {
                let (id, taken) = (id.as_str(), &taken);
                scope.spawn(move || {
                    if store
                        .enroll(&request(agent, key, Some(id)))
                        .unwrap()
                        .is_ok()
                    {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 1);
        let codes = store.codes().unwrap();
        let code = codes.iter().find(|code| code.id == id).unwrap();
        assert_eq!(code.uses, 1);
    }
}

pub(super) fn changes_of_keys_are_followed(store: &dyn Store) {
    store.add_code(&code("c", 9), &act()).unwrap();
    let since = |rev| {
        let mut keys = Vec::new();
        store.keys_since(rev, &mut |key| keys.push(key)).unwrap();
        keys
    };
    assert!(since(0).is_empty());
    for agent in 1..4 {
        enroll(store, agent, 1, "c");
    }
    let all = since(0);
    assert_eq!(all.len(), 3);
    assert!(all.is_sorted_by(|a, b| a.rev < b.rev));
    let last = all[2].rev;
    assert!(since(last).is_empty());

    let id = AgentId::from_bits(2);
    let mut newest = last;
    for change in 0..3 {
        match change {
            0 => drop(store.ask_for_rotation(id, &act()).unwrap()),
            1 => {
                let follow = EnrollRequest {
                    presented: Some(hash(1)),
                    ..request(2, 2, None)
                };
                store.enroll(&follow).unwrap().unwrap();
            }
            _ => drop(store.revoke_key(id, &act()).unwrap()),
        }
        let changed = since(newest);
        assert_eq!(changed.len(), 1, "{change}");
        assert_eq!(changed[0], key(store, 2));
        newest = changed[0].rev;
    }
}

pub(super) fn what_is_done_with_keys_is_told(store: &dyn Store) {
    let host = Host::new(1, "a");
    assert_eq!(send(store, host.beat("10.0.0.1", now())), None);
    store.add_code(&code("c", 2), &act()).unwrap();
    enroll(store, 1, 1, "c");
    let id = AgentId::from_bits(1);
    // What is asked for again is told once.
    for _ in 0..2 {
        store.ask_for_rotation(id, &act()).unwrap();
    }
    let follow = EnrollRequest {
        presented: Some(hash(1)),
        ..request(1, 2, None)
    };
    store.enroll(&follow).unwrap().unwrap();
    for _ in 0..2 {
        store.use_next_key(id, hash(2), now()).unwrap();
        store.revoke_key(id, &act()).unwrap();
    }
    enroll(store, 1, 3, "c");
    store.remove_code("c", &act()).unwrap();

    let told = events(store);
    let kinds: Vec<&str> = told.iter().map(|event| event.event.kind.as_str()).collect();
    let expected = [
        "code.created",
        "key.enrolled",
        "key.rotation_asked",
        "key.rotated",
        "key.revoked",
        "key.enrolled",
        "code.deleted",
    ];
    assert_eq!(kinds, expected);
    let shown = id.to_string();
    for event in &told[1..6] {
        assert_eq!(
            event.event.facts["agent"],
            shown.as_str(),
            "and no more of it"
        );
        let ip = event.host.as_ref().and_then(|host| host.ip);
        assert_eq!(ip, Some(self::ip("10.0.0.1")));
    }
    assert_eq!(told[5].event.facts["again"], true);
    assert_eq!(told[6].event.facts["uses"], 2);
    let text = format!("{told:?}");
    assert!(!text.contains(&id.expose()) && !text.contains(&hash(1).show()));
}
