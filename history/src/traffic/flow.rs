//! What flows between two readings of a counter.

use crate::sample::Boot;

/// A counter at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The boot in which the counter was read, if it is known.
    pub(crate) boot: Option<Boot>,
    /// What the counter said, in bytes.
    pub(crate) bytes: u64,
}

impl Reading {
    /// The reading of a counter as a chunk has it. What is below zero counts as 0.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast of what is too large, or below zero, ends at the nearest number"
    )]
    pub(crate) fn new(boot: Option<Boot>, counter: f64) -> Reading {
        Reading {
            boot,
            bytes: counter.round() as u64,
        }
    }

    /// What flowed from this reading to the `next` one: in the same boot, and if the
    /// counter has not fallen, the difference; else the counter itself, because it began
    /// at 0. A boot that is not known counts as the same.
    pub(crate) fn flow_to(self, next: Reading) -> u64 {
        let is_same_boot = match (self.boot, next.boot) {
            (Some(before), Some(next)) => before == next,
            _ => true,
        };
        match next.bytes.checked_sub(self.bytes) {
            Some(difference) if is_same_boot => difference,
            _ => next.bytes,
        }
    }
}
