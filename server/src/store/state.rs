//! The state that admins have set on a host: of two records of one host, the later change
//! counts.

use fleetbeat_protocol::{HostState, StatePatch, Timestamp};
use serde::{Deserialize, Serialize};

use super::event::{Act, EventKind, NewEvent, facts};

/// The state of a host as it was set last, also when it is over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SetState {
    #[serde(flatten)]
    pub(super) state: HostState,
    /// The number of the change, 0 if nobody has set a state. Later changes have higher
    /// numbers, in the whole store.
    pub(super) change: i64,
}

impl SetState {
    /// Makes the change of this number, at this time.
    pub(super) fn change(&mut self, patch: &StatePatch, at: Timestamp, number: i64) {
        let before = self.state.at(at);
        let since = if before.mode == patch.mode {
            before.since
        } else {
            Some(at)
        };
        self.state = HostState {
            mode: patch.mode,
            until: patch.until,
            reason: patch.reason.clone(),
            since,
        };
        self.change = number;
    }

    /// Takes over the state that was set later in `other`.
    pub(super) fn merge(&mut self, other: &SetState) {
        if self.change < other.change {
            self.clone_from(other);
        }
    }
}

/// The event of a patch, if it changes the state in effect.
pub(super) fn state_change(
    before: &HostState,
    patch: &StatePatch,
    act: &Act,
) -> Option<NewEvent> {
    let before = before.at(act.at);
    let is_same = (before.mode, before.until, &before.reason)
        == (patch.mode, patch.until, &patch.reason);
    let until = patch.until.map(|until| until.to_string());
    let members = [
        ("from", before.mode.as_str().into()),
        ("to", patch.mode.as_str().into()),
        ("until", until.into()),
        ("reason", patch.reason.as_deref().into()),
    ];
    (!is_same).then(|| act.event(EventKind::StateChanged, facts(members)))
}

#[cfg(test)]
mod tests {
    use fleetbeat_protocol::Mode;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn patch(mode: Mode, until: Option<i64>) -> StatePatch {
        StatePatch {
            mode,
            until: until.map(at),
            reason: None,
        }
    }

    #[test]
    fn the_mode_is_as_old_as_it_is_in_effect() {
        let mut set = SetState::default();
        let mut since = |mode: Mode, until: Option<i64>, now: i64| {
            set.change(&patch(mode, until), at(now), now);
            set.state.since.map(Timestamp::as_second)
        };
        assert_eq!(since(Mode::Normal, None, 1), None);
        assert_eq!(since(Mode::Maintenance, Some(100), 10), Some(10));
        assert_eq!(
            since(Mode::Maintenance, Some(200), 20),
            Some(10),
            "extended"
        );
        // It is over since 200.
        assert_eq!(since(Mode::Normal, None, 300), Some(200));
        assert_eq!(since(Mode::Drain, None, 400), Some(400));
        assert_eq!(since(Mode::Maintenance, Some(600), 500), Some(500));
        assert_eq!(since(Mode::Maintenance, Some(800), 700), Some(700), "anew");
    }

    #[test]
    fn the_later_change_counts_whatever_the_order_of_merging() {
        let mut one = SetState::default();
        let mut other = one.clone();
        one.change(&patch(Mode::Drain, None), at(9), 1);
        other.change(&patch(Mode::Normal, None), at(1), 2);
        let (mut first, mut second) = (one.clone(), other.clone());
        first.merge(&other);
        second.merge(&one);
        assert_eq!((&first, &second), (&other, &other));
    }
}
