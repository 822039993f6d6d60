//! Whatever happens, each channel gets beginnings and ends in pairs.
//!
//! A random history of a small fleet: outages, services, rules that are edited and
//! deleted, mutes, acknowledgements, channels that fail, lose answers or refuse, and
//! kills between any two writes. Then all is well again, and what each channel has got is
//! read.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use fleetbeat_alerts::*;
use fleetbeat_protocol::{Condition, Mute, Severity};
use proptest::prelude::*;
use support::*;

const HOSTS: usize = 6;
const CHANNELS: [&str; 3] = ["chn-a", "chn-b", "chn-c"];

/// Something that happens.
#[derive(Debug, Clone)]
enum Happening {
    /// So many looks go by.
    Looks(u64),
    /// A host falls silent, or speaks again.
    Silence(usize),
    /// Nobody is heard for a while.
    Cut(u64),
    Service(usize),
    Disk(usize, f64),
    Reboot(usize),
    Delete(usize),
    /// A rule is switched off or on.
    Switch(usize),
    /// A rule is deleted, and made anew.
    Renew(usize),
    /// A rule names other channels.
    Rename(usize, usize),
    /// A host, or all, are muted for so long.
    Mute(Option<usize>, u64),
    Unmute,
    Acknowledge(usize),
    Mood(usize, Mood),
    /// A channel is to be told of this and worse from now on.
    Worse(usize, Severity),
    /// A rule is worse or less bad from now on.
    Reweigh(usize, Severity),
    /// A channel is switched off or on.
    Close(usize),
    /// A channel's quiet hours begin or end.
    Night(usize),
    /// A rule about services looks at others, or at these again.
    Aim,
    /// A channel is deleted, or made again.
    Forget(usize),
    RetryDead,
    /// The process is killed after so many more writes.
    Kill(usize),
    /// Another instance takes over, and the first one tries to go on.
    TakeOver,
    /// The server is off for so long.
    Off(u64),
}

fn mood() -> impl Strategy<Value = Mood> {
    prop_oneof![
        3 => Just(Mood::Works),
        2 => Just(Mood::Fails),
        2 => Just(Mood::Loses),
        2 => Just(Mood::Hangs),
        1 => Just(Mood::Refuses),
    ]
}

fn severity() -> impl Strategy<Value = Severity> {
    prop_oneof![
        Just(Severity::Info),
        Just(Severity::Warning),
        Just(Severity::Critical),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    let host = 0..HOSTS;
    let rule = 0..rules().len();
    prop_oneof![
        12 => (1_u64..60).prop_map(Looks),
        4 => host.clone().prop_map(Silence),
        1 => (1_u64..60).prop_map(Cut),
        6 => host.clone().prop_map(Service),
        4 => (host.clone(), 80.0..100.0).prop_map(|(host, value)| Disk(host, value)),
        2 => host.clone().prop_map(Reboot),
        1 => host.clone().prop_map(Delete),
        1 => rule.clone().prop_map(Switch),
        1 => rule.clone().prop_map(Renew),
        1 => (rule.clone(), severity())
            .prop_map(|(rule, severity)| Reweigh(rule, severity)),
        2 => (0_usize..3, severity())
            .prop_map(|(channel, severity)| Worse(channel, severity)),
        2 => (rule, 0_usize..8).prop_map(|(rule, set)| Rename(rule, set)),
        2 => (proptest::option::of(host.clone()), 60_u64..3000)
            .prop_map(|(host, seconds)| Mute(host, seconds)),
        1 => Just(Unmute),
        1 => host.prop_map(Acknowledge),
        4 => (0_usize..3, mood()).prop_map(|(channel, mood)| Mood(channel, mood)),
        1 => (0_usize..3).prop_map(Close),
        2 => (0_usize..3).prop_map(Night),
        1 => Just(Aim),
        1 => (0_usize..3).prop_map(Forget),
        1 => Just(RetryDead),
        5 => (0_usize..12).prop_map(Kill),
        1 => Just(TakeOver),
        1 => (100_u64..90_000).prop_map(Off),
    ]
}

fn rules() -> Vec<StoredRule> {
    let rules = [
        r#"{"name": "down", "severity": "critical", "when": "down",
            "channels": ["chn-a", "chn-b"], "group_by": ["country"], "repeat": "20m"}"#,
        r#"{"name": "service", "severity": "warning", "when": "service",
            "channels": ["chn-a"], "group_interval": "1m",
            "escalate": {"after": "10m", "channels": ["chn-b"]}}"#,
        r#"{"name": "disk", "severity": "warning", "when": "metric",
            "metric": "disk_*", "labels": {"mount": "/"}, "above": 95, "clear": 85,
            "for": "4m", "clear_for": "2m", "channels": ["chn-b", "chn-c"],
            "repeat": "30m"}"#,
        r#"{"name": "reboot", "severity": "info", "when": "reboot",
            "channels": ["chn-a", "chn-c"]}"#,
        r#"{"name": "many", "severity": "critical", "when": "many_down", "hosts": 2,
            "group_by": ["country"], "channels": ["chn-a"]}"#,
        r#"{"name": "late", "severity": "critical", "when": "late", "after": "150s",
            "channels": ["chn-c"], "group_wait": "0s", "group_interval": "10s"}"#,
    ];
    let rules = rules.into_iter().enumerate();
    rules
        .map(|(place, json)| rule(&format!("rul-{place}"), json))
        .collect()
}

/// A world with what the happenings need besides.
struct History {
    world: World,
    silent: BTreeSet<usize>,
    forgotten: BTreeMap<usize, ChannelPolicy>,
    /// What somebody has had tried again.
    retried: BTreeSet<String>,
    renewals: usize,
    /// The channels that were deleted, and with them what they had to be told.
    deleted: BTreeSet<String>,
}

impl History {
    fn new() -> History {
        let hosts = (0..HOSTS).map(|n| host(n, ["DE", "NL"][n % 2])).collect();
        let mut world = World::new(hosts, rules(), &CHANNELS);
        world.channels[2].min_severity = Severity::Warning;
        History {
            world,
            silent: BTreeSet::new(),
            forgotten: BTreeMap::new(),
            retried: BTreeSet::new(),
            renewals: 0,
            deleted: BTreeSet::new(),
        }
    }

    fn looks(&mut self, looks: u64) {
        let silent = &self.silent;
        self.world.run(looks * 10, |world| {
            world.hear_all(|place| !silent.contains(&place));
        });
    }

    fn happen(&mut self, happening: &Happening) {
        let world = &mut self.world;
        match happening {
            Happening::Looks(looks) => self.looks(*looks),
            Happening::Silence(host) => {
                if !self.silent.remove(host) {
                    self.silent.insert(*host);
                }
            }
            Happening::Cut(looks) => world.run(looks * 10, |_| {}),
            Happening::Service(place) => {
                for service in &mut world.hosts[*place].0.services {
                    service.active = !service.active;
                }
            }
            Happening::Disk(place, value) => {
                for metric in world.hosts[*place].0.metrics.values_mut() {
                    *metric = *value;
                }
            }
            Happening::Reboot(place) => {
                let number = i64::try_from(world.events.len()).unwrap() + 1;
                world.events.push(HostEvent {
                    number,
                    kind: HostEventKind::Rebooted,
                    server_id: world.hosts[*place].0.server_id.clone(),
                    at: world.now(),
                });
            }
            Happening::Delete(place) => {
                // The host that comes back is another one.
                let number = 100 + self.renewals;
                self.renewals += 1;
                let country = world.hosts[*place].0.country_code.clone();
                world.hosts[*place] = host(number, &country);
                world.hear(*place);
            }
            other => self.set(other),
        }
    }

    /// What admins do.
    fn set(&mut self, happening: &Happening) {
        let world = &mut self.world;
        match happening {
            Happening::Switch(place) => {
                let enabled = &mut world.rules[*place].rule.enabled;
                *enabled = !*enabled;
            }
            Happening::Renew(place) => {
                self.renewals += 1;
                world.rules[*place].id = format!("rul-{place}-{}", self.renewals);
            }
            Happening::Rename(place, set) => {
                let named = CHANNELS.iter().enumerate();
                let named = named.filter(|(bit, _)| set & (1 << bit) != 0);
                world.rules[*place].rule.channels =
                    named.map(|(_, id)| (*id).to_owned()).collect();
                world.rules[*place].version += 1;
            }
            Happening::Reweigh(place, severity) => {
                world.rules[*place].rule.severity = *severity;
                world.rules[*place].version += 1;
            }
            Happening::Worse(place, severity) => {
                let id = CHANNELS[*place];
                let mut channels = world.channels.iter_mut();
                if let Some(channel) = channels.find(|channel| channel.id == id) {
                    channel.min_severity = *severity;
                }
            }
            Happening::Night(place) => {
                let id = CHANNELS[*place];
                let mut channels = world.channels.iter_mut();
                if let Some(channel) = channels.find(|channel| channel.id == id) {
                    channel.quiet = match &channel.quiet {
                        Some(_) => None,
                        None => Some(quiet("00:00", "23:00")),
                    };
                }
            }
            Happening::Aim => {
                let rule = &mut world.rules[1];
                rule.version += 1;
                if let Condition::Service { service } = &mut rule.rule.condition {
                    let other = if service == "*" { "ov*" } else { "*" };
                    other.clone_into(service);
                }
            }
            Happening::Mute(host, seconds) => {
                let select = host.map_or("all".to_owned(), |host| {
                    format!("hostname = {}", world.hosts[host].0.hostname)
                });
                world.mutes.push(StoredMute {
                    id: format!("mut-{}", world.mutes.len()),
                    mute: Mute {
                        select,
                        rules: Vec::new(),
                        from: world.now(),
                        until: at(world.now_s + seconds),
                        weekly: None,
                        reason: String::new(),
                    },
                });
            }
            Happening::Unmute => world.mutes.clear(),
            Happening::Acknowledge(place) => {
                let open = world.store.alerts().into_iter().filter(Alert::is_open);
                let ids: Vec<String> = open.map(|alert| alert.id).collect();
                if let Some(id) = ids.get(*place) {
                    let ack = Acknowledgement {
                        by: "ann".to_owned(),
                        at: world.now(),
                        note: String::new(),
                    };
                    world.acks.push((id.clone(), ack));
                }
            }
            other => self.disturb(other),
        }
    }

    /// What goes wrong.
    fn disturb(&mut self, happening: &Happening) {
        let world = &mut self.world;
        match happening {
            Happening::Mood(place, mood) => {
                world.moods.insert(CHANNELS[*place].to_owned(), *mood);
            }
            Happening::Close(place) => {
                let id = CHANNELS[*place];
                let mut channels = world.channels.iter_mut();
                if let Some(channel) = channels.find(|channel| channel.id == id) {
                    channel.enabled = !channel.enabled;
                }
            }
            Happening::Forget(place) => {
                let id = CHANNELS[*place];
                let position = world.channels.iter().position(|channel| channel.id == id);
                match position {
                    Some(position) => {
                        let channel = world.channels.remove(position);
                        // The channel that comes back is another one, which knows
                        // nothing of what the first one was told.
                        let inbox = world.inboxes.remove(id).unwrap_or_default();
                        let name = format!("{id}, deleted at {}", world.now_s);
                        self.deleted.insert(name.clone());
                        world.inboxes.insert(name, inbox);
                        self.deleted.insert(channel.id.clone());
                        self.forgotten.insert(*place, channel);
                        // Nobody makes one with the same id before the next look.
                        world.store.writes_left = None;
                        self.looks(1);
                    }
                    None => world.channels.extend(self.forgotten.remove(place)),
                }
            }
            Happening::RetryDead => {
                let now = world.now();
                let deleted = &self.deleted;
                let is_meant = |delivery: &Delivery| !deleted.contains(&delivery.channel);
                self.retried.extend(world.store.retry_dead(now, is_meant));
            }
            Happening::Kill(writes) => world.store.writes_left = Some(*writes),
            Happening::TakeOver => self.take_over(),
            Happening::Off(seconds) => {
                world.restart();
                world.now_s += seconds / 10 * 10;
                world.hearing = Hearing::Starting;
                for place in 0..HOSTS {
                    world.hear(place);
                }
                self.looks(24);
                self.world.hearing = Hearing::Well;
            }
            _ => {}
        }
    }

    /// The engine of an instance that has lost the lease writes nothing more.
    fn take_over(&mut self) {
        let world = &mut self.world;
        let Some(mut late) = world.engine.take() else {
            return;
        };
        world.store.epoch += 1;
        world.hear(0);
        world.hosts[0].0.services[0].active = false;
        let before = world.store.load(world.now());
        let gone_on = world.look(&mut late);
        let sent = gone_on.and_then(|()| world.send(&mut late));
        assert!(world.store.load(world.now()) == before, "{sent:?}");
        world.epoch += 1;
        world.restart();
    }

    /// Channels and admins leave nothing in the way of messages, for long enough.
    fn open_channels(&mut self) {
        let world = &mut self.world;
        world.store.writes_left = None;
        world.moods.clear();
        world.mutes.clear();
        for (_, channel) in std::mem::take(&mut self.forgotten) {
            world.channels.push(channel);
        }
        for channel in &mut world.channels {
            channel.enabled = true;
            channel.min_severity = Severity::Info;
            channel.quiet = None;
        }
        self.looks(240);
    }

    /// All hosts are well again, for long enough.
    fn end_well(&mut self) {
        let world = &mut self.world;
        for host in &mut world.hosts {
            host.0.services[0].active = true;
            host.0.metrics.values_mut().for_each(|value| *value = 10.0);
        }
        self.silent.clear();
        self.looks(600);
    }
}

/// Whatever has fired for long is known to each of its channels.
fn check_told(history: &History) -> Result<(), TestCaseError> {
    let world = &history.world;
    let long_ago = at(world.now_s.saturating_sub(1800));
    let alerts = world.store.alerts().into_iter();
    let firing = alerts.filter(|alert| {
        let is_old = alert.fired_at.is_some_and(|fired| fired < long_ago);
        alert.is_open() && is_old && alert.held_by.is_none()
    });
    for alert in firing {
        let rule = world.rules.iter().find(|rule| rule.id == alert.rule);
        let named = rule.into_iter().flat_map(|stored| &stored.rule.channels);
        for channel in named {
            let told = alert.told.get(channel).map(|mark| &mark.told);
            let is_known = matches!(told, Some(Told::Told { .. } | Told::Dead { .. }));
            prop_assert!(is_known, "{alert:?} on {channel}");
        }
    }
    Ok(())
}

/// Reads what a channel has got: of each alert whether it knows it to fire.
/// `unrecovered` are the alerts whose recovery was given up: people see it among the dead
/// letters.
fn read(
    inbox: &Inbox,
    retried: &BTreeSet<String>,
    unrecovered: &BTreeSet<String>,
) -> Result<BTreeMap<String, String>, TestCaseError> {
    let mut firing: BTreeMap<String, String> = BTreeMap::new();
    for (delivery, items) in &inbox.got {
        for (alert, news) in items {
            let known = firing.contains_key(alert);
            match news {
                News::Firing | News::Short => {
                    let is_excused = unrecovered.contains(alert);
                    prop_assert!(!known || is_excused, "{alert}: twice, by {delivery}");
                }
                News::Resolved => {
                    prop_assert!(known, "{alert}: a recovery of nothing, by {delivery}");
                }
                // As a firing, it is one that flaps.
                News::Flapping => {}
                News::Repeat | News::Settled => {
                    let is_late = retried.contains(delivery);
                    prop_assert!(known || is_late, "{alert}: {news:?} of nothing");
                }
            }
            match news {
                News::Firing | News::Flapping
                    if !retried.contains(delivery) || !known =>
                {
                    firing.insert(alert.clone(), delivery.clone());
                }
                News::Resolved => drop(firing.remove(alert)),
                _ => {}
            }
        }
    }
    Ok(firing)
}

fn check(history: &History) -> Result<(), TestCaseError> {
    let world = &history.world;
    let alerts = world.store.alerts();
    let by_id: BTreeMap<&str, &Alert> = alerts
        .iter()
        .map(|alert| (alert.id.as_str(), alert))
        .collect();
    for alert in &alerts {
        // What is over is over everywhere, or could not be told.
        for (channel, mark) in alert.told.iter().filter(|_| !alert.is_open()) {
            // What is told once is not kept for longer than three days.
            let is_old = alert.is_instant()
                && alert.ended_at < Some(Saved::ended_after(world.now()));
            let is_done = matches!(mark.told, Told::Closed | Told::Dead { .. })
                || is_old && mark.told == Told::Untold;
            prop_assert!(is_done, "{} on {channel}: {mark:?}", alert.id);
        }
        prop_assert!(!alert.is_open(), "{alert:?}");
    }
    for row in world.store.rows() {
        let is_done =
            !matches!(row.state, DeliveryState::Waiting | DeliveryState::Sending);
        prop_assert!(is_done, "{row:?}");
    }

    let rows = world.store.rows();
    for (channel, inbox) in &world.inboxes {
        let dead = rows.iter().filter(|row| {
            row.state == DeliveryState::Dead && row.delivery.channel == *channel
        });
        let dead: BTreeSet<String> = dead
            .flat_map(|row| &row.delivery.items)
            .map(|item| item.alert.clone())
            .collect();
        for (alert, delivery) in read(inbox, &history.retried, &dead)? {
            // A firing that was given up may have arrived; so may one whose channel was
            // deleted, or whose recovery was refused.
            if history.deleted.contains(channel) {
                continue;
            }
            let Some(found) = by_id.get(alert.as_str()) else {
                continue;
            };
            let mark = &found.told.get(channel).unwrap().told;
            let is_excused = matches!(mark, Told::Dead { .. })
                || found.is_instant()
                || dead.contains(&alert);
            prop_assert!(is_excused, "{alert} on {channel}: {mark:?} by {delivery}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(300),
        max_shrink_time: 60_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn beginnings_and_ends_come_in_pairs(
        happenings in proptest::collection::vec(happening(), 1..60)
    ) {
        let mut history = History::new();
        for happening in &happenings {
            history.happen(happening);
        }
        history.open_channels();
        check_told(&history)?;
        history.end_well();
        check(&history)?;
    }
}
