//! The records of an open chunk.

use crate::bytes::{
    Damage, Reader, fold, put_length, put_signed, put_text, put_varint, unfold,
};
use crate::kept::MAX_SERIES;
use crate::number::Scale;
use crate::sample::{Arrival, Boot, Identity, Sample};
use crate::series::{MAX_NAME_BYTES, Series};

/// Most samples in a blob.
pub(crate) const MAX_SAMPLES: usize = 2880;

const NAMES: u8 = 1;
const SAMPLE: u8 = 2;
const IS_SPOOLED: u8 = 4;
const HAS_BOOT: u8 = 8;
const HAS_NUMBER: u8 = 16;
const SAME_BOOT: u8 = 32;
/// All services are as in the sample before.
const SAME_SERVICES: u8 = 64;

const MISSING: u64 = 0;
const AS_BITS: u64 = 1;
const FIRST_DIFFERENCE: u64 = 2;
/// Integers below this one have differences whose code fits into 64 bits.
const MAX_INTEGER: u64 = 1 << 61;

/// What a record is.
pub(crate) enum Record {
    Names,
    Sample,
}

/// What the next record is read or written with: mostly the last sample.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// In their order.
    series: Vec<Series>,
    /// For each series its value in the last sample.
    cells: Vec<Option<f64>>,
    /// For each series the integer to which the next one differs.
    integers: Vec<i64>,
    pub(crate) samples: usize,
    at: i64,
    step: i64,
    boot: Option<Boot>,
    /// The number that the next sample has if none is lost.
    expected: i64,
    identity: Option<Identity>,
    is_spooled: bool,
}

impl State {
    pub(crate) fn read_record(
        &mut self,
        reader: &mut Reader<'_>,
    ) -> Result<Record, Damage> {
        let tag = reader.byte()?;
        if tag == NAMES {
            self.read_names(reader)?;
            return Ok(Record::Names);
        }
        if tag & 3 != SAMPLE || tag & 128 != 0 {
            return Err(Damage("a record has an unknown kind"));
        }
        if self.samples >= MAX_SAMPLES {
            return Err(Damage("there are too many samples"));
        }
        self.read_sample(tag, reader)?;
        Ok(Record::Sample)
    }

    fn read_names(&mut self, reader: &mut Reader<'_>) -> Result<(), Damage> {
        let count = reader.length(MAX_SERIES)?;
        let mut series = Vec::with_capacity(count);
        for _ in 0..count {
            let kind = reader.byte()?;
            let name = reader.text(MAX_NAME_BYTES)?;
            let named = Series::from_parts(kind, name);
            series.push(named.ok_or(Damage("a series has an unknown kind"))?);
        }
        if !series.is_sorted() {
            return Err(Damage("the series are not in order"));
        }
        self.set_series(series);
        Ok(())
    }

    fn set_series(&mut self, series: Vec<Series>) {
        self.cells = vec![None; series.len()];
        self.integers = vec![0; series.len()];
        self.series = series;
    }

    fn read_sample(&mut self, tag: u8, reader: &mut Reader<'_>) -> Result<(), Damage> {
        self.step = self.step.wrapping_add(reader.signed()?);
        self.at = self.at.wrapping_add(self.step);
        self.is_spooled = tag & IS_SPOOLED != 0;
        self.read_identity(tag, reader)?;

        for place in 0..self.series.len() {
            if tag & SAME_SERVICES == 0 || !self.series[place].is_service() {
                self.cells[place] = self.read_cell(place, reader)?;
            }
        }
        self.samples += 1;
        Ok(())
    }

    fn read_identity(&mut self, tag: u8, reader: &mut Reader<'_>) -> Result<(), Damage> {
        if tag & HAS_BOOT == 0 {
            self.identity = Some(Identity::Unknown);
            return Ok(());
        }
        let boot = match self.boot.filter(|_| tag & SAME_BOOT != 0) {
            Some(boot) => boot,
            None => Boot(u64::from_le_bytes(reader.array()?)),
        };
        self.boot = Some(boot);
        self.identity = Some(Identity::Boot(boot));

        if tag & HAS_NUMBER != 0 {
            let number = self.expected.wrapping_add(reader.signed()?);
            self.expected = number.wrapping_add(1);
            self.identity = Some(Identity::Numbered(boot, number.cast_unsigned()));
        }
        Ok(())
    }

    fn read_cell(
        &mut self,
        place: usize,
        reader: &mut Reader<'_>,
    ) -> Result<Option<f64>, Damage> {
        let code = reader.varint()?;
        let value = match code {
            MISSING => return Ok(None),
            AS_BITS => f64::from_bits(u64::from_le_bytes(reader.array()?)),
            _ => {
                let difference = unfold(code - FIRST_DIFFERENCE);
                let integer = self.integers[place].wrapping_add(difference);
                self.integers[place] = integer;
                let value = scale(&self.series[place]).to_number(integer);
                value.unwrap_or(f64::NAN)
            }
        };
        if !value.is_finite() {
            return Err(Damage("a value is not a number"));
        }
        Ok(Some(value))
    }

    /// The last sample.
    pub(crate) fn sample(&self) -> Sample {
        self.sample_of(|_| true)
    }

    /// The last sample with its counters of bytes alone.
    pub(crate) fn counters(&self) -> Sample {
        self.sample_of(|series| matches!(series, Series::Counter(_)))
    }

    fn sample_of(&self, is_wanted: impl Fn(&Series) -> bool) -> Sample {
        let arrival = if self.is_spooled {
            Arrival::Spooled
        } else {
            Arrival::Live
        };
        let identity = self.identity.unwrap_or(Identity::Unknown);
        let mut sample = Sample::new(self.at, identity, arrival);
        for (series, cell) in self.series.iter().zip(&self.cells) {
            if let Some(value) = cell.filter(|_| is_wanted(series)) {
                sample.set(series.clone(), value);
            }
        }
        sample
    }

    /// Appends the sample, and its names where they are others.
    pub(crate) fn put(mut self, out: &mut Vec<u8>, sample: &Sample) {
        let is_known = |(series, _)| self.series.binary_search(series).is_ok();
        if !sample.cells().all(is_known) {
            self.put_names(out, sample);
        }

        let cells: Vec<_> = self.series.iter().map(|of| sample.get(of)).collect();
        let has_same_services = self.has_same_services(&cells);
        let tag = self.tag(sample, has_same_services);
        out.push(tag);
        let step = sample.at().wrapping_sub(self.at);
        put_signed(out, step.wrapping_sub(self.step));
        self.put_identity(out, tag, sample.identity());

        for (place, cell) in cells.into_iter().enumerate() {
            if !has_same_services || !self.series[place].is_service() {
                self.put_cell(out, place, cell);
            }
        }
    }

    fn put_names(&mut self, out: &mut Vec<u8>, sample: &Sample) {
        let series: Vec<_> = sample.cells().map(|(series, _)| series.clone()).collect();
        out.push(NAMES);
        put_length(out, series.len());
        for series in &series {
            let (kind, name) = series.to_parts();
            out.push(kind);
            put_text(out, name);
        }
        self.set_series(series);
    }

    fn has_same_services(&self, cells: &[Option<f64>]) -> bool {
        let mut both = self.series.iter().zip(cells.iter().zip(&self.cells));
        both.all(|(series, (cell, last))| !series.is_service() || cell == last)
    }

    fn tag(&self, sample: &Sample, has_same_services: bool) -> u8 {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let identity = sample.identity();
        let boot = identity.boot();
        SAMPLE
            | flag(sample.arrival() == Arrival::Spooled, IS_SPOOLED)
            | flag(boot.is_some(), HAS_BOOT)
            | flag(matches!(identity, Identity::Numbered(..)), HAS_NUMBER)
            | flag(boot.is_some() && boot == self.boot, SAME_BOOT)
            | flag(has_same_services, SAME_SERVICES)
    }

    fn put_identity(&self, out: &mut Vec<u8>, tag: u8, identity: Identity) {
        if let Some(boot) = identity.boot().filter(|_| tag & SAME_BOOT == 0) {
            out.extend_from_slice(&boot.0.to_le_bytes());
        }
        if let Identity::Numbered(_, number) = identity {
            put_signed(out, number.cast_signed().wrapping_sub(self.expected));
        }
    }

    fn put_cell(&self, out: &mut Vec<u8>, place: usize, cell: Option<f64>) {
        let Some(value) = cell else {
            return put_varint(out, MISSING);
        };
        let integer = scale(&self.series[place]).to_integer(value);
        match integer.filter(|integer| integer.unsigned_abs() < MAX_INTEGER) {
            Some(integer) => {
                let difference = integer.wrapping_sub(self.integers[place]);
                put_varint(out, fold(difference) + FIRST_DIFFERENCE);
            }
            None => {
                put_varint(out, AS_BITS);
                out.extend_from_slice(&value.to_bits().to_le_bytes());
            }
        }
    }
}

/// The scale of the integers of a series.
fn scale(series: &Series) -> Scale {
    match series {
        Series::Cpu | Series::Ram | Series::Net => Scale::Tenths,
        Series::Counter(_) | Series::Service(_) => Scale::Whole,
        Series::Metric(_) => Scale::Hundredths,
    }
}
