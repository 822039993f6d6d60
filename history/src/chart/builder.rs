//! Days become a chart.

use std::collections::BTreeMap;

use crate::chart::grid::Grid;
use crate::chart::points::{Column, Point};
use crate::chart::query::ChartQuery;
use crate::chart::reached::{Reached, TimeRange};
use crate::chart::selection::Selection;
use crate::chunk::Slice;
use crate::series::Series;

/// A chart of one host.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// The first second that was asked for.
    pub from: i64,
    /// The second behind the last one that was asked for.
    pub to: i64,
    /// The time from one point to the next, in seconds. Where each sample is a point of
    /// its own, it is the usual time between samples; 0 if there are less than two.
    pub step_s: i64,
    /// When each point is, or begins, in seconds since 1970.
    pub t: Vec<i64>,
    /// The series that have values in the range, in their order.
    pub series: Vec<(Series, Column)>,
    /// When the host was up, but did not reach the server.
    pub not_reached: Vec<TimeRange>,
    /// Whether there are more series than a chart shows.
    pub has_left_out: bool,
}

/// Takes the days of a range, the earliest first, and makes a chart.
#[derive(Debug)]
pub struct Builder {
    query: ChartQuery,
    selection: Selection,
    reached: Reached,
    points: Points,
}

/// What has been taken so far.
#[derive(Debug)]
enum Points {
    /// Few samples.
    Samples(Vec<Slice>),
    /// Many: those of each step.
    Steps(Grid, BTreeMap<Series, Vec<Point>>),
}

impl Builder {
    /// A chart without samples.
    #[must_use]
    pub fn new(query: ChartQuery) -> Builder {
        Builder {
            selection: Selection::new(query.wanted.clone()),
            reached: Reached::default(),
            points: Points::Samples(Vec::new()),
            query,
        }
    }

    /// Whether the chart shows a series.
    pub fn admits(&mut self, series: &Series) -> bool {
        self.selection.admits(series)
    }

    /// Takes the admitted series of the next day, or of a part of it.
    pub fn add(&mut self, slice: Slice) {
        let slice = in_range(slice, &self.query);
        for (at, arrival) in slice.times.iter().zip(&slice.arrivals) {
            self.reached.add(*at, *arrival);
        }

        match &mut self.points {
            Points::Samples(slices) => {
                slices.push(slice);
                let samples: usize = slices.iter().map(|slice| slice.times.len()).sum();
                if samples > self.query.points {
                    self.change_to_steps();
                }
            }
            Points::Steps(grid, columns) => {
                add_to_steps(*grid, columns, &slice);
                // What had to make room for others needs none itself.
                columns.retain(|series, _| self.selection.found().contains(series));
            }
        }
    }

    /// The chart.
    #[must_use]
    pub fn finish(mut self) -> Chart {
        let interval = self.reached.interval();
        if let Points::Samples(slices) = &self.points {
            let times = sample_times(slices, interval);
            if times.len() > self.query.points {
                self.change_to_steps();
            }
        }

        let (step_s, t, columns) = match self.points {
            Points::Samples(slices) => {
                let times = sample_times(&slices, interval);
                let columns = sample_columns(&slices, &times);
                (interval, times, columns)
            }
            Points::Steps(grid, columns) => (grid.step, grid.times(), columns),
        };
        let is_shown = |(series, points): &(Series, Vec<Point>)| {
            let has_values = !points.iter().all(Point::is_empty);
            has_values && self.selection.found().contains(series)
        };
        let series = columns.into_iter().filter(is_shown);
        let series = series.map(|(series, points)| {
            let column = Column::new(&points, series.is_service());
            (series, column)
        });
        Chart {
            from: self.query.from,
            to: self.query.to,
            step_s,
            t,
            series: series.collect(),
            not_reached: self.reached.not_reached(),
            has_left_out: self.selection.has_left_out(),
        }
    }

    fn change_to_steps(&mut self) {
        let grid = Grid::new(self.query.from, self.query.to, self.query.points);
        let mut columns = BTreeMap::new();
        if let Points::Samples(slices) = &self.points {
            for slice in slices {
                add_to_steps(grid, &mut columns, slice);
            }
        }
        self.points = Points::Steps(grid, columns);
    }
}

/// The samples that are in the range.
fn in_range(mut slice: Slice, query: &ChartQuery) -> Slice {
    let start = slice.times.partition_point(|at| *at < query.from);
    let end = slice
        .times
        .partition_point(|at| query.has(*at) || *at < query.from);
    if start == 0 && end == slice.times.len() {
        return slice;
    }
    slice.times = slice.times[start..end].to_vec();
    slice.arrivals = slice.arrivals[start..end].to_vec();
    for (_, column) in &mut slice.columns {
        *column = column[start..end].to_vec();
    }
    slice
}

fn add_to_steps(grid: Grid, columns: &mut BTreeMap<Series, Vec<Point>>, slice: &Slice) {
    let places = slice.times.iter().map(|at| grid.place(*at));
    let places: Vec<_> = places.collect();
    for (series, values) in &slice.columns {
        let points = columns
            .entry(series.clone())
            .or_insert_with(|| vec![Point::EMPTY; grid.points]);
        for (place, value) in places.iter().zip(values) {
            points[*place].add(*value);
        }
    }
}

/// The times of the samples, and one without samples in each long gap, where a line has
/// to end.
fn sample_times(slices: &[Slice], interval: i64) -> Vec<i64> {
    let mut times: Vec<i64> = Vec::new();
    for at in slices.iter().flat_map(|slice| &slice.times) {
        if let Some(last) = times.last()
            && interval > 0
            && at - last > 2 * interval + interval / 2
        {
            times.push(last + interval);
        }
        times.push(*at);
    }
    times.dedup();
    times
}

fn sample_columns(slices: &[Slice], times: &[i64]) -> BTreeMap<Series, Vec<Point>> {
    let mut columns = BTreeMap::new();
    for slice in slices {
        for (series, values) in &slice.columns {
            let points = columns
                .entry(series.clone())
                .or_insert_with(|| vec![Point::EMPTY; times.len()]);
            for (at, value) in slice.times.iter().zip(values) {
                if let Ok(place) = times.binary_search(at) {
                    points[place].add(*value);
                }
            }
        }
    }
    columns
}
