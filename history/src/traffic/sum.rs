//! The traffic of several days, such as a billing cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::day::Day;
use crate::sample::Boot;
use crate::traffic::counter::{Direction, Layer};
use crate::traffic::day::DayTraffic;
use crate::traffic::line::{Line, LineDay, shared_boots};

/// How many days before a cycle its counters are looked for. A host that was silent for
/// longer begins anew.
pub const LOOK_BACK_DAYS: u32 = 31;

/// The traffic of a host in some days.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What the host received; `None` if no counter of that is known.
    pub received: Option<Flow>,
    /// What the host sent.
    pub sent: Option<Flow>,
}

/// What flowed one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// How much, in bytes.
    pub bytes: u64,
    /// Since when it is known, in seconds since 1970: the start of the days, unless the
    /// first reading of all came later.
    pub known_from: i64,
    /// Whether some of it is not known since then: other counters have taken the place of
    /// those before, or there were too many.
    pub has_gap: bool,
}

impl Traffic {
    /// The traffic of the days from `from` on; those before tell what the counters said.
    /// `None` if no counter is known that counts.
    ///
    /// What flowed since the reading before counts, however long ago that was: a host that
    /// was silent over the start of a cycle has all of that in this cycle. Without a
    /// reading before, the first one counts for nothing, because nobody knows when those
    /// bytes flowed.
    #[must_use]
    pub fn of(days: &BTreeMap<Day, DayTraffic>, from: Day) -> Option<Traffic> {
        let shared = shared_boots(days);
        let flow = |direction| {
            let mut sum = Sum::new(direction, from);
            for (day, traffic) in days {
                sum.add(*day, traffic, &shared);
            }
            sum.finish()
        };
        let received = flow(Direction::Received);
        let sent = flow(Direction::Sent);
        let is_known = received.is_some() || sent.is_some();
        is_known.then_some(Traffic { received, sent })
    }
}

/// What flowed one way, as days are added up.
///
/// Each day has a layer that counts. Where that is another one than before, what flowed
/// between the two days counts by the counters of either that were read on both sides.
struct Sum {
    direction: Direction,
    from: Day,
    lines: BTreeMap<Arc<str>, Line>,
    /// Until when each layer has counted.
    counted: BTreeMap<Layer, i64>,
    /// The one that has counted last.
    last: Option<Layer>,
    flow: Option<Flow>,
}

/// A counter's day.
struct Told {
    layer: Layer,
    first_at: i64,
    last_at: i64,
    flowed: LineDay,
}

/// From when to when a layer is told on a day.
#[derive(Clone, Copy)]
struct Span {
    layer: Layer,
    from: i64,
    to: i64,
}

impl Sum {
    fn new(direction: Direction, from: Day) -> Sum {
        Sum {
            direction,
            from,
            lines: BTreeMap::new(),
            counted: BTreeMap::new(),
            last: None,
            flow: None,
        }
    }

    /// Adds a day. The days come in their order.
    fn add(&mut self, day: Day, traffic: &DayTraffic, shared: &BTreeSet<Boot>) {
        let told = self.read(day, traffic, shared);
        let spans = spans(&told);
        let Some(first) = spans.first() else {
            return;
        };
        let linked = self.links(first, &told);
        if day >= self.from {
            let mut bytes = linked.bytes;
            let is_taken = |of: &&Told| spans.iter().any(|span| span.layer == of.layer);
            for told in told.iter().filter(is_taken) {
                bytes = bytes.saturating_add(told.flowed.within);
            }
            let is_linked = linked.until.is_some_and(|until| until >= first.from);
            let has_gap =
                spans.len() > 1 || traffic.is_full() || is_renamed(&spans, &told);
            self.count(bytes, is_linked, has_gap, first.from);
        }
        for span in spans {
            self.counted.insert(span.layer, span.to);
            self.last = Some(span.layer);
        }
    }

    /// What the day tells of the counters that count.
    fn read(
        &mut self,
        day: Day,
        traffic: &DayTraffic,
        shared: &BTreeSet<Boot>,
    ) -> Vec<Told> {
        let mut told = Vec::new();
        for (counter, of_day) in &traffic.counters {
            let layer = counter.layer();
            let Some(layer) = layer.filter(|_| counter.direction == self.direction)
            else {
                continue;
            };
            let (first, last) = of_day.seconds();
            let line = self.lines.entry(counter.interface.clone()).or_default();
            told.push(Told {
                layer,
                first_at: day.start() + i64::from(first),
                last_at: day.start() + i64::from(last),
                flowed: line.add(day, of_day, shared),
            });
        }
        told
    }

    /// What has flowed since the days before, by the counters of the day's layer; or by
    /// those of the layer before, where the day's counters were not read then.
    fn links(&self, span: &Span, told: &[Told]) -> Linked {
        let counted_until = self.counted.values().max().copied();
        let layers = [Some(span.layer), self.last];
        let of_layers = layers.into_iter().flatten().map(|layer| {
            let mut linked = Linked::default();
            // Another layer leads to where the day's one begins, and not into it.
            let leads = |told: &&Told| {
                told.layer == layer && (layer == span.layer || told.first_at <= span.from)
            };
            for told in told.iter().filter(leads) {
                let link = told.flowed.link;
                let link = link.filter(|link| !self.is_counted(layer, link.since));
                let Some(link) = link else { continue };
                linked.is_known = true;
                linked.bytes = linked.bytes.saturating_add(link.bytes);
                // No time is left out between what has counted and this.
                if counted_until.is_none_or(|until| link.since <= until) {
                    linked.until = linked.until.max(Some(told.first_at));
                }
            }
            linked
        });
        let mut linked = of_layers.filter(|linked| linked.is_known);
        linked.next().unwrap_or_default()
    }

    /// Whether another layer has counted behind this time.
    fn is_counted(&self, layer: Layer, since: i64) -> bool {
        let mut others = self.counted.iter().filter(|(other, _)| **other != layer);
        others.any(|(_, until)| *until > since)
    }

    fn count(&mut self, bytes: u64, is_linked: bool, has_gap: bool, first_at: i64) {
        match &mut self.flow {
            Some(flow) => {
                flow.bytes = flow.bytes.saturating_add(bytes);
                flow.has_gap |= has_gap || !is_linked;
            }
            None => {
                let start = self.from.start();
                self.flow = Some(Flow {
                    bytes,
                    known_from: if is_linked {
                        start
                    } else {
                        first_at.max(start)
                    },
                    has_gap,
                });
            }
        }
    }

    fn finish(self) -> Option<Flow> {
        // What was read before the days is where they begin.
        let known_before = self.last.map(|_| Flow {
            bytes: 0,
            known_from: self.from.start(),
            has_gap: false,
        });
        self.flow.or(known_before)
    }
}

/// What has flowed between days.
#[derive(Default)]
struct Linked {
    bytes: u64,
    /// Whether something of it is known.
    is_known: bool,
    /// The last of the readings up to which all is known.
    until: Option<i64>,
}

/// The layers that count on a day, in the order of time: the best one of those that were
/// told for nearly all the time, and others for the time in which it was not told.
fn spans(told: &[Told]) -> Vec<Span> {
    let mut spans: BTreeMap<Layer, Span> = BTreeMap::new();
    for told in told {
        let (layer, from, to) = (told.layer, told.first_at, told.last_at);
        let span = spans.entry(layer).or_insert(Span { layer, from, to });
        (span.from, span.to) = (span.from.min(from), span.to.max(to));
    }
    let length = |span: &Span| span.to - span.from;
    let longest = spans.values().map(length).max().unwrap_or(0);
    // But for half an hour of a day.
    let is_long = |span: &&Span| length(span) * 48 >= longest * 47;
    let best = spans.values().find(is_long).copied();

    let mut taken: Vec<Span> = best.into_iter().collect();
    // A single heartbeat tells of no flow.
    for span in spans.into_values().filter(|span| span.from < span.to) {
        let is_apart = |of: &Span| span.to < of.from || of.to < span.from;
        if taken.iter().all(is_apart) {
            taken.push(span);
        }
    }
    taken.sort_unstable_by_key(|span| span.from);
    taken
}

/// Whether a counter that counts was read for the first time of all during the day, while
/// no other one of its layer went on: then the interface has got another name, and what
/// flowed meanwhile is not known.
fn is_renamed(spans: &[Span], told: &[Told]) -> bool {
    let is_new = |of: &&Told| {
        let mut spans = spans.iter().filter(|span| span.layer == of.layer);
        of.flowed.link.is_none() && spans.any(|span| span.from < of.first_at)
    };
    let goes_on = |at: i64, of: &Told| of.first_at < at && at <= of.last_at;
    told.iter().filter(is_new).any(|new| {
        let mut others = told.iter().filter(|of| of.layer == new.layer);
        !others.any(|of| goes_on(new.first_at, of))
    })
}
