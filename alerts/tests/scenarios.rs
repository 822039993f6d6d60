//! What happens to a fleet, and what channels are told of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use fleetbeat_alerts::*;
use fleetbeat_protocol::{Mute, Severity};
use support::*;

const DOWN: &str = r#"{"name": "host down", "severity": "critical", "when": "down",
    "channels": ["chn-a"]}"#;
const MANY: &str = r#"{"name": "many down", "severity": "critical", "when": "many_down",
    "group_by": ["country"], "channels": ["chn-a"]}"#;
const SERVICE: &str = r#"{"name": "service", "severity": "warning", "when": "service",
    "channels": ["chn-a"], "group_interval": "1m"}"#;

fn fleet(count: usize) -> Vec<TestHost> {
    (0..count).map(|number| host(number, "DE")).collect()
}

fn fires() -> Vec<News> {
    vec![News::Firing]
}

fn recovers() -> Vec<News> {
    vec![News::Resolved]
}

/// A mute of every host, from the beginning until so many seconds later.
fn mute_until(seconds: u64) -> StoredMute {
    StoredMute {
        id: "mut-1".to_owned(),
        mute: Mute {
            select: "all".to_owned(),
            rules: Vec::new(),
            from: at(0),
            until: at(seconds),
            weekly: None,
            reason: String::new(),
        },
    }
}

fn set_service(world: &mut World, place: usize, active: bool) {
    world.hosts[place].0.services[0].active = active;
    world.hear(place);
}

#[test]
fn a_host_that_is_down_is_told_once_and_so_is_its_return() {
    let mut world = World::new(fleet(4), vec![rule("rul-1", DOWN)], &["chn-a"]);
    world.run(1200, |world| world.hear_all(|place| place != 0));
    assert_eq!(world.got("chn-a"), [fires()]);
    world.run(1200, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a"), [fires(), recovers()]);
    let kinds: Vec<_> = world.store.events.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, [AlertEventKind::Fired, AlertEventKind::Resolved]);
}

#[test]
fn a_country_that_is_cut_is_three_messages_and_two_for_its_return() {
    let mut hosts: Vec<TestHost> = (0..3000).map(|number| host(number, "DE")).collect();
    hosts.extend((3000..10_000).map(|number| host(number, "NL")));
    let rules = vec![
        rule("rul-1", DOWN),
        rule("rul-2", MANY),
        rule("rul-3", SERVICE),
    ];
    let mut world = World::new(hosts, rules, &["chn-a"]);
    let everybody = |world: &mut World| world.hear_all(|_| true);
    let cut = |world: &mut World| world.hear_all(|place| place >= 3000);
    world.run(300, everybody);
    assert_eq!(world.got("chn-a").len(), 0);

    world.run(DOWN_AFTER_S + 300, cut);
    let told = world.got("chn-a").len();
    assert!((1..=3).contains(&told), "{told} messages");
    world.restart();
    world.hearing = Hearing::Starting;
    world.run(DOWN_AFTER_S, cut);
    world.hearing = Hearing::Well;
    world.run(600, cut);
    assert_eq!(world.got("chn-a").len(), told, "a restart is not news");

    world.run(1800, everybody);
    let back = world.got("chn-a").len() - told;
    assert!((1..=2).contains(&back), "{back} messages");
    assert!(
        world
            .engine
            .as_ref()
            .unwrap()
            .alerts()
            .all(|alert| !alert.is_open())
    );
    check_pairs(&world);
}

/// Each firing that arrived has its recovery.
fn check_pairs(world: &World) {
    let count = |wanted: News| {
        let got = world.got("chn-a").into_iter().flatten();
        got.filter(|news| *news == wanted).count()
    };
    assert_eq!(count(News::Firing), count(News::Resolved));
}

#[test]
fn a_server_that_was_off_for_an_hour_tells_of_nobody() {
    let rules = vec![rule("rul-1", DOWN), rule("rul-2", MANY)];
    let mut world = World::new(fleet(200), rules, &["chn-a"]);
    world.run(300, |world| world.hear_all(|_| true));
    world.restart();
    world.now_s += 3600;
    world.hearing = Hearing::Starting;

    // The sweep has its time of grace, too.
    let end = world.now_s + DOWN_AFTER_S;
    while world.now_s < end {
        world.now_s += 10;
        world.hear_all(|_| true);
        world.tick();
    }
    world.hearing = Hearing::Well;
    world.run(900, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a").len(), 0);
}

#[test]
fn a_server_that_hears_nobody_says_that_and_nothing_else() {
    let rules = vec![rule("rul-1", DOWN), rule("rul-2", MANY)];
    let mut world = World::new(fleet(500), rules, &["chn-a", "chn-b"]);
    world.run(600, |world| world.hear_all(|_| true));
    world.run(1800, |_| {});
    for channel in ["chn-a", "chn-b"] {
        assert_eq!(world.got(channel), [fires()], "{channel}");
    }
    let engine = world.engine.as_ref().unwrap();
    let told: Vec<_> = engine
        .alerts()
        .filter(|alert| !alert.told.is_empty())
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].rule, DEAF_RULE);

    world.run(1800, |world| world.hear_all(|_| true));
    for channel in ["chn-a", "chn-b"] {
        assert_eq!(world.got(channel), [fires(), recovers()], "{channel}");
    }
}

#[test]
fn what_is_muted_from_its_beginning_is_silent_and_told_if_it_outlasts_the_mute() {
    let mut world = World::new(fleet(4), vec![rule("rul-1", SERVICE)], &["chn-a"]);
    world.mutes.push(mute_until(2000));
    world.run(100, |world| world.hear_all(|_| true));
    set_service(&mut world, 0, false);
    set_service(&mut world, 1, false);
    world.run(1000, |world| world.hear_all(|_| true));
    set_service(&mut world, 0, true);
    world.run(400, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a").len(), 0);
    world.run(1000, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a"), [fires()]);
}

#[test]
fn a_mute_that_begins_later_holds_no_recovery_back() {
    let mut world = World::new(fleet(4), vec![rule("rul-1", SERVICE)], &["chn-a"]);
    set_service(&mut world, 0, false);
    world.run(300, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a"), [fires()]);
    world.mutes.push(mute_until(80_000));
    set_service(&mut world, 0, true);
    world.run(300, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a"), [fires(), recovers()]);
}

#[test]
fn what_goes_to_and_fro_is_told_when_it_stays() {
    let mut world = World::new(fleet(4), vec![rule("rul-1", SERVICE)], &["chn-a"]);
    for turn in 0..10 {
        set_service(&mut world, 0, turn % 2 == 1);
        world.run(150, |world| world.hear_all(|_| true));
    }
    let before = world.got("chn-a");
    assert_eq!(before.last().unwrap(), &[News::Flapping]);
    let all = before.len();
    world.run(3600, |world| world.hear_all(|_| true));
    let after = world.got("chn-a").split_off(all);
    assert_eq!(after, [recovers()]);
}

#[test]
fn escalation_ends_with_an_acknowledgement() {
    let escalated = SERVICE.replace(
        r#""severity""#,
        r#""escalate": {"after": "10m", "channels": ["chn-b"]}, "repeat": "5m", "severity""#,
    );
    let rules = vec![rule("rul-1", &escalated)];
    let mut world = World::new(fleet(4), rules.clone(), &["chn-a", "chn-b"]);
    set_service(&mut world, 0, false);
    world.run(1300, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-b")[0], fires());
    assert!(world.got("chn-a").contains(&vec![News::Repeat]));
    set_service(&mut world, 0, true);
    world.run(300, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-b").last().unwrap(), &recovers());

    let mut world = World::new(fleet(4), rules, &["chn-a", "chn-b"]);
    set_service(&mut world, 0, false);
    world.run(200, |world| world.hear_all(|_| true));
    let id = world
        .engine
        .as_ref()
        .unwrap()
        .alerts()
        .next()
        .unwrap()
        .id
        .clone();
    let ack = Acknowledgement {
        by: "ann".to_owned(),
        at: world.now(),
        note: String::new(),
    };
    world.acks.push((id, ack));
    world.run(2000, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a"), [fires()]);
    assert_eq!(world.got("chn-b").len(), 0);
}

#[test]
fn quiet_hours_keep_what_is_not_critical_for_their_end() {
    let rules = vec![rule("rul-1", SERVICE), rule("rul-2", DOWN)];
    let mut world = World::new(fleet(4), rules, &["chn-a"]);
    world.channels[0].quiet = Some(quiet("00:00", "01:00"));
    set_service(&mut world, 1, false);
    world.run(1800, |world| world.hear_all(|place| place != 0));
    assert_eq!(world.got("chn-a"), [fires()], "the critical one");
    world.run(2400, |world| world.hear_all(|place| place != 0));
    assert_eq!(world.got("chn-a"), [fires(), fires()]);
}

#[test]
fn a_channel_that_was_away_gets_everything_once_and_in_order() {
    let mut world = World::new(fleet(4), vec![rule("rul-1", SERVICE)], &["chn-a"]);
    world.channels.push(channel("chn-b"));
    world.moods.insert("chn-a".to_owned(), Mood::Fails);
    for round in 0..5 {
        let place = round % 4;
        set_service(&mut world, place, false);
        world.run(900, |world| world.hear_all(|_| true));
        set_service(&mut world, place, true);
        world.run(600, |world| world.hear_all(|_| true));
    }
    assert_eq!(world.got("chn-a").len(), 0);
    assert_eq!(
        world.got("chn-b").len(),
        1,
        "one message that the other one fails"
    );

    world.moods.clear();
    world.run(1200, |world| world.hear_all(|_| true));
    let got = world.got("chn-a");
    assert_eq!(got[0], fires());
    let recovered = got
        .iter()
        .flatten()
        .filter(|news| **news == News::Resolved)
        .count();
    let short = got
        .iter()
        .flatten()
        .filter(|news| **news == News::Short)
        .count();
    assert_eq!((recovered, short), (1, 4), "{got:?}");
}

#[test]
fn a_jump_of_the_clock_makes_nothing_fire() {
    let late = r#"{"name": "late", "severity": "critical", "when": "late",
        "after": "5m", "channels": ["chn-a"]}"#;
    let disk = r#"{"name": "disk", "severity": "critical", "when": "metric",
        "metric": "disk*", "above": 40, "for": "30m", "channels": ["chn-a"]}"#;
    let rules = vec![rule("rul-1", late), rule("rul-2", disk)];
    let mut world = World::new(fleet(6), rules, &["chn-a"]);
    world.run(600, |world| world.hear_all(|_| true));
    for jump in [3600, 7200] {
        let mut engine = world.engine.take().unwrap();
        world.now_s += jump;
        // The look says how long it really was.
        let plan = engine.tick(&Look {
            now: world.now(),
            elapsed: std::time::Duration::from_secs(10),
            down_after: std::time::Duration::from_secs(DOWN_AFTER_S),
            hearing: Hearing::Well,
            hosts: &world.hosts,
            events: &[],
            events_through: 0,
            rules: &world.rules,
            mutes: &[],
            channels: &world.channels,
            acks: &[],
            retried: &[],
        });
        world.store.write_plan(&plan, 0).unwrap();
        assert!(
            engine
                .alerts()
                .all(|alert| alert.state != AlertState::Firing)
        );
        world.engine = Some(engine);
        for place in 0..6 {
            world.hear(place);
        }
        world.tick();
    }
    world.run(900, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a").len(), 0);
}

#[test]
fn reboots_are_told_once_and_have_no_end() {
    let reboot = r#"{"name": "reboot", "severity": "info", "when": "reboot",
        "channels": ["chn-a"]}"#;
    let mut world = World::new(fleet(4), vec![rule("rul-1", reboot)], &["chn-a"]);
    world.run(100, |world| world.hear_all(|_| true));
    world.events.push(HostEvent {
        number: 7,
        kind: HostEventKind::Rebooted,
        server_id: world.hosts[0].0.server_id.clone(),
        at: world.now(),
    });
    world.run(20, |world| world.hear_all(|_| true));
    world.restart();
    world.run(1000, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a"), [fires()]);
    assert_eq!(world.store.alerts().len(), 1);
}

#[test]
fn what_is_deleted_resolves_with_its_reason() {
    for (reason, change) in [
        (
            EndReason::RuleDeleted,
            (|world: &mut World| world.rules.clear()) as fn(&mut World),
        ),
        (EndReason::RuleDisabled, |world| {
            world.rules[0].rule.enabled = false;
        }),
        (EndReason::HostDeleted, |world| drop(world.hosts.remove(0))),
        (EndReason::HostNotMeant, |world| {
            world.rules[0].rule.select = "country = NL".to_owned();
        }),
    ] {
        let mut world = World::new(fleet(4), vec![rule("rul-1", SERVICE)], &["chn-a"]);
        set_service(&mut world, 0, false);
        world.run(300, |world| world.hear_all(|_| true));
        change(&mut world);
        world.run(300, |world| world.hear_all(|_| true));
        assert_eq!(world.got("chn-a"), [fires(), recovers()], "{reason:?}");
        assert_eq!(world.store.alerts()[0].reason, Some(reason));
    }
}

#[test]
fn missing_data_neither_fires_nor_clears() {
    let mut world = World::new(fleet(4), vec![rule("rul-1", SERVICE)], &["chn-a"]);
    set_service(&mut world, 0, false);
    world.run(300, |world| world.hear_all(|_| true));
    world.hosts[0].0.services.clear();
    world.run(600, |world| world.hear_all(|_| true));
    world.run(600, |world| world.hear_all(|place| place != 0));
    let alert = world.store.alerts().remove(0);
    assert!(alert.stale && alert.is_open());
    assert_eq!(world.got("chn-a"), [fires()]);
}

#[test]
fn a_channel_that_wants_less_is_told_less() {
    let mut world = World::new(fleet(4), vec![rule("rul-1", SERVICE)], &["chn-a"]);
    world.channels[0].min_severity = Severity::Critical;
    set_service(&mut world, 0, false);
    world.run(300, |world| world.hear_all(|_| true));
    set_service(&mut world, 0, true);
    world.run(300, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a").len(), 0);
}

#[test]
fn a_channel_that_wants_less_from_now_on_is_still_told_of_the_end() {
    let mut world = World::new(fleet(4), vec![rule("rul-1", SERVICE)], &["chn-a"]);
    set_service(&mut world, 0, false);
    world.run(300, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a"), [fires()]);
    world.channels[0].min_severity = Severity::Critical;
    set_service(&mut world, 1, false);
    world.run(300, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a"), [fires()]);
    set_service(&mut world, 0, true);
    world.run(300, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a"), [fires(), recovers()]);

    // What still fires is told when the channel wants it again, and only that.
    world.channels[0].min_severity = Severity::Info;
    world.run(300, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a"), [fires(), recovers(), fires()]);
}

/// A tenth, a quarter and a third of a country are cut off while all hosts beat at times
/// of their own: the third is as much as an alert about the country needs.
#[test]
fn a_part_of_a_larger_country_is_three_messages_and_two_for_its_return() {
    for cut in [90, 220, 300] {
        let mut hosts: Vec<TestHost> =
            (0..900).map(|number| host(number, "DE")).collect();
        hosts.extend((900..1000).map(|number| host(number, "NL")));
        let by_country =
            DOWN.replace(r#""severity""#, r#""group_by": ["country"], "severity""#);
        let rules = vec![rule("rul-1", &by_country), rule("rul-2", MANY)];
        let mut world = World::new(hosts, rules, &["chn-a"]);
        world.run(300, |world| world.hear_all(|_| true));
        // Ten minutes from the first message on.
        world.run(DOWN_AFTER_S + 600, |world| {
            world.hear_all(|place| place >= cut);
        });
        let told = world.got("chn-a").len();
        assert!((1..=3).contains(&told), "{cut}: {told} messages");

        world.run(1800, |world| world.hear_all(|_| true));
        let back = world.got("chn-a").len() - told;
        assert!((1..=2).contains(&back), "{cut}: {back} messages");
        check_pairs(&world);
        let engine = world.engine.as_ref().unwrap();
        assert!(engine.alerts().all(|alert| !alert.is_open()));
    }
}

/// What has arrived at a channel: each delivery once, in the order in which they were
/// queued.
fn check_order(world: &World, channel: &str) {
    let rows = world.store.rows();
    let number = |id: &String| {
        let row = rows.iter().find(|row| row.delivery.id == *id);
        row.unwrap().delivery.number
    };
    let inbox = &world.inboxes[channel];
    let numbers: Vec<i64> = inbox.got.iter().map(|(id, _)| number(id)).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert_eq!(inbox.arrivals, inbox.got.len(), "each arrives once");
}

#[test]
fn a_black_hole_of_two_hours_costs_nothing_and_doubles_nothing() {
    for (hosts, is_digest) in [(4, false), (40, true)] {
        let by_host =
            SERVICE.replace(r#""severity""#, r#""group_by": ["hostname"], "severity""#);
        let rules = vec![rule("rul-1", &by_host)];
        let mut world = World::new(fleet(hosts), rules, &["chn-a", "chn-b"]);
        let second = world.rules[0].rule.channels[0].replace('a', "b");
        world.rules[0].rule.channels.push(second);
        world.run(300, |world| world.hear_all(|_| true));
        world.moods.insert("chn-a".to_owned(), Mood::Hangs);
        // One host after the other breaks and stays broken; the process is killed while a
        // try hangs.
        for place in 0..hosts {
            set_service(&mut world, place, false);
            world.run(7200 / hosts as u64, |world| world.hear_all(|_| true));
            if place == hosts / 2 {
                world.restart();
            }
        }
        assert_eq!(world.got("chn-a").len(), 0);
        world.moods.clear();
        world.run(1200, |world| world.hear_all(|_| true));
        for place in 0..hosts {
            set_service(&mut world, place, true);
        }
        world.run(1200, |world| world.hear_all(|_| true));

        let count = |channel: &str, wanted: News| {
            let got = world.got(channel).into_iter().flatten();
            got.filter(|news| *news == wanted).count()
        };
        for channel in ["chn-a", "chn-b"] {
            assert_eq!(count(channel, News::Resolved), hosts, "{channel}");
        }
        assert_eq!(count("chn-a", News::Firing), hosts);
        let messages = world.got("chn-a").len();
        assert_eq!(messages < 2 * hosts, is_digest, "{messages} messages");
        check_order(&world, "chn-a");
    }
}

/// Five of twelve hosts are cut off at once.
fn cut_five(world: &mut World, seconds: u64) {
    world.run(300, |world| world.hear_all(|_| true));
    (0..5).for_each(|place| world.hear(place));
    world.run(seconds, |world| world.hear_all(|place| place >= 5));
}

/// What `chn-a` gets then, and what `chn-b`.
fn half_cut(world: &mut World) -> [Vec<Vec<News>>; 2] {
    cut_five(world, 900);
    ["chn-a", "chn-b"].map(|channel| world.got(channel))
}

#[test]
fn a_group_holds_its_hosts_back_where_it_is_told_itself() {
    let downs = vec![vec![News::Firing; 5]];
    let mild = MANY.replace("critical", "warning");
    let to = |rule: &str, channels: &str| rule.replace(r#""chn-a""#, channels);
    let world = |many: &str, down: &str| {
        let rules = vec![rule("rul-1", down), rule("rul-2", many)];
        World::new(fleet(12), rules, &["chn-a", "chn-b"])
    };

    let mut told = world(MANY, DOWN);
    assert_eq!(half_cut(&mut told), [vec![fires()], vec![]]);
    let mut gone = world(&to(MANY, r#""chn-x""#), DOWN);
    assert_eq!(half_cut(&mut gone), [downs.clone(), vec![]], "no channel");
    let mut elsewhere = world(&to(MANY, r#""chn-b""#), DOWN);
    assert_eq!(half_cut(&mut elsewhere), [downs.clone(), vec![fires()]]);
    let mut both = world(MANY, &to(DOWN, r#""chn-a", "chn-b""#));
    assert_eq!(half_cut(&mut both), [vec![fires()], downs.clone()]);

    let mut picky = world(&mild, DOWN);
    picky.channels[0].min_severity = Severity::Critical;
    assert_eq!(half_cut(&mut picky), [downs.clone(), vec![]], "too mild");
    let mut night = world(&mild, DOWN);
    night.channels[0].quiet = Some(quiet("00:00", "01:00"));
    assert_eq!(half_cut(&mut night), [downs.clone(), vec![]], "quiet hours");
    let mut off = world(MANY, &to(DOWN, r#""chn-a", "chn-b""#));
    off.channels[0].enabled = false;
    assert_eq!(half_cut(&mut off), [vec![], downs.clone()], "switched off");
    let mut muted = world(MANY, DOWN);
    muted.mutes.push(mute_until(80_000));
    muted.mutes[0].mute.rules = vec!["rul-2".to_owned()];
    assert_eq!(half_cut(&mut muted), [downs.clone(), vec![]], "muted");
    let mut refused = world(MANY, DOWN);
    refused.moods.insert("chn-a".to_owned(), Mood::Refuses);
    cut_five(&mut refused, 280);
    refused.moods.clear();
    refused.run(600, |world| world.hear_all(|place| place >= 5));
    assert_eq!(
        refused.got("chn-a"),
        downs,
        "the group's message was refused"
    );
}

#[test]
fn a_host_that_is_down_holds_its_alerts_back_where_that_is_told() {
    let late = r#"{"name": "late", "severity": "critical", "when": "late",
        "after": "5m", "channels": ["chn-a"]}"#;
    for (down, mute, told) in [
        (r#""channels": ["chn-a"]"#, false, 1),
        (r#""channels": ["chn-a"]"#, true, 1),
        (r#""channels": []"#, false, 1),
        (r#""channels": ["chn-b"]"#, false, 1),
    ] {
        let down = DOWN.replace(r#""channels": ["chn-a"]"#, down);
        let rules = vec![rule("rul-1", &down), rule("rul-2", late)];
        let mut world = World::new(fleet(12), rules, &["chn-a", "chn-b"]);
        if mute {
            world.mutes.push(mute_until(80_000));
            world.mutes[0].mute.rules = vec!["rul-1".to_owned()];
        }
        world.run(1200, |world| world.hear_all(|place| place != 0));
        let got = world.got("chn-a");
        assert_eq!(got.len(), told, "{down}, muted: {mute}");
        let alerts = world.store.alerts();
        let late = alerts.iter().find(|alert| alert.when == "late").unwrap();
        let down = alerts.iter().find(|alert| alert.when == "down").unwrap();
        let is_held = down.told.contains_key("chn-a");
        let held_by = is_held.then(|| HeldBy::Alert(down.id.clone()));
        assert_eq!(late.held_by, held_by);
        assert_eq!(late.told.contains_key("chn-a"), !is_held);
    }
}

#[test]
fn a_rule_that_looks_at_something_else_ends_its_alerts_with_that_reason() {
    let base = r#""name": "x", "severity": "critical", "channels": ["chn-a"]"#;
    for (before, after) in [
        (
            r#""when": "load", "load": "cpu", "above": 9"#,
            r#""when": "load", "load": "ram", "above": 90"#,
        ),
        (
            r#""when": "metric", "metric": "disk*", "above": 40"#,
            r#""when": "metric", "metric": "load1", "above": 40"#,
        ),
        (
            r#""when": "metric", "metric": "disk*", "above": 40"#,
            r#""when": "metric", "metric": "disk*", "above": 40, "labels": {"mount": "/x"}"#,
        ),
        (
            r#""when": "service", "service": "wg""#,
            r#""when": "service", "service": "ov*""#,
        ),
        (
            r#""when": "many_down", "hosts": 2, "percent": 10, "group_by": ["country"]"#,
            r#""when": "many_down", "hosts": 2, "percent": 90, "group_by": ["city"]"#,
        ),
    ] {
        let rules = vec![rule("rul-1", &format!("{{{base}, {before}}}"))];
        let mut world = World::new(fleet(12), rules, &["chn-a"]);
        set_service(&mut world, 0, false);
        cut_five(&mut world, 600);
        assert_eq!(
            world.got("chn-a").last().unwrap()[0],
            News::Firing,
            "{before}"
        );
        world.rules = vec![rule("rul-1", &format!("{{{base}, {after}}}"))];
        world.rules[0].version = 2;
        world.run(900, |world| world.hear_all(|place| place >= 5));
        let alerts = world.store.alerts();
        for alert in &alerts {
            assert_eq!(alert.reason, Some(EndReason::RuleChanged), "{after}");
        }
        check_pairs(&world);
    }
}

#[test]
fn a_limit_that_is_changed_is_judged_anew_and_ends_nothing() {
    let load = |above: u32| {
        let json = format!(
            r#"{{"name": "x", "severity": "info", "when": "load", "load": "cpu",
                "above": {above}, "channels": ["chn-a"]}}"#
        );
        rule("rul-1", &json)
    };
    let mut world = World::new(fleet(3), vec![load(5)], &["chn-a"]);
    world.run(300, |world| world.hear_all(|_| true));
    world.rules = vec![load(6)];
    world.rules[0].version = 2;
    world.run(300, |world| world.hear_all(|_| true));
    let mut alerts = world.engine.as_ref().unwrap().alerts();
    let is_judged = |alert: &Alert| alert.is_open() && alert.limit == Some(6.0);
    assert!(alerts.all(is_judged));
    assert_eq!(world.store.alerts().len(), 3);
}

#[test]
fn an_alert_about_a_load_that_was_stored_without_its_object_goes_on() {
    let load = r#"{"name": "x", "severity": "info", "when": "load", "load": "cpu",
        "above": 5, "channels": ["chn-a"]}"#;
    let mut world = World::new(fleet(1), vec![rule("rul-1", load)], &["chn-a"]);
    world.run(300, |world| world.hear_all(|_| true));
    let mut old = world.store.alerts().remove(0);
    old.object.clear();
    world.restart();
    let plan = Plan {
        alerts: vec![old.clone()],
        ..Plan::default()
    };
    world.store.write_plan(&plan, 0).unwrap();
    world.run(300, |world| world.hear_all(|_| true));
    let alerts = world.store.alerts();
    let now: Vec<_> = alerts.iter().map(|a| (&a.id, a.object.as_str())).collect();
    assert_eq!(now, [(&old.id, "cpu")]);
    assert_eq!(world.got("chn-a"), [fires()]);
}

#[test]
fn a_channel_that_a_rule_ceases_to_name_is_told_the_end_of_what_it_may_know() {
    let critical = SERVICE.replace("warning", "critical");
    for (mood, told) in [
        (Mood::Works, vec![fires(), recovers()]),
        (Mood::Loses, vec![fires(), recovers()]),
    ] {
        let rules = vec![rule("rul-1", &critical)];
        let mut world = World::new(fleet(4), rules, &["chn-a"]);
        world.moods.insert("chn-a".to_owned(), mood);
        set_service(&mut world, 0, false);
        world.run(300, |world| world.hear_all(|_| true));
        world.rules[0].rule.channels.clear();
        world.moods.clear();
        world.run(1200, |world| world.hear_all(|_| true));
        assert_eq!(world.got("chn-a"), told, "{mood:?}");
    }

    // Behind a message that is tried again and again, another one waits.
    let other = MANY
        .replace("many_down", "clock")
        .replace("country", "city");
    let rules = vec![rule("rul-1", &critical), rule("rul-2", &other)];
    let mut world = World::new(fleet(4), rules, &["chn-a"]);
    world.moods.insert("chn-a".to_owned(), Mood::Fails);
    world.events.push(HostEvent {
        number: 1,
        kind: HostEventKind::ClockWrong,
        server_id: world.hosts[1].0.server_id.clone(),
        at: world.now(),
    });
    world.run(300, |world| world.hear_all(|_| true));
    set_service(&mut world, 0, false);
    world.run(600, |world| world.hear_all(|_| true));
    world.rules[0].rule.channels.clear();
    world.run(100, |world| world.hear_all(|_| true));
    world.moods.clear();
    world.run(1200, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a"), [fires()], "the clock's alone");

    // Named again, it is told what fires.
    world.rules[0].rule.channels.push("chn-a".to_owned());
    world.run(600, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a"), [fires(), fires()]);
}

#[test]
fn hosts_that_go_down_after_their_group_are_told() {
    let rules = vec![rule("rul-1", DOWN), rule("rul-2", MANY)];
    let mut world = World::new(fleet(15), rules, &["chn-a"]);
    cut_five(&mut world, 900);
    assert_eq!(world.got("chn-a"), [fires()]);
    // Within the ten minutes of the rule, two more: the group's alert says so.
    (5..7).for_each(|place| world.hosts[place].0.last_heartbeat = at(310));
    world.run(10, |world| world.hear_all(|place| place >= 7));
    world.run(300, |world| world.hear_all(|place| place >= 7));
    let more = [fires(), vec![News::Repeat]];
    assert_eq!(world.got("chn-a"), more);
    world.run(1800, |world| world.hear_all(|place| place >= 7));
    assert_eq!(world.got("chn-a"), more, "once");
    // Much later, one more: on its own.
    world.run(1200, |world| world.hear_all(|place| place >= 8));
    let alone = [more.to_vec(), vec![fires()]].concat();
    assert_eq!(world.got("chn-a"), alone);
    world.run(600, |world| world.hear_all(|place| place >= 7));
    assert_eq!(world.got("chn-a"), [alone, vec![recovers()]].concat());

    world.run(1800, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a").len(), 5, "the group's end");
    check_pairs(&world);
    let engine = world.engine.as_ref().unwrap();
    assert!(engine.alerts().all(|alert| !alert.is_open()));
}

/// A warning that waits for a channel behind a message that fails.
fn waiting_warning(rules: &[&str]) -> World {
    let clock = MANY.replace("many_down", "clock");
    let all = [&[SERVICE, clock.as_str()], rules].concat();
    let all = all.iter().enumerate();
    let rules = all.map(|(place, json)| rule(&format!("rul-{place}"), json));
    let mut world = World::new(fleet(4), rules.collect(), &["chn-a", "chn-b"]);
    world.moods.insert("chn-a".to_owned(), Mood::Fails);
    world
        .events
        .push(event(1, HostEventKind::ClockWrong, &world));
    world.run(100, |world| world.hear_all(|_| true));
    set_service(&mut world, 0, false);
    world.run(100, |world| world.hear_all(|_| true));
    world
}

/// Something that happens to the second host now.
fn event(number: i64, kind: HostEventKind, world: &World) -> HostEvent {
    HostEvent {
        number,
        kind,
        server_id: world.hosts[1].0.server_id.clone(),
        at: world.now(),
    }
}

#[test]
fn what_waits_is_not_sent_while_nobody_wants_it() {
    for (hold, release) in [
        (
            (|world| world.mutes.push(mute_until(80_000))) as fn(&mut World),
            (|world| world.mutes.clear()) as fn(&mut World),
        ),
        (
            |world| world.channels[0].quiet = Some(quiet("00:00", "23:00")),
            |world| world.channels[0].quiet = None,
        ),
        (
            |world| world.channels[0].min_severity = Severity::Critical,
            |world| world.channels[0].min_severity = Severity::Info,
        ),
    ] {
        let mut world = waiting_warning(&[]);
        hold(&mut world);
        world.run(100, |world| world.hear_all(|_| true));
        world.moods.clear();
        world.run(600, |world| world.hear_all(|_| true));
        assert_eq!(world.got("chn-a"), [fires()], "the one that was tried");
        world.restart();
        world.run(100, |world| world.hear_all(|_| true));
        release(&mut world);
        world.run(400, |world| world.hear_all(|_| true));
        assert_eq!(world.got("chn-a"), [fires(), fires()]);
        set_service(&mut world, 0, true);
        world.run(400, |world| world.hear_all(|_| true));
        assert_eq!(world.got("chn-a"), [fires(), fires(), recovers()]);
    }
}

#[test]
fn an_escalation_that_waits_is_not_sent_once_somebody_has_taken_the_alert_on() {
    let escalated = SERVICE
        .replace("service\", \"severity", "other\", \"severity")
        .replace("chn-a", "chn-b")
        .replace(
            r#""severity""#,
            r#""escalate": {"after": "1m", "channels": ["chn-a"]}, "severity""#,
        );
    let mut world = waiting_warning(&[&escalated]);
    let open = world.store.alerts();
    let alert = open.iter().find(|alert| alert.rule == "rul-2").unwrap();
    assert!(
        matches!(alert.told["chn-a"].told, Told::Waiting { .. }),
        "{alert:?}"
    );
    let ack = Acknowledgement {
        by: "ann".to_owned(),
        at: world.now(),
        note: String::new(),
    };
    world.acks.push((alert.id.clone(), ack));
    world.run(20, |world| world.hear_all(|_| true));
    world.moods.clear();
    world.run(900, |world| world.hear_all(|_| true));
    assert_eq!(
        world.got("chn-a"),
        [fires(), fires()],
        "clock and service alone"
    );
}

#[test]
fn what_is_told_once_is_told_after_quiet_hours_and_holds_but_not_after_a_mute() {
    let reboot = r#"{"name": "reboot", "severity": "warning", "when": "reboot",
        "channels": ["chn-a"]}"#;
    let rules = vec![rule("rul-1", reboot), rule("rul-2", DOWN)];
    for is_muted in [false, true] {
        let mut world = World::new(fleet(12), rules.clone(), &["chn-a"]);
        world.channels[0].quiet = Some(quiet("00:00", "01:00"));
        if is_muted {
            world.mutes.push(mute_until(900));
        }
        world.run(300, |world| world.hear_all(|_| true));
        world.events.push(event(1, HostEventKind::Rebooted, &world));
        world.run(1200, |world| world.hear_all(|_| true));
        world.restart();
        world.run(1800, |world| world.hear_all(|_| true));
        assert_eq!(world.got("chn-a").len(), 0);
        world.run(900, |world| world.hear_all(|_| true));
        let told = if is_muted { vec![] } else { vec![fires()] };
        assert_eq!(world.got("chn-a"), told, "muted: {is_muted}");
    }

    // A host that is down says more; then it has booted.
    let mut world = World::new(fleet(12), rules, &["chn-a"]);
    world.run(900, |world| world.hear_all(|place| place != 1));
    assert_eq!(world.got("chn-a"), [fires()]);
    world.events.push(event(1, HostEventKind::Rebooted, &world));
    world.run(300, |world| world.hear_all(|place| place != 1));
    assert_eq!(world.got("chn-a"), [fires()]);
    world.run(900, |world| world.hear_all(|_| true));
    let mut got = world.got("chn-a").split_off(1);
    got.sort_by_key(|news| news[0] == News::Resolved);
    assert_eq!(got, [fires(), recovers()]);
}

#[test]
fn a_mute_means_a_group_if_it_means_all_whom_the_rule_means() {
    for (mute, told) in [
        ("not hostname = vpn-4", 0),
        ("all", 0),
        ("not hostname = vpn-3", 1),
    ] {
        let many = MANY.replace(
            r#""severity""#,
            r#""hosts": 3, "where": "not hostname = vpn-4", "severity""#,
        );
        let mut world = World::new(fleet(12), vec![rule("rul-1", &many)], &["chn-a"]);
        world.mutes.push(mute_until(80_000));
        world.mutes[0].mute.select = mute.to_owned();
        cut_five(&mut world, 900);
        assert_eq!(world.got("chn-a").len(), told, "{mute}");
    }
}

#[test]
fn that_the_server_hears_again_is_told_soon() {
    let mut world = World::new(fleet(12), vec![rule("rul-1", DOWN)], &["chn-a"]);
    world.run(600, |world| world.hear_all(|_| true));
    world.run(200, |_| {});
    assert_eq!(world.got("chn-a"), [fires()]);
    world.run(DOWN_AFTER_S + 20, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a"), [fires(), recovers()]);
}

#[test]
fn a_group_whose_hosts_come_back_is_told_its_end_next() {
    let rules = vec![rule("rul-1", DOWN), rule("rul-2", MANY)];
    let mut world = World::new(fleet(12), rules, &["chn-a"]);
    cut_five(&mut world, 300);
    assert_eq!(world.got("chn-a"), [fires()]);
    // More than was told, and fewer from look to look.
    (5..9).for_each(|place| world.hosts[place].0.last_heartbeat = at(310));
    world.run(120, |world| world.hear_all(|place| place >= 9));
    world.hear(0);
    world.run(300, |world| {
        world.hear_all(|place| place >= 9 || place == 0);
    });
    assert_eq!(world.got("chn-a"), [fires()]);
    world.run(1200, |world| world.hear_all(|_| true));
    assert_eq!(world.got("chn-a"), [fires(), recovers()]);
}
