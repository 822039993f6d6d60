//! When hosts went down and came up.

use fleetbeat_protocol::{Status, Timestamp};

use super::events::{booted, watch};
use super::fixtures::{act, beat, ip, minutes, now, sweep};
use crate::store::{HostName, Life, LifeQuery, Store};

const HOST: &str = "10.0.0.2";

/// The turns of each host since so many minutes behind the start: minutes and statuses.
fn turns(
    store: &dyn Store,
    host: Option<HostName>,
    start: Timestamp,
    minute: i64,
) -> Vec<(String, Vec<(i64, Status)>)> {
    let from = start + minutes(minute);
    let lives = store.lives(&LifeQuery { host, from }).unwrap();
    let turns = |life: Life| {
        let turns = life.turns.iter();
        let turns = turns.map(|turn| {
            let since = turn.at.duration_since(start).as_secs();
            (since / 60, turn.status)
        });
        (life.ip.to_string(), turns.collect())
    };
    lives.into_iter().map(turns).collect()
}

pub(super) fn turns_are_told_with_the_last_one_before(store: &dyn Store) {
    use Status::{Active, Down};
    let start = now() - minutes(600);
    let at = |minute| start + minutes(minute);
    let speak = |host, minute| {
        store.record(&[beat(host, at(minute))]).unwrap();
    };
    speak(HOST, 0);
    speak("10.0.0.1", 0);
    watch(store, at(0));
    // Nobody has looked at this one yet.
    speak("10.0.0.3", 10);
    speak("10.0.0.1", 10);
    assert_eq!(sweep(store, at(10), 1).down, 1);
    let other = ("10.0.0.3".to_owned(), Vec::new());
    let of_all = turns(store, None, start, 0);
    assert_eq!(of_all.len(), 3);
    assert_eq!(of_all[2], other);

    watch(store, at(10));
    speak(HOST, 130);
    watch(store, at(130));

    let name = || Some(HostName::Ip(ip(HOST)));
    let all = [(0, Active), (0, Down), (130, Active)];
    assert_eq!(
        turns(store, name(), start, 0),
        [(HOST.to_owned(), all.to_vec())]
    );
    for (minute, expected) in [(131, &all[2..]), (100_000, &all[2..])] {
        let found = turns(store, name(), start, minute);
        assert_eq!(found, [(HOST.to_owned(), expected.to_vec())], "{minute}");
        let found = turns(store, None, start, minute);
        assert_eq!(found.len(), 3);
        assert_eq!(found[1], (HOST.to_owned(), expected.to_vec()), "{minute}");
        assert_eq!(found[0].1, [(0, Active)], "{minute}");
    }

    let unknown = Some(HostName::Ip(ip("10.9.9.9")));
    assert_eq!(turns(store, unknown, start, 0), []);
}

pub(super) fn a_new_host_at_an_old_address_has_a_life_of_its_own(store: &dyn Store) {
    let start = now() - minutes(600);
    let at = |minute| start + minutes(minute);
    store.record(&[beat(HOST, at(0))]).unwrap();
    watch(store, at(0));
    let name = HostName::Ip(ip(HOST));
    store.remove_server(&name, &act()).unwrap().unwrap();
    store.record(&[booted(HOST, at(20), "boot", &[])]).unwrap();
    watch(store, at(20));
    let found = turns(store, Some(name), start, 0);
    assert_eq!(found, [(HOST.to_owned(), vec![(20, Status::Active)])]);
}
