//! Sightings: what the watch has seen of a host last, and what has changed since.

use std::collections::BTreeMap;

use fleetbeat_protocol::{Service, Status, Timestamp};

use super::event::{EventKind, Facts, NewEvent, facts};

/// What the watch compares of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) status: Status,
    /// The time of the last heartbeat.
    pub(super) last_heartbeat: Timestamp,
    /// The boot of the last live heartbeat.
    pub(super) boot_id: Option<String>,
    /// By how many seconds the host's clock is wrong; `None` if it is right.
    pub(super) clock_off: Option<i64>,
    pub(super) services: Vec<Service>,
}

/// What was seen of a host before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Before {
    pub(super) sighting: Sighting,
    /// The boot before the last: of two hosts that take turns in one record, each comes
    /// back with a boot that was seen.
    pub(super) boot_before: Option<String>,
    /// When the host went down or came up last.
    pub(super) since: Timestamp,
}

/// What has changed between `before` and the sighting at `at`, in the order in which it
/// is told.
pub(super) fn compare(
    before: Option<&Before>,
    now: &Sighting,
    at: Timestamp,
) -> Vec<NewEvent> {
    let Some(before) = before else {
        let mut events = vec![NewEvent::new(EventKind::HostNew, at, Facts::new())];
        // A host whose heartbeats were all spooled.
        if now.status == Status::Down {
            events.push(down(now, at));
        }
        return events;
    };

    let mut events = Vec::new();
    let seen = &before.sighting;
    match (seen.status, now.status) {
        (Status::Active, Status::Down) => events.push(down(now, at)),
        (Status::Down, Status::Active) => {
            let down_for = at.duration_since(before.since).as_secs().max(0);
            let facts = facts([("down_s", down_for.into())]);
            events.push(NewEvent::new(EventKind::HostUp, at, facts));
        }
        _ => {}
    }
    if has_booted(before, now) {
        events.push(NewEvent::new(EventKind::HostRebooted, at, Facts::new()));
    }
    if seen.clock_off.is_some() != now.clock_off.is_some() {
        let facts = facts([("offset_s", now.clock_off.unwrap_or_default().into())]);
        events.push(NewEvent::new(EventKind::HostClock, at, facts));
    }
    events.extend(changed_services(&seen.services, &now.services, at));
    events
}

/// A clock that is wrong by more than this is told of: ahead, and behind.
const WRONG_S: std::ops::RangeInclusive<i64> = -600..=30;

/// How wrong a clock is, as far as [`settle`] tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Clock {
    Right,
    /// Told of only if it was told of before.
    WrongByLittle,
    Wrong,
}

impl Clock {
    /// That of a clock which is wrong by so many seconds.
    pub(super) fn of(clock_off: Option<i64>) -> Clock {
        match clock_off {
            None => Clock::Right,
            Some(offset) if WRONG_S.contains(&offset) => Clock::WrongByLittle,
            Some(_) => Clock::Wrong,
        }
    }
}

/// The sighting as it is compared and kept: a clock that is wrong by little counts as it
/// did before, so that one at the limit is not told of again and again.
pub(super) fn settle(before: Option<&Before>, now: Sighting) -> Sighting {
    let was_off = before.and_then(|before| before.sighting.clock_off);
    let clock_off = match Clock::of(now.clock_off) {
        Clock::WrongByLittle => was_off,
        Clock::Right | Clock::Wrong => now.clock_off,
    };
    Sighting { clock_off, ..now }
}

/// The boot before the last once `now` has been seen.
pub(super) fn boot_before(before: Option<&Before>, now: &Sighting) -> Option<String> {
    let before = before?;
    if before.sighting.boot_id == now.boot_id {
        before.boot_before.clone()
    } else {
        before.sighting.boot_id.clone()
    }
}

fn down(now: &Sighting, at: Timestamp) -> NewEvent {
    let last = now.last_heartbeat.to_string();
    let facts = facts([("last_heartbeat", last.into())]);
    NewEvent::new(EventKind::HostDown, at, facts)
}

fn has_booted(before: &Before, now: &Sighting) -> bool {
    let (Some(was), Some(is)) = (&before.sighting.boot_id, &now.boot_id) else {
        return false;
    };
    was != is && before.boot_before.as_ref() != Some(is)
}

/// Services that stopped or started. One that is named for the first time counts as one
/// that was active.
fn changed_services(before: &[Service], now: &[Service], at: Timestamp) -> Vec<NewEvent> {
    let was = by_name(before);
    let changed = by_name(now).into_iter().filter(|(name, is_active)| {
        let was_active = was.get(name).copied().unwrap_or(true);
        *is_active != was_active
    });
    changed
        .map(|(name, is_active)| {
            let kind = if is_active {
                EventKind::ServiceActive
            } else {
                EventKind::ServiceInactive
            };
            NewEvent::new(kind, at, facts([("service", name.into())]))
        })
        .collect()
}

/// Whether the service of each name is active. Of several with one name, all have to be.
fn by_name(services: &[Service]) -> BTreeMap<&str, bool> {
    let mut active = BTreeMap::new();
    for service in services {
        *active.entry(service.name.as_str()).or_insert(true) &= service.active;
    }
    active
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(status: Status, boot: &str, services: &[(&str, bool)]) -> Sighting {
        let service = |(name, active): &(&str, bool)| Service {
            name: (*name).to_owned(),
            active: *active,
        };
        Sighting {
            status,
            last_heartbeat: Timestamp::UNIX_EPOCH,
            boot_id: Some(boot.to_owned()),
            clock_off: None,
            services: services.iter().map(service).collect(),
        }
    }

    /// The kinds that a row of sightings tells.
    fn tell(sightings: &[Sighting]) -> Vec<&'static str> {
        let mut before: Option<Before> = None;
        let mut told = Vec::new();
        for now in sightings {
            let now = &settle(before.as_ref(), now.clone());
            let events = compare(before.as_ref(), now, Timestamp::UNIX_EPOCH);
            told.extend(events.iter().map(|event| event.kind.as_str()));
            before = Some(Before {
                boot_before: boot_before(before.as_ref(), now),
                sighting: now.clone(),
                since: Timestamp::UNIX_EPOCH,
            });
        }
        told
    }

    #[test]
    fn each_change_is_told_once() {
        use Status::{Active, Down};
        let up = |boot, services: &[(&str, bool)]| sighting(Active, boot, services);
        assert_eq!(
            tell(&[
                up("a", &[("wg", true)]),
                up("a", &[("wg", true)]),
                sighting(Down, "a", &[("wg", true)]),
                up("b", &[("wg", false), ("xray", false)]),
                up("b", &[("xray", true), ("wg", true), ("new", true)]),
                up("b", &[]),
            ]),
            [
                "host.new",
                "host.down",
                "host.up",
                "host.rebooted",
                "service.inactive",
                "service.inactive",
                "service.active",
                "service.active",
            ]
        );
        assert_eq!(tell(&[sighting(Down, "a", &[])]), ["host.new", "host.down"]);
        // Two copies of one machine in one record.
        let turns = ["a", "b", "a", "b", "a"].map(|boot| up(boot, &[]));
        assert_eq!(tell(&turns), ["host.new", "host.rebooted"]);
    }

    #[test]
    fn services_of_one_name_are_one() {
        let up = |services: &[(&str, bool)]| sighting(Status::Active, "a", services);
        let [one, other] = [true, false].map(|first| [("wg", first), ("wg", !first)]);
        let both = [("wg", true), ("wg", true)];
        assert_eq!(
            tell(&[up(&both), up(&one), up(&one), up(&other), up(&both)]),
            ["host.new", "service.inactive", "service.active"]
        );
    }

    #[test]
    fn a_wrong_clock_is_told_when_it_goes_wrong_and_when_it_is_right() {
        let off = |clock_off| Sighting {
            clock_off,
            ..sighting(Status::Active, "a", &[])
        };
        let offsets = [25, 90, 25, 0, -590, -700];
        let told = tell(&offsets.map(|offset| off((offset != 0).then_some(offset))));
        assert_eq!(told, ["host.new", "host.clock", "host.clock", "host.clock"]);
    }
}
