//! A day's traffic, as it is kept beside the day's chunk.
//!
//! ```text
//! traffic = version, number of samples, second of the last sample, number of counters,
//!           counters
//! counter = direction, interface, second of the first reading, first reading,
//!           last reading, bytes between
//! reading = 0 | 1, boot | 2 for the first reading's boot; then the counter, of the last
//!           reading as the difference to the first one
//! ```
//!
//! Numbers are varints (see `bytes`), boots have eight bytes.

use crate::bytes::{Damage, Reader, put_length, put_signed, put_text, put_varint};
use crate::chunk::Chunk;
use crate::sample::{Boot, MAX_SERIES};
use crate::traffic::counter::{Counter, Direction};
use crate::traffic::flow::Reading;

const VERSION: u8 = 1;
/// Longest name of an interface, in bytes: as much as the name of a metric has room for.
const MAX_INTERFACE_BYTES: usize = 256;
const NO_BOOT: u8 = 0;
const A_BOOT: u8 = 1;
const SAME_BOOT: u8 = 2;

/// The traffic of one host and day: what each counter said first and last, and what
/// flowed between the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayTraffic {
    samples: u64,
    last_second: u32,
    /// In their order.
    pub(crate) counters: Vec<(Counter, CounterDay)>,
}

/// A counter's day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CounterDay {
    /// When the first reading was, in seconds since the day began.
    pub(crate) first_second: u32,
    pub(crate) first: Reading,
    pub(crate) last: Reading,
    /// What flowed between the first reading and the last.
    pub(crate) bytes: u64,
}

impl CounterDay {
    fn new(second: u32, reading: Reading) -> CounterDay {
        CounterDay {
            first_second: second,
            first: reading,
            last: reading,
            bytes: 0,
        }
    }

    fn add(&mut self, reading: Reading) {
        self.bytes = self.bytes.saturating_add(self.last.flow_to(reading));
        self.last = reading;
    }
}

impl DayTraffic {
    /// The traffic of the day that the chunk has.
    #[must_use]
    pub fn of(chunk: &Chunk) -> DayTraffic {
        let mut traffic = DayTraffic {
            samples: 0,
            last_second: 0,
            counters: Vec::new(),
        };
        traffic.extend(chunk);
        traffic
    }

    /// Whether no counter was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }

    /// How many samples the day has. A day that is merged later has never fewer.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Whether the chunk, which is of the same day, has later samples alone.
    pub(crate) fn is_before(&self, chunk: &Chunk) -> bool {
        let first = chunk.rows.first();
        first.is_none_or(|first| first.second > self.last_second)
    }

    /// Takes the samples of the chunk, which are of the same day and later.
    pub(crate) fn extend(&mut self, chunk: &Chunk) {
        self.samples += chunk.rows.len() as u64;
        if let Some(last) = chunk.rows.last() {
            self.last_second = last.second;
        }
        for series in &chunk.series {
            if let Some(counter) = Counter::of(series) {
                self.extend_counter(&counter, chunk.readings(series), chunk.day.start());
            }
        }
    }

    fn extend_counter(
        &mut self,
        counter: &Counter,
        readings: impl Iterator<Item = (i64, Option<Boot>, f64)>,
        day: i64,
    ) {
        for (at, boot, counted) in readings {
            let reading = Reading::new(boot, counted);
            let find = |(known, _): &(Counter, CounterDay)| known.cmp(counter);
            match self.counters.binary_search_by(find) {
                Ok(place) => self.counters[place].1.add(reading),
                Err(place) => {
                    let second = u32::try_from(at - day).unwrap_or_default();
                    let day = CounterDay::new(second, reading);
                    self.counters.insert(place, (counter.clone(), day));
                }
            }
        }
    }

    /// The bytes by which the day is kept.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_varint(&mut out, self.samples);
        put_varint(&mut out, self.last_second.into());
        put_length(&mut out, self.counters.len());
        for (counter, day) in &self.counters {
            out.push(match counter.direction {
                Direction::Received => 0,
                Direction::Sent => 1,
            });
            put_text(&mut out, &counter.interface);
            put_varint(&mut out, day.first_second.into());
            put_boot(&mut out, day.first.boot, None);
            put_varint(&mut out, day.first.bytes);
            put_boot(&mut out, day.last.boot, day.first.boot);
            let difference = day.last.bytes.wrapping_sub(day.first.bytes);
            put_signed(&mut out, difference.cast_signed());
            put_varint(&mut out, day.bytes);
        }
        out
    }

    /// The traffic that [`DayTraffic::encode`] has made bytes of.
    ///
    /// # Errors
    /// The bytes are damaged, or of a later version.
    pub fn decode(bytes: &[u8]) -> Result<DayTraffic, Damage> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != VERSION {
            return Err(Damage("the traffic has an unknown version"));
        }
        let samples = reader.varint()?;
        let last_second = read_second(&mut reader)?;
        let count = reader.length(MAX_SERIES)?;
        let mut counters: Vec<(Counter, CounterDay)> = Vec::with_capacity(count);
        for _ in 0..count {
            let (counter, day) = read_counter(&mut reader)?;
            if counters.last().is_some_and(|(last, _)| *last >= counter) {
                return Err(Damage("the counters are not in order"));
            }
            counters.push((counter, day));
        }
        if !reader.is_empty() {
            return Err(Damage("the traffic is too long"));
        }
        Ok(DayTraffic {
            samples,
            last_second,
            counters,
        })
    }
}

fn put_boot(out: &mut Vec<u8>, boot: Option<Boot>, before: Option<Boot>) {
    match boot {
        None => out.push(NO_BOOT),
        Some(_) if boot == before => out.push(SAME_BOOT),
        Some(Boot(bits)) => {
            out.push(A_BOOT);
            out.extend_from_slice(&bits.to_le_bytes());
        }
    }
}

fn read_boot(
    reader: &mut Reader<'_>,
    before: Option<Boot>,
) -> Result<Option<Boot>, Damage> {
    match (reader.byte()?, before) {
        (NO_BOOT, _) => Ok(None),
        (A_BOOT, _) => Ok(Some(Boot(u64::from_le_bytes(reader.array()?)))),
        (SAME_BOOT, Some(before)) => Ok(Some(before)),
        _ => Err(Damage("a boot has an unknown form")),
    }
}

fn read_second(reader: &mut Reader<'_>) -> Result<u32, Damage> {
    u32::try_from(reader.varint()?).map_err(|_| Damage("a second is too late"))
}

fn read_counter(reader: &mut Reader<'_>) -> Result<(Counter, CounterDay), Damage> {
    let direction = match reader.byte()? {
        0 => Direction::Received,
        1 => Direction::Sent,
        _ => return Err(Damage("a counter has an unknown direction")),
    };
    let interface = reader.text(MAX_INTERFACE_BYTES)?.into();
    let first_second = read_second(reader)?;
    let first = Reading {
        boot: read_boot(reader, None)?,
        bytes: reader.varint()?,
    };
    let boot = read_boot(reader, first.boot)?;
    let difference = reader.signed()?.cast_unsigned();
    let last = Reading {
        boot,
        bytes: first.bytes.wrapping_add(difference),
    };
    let day = CounterDay {
        first_second,
        first,
        last,
        bytes: reader.varint()?,
    };
    let counter = Counter {
        interface,
        direction,
    };
    Ok((counter, day))
}
