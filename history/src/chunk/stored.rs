//! A chunk as it was stored: only the series that are asked for are inflated.

use crate::bytes::{Damage, Reader};
use crate::chunk::envelope::{self, ChunkError};
use crate::chunk::row::Row;
use crate::chunk::section::Section;
use crate::chunk::table::{Chunk, Slice};
use crate::chunk::{column, head};
use crate::day::Day;
use crate::kept::MAX_SERIES;
use crate::series::{MAX_NAME_BYTES, Series};

/// A chunk whose checksum is right, and whose columns wait to be inflated.
#[derive(Debug)]
pub struct StoredChunk {
    day: Day,
    rows: Vec<Row>,
    /// In their order, each with its column.
    series: Vec<(Series, Section)>,
}

impl StoredChunk {
    /// Opens the bytes of a chunk.
    ///
    /// # Errors
    /// The bytes are damaged, or of a later version.
    pub fn open(chunk: &[u8]) -> Result<StoredChunk, ChunkError> {
        let mut sections = Reader::new(envelope::open(chunk)?);
        let head = Section::read(&mut sections)?.inflate()?;
        let mut head = Reader::new(&head);
        let day = u32::try_from(head.varint()?).ok();
        let day = day.map(Day::new).ok_or(Damage("the day is too late"))?;
        let rows = head::read_rows(&mut head)?;

        let mut series = Vec::new();
        for named in read_series(&mut head)? {
            series.push((named, Section::read(&mut sections)?));
        }
        if !head.is_empty() || !sections.is_empty() {
            return Err(Damage("the chunk is too long").into());
        }
        Ok(StoredChunk { day, rows, series })
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

    /// The series for which `is_wanted` says yes.
    ///
    /// # Errors
    /// A column is damaged although the checksum is right.
    pub fn slice(
        &self,
        mut is_wanted: impl FnMut(&Series) -> bool,
    ) -> Result<Slice, ChunkError> {
        let mut columns = Vec::new();
        for (series, section) in &self.series {
            if is_wanted(series) {
                columns.push((series.clone(), self.column(section)?));
            }
        }
        Ok(Slice::new(self.day, &self.rows, columns))
    }

    /// The whole chunk.
    ///
    /// # Errors
    /// A column is damaged although the checksum is right.
    pub fn decode(self) -> Result<Chunk, ChunkError> {
        let columns = self.series.iter().map(|(_, section)| self.column(section));
        let columns = columns.collect::<Result<_, _>>()?;
        let series = self.series.into_iter().map(|(series, _)| series);
        Ok(Chunk {
            day: self.day,
            series: series.collect(),
            rows: self.rows,
            columns,
        })
    }

    /// The chunk with the series alone for which `is_wanted` says yes.
    ///
    /// # Errors
    /// A column is damaged although the checksum is right.
    pub(crate) fn decode_only(
        self,
        is_wanted: impl Fn(&Series) -> bool,
    ) -> Result<Chunk, ChunkError> {
        let mut chunk = Chunk::empty(self.day);
        for (series, section) in &self.series {
            if is_wanted(series) {
                chunk.columns.push(self.column(section)?);
                chunk.series.push(series.clone());
            }
        }
        chunk.rows = self.rows;
        Ok(chunk)
    }

    fn column(&self, section: &Section) -> Result<Vec<f64>, Damage> {
        column::decode(&section.inflate()?, self.rows.len())
    }
}

/// Reads the names of the series.
fn read_series(head: &mut Reader<'_>) -> Result<Vec<Series>, Damage> {
    let count = head.length(MAX_SERIES)?;
    let mut series = Vec::with_capacity(count);
    for _ in 0..count {
        let kind = head.byte()?;
        let named = Series::from_parts(kind, head.text(MAX_NAME_BYTES)?);
        let named = named.ok_or(Damage("a series has an unknown kind"))?;
        if series.last().is_some_and(|last| *last >= named) {
            return Err(Damage("the series are not in order"));
        }
        series.push(named);
    }
    Ok(series)
}
