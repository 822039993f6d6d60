//! Samples into a chunk, in any order and as often as they come.

use std::collections::BTreeSet;

use crate::chunk::row::{Key, MAX_SAMPLES, Row, join_values};
use crate::chunk::table::Chunk;
use crate::kept::kept;
use crate::sample::Sample;
use crate::series::Series;

/// A chunk with further samples in it.
#[derive(Debug)]
pub struct Merged {
    /// The chunk.
    pub chunk: Chunk,
    /// How many series were left out, because the host has too many.
    pub cut_series: usize,
    /// How many samples were left out, because the day has too many.
    pub cut_samples: usize,
}

/// A row with the values of all series of the merged chunk.
struct FullRow {
    key: Key,
    row: Row,
    values: Vec<f64>,
}

impl Chunk {
    /// The chunk with these samples. Samples of another day are left out.
    ///
    /// The result depends on the samples alone: neither on their order, nor on how often
    /// each comes, nor on how they are spread over several merges. Two samples with the
    /// same key become one, in which each value is the smaller one. Of all series the
    /// first `max_series` in their order are kept and every counter of an interface, at
    /// most [`MAX_SERIES`](crate::MAX_SERIES): of the counters those that count for traffic first. Of more than
    /// [`MAX_SAMPLES`] samples those with the smallest keys are kept; this is far from
    /// what any agent sends, and then alone a series may depend on the order.
    #[must_use]
    pub fn merge<'a>(
        &self,
        samples: impl IntoIterator<Item = &'a Sample>,
        max_series: usize,
    ) -> Merged {
        let is_ours = |sample: &&Sample| sample.day() == self.day;
        let samples: Vec<_> = samples.into_iter().filter(is_ours).collect();

        let (series, cut_series) = self.common_series(&samples, max_series);
        let mut rows = self.full_rows(&series);
        rows.extend(samples.iter().map(|sample| full_row(self, sample, &series)));

        let mut rows = joined(rows);
        let cut_samples = rows.len().saturating_sub(MAX_SAMPLES);
        rows.truncate(MAX_SAMPLES);
        rows.sort_unstable_by_key(|full| full.row.order());
        Merged {
            chunk: self.table(&series, &rows),
            cut_series,
            cut_samples,
        }
    }

    /// The series of the chunk and of the samples, without those that are too many, and
    /// how many these are.
    fn common_series<'a>(
        &'a self,
        samples: &[&'a Sample],
        max_series: usize,
    ) -> (Vec<&'a Series>, usize) {
        let mut all: BTreeSet<_> = self.series.iter().collect();
        let mut last: Option<&Sample> = None;
        for sample in samples {
            // Mostly a sample has the series of the one before.
            if !last.is_some_and(|last| last.has_series_of(sample)) {
                all.extend(sample.cells().map(|(series, _)| series));
            }
            last = Some(sample);
        }

        let count = all.len();
        let kept = kept(all.into_iter().collect(), max_series);
        let cut = count - kept.len();
        (kept, cut)
    }

    /// The rows of the chunk, with a value for each of `series`.
    fn full_rows(&self, series: &[&Series]) -> Vec<FullRow> {
        let column = |series: &&Series| self.series.binary_search(series).ok();
        let columns: Vec<_> = series.iter().map(column).collect();
        let rows = self.rows.iter().enumerate();
        rows.map(|(place, row)| {
            let value = |column: &Option<usize>| {
                column.map_or(f64::NAN, |column| self.columns[column][place])
            };
            FullRow {
                key: row.key(),
                row: *row,
                values: columns.iter().map(value).collect(),
            }
        })
        .collect()
    }

    fn table(&self, series: &[&Series], rows: &[FullRow]) -> Chunk {
        let mut chunk = Chunk::empty(self.day);
        chunk.rows = rows.iter().map(|full| full.row).collect();
        for (place, series) in series.iter().enumerate() {
            let column: Vec<_> = rows.iter().map(|full| full.values[place]).collect();
            if !column.iter().all(|value| value.is_nan()) {
                chunk.series.push((*series).clone());
                chunk.columns.push(column);
            }
        }
        chunk
    }
}

fn full_row(chunk: &Chunk, sample: &Sample, series: &[&Series]) -> FullRow {
    let second = sample.at() - chunk.day.start();
    let row = Row {
        second: u32::try_from(second).unwrap_or(0),
        identity: sample.identity(),
        arrival: sample.arrival(),
    };
    // Both are in the order of the series.
    let mut cells = sample.cells().peekable();
    let value = |series: &&Series| {
        while cells.next_if(|(of, _)| of < series).is_some() {}
        let cell = cells.next_if(|(of, _)| of == series);
        cell.map_or(f64::NAN, |(_, value)| value)
    };
    FullRow {
        key: row.key(),
        row,
        values: series.iter().map(value).collect(),
    }
}

/// One row for each key, in the order of the keys.
fn joined(mut rows: Vec<FullRow>) -> Vec<FullRow> {
    rows.sort_by_key(|full| full.key);
    rows.dedup_by(|later, kept| {
        if later.key != kept.key {
            return false;
        }
        kept.row = kept.row.join(later.row);
        for (value, other) in kept.values.iter_mut().zip(&later.values) {
            *value = join_values(*value, *other);
        }
        true
    });
    rows
}
