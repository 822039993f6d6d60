//! Which series of a host are kept if there are too many.

use crate::series::Series;
use crate::traffic::counter::Counter;

/// Most series of a host and day that a caller may ask to keep, and that a chunk has.
pub const MAX_SERIES: usize = 128;
/// Series of a host that are kept where nobody says otherwise.
pub const USUAL_SERIES: usize = 24;
/// Most counters of interfaces that a chunk has: the rest is room for the three loads.
pub(crate) const MAX_COUNTERS: usize = MAX_SERIES - 3;

/// Those of the series, which are in their order, that are kept: the first `most`, and
/// every counter of an interface. Of more than [`MAX_COUNTERS`] counters, those that count
/// for traffic are kept first.
///
/// What is kept of two sets together is kept of what was kept of each.
pub(crate) fn kept(series: Vec<&Series>, most: usize) -> Vec<&Series> {
    let most = most.min(MAX_SERIES);
    if series.len() <= most {
        return series;
    }
    let mut counters: Vec<&Series> = series.iter().copied().filter(is_counter).collect();
    if counters.len() > MAX_COUNTERS {
        counters.sort_by_key(|series| rank(series));
        counters.truncate(MAX_COUNTERS);
        counters.sort();
    }
    let is_left =
        |series: &&Series| !is_counter(series) || counters.binary_search(series).is_ok();
    let left = series.into_iter().filter(is_left).enumerate();
    let kept = left.filter(|(place, series)| *place < most || is_counter(series));
    kept.map(|(_, series)| series).collect()
}

fn is_counter(series: &&Series) -> bool {
    matches!(series, Series::Counter(_))
}

/// The counters that count come first, then those of tunnels and containers.
fn rank(series: &Series) -> impl Ord {
    let layer = Counter::of(series).and_then(|counter| counter.layer());
    (layer.is_none(), layer)
}
