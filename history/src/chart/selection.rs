//! Which series a chart shows.

use std::collections::BTreeSet;

use crate::series::Series;

/// Most series of a chart, and most names in its query.
pub const MAX_CHART_SERIES: usize = 32;

/// A name in a chart's query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// One series.
    One(Series),
    /// All services.
    Services,
    /// All metrics.
    Metrics,
}

impl Wanted {
    /// What the API calls `text`: a series, `services` or `metrics`. `None` for any other
    /// text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Wanted> {
        match text {
            "services" | "services.*" => Some(Wanted::Services),
            "metrics" | "metrics.*" => Some(Wanted::Metrics),
            _ => Series::parse(text).map(Wanted::One),
        }
    }

    fn has(&self, series: &Series) -> bool {
        match self {
            Wanted::One(wanted) => wanted == series,
            Wanted::Services => series.is_service(),
            Wanted::Metrics => {
                matches!(series, Series::Counter(_) | Series::Metric(_))
            }
        }
    }
}

/// The series that have been found, at most [`MAX_CHART_SERIES`]: the first in their
/// order.
#[derive(Debug)]
pub(crate) struct Selection {
    wanted: Vec<Wanted>,
    found: BTreeSet<Series>,
    left_out: bool,
}

impl Selection {
    pub(crate) fn new(wanted: Vec<Wanted>) -> Selection {
        Selection {
            wanted,
            found: BTreeSet::new(),
            left_out: false,
        }
    }

    /// Whether the chart shows `series` as far as is known yet. A series that has to make
    /// room for this one never comes back.
    pub(crate) fn admits(&mut self, series: &Series) -> bool {
        if !self.wanted.iter().any(|wanted| wanted.has(series)) {
            return false;
        }
        self.found.insert(series.clone());
        if self.found.len() > MAX_CHART_SERIES {
            self.found.pop_last();
            self.left_out = true;
        }
        self.found.contains(series)
    }

    /// The series that the chart shows.
    pub(crate) fn found(&self) -> &BTreeSet<Series> {
        &self.found
    }

    /// Whether there are more series than a chart shows.
    pub(crate) fn has_left_out(&self) -> bool {
        self.left_out
    }
}
