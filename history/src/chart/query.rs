//! What a chart is asked for.

use std::time::Duration;

use crate::chart::selection::{MAX_CHART_SERIES, Wanted};
use crate::day::Day;

/// Most points of a chart.
pub(crate) const MAX_POINTS: usize = 1000;
/// Longest time range of a chart: ten years and their leap days.
const MAX_RANGE: Duration = Duration::from_secs(3653 * 86_400);

/// A range of time, some series, and how many points these may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChartQuery {
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) points: usize,
}

/// What is wrong with a chart's query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The range is empty.
    #[error("to must be later than from")]
    Empty,
    /// The range is too long, or outside of the days that there are.
    #[error("from and to must be at most ten years apart, and after 1970")]
    TooLong,
    /// Too many points or none.
    #[error("points must be from 1 to {MAX_POINTS}")]
    Points,
    /// Too many series or none.
    #[error("series must have 1 to {MAX_CHART_SERIES} names")]
    Series,
}

impl QueryError {
    /// The query's member that is wrong.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            QueryError::Empty | QueryError::TooLong => "to",
            QueryError::Points => "points",
            QueryError::Series => "series",
        }
    }
}

impl ChartQuery {
    /// A query for the samples from `from` on and before `to`, in seconds since 1970.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn new(
        from: i64,
        to: i64,
        wanted: Vec<Wanted>,
        points: usize,
    ) -> Result<ChartQuery, QueryError> {
        if to <= from {
            return Err(QueryError::Empty);
        }
        let range = to.abs_diff(from);
        let has_days = from >= Day::FIRST.start() && to <= Day::LAST.end();
        if range > MAX_RANGE.as_secs() || !has_days {
            return Err(QueryError::TooLong);
        }
        if !(1..=MAX_POINTS).contains(&points) {
            return Err(QueryError::Points);
        }
        if !(1..=MAX_CHART_SERIES).contains(&wanted.len()) {
            return Err(QueryError::Series);
        }
        Ok(ChartQuery {
            from,
            to,
            wanted,
            points,
        })
    }

    /// The first and the last day of the range.
    #[must_use]
    pub fn days(&self) -> (Day, Day) {
        (Day::of(self.from), Day::of(self.to - 1))
    }

    /// Whether the range has this time.
    pub(crate) fn has(&self, at: i64) -> bool {
        (self.from..self.to).contains(&at)
    }
}
