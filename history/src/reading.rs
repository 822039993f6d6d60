//! A host's days, from its store and its open chunk: as a chart, or one by one.

use std::collections::BTreeMap;

use crate::chart::{Builder, Chart, ChartQuery};
use crate::chunk::{Chunk, ChunkError, StoredChunk};
use crate::day::Day;
use crate::kept::MAX_SERIES;
use crate::sample::Sample;
use crate::series::Series;
use crate::store::{HistoryError, HistoryStore, Host};
use crate::traffic::{DayTraffic, LOOK_BACK_DAYS, Traffic};

/// A chart, and what of its range is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct HostChart {
    /// The chart.
    pub chart: Chart,
    /// The time from which on history is kept, in seconds since 1970, if the range begins
    /// before it. What was before it is deleted, or was never stored.
    pub kept_from: Option<i64>,
    /// Whether something that is kept could not be read: the store, or a day of it. Then
    /// the chart has what else there is, and `kept_from` may be missing.
    pub is_incomplete: bool,
}

/// The chart of a host.
///
/// `open` has the samples that are not merged into the store yet, in any order. They are
/// shown also while the store cannot be read.
#[must_use]
pub fn host_chart(
    store: &dyn HistoryStore,
    host: &Host,
    open: &[Sample],
    query: &ChartQuery,
) -> HostChart {
    let (first, last) = query.days();
    let mut days = Days::new(Builder::new(query.clone()), (first, last), open);
    let unread = store.read(host, first, last, &mut |chunk| days.add_stored(chunk));
    days.is_incomplete |= unread != Ok(0);
    match store.oldest_day() {
        Ok(oldest) => days.finish_chart(oldest, open, query),
        // What waits says nothing of what the store has.
        Err(_) => HostChart {
            kept_from: None,
            is_incomplete: true,
            ..days.finish_chart(None, open, query)
        },
    }
}

/// The chart of a host whose chunks are these, the earliest first; `None` stands for one
/// that cannot be read. `oldest` is the earliest day of which something is kept of any
/// host.
///
/// `open` has the samples that are in no chunk yet, in any order.
#[must_use]
pub fn chart_of(
    chunks: impl IntoIterator<Item = Option<StoredChunk>>,
    oldest: Option<Day>,
    open: &[Sample],
    query: &ChartQuery,
) -> HostChart {
    let mut days = Days::new(Builder::new(query.clone()), query.days(), open);
    days.add_all(chunks);
    days.finish_chart(oldest, open, query)
}

/// Gives each day of a host from the day `first` to the day `last` to `each`, the earliest
/// first, with the `open` samples that are not merged yet. Says whether a part of what is
/// kept is damaged, and was left out.
///
/// # Errors
/// The store cannot be read. `each` may have been called before.
pub fn host_days(
    store: &dyn HistoryStore,
    host: &Host,
    open: &[Sample],
    (first, last): (Day, Day),
    each: &mut dyn FnMut(&Chunk),
) -> Result<bool, HistoryError> {
    let mut days = Days::new(each, (first, last), open);
    let unread = store.read(host, first, last, &mut |chunk| days.add_stored(chunk))?;
    days.add_open();
    Ok(days.is_incomplete || unread > 0)
}

/// [`host_days`] of these chunks, the earliest first; `None` stands for one that cannot be
/// read.
pub fn days_of(
    chunks: impl IntoIterator<Item = Option<StoredChunk>>,
    open: &[Sample],
    range: (Day, Day),
    each: &mut dyn FnMut(&Chunk),
) -> bool {
    let mut days = Days::new(each, range, open);
    days.add_all(chunks);
    days.add_open();
    days.is_incomplete
}

/// A host's traffic in some days.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostTraffic {
    /// The traffic; `None` if nothing is known.
    pub traffic: Option<Traffic>,
    /// Whether something that is kept could not be read. Then the traffic is what else
    /// there is.
    pub is_incomplete: bool,
}

/// The traffic of a host from the day `first` to the day `last`.
///
/// `open` has the samples that are not merged into the store yet, in any order; they need
/// to have counters alone ([`open_chunk::read_counters`]).
///
/// [`open_chunk::read_counters`]: crate::open_chunk::read_counters
#[must_use]
pub fn host_traffic(
    store: &dyn HistoryStore,
    host: &Host,
    open: &[Sample],
    (first, last): (Day, Day),
) -> HostTraffic {
    let mut stored = BTreeMap::new();
    let unread = store.traffic(host, first, last, &mut |day, traffic| {
        stored.insert(day, traffic);
    });
    let mut read_chunk = |day: Day| {
        let mut found = None;
        let unread = store.read(host, day, day, &mut |chunk| found = Some(chunk));
        found.filter(|_| unread == Ok(0))
    };
    let mut sum = traffic_of(stored, open, (first, last), &mut read_chunk);
    sum.is_incomplete |= unread != Ok(0);
    sum
}

/// [`host_traffic`] of these days. `read_chunk` gives the chunk of a day that is among
/// them; `None` if it cannot be read.
#[must_use]
pub fn traffic_of(
    mut stored: BTreeMap<Day, DayTraffic>,
    open: &[Sample],
    (first, last): (Day, Day),
    read_chunk: &mut dyn FnMut(Day) -> Option<StoredChunk>,
) -> HostTraffic {
    let earliest = first.before(LOOK_BACK_DAYS);
    let mut by_day: BTreeMap<Day, Vec<&Sample>> = BTreeMap::new();
    for sample in open {
        if (earliest..=last).contains(&sample.day()) {
            by_day.entry(sample.day()).or_default().push(sample);
        }
    }

    let mut is_incomplete = false;
    for (day, samples) in by_day {
        let merged = with_open(day, stored.get(&day), &samples, read_chunk);
        match merged {
            Some(traffic) => drop(stored.insert(day, traffic)),
            None => is_incomplete = true,
        }
    }
    HostTraffic {
        traffic: Traffic::of(&stored, first),
        is_incomplete,
    }
}

/// A day's traffic with the open samples of the day; `None` if the day's chunk is needed
/// for that and cannot be read.
fn with_open(
    day: Day,
    stored: Option<&DayTraffic>,
    open: &[&Sample],
    read_chunk: &mut dyn FnMut(Day) -> Option<StoredChunk>,
) -> Option<DayTraffic> {
    let open_chunk = Chunk::empty(day)
        .merge(open.iter().copied(), MAX_SERIES)
        .chunk;
    let Some(stored) = stored else {
        return Some(DayTraffic::of(&open_chunk));
    };
    if let Some(traffic) = stored.with_later(&open_chunk) {
        return Some(traffic);
    }
    // Something has come late.
    let is_counter = |series: &Series| matches!(series, Series::Counter(_));
    let chunk = read_chunk(day)?.decode_only(is_counter).ok()?;
    let merged = chunk.merge(open.iter().copied(), MAX_SERIES).chunk;
    Some(DayTraffic::of(&merged))
}

/// What takes days, the earliest first.
trait TakesDays {
    /// Takes a day as it is stored.
    fn take_stored(&mut self, chunk: StoredChunk) -> Result<(), ChunkError>;

    /// Takes a day.
    fn take(&mut self, chunk: &Chunk);
}

impl TakesDays for Builder {
    fn take_stored(&mut self, chunk: StoredChunk) -> Result<(), ChunkError> {
        let slice = chunk.slice(|series| self.admits(series))?;
        self.add(slice);
        Ok(())
    }

    fn take(&mut self, chunk: &Chunk) {
        let slice = chunk.slice(|series| self.admits(series));
        self.add(slice);
    }
}

impl TakesDays for &mut dyn FnMut(&Chunk) {
    fn take_stored(&mut self, chunk: StoredChunk) -> Result<(), ChunkError> {
        self(&chunk.decode()?);
        Ok(())
    }

    fn take(&mut self, chunk: &Chunk) {
        self(chunk);
    }
}

/// The days of a range, as they come.
struct Days<'a, T> {
    taker: T,
    /// The open samples of the days that are still to come.
    open: BTreeMap<Day, Vec<&'a Sample>>,
    /// Whether something could not be read.
    is_incomplete: bool,
}

impl<'a, T: TakesDays> Days<'a, T> {
    fn new(taker: T, (first, last): (Day, Day), open: &'a [Sample]) -> Days<'a, T> {
        let mut by_day: BTreeMap<Day, Vec<&Sample>> = BTreeMap::new();
        for sample in open {
            if (first..=last).contains(&sample.day()) {
                by_day.entry(sample.day()).or_default().push(sample);
            }
        }
        Days {
            taker,
            open: by_day,
            is_incomplete: false,
        }
    }

    fn add_all(&mut self, chunks: impl IntoIterator<Item = Option<StoredChunk>>) {
        for chunk in chunks {
            match chunk {
                Some(chunk) => self.add_stored(chunk),
                None => self.is_incomplete = true,
            }
        }
    }

    /// Takes a stored day, behind the open days before it.
    fn add_stored(&mut self, chunk: StoredChunk) {
        let day = chunk.day();
        self.add_open_before(day);
        let open = self.open.remove(&day).unwrap_or_default();
        if self.add(chunk, &open).is_err() {
            // A damaged column leaves the stored part of the day out, as a damaged chunk
            // does.
            self.is_incomplete = true;
            self.add_merged(&Chunk::empty(day), &open);
        }
    }

    /// Takes the days before `day` of which nothing is stored.
    fn add_open_before(&mut self, day: Day) {
        let later = self.open.split_off(&day);
        for (day, open) in std::mem::replace(&mut self.open, later) {
            self.add_merged(&Chunk::empty(day), &open);
        }
    }

    /// Takes the open days that are left.
    fn add_open(&mut self) {
        for (day, open) in std::mem::take(&mut self.open) {
            self.add_merged(&Chunk::empty(day), &open);
        }
    }

    fn add(&mut self, chunk: StoredChunk, open: &[&Sample]) -> Result<(), ChunkError> {
        if open.is_empty() {
            return self.taker.take_stored(chunk);
        }
        self.add_merged(&chunk.decode()?, open);
        Ok(())
    }

    fn add_merged(&mut self, stored: &Chunk, open: &[&Sample]) {
        let merged = stored.merge(open.iter().copied(), MAX_SERIES).chunk;
        self.taker.take(&merged);
    }
}

impl Days<'_, Builder> {
    /// The chart, behind the open days that are left.
    fn finish_chart(
        mut self,
        oldest: Option<Day>,
        open: &[Sample],
        query: &ChartQuery,
    ) -> HostChart {
        self.add_open();
        let oldest_open = open.iter().map(Sample::at).min();
        let kept_from = oldest.map(Day::start).into_iter().chain(oldest_open).min();
        let kept_from = kept_from.unwrap_or(query.to);
        HostChart {
            chart: self.taker.finish(),
            kept_from: (query.from < kept_from).then_some(kept_from),
            is_incomplete: self.is_incomplete,
        }
    }
}
