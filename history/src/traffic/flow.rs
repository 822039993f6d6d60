//! What flows between readings of a counter.

use crate::sample::{Boot, Identity};

/// A counter at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The second of the day.
    pub(crate) second: u32,
    /// The sample's number in its boot, if it has one.
    pub(crate) number: Option<u64>,
    /// What the counter said, in bytes.
    pub(crate) bytes: u64,
}

/// The readings of a counter in one boot and day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// The boot, if it is known.
    pub(crate) boot: Option<Boot>,
    pub(crate) first: Reading,
    pub(crate) last: Reading,
    /// What flowed between the first reading and the last.
    pub(crate) bytes: u64,
}

impl Reading {
    /// The reading of a counter as a chunk has it. What is below zero counts as 0.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast of what is too large, or below zero, ends at the nearest number"
    )]
    pub(crate) fn new(second: u32, identity: Identity, counter: f64) -> Reading {
        let number = match identity {
            Identity::Numbered(_, number) => Some(number),
            Identity::Boot(_) | Identity::Unknown => None,
        };
        Reading {
            second,
            number,
            bytes: counter.round() as u64,
        }
    }

    /// What flowed from this reading to the `next` one of the same boot: the difference;
    /// or the counter itself if it has fallen, because then it began anew at 0.
    pub(crate) fn flow_to(self, next: Reading) -> u64 {
        next.bytes.checked_sub(self.bytes).unwrap_or(next.bytes)
    }
}

impl Stretch {
    /// A stretch of one reading.
    pub(crate) fn new(boot: Option<Boot>, reading: Reading) -> Stretch {
        Stretch {
            boot,
            first: reading,
            last: reading,
            bytes: 0,
        }
    }

    pub(crate) fn add(&mut self, reading: Reading) {
        self.bytes = self.bytes.saturating_add(self.last.flow_to(reading));
        self.last = reading;
    }

    /// What flowed up to the first reading and behind it, since the reading `before` of an
    /// earlier day and the same boot; `None` if that was a later one, so that all has been
    /// counted. A clock that is set back at midnight has samples of both days in turns.
    pub(crate) fn flow_since(&self, before: Reading) -> Option<(u64, u64)> {
        let is_behind = |reading: Reading| match (before.number, reading.number) {
            (Some(before), Some(number)) => before < number,
            _ => true,
        };
        if is_behind(self.first) {
            Some((before.flow_to(self.first), self.bytes))
        } else if is_behind(self.last) {
            Some((0, before.flow_to(self.last).min(self.bytes)))
        } else {
            None
        }
    }
}
