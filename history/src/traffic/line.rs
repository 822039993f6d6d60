//! A counter from day to day.

use std::collections::{BTreeMap, BTreeSet};

use crate::day::Day;
use crate::sample::Boot;
use crate::traffic::day::{CounterDay, DayTraffic};
use crate::traffic::flow::{Reading, Stretch};

/// A boot during which an older one is still heard for more seconds than this has not
/// begun behind it. Two clocks that are right to five minutes may differ by so much.
const TURNS_AFTER: i64 = 600;

/// The last reading of a counter in each boot.
#[derive(Debug, Default)]
pub(crate) struct Line {
    boots: Vec<LastReading>,
}

/// The last reading of a boot.
#[derive(Debug)]
struct LastReading {
    boot: Option<Boot>,
    reading: Reading,
    /// When it was, in seconds since 1970.
    at: i64,
}

/// What flowed over a counter on one day.
#[derive(Debug, Default)]
pub(crate) struct LineDay {
    /// What flowed since the readings before the day; `None` if there are none.
    pub(crate) link: Option<Link>,
    /// What flowed behind the day's first reading.
    pub(crate) within: u64,
}

/// What flowed between two days.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    pub(crate) bytes: u64,
    /// When the last reading before was, in seconds since 1970.
    pub(crate) since: i64,
}

impl Line {
    /// The line with a day more. Counters of the boots `shared` have not begun at 0.
    pub(crate) fn add(
        &mut self,
        day: Day,
        of_day: &CounterDay,
        shared: &BTreeSet<Boot>,
    ) -> LineDay {
        let since = self.latest().map(|place| self.boots[place].at);
        let (mut between, mut within) = (0_u64, of_day.left_out);
        for (place, stretch) in of_day.stretches.iter().enumerate() {
            let (link, bytes) = self.add_stretch(day, stretch, shared);
            within = within.saturating_add(bytes);
            // Behind the day's first reading, a boot has begun on this day.
            let is_link = place == 0 || link.is_known;
            let sum = if is_link { &mut between } else { &mut within };
            *sum = sum.saturating_add(link.bytes);
        }
        LineDay {
            link: since.map(|since| Link {
                bytes: between,
                since,
            }),
            within,
        }
    }

    fn add_stretch(
        &mut self,
        day: Day,
        stretch: &Stretch,
        shared: &BTreeSet<Boot>,
    ) -> (Began, u64) {
        let now = LastReading {
            boot: stretch.boot,
            reading: stretch.last,
            at: day.start() + i64::from(stretch.last.second),
        };
        let Some(place) = self.place_of(stretch.boot) else {
            let is_new = !self.boots.is_empty()
                && stretch.boot.is_none_or(|boot| !shared.contains(&boot));
            self.boots.push(now);
            let bytes = if is_new { stretch.first.bytes } else { 0 };
            let is_known = false;
            return (Began { bytes, is_known }, stretch.bytes);
        };
        let known = &mut self.boots[place];
        let Some((bytes, within)) = stretch.flow_since(known.reading) else {
            known.at = known.at.max(now.at);
            let (bytes, is_known) = (0, true);
            return (Began { bytes, is_known }, 0);
        };
        let boot = stretch.boot.or(known.boot);
        *known = LastReading { boot, ..now };
        let is_known = true;
        (Began { bytes, is_known }, within)
    }

    /// The place of a boot. One that is not known counts as the one that was read last.
    fn place_of(&self, boot: Option<Boot>) -> Option<usize> {
        let same = self.boots.iter().rposition(|known| known.boot == boot);
        let latest = self.latest();
        match boot {
            None => latest,
            Some(_) => same.or(latest.filter(|place| self.boots[*place].boot.is_none())),
        }
    }

    /// The place of the boot that was read last.
    fn latest(&self) -> Option<usize> {
        let places = 0..self.boots.len();
        places.max_by_key(|place| self.boots[*place].at)
    }
}

/// What flowed up to a stretch's first reading.
struct Began {
    bytes: u64,
    /// Whether the boot was read before.
    is_known: bool,
}

/// The boots that have not begun behind the ones before them, because an older boot is
/// heard long behind their first sample.
pub(crate) fn shared_boots(days: &BTreeMap<Day, DayTraffic>) -> BTreeSet<Boot> {
    let mut heard: BTreeMap<Boot, (i64, i64)> = BTreeMap::new();
    for (day, traffic) in days {
        for (boot, first, last) in traffic.boots() {
            let at = |second: u32| day.start() + i64::from(second);
            let (first, last) = (at(first), at(last));
            let heard = heard.entry(boot).or_insert((first, last));
            *heard = (heard.0.min(first), heard.1.max(last));
        }
    }
    let mut heard: Vec<(i64, i64, Boot)> = heard
        .into_iter()
        .map(|(boot, (first, last))| (first, last, boot))
        .collect();
    heard.sort_unstable();

    let mut older_until = i64::MIN;
    let mut shared = BTreeSet::new();
    for (first, last, boot) in heard {
        if older_until > first.saturating_add(TURNS_AFTER) {
            shared.insert(boot);
        }
        older_until = older_until.max(last);
    }
    shared
}
