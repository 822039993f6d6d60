//! When the host was up, but did not reach the server.

use crate::sample::Arrival;

/// How many intervals between samples may be a gap: in a longer one the host may have
/// been down.
const LONGEST_GAP: i64 = 5;
/// Most gaps whose median is looked for.
const MAX_GAPS: usize = 100_000;

/// A range of time, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    /// The first second.
    pub from: i64,
    /// The last second.
    pub to: i64,
}

/// Samples as far as they tell whether the host reached the server.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    last: Option<(i64, Arrival)>,
    gaps: Vec<i64>,
    /// Each spooled sample, and the next sample.
    spooled: Vec<(i64, Option<(i64, Arrival)>)>,
}

impl Reached {
    /// Takes the next sample in the order of time.
    pub(crate) fn add(&mut self, at: i64, arrival: Arrival) {
        if let Some((last, arrival_of_last)) = self.last {
            if self.gaps.len() < MAX_GAPS {
                self.gaps.push(at - last);
            }
            if arrival_of_last == Arrival::Spooled {
                self.spooled.push((last, Some((at, arrival))));
            }
        }
        self.last = Some((at, arrival));
    }

    /// The usual time between two samples: the median, 0 if there are none.
    pub(crate) fn interval(&self) -> i64 {
        let mut gaps = self.gaps.clone();
        let middle = gaps.len() / 2;
        if gaps.is_empty() {
            return 0;
        }
        *gaps.select_nth_unstable(middle).1
    }

    /// The ranges from a spooled sample to the last spooled one that follows without a
    /// long gap or a live sample between; an interval behind that, or the live sample if
    /// it comes before, the range ends.
    pub(crate) fn not_reached(mut self) -> Vec<TimeRange> {
        if let Some((last, Arrival::Spooled)) = self.last {
            self.spooled.push((last, None));
        }
        let interval = self.interval();

        let mut ranges: Vec<TimeRange> = Vec::new();
        let mut goes_on = false;
        for (at, next) in &self.spooled {
            let is_near = |next: i64| next - at <= interval * LONGEST_GAP;
            let next = next.filter(|(next, _)| is_near(*next));
            let to = match next {
                Some((next, Arrival::Spooled)) => next,
                Some((next, Arrival::Live)) => next.min(at + interval),
                None => *at,
            };
            match ranges.last_mut().filter(|_| goes_on) {
                Some(range) => range.to = to,
                None => ranges.push(TimeRange { from: *at, to }),
            }
            goes_on = matches!(next, Some((_, Arrival::Spooled)));
        }
        ranges
    }
}
