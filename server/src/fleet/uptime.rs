//! Uptime: for how long hosts were up, from the turns of their lives.
//!
//! A host without heartbeats is not therefore down: the server may have been off. Only
//! events say that a host went down or came up, and before the first of them nobody knows
//! what the host was. Where heartbeats were spooled, the host was up, but did not reach
//! the server: no event can tell that.

use fleetbeat_history::chart::TimeRange;
use fleetbeat_protocol::Status;

use crate::store::Turn;

/// What a host was for some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Phase {
    /// The first second, since 1970.
    pub(crate) from: i64,
    /// The second behind the last one.
    pub(crate) to: i64,
    /// What the host was; `None` if nobody knows.
    pub(crate) status: Option<Status>,
}

/// The phases of a host between two times: one follows the other without a gap, and each
/// differs from the one before. `turns` has those since `from`, and the last one before.
pub(crate) fn phases(turns: &[Turn], from: i64, to: i64) -> Vec<Phase> {
    let mut phases: Vec<Phase> = Vec::new();
    let mut end = |phase: Phase| match phases.last_mut() {
        _ if phase.from == phase.to => {}
        Some(last) if last.status == phase.status => last.to = phase.to,
        _ => phases.push(phase),
    };

    let (mut since, mut status) = (from, None);
    for turn in turns {
        // The last turn before, or one by a clock that was put back.
        let at = turn.at.as_second().clamp(since, to);
        end(Phase {
            from: since,
            to: at,
            status,
        });
        (since, status) = (at, Some(turn.status));
    }
    end(Phase {
        from: since,
        to,
        status,
    });
    phases
}

/// For how many seconds a host was what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Uptime {
    /// Up, and in touch with the server.
    pub(crate) up: i64,
    /// Up, but the server was not reached.
    pub(crate) not_reached: i64,
    /// Down.
    pub(crate) down: i64,
    /// Nobody knows.
    pub(crate) unknown: i64,
}

impl Uptime {
    /// The uptime between two times. `not_reached` does not overlap itself.
    pub(crate) fn between(
        phases: &[Phase],
        not_reached: &[TimeRange],
        from: i64,
        to: i64,
    ) -> Uptime {
        let mut sum = Uptime::default();
        for phase in phases {
            let (from, to) = (phase.from.max(from), phase.to.min(to));
            if from >= to {
                continue;
            }
            let Some(status) = phase.status else {
                sum.unknown += to - from;
                continue;
            };
            let away = not_reached.iter();
            let away = away.map(|range| (range.to.min(to) - range.from.max(from)).max(0));
            let away: i64 = away.sum();
            sum.not_reached += away;
            match status {
                Status::Active => sum.up += to - from - away,
                Status::Down => sum.down += to - from - away,
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use fleetbeat_protocol::Timestamp;

    use super::*;

    fn turn(at: i64, status: Status) -> Turn {
        let at = Timestamp::from_second(at).unwrap();
        Turn { at, status }
    }

    fn told(turns: &[(i64, Status)]) -> Vec<(i64, i64, &'static str)> {
        let turns: Vec<Turn> = turns
            .iter()
            .map(|(at, status)| turn(*at, *status))
            .collect();
        let phases = phases(&turns, 100, 200);
        let name = |status: Option<Status>| status.map_or("unknown", Status::as_str);
        let phases = phases.iter();
        phases
            .map(|phase| (phase.from, phase.to, name(phase.status)))
            .collect()
    }

    #[test]
    fn phases_follow_from_turns_and_before_the_first_one_nothing_is_known() {
        use Status::{Active, Down};
        assert_eq!(told(&[]), [(100, 200, "unknown")]);
        assert_eq!(told(&[(50, Active)]), [(100, 200, "active")]);
        assert_eq!(told(&[(100, Active)]), [(100, 200, "active")]);
        assert_eq!(told(&[(200, Active)]), [(100, 200, "unknown")]);
        assert_eq!(
            told(&[(120, Down), (150, Active), (260, Down)]),
            [
                (100, 120, "unknown"),
                (120, 150, "down"),
                (150, 200, "active")
            ]
        );
        // New, and down since before that: all its heartbeats were spooled.
        let spooled = [(150, Active), (110, Down)];
        assert_eq!(told(&spooled), [(100, 150, "unknown"), (150, 200, "down")]);
        // An event that was lost, and a clock that was put back.
        let odd = [(90, Down), (130, Down), (120, Active), (110, Down)];
        assert_eq!(told(&odd), [(100, 200, "down")]);
    }

    #[test]
    fn what_was_not_reached_was_up() {
        use Status::{Active, Down};
        let turns = [turn(110, Active), turn(140, Down), turn(180, Active)];
        let phases = phases(&turns, 100, 200);
        let away = [
            TimeRange { from: 90, to: 115 },
            TimeRange { from: 145, to: 185 },
        ];
        let uptime = Uptime::between(&phases, &away, 100, 200);
        let expected = Uptime {
            unknown: 10,
            not_reached: 5 + 40,
            up: 25 + 15,
            down: 5,
        };
        assert_eq!(uptime, expected);
        let before = Uptime::between(&phases, &away, 100, 110);
        assert_eq!((before.unknown, before.not_reached), (10, 0));
    }

    #[test]
    fn every_second_is_counted_once() {
        let times = [50, 100, 130, 130, 170, 200, 250];
        for order in 0..times.len().pow(3) {
            let turns = [1, 7, 49].map(|place| {
                let number = order / place % times.len();
                let status = [Status::Active, Status::Down][(order / place) % 2];
                turn(times[number], status)
            });
            let phases = phases(&turns, 100, 200);
            assert_eq!((phases[0].from, phases[phases.len() - 1].to), (100, 200));
            for pair in phases.windows(2) {
                assert_eq!(pair[0].to, pair[1].from);
                assert_ne!(pair[0].status, pair[1].status);
            }
            let sum = |from, to| {
                let sum = Uptime::between(&phases, &[], from, to);
                sum.up + sum.down + sum.unknown
            };
            assert_eq!((sum(100, 200), sum(100, 150) + sum(150, 200)), (100, 100));
        }
    }
}
