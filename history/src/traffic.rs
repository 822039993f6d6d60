//! Bytes of a day, from an interface's counter.

use crate::chunk::Chunk;
use crate::sample::Boot;
use crate::series::Series;

/// A counter at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// The boot in which the counter was read, if it is known.
    pub boot: Option<Boot>,
    /// What the counter said, in bytes.
    pub bytes: f64,
}

/// A day's traffic over one interface, in one direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traffic {
    /// The bytes from the last reading before the day to the last one of the day.
    pub bytes: u64,
    /// The last reading of the day, or the one before if the day has none: the `before`
    /// of the next day.
    pub last: Option<Reading>,
}

/// The traffic of a day by its counter `series`, from `before`, which is the last reading
/// before the day.
///
/// In the order of time: in the same boot, and if the counter has not fallen, the traffic
/// is the difference; else the counter itself, because it began at 0. A boot that is not
/// known counts as the same. Without a reading before the day, the first one of the day
/// counts for nothing, because nobody knows when those bytes flowed.
///
/// The chunk is the same however its samples came, so this is, too.
#[must_use]
pub fn traffic_of_day(
    chunk: &Chunk,
    series: &Series,
    before: Option<Reading>,
) -> Traffic {
    let mut last = before;
    let mut sum = 0.0;
    for (_, boot, bytes) in chunk.readings(series) {
        let reading = Reading { boot, bytes };
        sum += last.map_or(0.0, |last| flowed(last, reading));
        last = Some(reading);
    }
    Traffic {
        bytes: to_bytes(sum),
        last,
    }
}

fn flowed(last: Reading, next: Reading) -> f64 {
    let is_same_boot = match (last.boot, next.boot) {
        (Some(last), Some(next)) => last == next,
        _ => true,
    };
    if is_same_boot && next.bytes >= last.bytes {
        next.bytes - last.bytes
    } else {
        next.bytes.max(0.0)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast of what is too large, or below zero, ends at the nearest number"
)]
fn to_bytes(sum: f64) -> u64 {
    sum.round() as u64
}
