//! What every backend must do with hosts that are driven from their records: each ends in
//! a record of its own again, with the flags that an admin has set for it.

use fleetbeat_protocol::FlagsPatch;

use super::fixtures::{act, beat, ip, minutes, now, sweep};
use super::identities::{
    Host, assert_count, assert_names, at, find, is_paid, send, set_paid,
};
use crate::store::{HostPatch, Store};

pub(super) fn two_hosts_that_boot_exchange_their_addresses(store: &dyn Store) {
    let start = now();
    send(store, Host::new(1, "a").beat("10.0.0.1", start));
    send(store, Host::new(2, "a").beat("10.0.0.2", start));
    set_paid(store, "10.0.0.1");
    let ids = ["10.0.0.1", "10.0.0.2"].map(|ip| at(store, ip).server_id);

    for round in 1..4 {
        let time = start + minutes(round * 2);
        send(store, Host::new(1, "b").beat("10.0.0.2", time));
        send(store, Host::new(2, "b").beat("10.0.0.1", time));
        assert_count(store, 2);
    }
    let after = ["10.0.0.2", "10.0.0.1"].map(|ip| at(store, ip).server_id);
    assert_eq!(after, ids);
    assert!(is_paid(at(store, "10.0.0.2").flags));
    assert!(!is_paid(at(store, "10.0.0.1").flags));
    assert_names(store, &[("10.0.0.1", "host-2"), ("10.0.0.2", "host-1")]);
}

pub(super) fn three_hosts_that_boot_exchange_their_addresses(store: &dyn Store) {
    let start = now();
    let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    for (agent, address) in (1..).zip(addresses) {
        send(store, Host::new(agent, "a").beat(address, start));
    }
    set_paid(store, "10.0.0.1");
    let ids = addresses.map(|ip| at(store, ip).server_id);
    for round in 1..15 {
        let time = start + minutes(round * 2);
        for (agent, index) in (1..).zip(0..3) {
            let address = addresses[(index + 1) % 3];
            send(store, Host::new(agent, "b").beat(address, time));
            assert_count(store, 3);
        }
    }
    let after = ["10.0.0.2", "10.0.0.3", "10.0.0.1"].map(|ip| at(store, ip).server_id);
    assert_eq!(after, ids);
    let paid = addresses.map(|ip| is_paid(at(store, ip).flags));
    assert_eq!(paid, [false, true, false]);
}

pub(super) fn a_host_that_boots_on_a_living_hosts_address_speaks_in_its_own_record(
    store: &dyn Store,
) {
    let start = now();
    send(store, Host::new(1, "a").beat("10.0.0.1", start));
    send(store, Host::new(2, "a").beat("10.0.0.2", start));
    set_paid(store, "10.0.0.2");
    for minute in 1..30 {
        let time = start + minutes(minute);
        send(store, Host::new(1, "b").beat("10.0.0.2", time));
        send(store, Host::new(2, "a").beat("10.0.0.2", time));
        let other = at(store, "10.0.0.2");
        assert_eq!(
            (other.hostname.as_str(), is_paid(other.flags)),
            ("host-2", true)
        );
        let own = at(store, "10.0.0.1");
        assert_eq!((own.last_heartbeat, is_paid(own.flags)), (time, false));
    }
    // The other one is switched off.
    for minute in 30..36 {
        send(
            store,
            Host::new(1, "b").beat("10.0.0.2", start + minutes(minute)),
        );
    }
    assert_names(store, &[("10.0.0.2", "host-1")]);
    assert!(!is_paid(at(store, "10.0.0.2").flags));
    send(
        store,
        Host::new(2, "a").beat("10.0.0.7", start + minutes(40)),
    );
    assert!(is_paid(at(store, "10.0.0.7").flags));
}

pub(super) fn a_host_that_returns_in_another_hosts_place_has_its_own_flags(
    store: &dyn Store,
) {
    // Either of the two hosts may be the one that an admin has disabled, or both have
    // flags.
    for (case, (returning, staying)) in
        (0..).zip([(true, false), (false, true), (true, true)])
    {
        let start = now();
        let address = |host: u128| format!("10.{case}.0.{host}");
        let host = |agent: u128, boot| Host::new(case * 10 + agent, boot);
        for agent in 1..4 {
            send(store, host(agent, "a").beat(&address(agent), start));
        }
        let gaming = FlagsPatch {
            gaming: Some(true),
            ..FlagsPatch::default()
        };
        if returning {
            set_paid(store, &address(1));
        }
        if staying {
            store
                .set(
                    &ip(&address(3)).into(),
                    HostPatch::Flags(gaming),
                    None,
                    &act(),
                )
                .unwrap();
        }

        // The first host is silent, and the second one gets its address.
        let later = start + minutes(5);
        for agent in 2..4 {
            send(store, host(agent, "a").beat(&address(agent), later));
        }
        let later = later + minutes(1);
        send(store, host(2, "a").beat(&address(1), later));
        assert_eq!(find(store, &address(2)), None);

        // The third one has just left its address, and the first one is back there.
        let later = later + minutes(1);
        send(store, host(1, "b").beat(&address(3), later));
        send(store, host(3, "b").beat(&address(4), later + minutes(1)));
        for minute in 2..8 {
            let time = later + minutes(minute);
            send(store, host(1, "b").beat(&address(3), time));
            send(store, host(3, "b").beat(&address(4), time));
        }
        let (first, third) = (at(store, &address(3)), at(store, &address(4)));
        assert_eq!(is_paid(first.flags), returning);
        assert_eq!((first.flags.gaming, third.flags.gaming), (false, staying));
        assert!(!is_paid(third.flags));
        assert_ne!(first.server_id, third.server_id);
        assert!(!is_paid(at(store, &address(1)).flags));
    }
}

pub(super) fn a_host_that_boots_again_and_again_elsewhere_keeps_what_was_set_meanwhile(
    store: &dyn Store,
) {
    // Where the host is after the boot in which an admin has disabled it.
    for (case, last) in (0..).zip(["10.0.0.3", "10.0.0.1", "10.0.0.2", "10.0.0.9"]) {
        let start = now();
        let here = |address: &str| address.replace("10.0.0", &format!("10.0.{case}"));
        let host = |boot| Host::new(20 + case, boot);
        let neighbour = Host::new(40 + case, "a");
        send(store, host("a").beat(&here("10.0.0.1"), start));
        send(store, neighbour.beat(&here("10.0.0.9"), start + minutes(1)));
        send(store, host("b").beat(&here("10.0.0.2"), start + minutes(1)));
        set_paid(store, &here("10.0.0.2"));
        send(store, host("c").beat(&here(last), start + minutes(2)));
        for minute in 3..20 {
            let time = start + minutes(minute);
            send(store, neighbour.beat(&here("10.0.0.10"), time));
            send(store, host("c").beat(&here(last), time));
        }
        let record = at(store, &here(last));
        assert!(is_paid(record.flags), "{last}");
        for old in ["10.0.0.1", "10.0.0.2", "10.0.0.3"] {
            let is_there = find(store, &here(old)).is_some();
            assert_eq!(is_there, old == last, "{old} of {last}");
        }
    }
}

pub(super) fn a_host_keeps_what_was_set_while_it_had_two_records(store: &dyn Store) {
    let start = now();
    let host = |boot| Host::new(1, boot);
    send(store, host("a").beat("10.0.0.1", start));
    send(store, Host::new(2, "a").beat("10.0.0.9", start));
    send(store, host("b").beat("10.0.0.2", start + minutes(1)));
    set_paid(store, "10.0.0.2");

    // It is off before the records are one, and another host takes its new address.
    let later = start + minutes(6);
    send(
        store,
        Host::new(2, "a").beat("10.0.0.9", start + minutes(5)),
    );
    send(store, Host::new(2, "a").beat("10.0.0.2", later));
    assert!(!is_paid(at(store, "10.0.0.2").flags));
    assert!(is_paid(at(store, "10.0.0.1").flags));
    send(store, host("c").beat("10.0.0.3", later + minutes(1)));
    assert!(is_paid(at(store, "10.0.0.3").flags));

    // Both are deleted: the flags wait.
    send(store, host("d").beat("10.0.0.4", later + minutes(2)));
    let none = FlagsPatch {
        paid: Some(false),
        enabled: Some(true),
        ..FlagsPatch::default()
    };
    store
        .set(&ip("10.0.0.4").into(), HostPatch::Flags(none), None, &act())
        .unwrap();
    let latest = later + minutes(20);
    sweep(store, latest, 1);
    // A record whose flags have just changed by another one's waits for the next sweep.
    for served in [70, 0, 0] {
        sweep(store, latest, served);
    }
    assert_count(store, 0);
    send(store, host("e").beat("10.0.0.5", latest));
    assert!(!is_paid(at(store, "10.0.0.5").flags));
}

pub(super) fn a_host_leaves_its_record_to_a_host_without_an_id(store: &dyn Store) {
    let start = now();
    send(store, Host::new(1, "a").beat("10.0.0.1", start));
    set_paid(store, "10.0.0.1");
    let id = at(store, "10.0.0.1").server_id;
    // A host with an old agent gets the address, and the host is elsewhere.
    for minute in 1..8 {
        let time = start + minutes(minute);
        send(store, beat("10.0.0.1", time));
        send(store, Host::new(1, "b").beat("10.0.0.2", time));
    }
    let host = at(store, "10.0.0.2");
    assert_eq!((&host.server_id, is_paid(host.flags)), (&id, true));
    send(store, beat("10.0.0.1", start + minutes(9)));
    assert!(!is_paid(at(store, "10.0.0.1").flags));
    let names = [("10.0.0.1", "host-10.0.0.1"), ("10.0.0.2", "host-1")];
    assert_names(store, &names);
}
