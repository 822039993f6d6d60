//! A chunk in memory.

use crate::chunk::row::Row;
use crate::day::Day;
use crate::sample::{Arrival, Sample};
use crate::series::Series;

/// One host's day: rows in the order of time, with a column for each series.
///
/// Two chunks of the same samples are equal, and so are their bytes.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub(crate) day: Day,
    pub(crate) rows: Vec<Row>,
    /// In their order.
    pub(crate) series: Vec<Series>,
    /// A column for each series, with a value or NaN for each row.
    pub(crate) columns: Vec<Vec<f64>>,
}

/// Some series of a chunk.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// The time of each sample, in seconds since 1970; they ascend.
    pub times: Vec<i64>,
    /// How each sample has come.
    pub arrivals: Vec<Arrival>,
    /// The series, in their order, each with a value or NaN for each sample.
    pub columns: Vec<(Series, Vec<f64>)>,
}

impl Chunk {
    /// A chunk without samples.
    #[must_use]
    pub fn empty(day: Day) -> Chunk {
        Chunk {
            day,
            rows: Vec::new(),
            series: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// The day.
    #[must_use]
    pub fn day(&self) -> Day {
        self.day
    }

    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The series of the samples, in their order.
    #[must_use]
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// The samples, in the order of time.
    pub fn samples(&self) -> impl Iterator<Item = Sample> {
        self.rows.iter().enumerate().map(|(place, row)| {
            let at = self.day.start() + i64::from(row.second);
            let mut sample = Sample::new(at, row.identity, row.arrival);
            for (series, column) in self.series.iter().zip(&self.columns) {
                if !column[place].is_nan() {
                    sample.set(series.clone(), column[place]);
                }
            }
            sample
        })
    }

    /// The series for which `is_wanted` says yes.
    pub fn slice(&self, mut is_wanted: impl FnMut(&Series) -> bool) -> Slice {
        let columns = self.series.iter().zip(&self.columns);
        let wanted = columns.filter(|(series, _)| is_wanted(series));
        let columns = wanted.map(|(series, column)| (series.clone(), column.clone()));
        let columns = columns.collect();
        Slice::new(self.day, &self.rows, columns)
    }
}

impl Slice {
    pub(crate) fn new(day: Day, rows: &[Row], columns: Vec<(Series, Vec<f64>)>) -> Slice {
        let at = |row: &Row| day.start() + i64::from(row.second);
        Slice {
            times: rows.iter().map(at).collect(),
            arrivals: rows.iter().map(|row| row.arrival).collect(),
            columns,
        }
    }
}

impl PartialEq for Chunk {
    fn eq(&self, other: &Chunk) -> bool {
        let bits = |chunk: &Chunk| -> Vec<u64> {
            let values = chunk.columns.iter().flatten();
            values.map(|value| value.to_bits()).collect()
        };
        self.day == other.day
            && self.rows == other.rows
            && self.series == other.series
            && bits(self) == bits(other)
    }
}
