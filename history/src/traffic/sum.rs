//! The traffic of several days, such as a billing cycle.

use std::collections::BTreeMap;

use crate::day::Day;
use crate::traffic::counter::{Counter, Direction};
use crate::traffic::day::DayTraffic;
use crate::traffic::flow::Reading;

/// How many days before a cycle its counters are looked for. A host that was silent for
/// longer begins anew.
pub const LOOK_BACK_DAYS: u32 = 31;

/// The traffic of a host in some days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// What the host received, in bytes; `None` if no counter of that is known.
    pub received: Option<u64>,
    /// What the host sent.
    pub sent: Option<u64>,
    /// Since when it is known, in seconds since 1970: the start of the days, unless the
    /// first reading of all came later.
    pub known_from: i64,
}

/// Days, as they are added up.
#[derive(Debug)]
pub struct TrafficSum {
    from: Day,
    counters: BTreeMap<Counter, Running>,
}

/// A counter up to a day.
#[derive(Debug)]
struct Running {
    last: Reading,
    bytes: u64,
    known_from: i64,
}

impl TrafficSum {
    /// A sum of no days yet, which begins with the day `from`.
    #[must_use]
    pub fn new(from: Day) -> TrafficSum {
        TrafficSum {
            from,
            counters: BTreeMap::new(),
        }
    }

    /// Adds a day. The days come in their order; those before the first one only tell
    /// what the counters said.
    ///
    /// What flowed since the reading before counts, however long ago that was: a host that
    /// was silent over the start of a cycle has all of that in this cycle. Without a
    /// reading before, the first one counts for nothing, because nobody knows when those
    /// bytes flowed.
    pub fn add(&mut self, day: Day, traffic: &DayTraffic) {
        for (counter, of_day) in &traffic.counters {
            let is_before = day < self.from;
            match self.counters.get_mut(counter) {
                Some(running) if is_before => running.last = of_day.last,
                Some(running) => {
                    let between = running.last.flow_to(of_day.first);
                    let flowed = between.saturating_add(of_day.bytes);
                    running.bytes = running.bytes.saturating_add(flowed);
                    running.last = of_day.last;
                }
                None => {
                    let first = day.start() + i64::from(of_day.first_second);
                    let running = Running {
                        last: of_day.last,
                        bytes: if is_before { 0 } else { of_day.bytes },
                        known_from: first.max(self.from.start()),
                    };
                    self.counters.insert(counter.clone(), running);
                }
            }
        }
    }

    /// The traffic of all days; `None` if no counter is known that counts.
    #[must_use]
    pub fn finish(&self) -> Option<Traffic> {
        let layers = self.counters.keys().filter_map(Counter::layer);
        let layer = layers.min()?;
        let counting = self.counters.iter();
        let counting = counting.filter(|(counter, _)| counter.layer() == Some(layer));

        let mut traffic = Traffic {
            received: None,
            sent: None,
            known_from: i64::MAX,
        };
        for (counter, running) in counting {
            let sum = match counter.direction {
                Direction::Received => &mut traffic.received,
                Direction::Sent => &mut traffic.sent,
            };
            *sum = Some(sum.unwrap_or(0).saturating_add(running.bytes));
            traffic.known_from = traffic.known_from.min(running.known_from);
        }
        Some(traffic)
    }
}
