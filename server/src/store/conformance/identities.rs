//! What every backend must do with hosts whose address or agent changes. An ordinary
//! life costs no heartbeat and no flag.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_protocol::{AgentId, Flags, FlagsPatch, Server, Timestamp};

use super::fixtures::{act, beat, ip, minutes, now, servers, spooled, sweep};
use crate::store::{Beat, HostName, HostPatch, Store};

/// A host as its agent shows it.
#[derive(Clone, Copy)]
pub(super) struct Host {
    agent: u128,
    boot: &'static str,
}

impl Host {
    pub(super) fn new(agent: u128, boot: &'static str) -> Host {
        Host { agent, boot }
    }

    pub(super) fn beat(self, address: &str, at: Timestamp) -> Beat {
        self.sign(beat(address, at))
    }

    fn sign(self, mut beat: Beat) -> Beat {
        beat.heartbeat.agent_id = Some(AgentId::from_bits(self.agent));
        beat.heartbeat.boot_id = Some(self.boot.to_owned());
        beat.heartbeat.hostname = format!("host-{}", self.agent);
        beat
    }
}

const PAID: FlagsPatch = FlagsPatch {
    paid: Some(true),
    gaming: None,
    streaming: None,
    enabled: Some(false),
    is_static: None,
};

pub(super) fn find(store: &dyn Store, address: &str) -> Option<Server> {
    store.server(&ip(address).into()).unwrap()
}

#[track_caller]
pub(super) fn at(store: &dyn Store, address: &str) -> Server {
    find(store, address).unwrap_or_else(|| panic!("no host at {address}"))
}

pub(super) fn set_paid(store: &dyn Store, address: &str) {
    store
        .set(&ip(address).into(), HostPatch::Flags(PAID), None, &act())
        .unwrap();
}

pub(super) fn is_paid(flags: Flags) -> bool {
    assert_eq!(flags.paid, !flags.enabled);
    flags.paid
}

pub(super) fn send(store: &dyn Store, beat: Beat) {
    // A store that is slow at the moment asks agents to come again.
    let beats = [beat];
    let is_stored = |_| store.record(&beats).unwrap().refused.is_empty();
    assert!((0..5).any(is_stored), "not stored");
}

/// Names of hosts by address.
fn names(store: &dyn Store) -> BTreeMap<String, String> {
    let name = |server: Arc<Server>| (server.ip.to_string(), server.hostname.clone());
    servers(store).into_iter().map(name).collect()
}

/// Waits until the list is as expected: readers may see a change a moment later.
#[track_caller]
fn wait_for_list(
    store: &dyn Store,
    is_right: impl Fn(&BTreeMap<String, String>) -> bool,
) {
    let started = Instant::now();
    loop {
        let names = names(store);
        if is_right(&names) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(2), "{names:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
pub(super) fn assert_count(store: &dyn Store, expected: usize) {
    wait_for_list(store, |names| names.len() == expected);
}

#[track_caller]
pub(super) fn assert_names(store: &dyn Store, expected: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> = expected
        .iter()
        .map(|(ip, name)| ((*ip).to_owned(), (*name).to_owned()))
        .collect();
    wait_for_list(store, |names| *names == expected);
}

pub(super) fn a_host_that_is_installed_again_keeps_its_record(store: &dyn Store) {
    let start = now();
    send(store, Host::new(1, "a").beat("10.0.0.1", start));
    set_paid(store, "10.0.0.1");
    let before = at(store, "10.0.0.1");
    // A container without a volume for its state is installed again at each restart, and
    // its host has not booted.
    for (minute, agent, boot) in [(2, 2, "b"), (3, 3, "b"), (4, 4, "c")] {
        let later = start + minutes(minute);
        send(store, Host::new(agent, boot).beat("10.0.0.1", later));
        let after = at(store, "10.0.0.1");
        assert_eq!(after.server_id, before.server_id);
        assert_eq!((after.last_heartbeat, is_paid(after.flags)), (later, true));
    }
    assert_count(store, 1);
}

pub(super) fn a_host_with_another_address_keeps_its_record(store: &dyn Store) {
    let start = now();
    let host = Host::new(1, "a");
    send(store, host.beat("10.0.0.1", start));
    set_paid(store, "10.0.0.1");
    let before = at(store, "10.0.0.1");

    // DHCP, while the host runs.
    send(store, host.beat("10.0.0.2", start + minutes(2)));
    let after = at(store, "10.0.0.2");
    assert_eq!(after.server_id, before.server_id);
    assert_eq!(after.first_heartbeat, before.first_heartbeat);
    assert!(is_paid(after.flags));
    assert_eq!(find(store, "10.0.0.1"), None);

    // A boot with another address, after a while.
    let host = Host::new(1, "b");
    let later = start + minutes(20);
    send(store, host.beat("2001:db8::3", later));
    let after = at(store, "2001:db8::3");
    assert_eq!(
        (
            after.server_id.as_str(),
            after.last_heartbeat,
            is_paid(after.flags)
        ),
        (before.server_id.as_str(), later, true)
    );
    assert_names(store, &[("2001:db8::3", "host-1")]);

    // Whoever knows the host by its id finds it, and by an old address hears of it.
    let id = HostName::ServerId(before.server_id);
    assert_eq!(store.server(&id).unwrap(), Some(after));
    for old in ["10.0.0.1", "10.0.0.2"] {
        assert_eq!(
            store.moved_to(ip(old)).unwrap(),
            Some(ip("2001:db8::3")),
            "{old}"
        );
    }
    for other in ["10.0.0.3", "2001:db8::3"] {
        assert_eq!(store.moved_to(ip(other)).unwrap(), None, "{other}");
    }
    let default = FlagsPatch {
        paid: Some(false),
        enabled: Some(true),
        ..FlagsPatch::default()
    };
    let set = store
        .set(&id, HostPatch::Flags(default), None, &act())
        .unwrap()
        .unwrap();
    assert!(!is_paid(set.flags));
    let unknown = HostName::ServerId("srv-00000000".to_owned());
    assert_eq!(
        store
            .set(&unknown, HostPatch::Flags(default), None, &act())
            .unwrap(),
        None
    );

    // An old address is a new host's.
    send(store, Host::new(9, "z").beat("10.0.0.1", later));
    assert_eq!(store.moved_to(ip("10.0.0.1")).unwrap(), None);
    assert_eq!(at(store, "10.0.0.1").hostname, "host-9");
}

pub(super) fn a_silent_hosts_address_goes_to_another_host_and_its_flags_wait(
    store: &dyn Store,
) {
    let start = now();
    let (gone, host) = (Host::new(1, "a"), Host::new(2, "b"));
    send(store, gone.beat("10.0.0.1", start));
    send(store, host.beat("10.0.0.2", start));
    set_paid(store, "10.0.0.1");
    let id = at(store, "10.0.0.2").server_id;

    let later = start + minutes(5);
    send(store, host.beat("10.0.0.2", later));
    send(store, host.beat("10.0.0.1", later + minutes(1)));
    let moved = at(store, "10.0.0.1");
    assert_eq!((&moved.server_id, is_paid(moved.flags)), (&id, false));
    assert_names(store, &[("10.0.0.1", "host-2")]);

    send(store, gone.beat("10.0.0.7", later + minutes(9)));
    assert!(is_paid(at(store, "10.0.0.7").flags));
    assert!(!is_paid(at(store, "10.0.0.1").flags));
}

pub(super) fn a_restarted_host_with_another_address_gets_its_record_back(
    store: &dyn Store,
) {
    let start = now();
    send(store, Host::new(1, "a").beat("10.0.0.1", start));
    set_paid(store, "10.0.0.1");
    let id = at(store, "10.0.0.1").server_id;

    // Nobody can tell yet whether it is the host or a copy of it: but it has the flags.
    let host = Host::new(1, "b");
    send(store, host.beat("10.0.0.2", start + minutes(1)));
    let meanwhile = at(store, "10.0.0.2");
    assert_ne!(meanwhile.server_id, id);
    assert!(is_paid(meanwhile.flags));
    let gaming = FlagsPatch {
        gaming: Some(true),
        ..FlagsPatch::default()
    };
    store
        .set(
            &ip("10.0.0.2").into(),
            HostPatch::Flags(gaming),
            None,
            &act(),
        )
        .unwrap();
    send(store, host.beat("10.0.0.2", start + minutes(3)));

    // The old address is silent: it was the host.
    send(store, host.beat("10.0.0.2", start + minutes(5)));
    let after = at(store, "10.0.0.2");
    assert_eq!((&after.server_id, is_paid(after.flags)), (&id, true));
    assert!(after.flags.gaming, "what an admin set meanwhile stays");
    assert_names(store, &[("10.0.0.2", "host-1")]);
}

/// The flags of `PAID` in any combination.
fn flags(paid: Option<bool>, enabled: Option<bool>) -> FlagsPatch {
    FlagsPatch {
        paid,
        enabled,
        ..FlagsPatch::default()
    }
}

pub(super) fn each_flag_that_was_set_last_on_either_record_of_a_host_counts(
    store: &dyn Store,
) {
    // What an admin sets, each on the old record or on that of the restarted host, and
    // what holds in the end: paid, enabled.
    for (case, (changes, expected)) in (0..).zip([
        (
            vec![("new", Some(true), None), ("old", None, Some(false))],
            (true, false),
        ),
        (
            vec![("old", None, Some(false)), ("new", Some(true), None)],
            (true, false),
        ),
        (
            vec![("new", None, Some(false)), ("old", None, Some(true))],
            (false, true),
        ),
        (
            vec![("old", None, Some(false)), ("new", None, Some(true))],
            (false, true),
        ),
        // What was set before both, and is taken back on one.
        (
            vec![
                ("before", Some(true), Some(false)),
                ("old", Some(false), None),
                ("new", None, Some(false)),
            ],
            (false, false),
        ),
        (vec![("old", None, Some(false))], (false, false)),
        (vec![("new", Some(true), None)], (true, true)),
    ]) {
        let start = now();
        let old = format!("10.0.{case}.1");
        let new = format!("10.0.{case}.2");
        let host = |boot| Host::new(100 + case, boot);
        send(store, host("a").beat(&old, start));
        let (before, after): (Vec<_>, Vec<_>) =
            changes.iter().partition(|(on, ..)| *on == "before");
        let set = |(on, paid, enabled): &(&str, Option<bool>, Option<bool>)| {
            let address = if *on == "new" { &new } else { &old };
            let name = ip(address).into();
            store
                .set(
                    &name,
                    HostPatch::Flags(flags(*paid, *enabled)),
                    None,
                    &act(),
                )
                .unwrap();
        };
        before.into_iter().for_each(set);
        send(store, host("b").beat(&new, start + minutes(1)));
        after.into_iter().for_each(set);
        send(store, host("b").beat(&new, start + minutes(5)));
        assert_eq!(find(store, &old), None);
        let after = at(store, &new).flags;
        assert_eq!((after.paid, after.enabled), expected, "{changes:?}");
    }
}

pub(super) fn a_clone_has_a_record_of_its_own(store: &dyn Store) {
    let start = now();
    let (original, clone) = (Host::new(1, "a"), Host::new(1, "b"));
    send(store, original.beat("10.0.0.1", start));
    let id = at(store, "10.0.0.1").server_id;
    for round in 0..10 {
        let time = start + minutes(round * 2);
        send(store, original.beat("10.0.0.1", time));
        send(store, clone.beat("10.0.0.2", time + minutes(1)));
        assert_eq!(at(store, "10.0.0.1").server_id, id);
        assert_eq!(at(store, "10.0.0.1").last_heartbeat, time);
        assert_eq!(at(store, "10.0.0.2").last_heartbeat, time + minutes(1));
    }
    assert_count(store, 2);

    // What each has spooled is its own.
    let old = start - minutes(60);
    send(store, clone.sign(spooled("10.0.0.2", old, 1.0)));
    send(store, original.sign(spooled("10.0.0.1", old, 1.0)));
    assert_count(store, 2);
}

pub(super) fn a_link_that_flaps_moves_a_host_once(store: &dyn Store) {
    let start = now();
    let host = Host::new(1, "a");
    send(store, host.beat("10.0.0.1", start));
    let id = at(store, "10.0.0.1").server_id;
    for round in 1..5 {
        let address = ["10.0.0.1", "10.0.0.2"][round % 2];
        let time = start + minutes(round as i64 * 2);
        send(store, host.beat(address, time));
        let record = at(store, "10.0.0.2");
        assert_eq!((&record.server_id, record.last_heartbeat), (&id, time));
        assert_count(store, 1);
    }
    send(store, host.beat("10.0.0.1", start + minutes(13)));
    assert_eq!(at(store, "10.0.0.1").server_id, id);
}

pub(super) fn two_hosts_exchange_their_addresses(store: &dyn Store) {
    let start = now();
    let (one, two) = (Host::new(1, "a"), Host::new(2, "b"));
    send(store, one.beat("10.0.0.1", start));
    send(store, two.beat("10.0.0.2", start));
    set_paid(store, "10.0.0.1");
    let ids = ["10.0.0.1", "10.0.0.2"].map(|ip| at(store, ip).server_id);

    for round in 1..3 {
        let time = start + minutes(round * 2);
        send(store, one.beat("10.0.0.2", time));
        send(store, two.beat("10.0.0.1", time));
        assert_count(store, 2);
    }
    let after = ["10.0.0.2", "10.0.0.1"].map(|ip| at(store, ip).server_id);
    assert_eq!(after, ids);
    assert!(
        is_paid(at(store, "10.0.0.2").flags) && !is_paid(at(store, "10.0.0.1").flags)
    );
    assert_names(store, &[("10.0.0.1", "host-2"), ("10.0.0.2", "host-1")]);
}

pub(super) fn three_hosts_exchange_their_addresses(store: &dyn Store) {
    let start = now();
    let hosts = [1, 2, 3].map(|agent| Host::new(agent, "boot"));
    let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    for (host, address) in hosts.iter().zip(addresses) {
        send(store, host.beat(address, start));
    }
    set_paid(store, "10.0.0.1");
    let ids = addresses.map(|ip| at(store, ip).server_id);

    // Each has the next one's address, round after round, until all rest.
    for round in 1..15 {
        for (index, host) in hosts.iter().enumerate() {
            let time = start + minutes(round * 2);
            send(store, host.beat(addresses[(index + 1) % 3], time));
            assert_count(store, 3);
        }
    }
    let after = ["10.0.0.2", "10.0.0.3", "10.0.0.1"].map(|ip| at(store, ip).server_id);
    assert_eq!(after, ids);
    assert!(is_paid(at(store, "10.0.0.2").flags));
}

pub(super) fn a_new_host_on_an_address_that_was_given_up_costs_no_flags(
    store: &dyn Store,
) {
    let start = now();
    let host = Host::new(1, "a");
    send(store, host.beat("10.0.0.1", start));
    set_paid(store, "10.0.0.1");
    // A new host gets the address of a lease that has ended, and speaks first. It looks
    // like the old host installed again.
    send(
        store,
        Host::new(2, "b").beat("10.0.0.1", start + minutes(1)),
    );
    send(store, host.beat("10.0.0.2", start + minutes(2)));
    assert!(is_paid(at(store, "10.0.0.2").flags));
    assert_names(store, &[("10.0.0.1", "host-2"), ("10.0.0.2", "host-1")]);
}

pub(super) fn hosts_that_take_turns_at_an_address_share_a_record(store: &dyn Store) {
    let start = now();
    let (one, two) = (Host::new(1, "a"), Host::new(2, "b"));
    send(store, one.beat("10.0.0.100", start));
    set_paid(store, "10.0.0.100");
    let id = at(store, "10.0.0.100").server_id;
    // Behind one translator, or with a keepalived address that fails over and back,
    // quickly or after a while.
    for (time, host) in [(1, two), (2, one), (3, two), (4, one), (12, two), (40, one)] {
        let time = start + minutes(time);
        send(store, host.beat("10.0.0.100", time));
        let record = at(store, "10.0.0.100");
        assert_eq!((&record.server_id, record.last_heartbeat), (&id, time));
        assert!(is_paid(record.flags));
    }

    // What an admin sets while one of them has it is what the other one finds.
    let default = FlagsPatch {
        paid: Some(false),
        enabled: Some(true),
        ..FlagsPatch::default()
    };
    store
        .set(
            &ip("10.0.0.100").into(),
            HostPatch::Flags(default),
            None,
            &act(),
        )
        .unwrap();
    send(store, two.beat("10.0.0.100", start + minutes(60)));
    assert!(!is_paid(at(store, "10.0.0.100").flags));
    assert_count(store, 1);
}

pub(super) fn a_spooled_heartbeat_belongs_to_its_agents_record(store: &dyn Store) {
    let start = now() - minutes(60);
    let (one, two) = (Host::new(1, "a"), Host::new(2, "b"));
    send(store, one.beat("10.0.0.1", start));
    send(store, two.beat("10.0.0.2", start));
    let spool = |host: Host, address: &str, minute: i64, cpu: f64| {
        host.sign(spooled(address, start + minutes(minute), cpu))
    };
    // The address is another one's, or nobody's: a spooled heartbeat moves nothing.
    send(store, spool(one, "10.0.0.2", 2, 1.0));
    send(store, spool(one, "10.0.0.3", 4, 2.0));
    assert_names(store, &[("10.0.0.1", "host-1"), ("10.0.0.2", "host-2")]);
    assert_eq!(at(store, "10.0.0.1").load.cpu, Some(2.0));
    assert_eq!(at(store, "10.0.0.2").load.cpu, Some(12.5));

    // Of an agent that nobody knows, the address is all there is.
    send(store, spool(Host::new(3, "c"), "10.0.0.4", 2, 3.0));
    send(store, spool(Host::new(3, "c"), "10.0.0.5", 4, 4.0));
    assert_eq!(at(store, "10.0.0.4").load.cpu, Some(4.0));
    send(store, spool(Host::new(4, "d"), "10.0.0.1", 6, 5.0));
    assert_eq!(at(store, "10.0.0.1").load.cpu, Some(5.0));
    send(store, one.beat("10.0.0.1", start + minutes(8)));
    assert_count(store, 3);
}

pub(super) fn an_agent_that_learns_its_id_keeps_its_record(store: &dyn Store) {
    let start = now();
    send(store, beat("10.0.0.1", start));
    set_paid(store, "10.0.0.1");
    let id = at(store, "10.0.0.1").server_id;
    // The agent is upgraded, goes back to the old version, and is upgraded again.
    let host = Host::new(1, "a");
    for (minute, beat) in [
        (1, host.beat("10.0.0.1", start + minutes(1))),
        (2, beat("10.0.0.1", start + minutes(2))),
        (3, host.beat("10.0.0.1", start + minutes(3))),
    ] {
        send(store, beat);
        let record = at(store, "10.0.0.1");
        assert_eq!((&record.server_id, is_paid(record.flags)), (&id, true));
        assert_eq!(record.last_heartbeat, start + minutes(minute));
    }

    // Hosts without an id are known by their address, as ever.
    send(store, beat("10.0.0.2", start + minutes(4)));
    assert_count(store, 2);
    sweep(store, start + minutes(30), 30);
    send(store, host.beat("10.0.0.2", start + minutes(31)));
    assert_eq!(at(store, "10.0.0.2").server_id, id);
}

pub(super) fn an_address_is_confirmed_by_the_connection(store: &dyn Store) {
    let start = now();
    let host = Host::new(1, "a");
    let from = |observed: &str, address: &str, minute: i64| Beat {
        observed_ip: (!observed.is_empty()).then(|| ip(observed)),
        ..host.beat(address, start + minutes(minute))
    };
    let shown = |address: &str| {
        let server = at(store, address);
        let observed = server.observed_ip.map(|ip| ip.to_string());
        (observed.unwrap_or_default(), server.ip_confirmed)
    };
    let expect = |observed: &str, is_confirmed: bool| (observed.to_owned(), is_confirmed);

    send(store, from("", "10.0.0.1", 0));
    assert_eq!(shown("10.0.0.1"), expect("", false));
    send(store, from("198.51.100.1", "10.0.0.1", 1));
    assert_eq!(shown("10.0.0.1"), expect("198.51.100.1", false));
    send(store, from("10.0.0.1", "10.0.0.1", 2));
    assert_eq!(shown("10.0.0.1"), expect("10.0.0.1", true));
    // What was once seen stays, until the host moves.
    send(store, from("198.51.100.1", "10.0.0.1", 3));
    assert_eq!(shown("10.0.0.1"), expect("198.51.100.1", true));
    send(store, from("", "10.0.0.1", 4));
    assert_eq!(shown("10.0.0.1"), expect("198.51.100.1", true));
    send(store, from("198.51.100.1", "10.0.0.2", 5));
    assert_eq!(shown("10.0.0.2"), expect("198.51.100.1", false));

    // A first heartbeat may come from the very address.
    let mut first = beat("10.0.0.9", start);
    first.observed_ip = Some(ip("10.0.0.9"));
    send(store, first);
    assert_eq!(shown("10.0.0.9"), expect("10.0.0.9", true));
    assert_eq!(shown("10.0.0.2"), expect("198.51.100.1", false));
}
