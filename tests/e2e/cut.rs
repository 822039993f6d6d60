//! A fleet of which a country is cut off, and a server that is killed, off or deaf: the
//! small version of `make fleet-cut`.

use std::thread;
use std::time::Duration;

use fleetbeat_tools::cut::{MOST, Outage, Plan, Rules, Stage};

const PLAN: Plan = Plan {
    hosts: 300,
    whole: 90,
    larger: 150,
    part: 36,
    interval: Duration::from_secs(2),
    sweep: "[sweep]\ninterval = \"1s\"\ndown_after = \"6s\"\n",
    rules: Rules::Hasty,
    outage: Duration::ZERO,
    off: Duration::from_secs(10),
    limit: Duration::from_secs(180),
};

/// Side by side, because most of the time is spent on waiting for the server's looks.
#[test]
fn an_outage_is_a_few_messages_and_the_servers_own_is_none_or_one() {
    thread::scope(|scope| {
        scope.spawn(a_country_that_is_cut_off);
        scope.spawn(|| assert_eq!(Stage::start(&PLAN).off(), (0, 0)));
        scope.spawn(|| assert_eq!(Stage::start(&PLAN).deaf(), ([1, 0], 0)));
    });
}

fn a_country_that_is_cut_off() {
    let outage = Stage::start(&PLAN).outage();
    for told in [outage.whole, outage.part] {
        let is_few = (1..=MOST[0]).contains(&told[0]) && (1..=MOST[1]).contains(&told[1]);
        assert!(is_few, "{outage:?}");
    }
    let quiet = Outage {
        after_the_kill: 0,
        others: 0,
        ..outage
    };
    assert_eq!(outage, quiet);
}
