//! A day's traffic, as it is kept beside the day's chunk.
//!
//! ```text
//! traffic = version, number of samples, second of the last sample,
//!           number of boots, 8 bytes each, number of counters, counters
//! counter = direction, interface, bytes of the boots that are left out,
//!           number of stretches, stretches
//! stretch = 4 × boot (0: not known, i + 1: boot i) + 1 for a first number
//!           + 2 for a last number;
//!           second of the first reading, and the difference to that of the last one;
//!           [first number], [last number, as the difference to the first, or to 0];
//!           first reading, and the difference to the last one;
//!           bytes between, as the difference to that difference
//! ```
//!
//! Numbers are varints (see `bytes`). The first version had the first and the last reading
//! of a counter's day alone, each with its boot. It is read still, and gives way when a
//! sample is merged into its day.

use std::collections::{BTreeMap, BTreeSet};

use crate::bytes::{Damage, Reader, put_length, put_signed, put_text, put_varint};
use crate::chunk::Chunk;
use crate::kept::{MAX_COUNTERS, MAX_SERIES};
use crate::sample::{Boot, Identity};
use crate::traffic::counter::{Counter, Direction};
use crate::traffic::flow::{Reading, Stretch};

const VERSION: u8 = 2;
const FIRST_VERSION: u8 = 1;
/// Longest name of an interface, in bytes: as much as the name of a metric has room for.
const MAX_INTERFACE_BYTES: usize = 256;
/// Most boots of a counter's day. A host that boots more often has the first one, to which
/// the day before leads, and the last ones.
const MAX_BOOTS: usize = 8;
const NO_BOOT: u8 = 0;
const A_BOOT: u8 = 1;
const SAME_BOOT: u8 = 2;
const HAS_FIRST_NUMBER: usize = 1;
const HAS_LAST_NUMBER: usize = 2;

/// The traffic of one host and day: what each counter said first and last in each boot,
/// and what flowed between the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayTraffic {
    samples: u64,
    last_second: u32,
    /// In their order.
    pub(crate) counters: Vec<(Counter, CounterDay)>,
}

/// A counter's day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CounterDay {
    /// What flowed in boots that are left out.
    pub(crate) left_out: u64,
    /// The boots in the order in which they came; at least one, at most [`MAX_BOOTS`].
    pub(crate) stretches: Vec<Stretch>,
}

impl CounterDay {
    /// From when to when there are readings. The last one of a boot may have an earlier
    /// second than the first one, if a clock was set back between them.
    pub(crate) fn seconds(&self) -> (u32, u32) {
        let ends = |of: &Stretch| [of.first.second, of.last.second];
        let seconds = self.stretches.iter().flat_map(ends);
        let last = seconds.clone().max();
        (seconds.min().unwrap_or_default(), last.unwrap_or_default())
    }

    /// Adds a reading. One whose boot is not known counts to the boot that was read last.
    fn add(&mut self, boot: Option<Boot>, reading: Reading) {
        let latest = (0..self.stretches.len())
            .max_by_key(|place| self.stretches[*place].last.second);
        let same = self.stretches.iter().position(|of| of.boot == boot);
        let place = match boot {
            None => latest,
            Some(_) => {
                same.or(latest.filter(|place| self.stretches[*place].boot.is_none()))
            }
        };
        match place {
            Some(place) => {
                let stretch = &mut self.stretches[place];
                stretch.boot = boot.or(stretch.boot);
                stretch.add(reading);
            }
            None => self.stretches.push(Stretch::new(boot, reading)),
        }
        if self.stretches.len() > MAX_BOOTS {
            let Stretch { first, bytes, .. } = self.stretches.remove(1);
            let flowed = first.bytes.saturating_add(bytes);
            self.left_out = self.left_out.saturating_add(flowed);
        }
    }

    /// Whether readings of later seconds may be added to what is here: nothing of them is
    /// from before.
    fn is_before(&self, readings: &[(Identity, Reading)]) -> bool {
        let is_before = |(identity, reading): &(Identity, Reading)| {
            let boot = identity.boot();
            let same = self.stretches.iter().find(|of| of.boot == boot);
            let last = same.and_then(|of| of.last.number);
            last.is_none_or(|last| reading.number.is_some_and(|number| last < number))
        };
        // A boot that is left out may have come again.
        self.stretches.len() < MAX_BOOTS && readings.iter().all(is_before)
    }

    /// A day of the first version, which told of two boots at most.
    fn from_first_version(
        first: (Option<Boot>, Reading),
        last: (Option<Boot>, Reading),
        bytes: u64,
    ) -> CounterDay {
        let whole = Stretch {
            boot: first.0.or(last.0),
            first: first.1,
            last: last.1,
            bytes,
        };
        if first.0 == last.0 || first.0.is_none() || last.0.is_none() {
            let (left_out, stretches) = (0, vec![whole]);
            return CounterDay {
                left_out,
                stretches,
            };
        }
        // The last boot has its last reading from 0 on.
        CounterDay {
            left_out: bytes.saturating_sub(last.1.bytes),
            stretches: vec![Stretch::new(first.0, first.1), Stretch::new(last.0, last.1)],
        }
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
        traffic.extend(chunk, readings(chunk));
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

    /// Whether there may have been more counters that count than a day has room for.
    pub(crate) fn is_full(&self) -> bool {
        let counting = self.counters.iter();
        let counting = counting.filter(|(counter, _)| counter.layer().is_some());
        counting.count() >= MAX_COUNTERS
    }

    /// The boots, each with the seconds of its first and its last reading.
    pub(crate) fn boots(&self) -> impl Iterator<Item = (Boot, u32, u32)> {
        let stretches = self.counters.iter().flat_map(|(_, day)| &day.stretches);
        stretches.filter_map(|of| {
            let (first, last) = (of.first.second, of.last.second);
            of.boot.map(|boot| (boot, first.min(last), first.max(last)))
        })
    }

    /// The traffic with the samples of the chunk, which are of the same day; `None` if they
    /// cannot be told from what is here, because some are not later.
    pub(crate) fn with_later(&self, chunk: &Chunk) -> Option<DayTraffic> {
        let first = chunk.rows.first();
        if first.is_some_and(|first| first.second <= self.last_second) {
            return None;
        }
        let readings = readings(chunk);
        let mut names: BTreeSet<&Counter> =
            self.counters.iter().map(|(counter, _)| counter).collect();
        for (counter, readings) in &readings {
            names.insert(counter);
            let known = self.counters.iter().find(|(known, _)| known == counter);
            if known.is_some_and(|(_, day)| !day.is_before(readings)) {
                return None;
            }
        }
        if names.len() > MAX_COUNTERS {
            return None;
        }
        let mut traffic = self.clone();
        traffic.extend(chunk, readings);
        Some(traffic)
    }

    fn extend(&mut self, chunk: &Chunk, readings: Vec<(Counter, Readings)>) {
        self.samples += chunk.rows.len() as u64;
        if let Some(last) = chunk.rows.last() {
            self.last_second = last.second;
        }
        for (counter, readings) in readings {
            for (identity, reading) in readings {
                let find = |(known, _): &(Counter, CounterDay)| known.cmp(&counter);
                match self.counters.binary_search_by(find) {
                    Ok(place) => self.counters[place].1.add(identity.boot(), reading),
                    Err(place) => {
                        let stretch = Stretch::new(identity.boot(), reading);
                        let day = CounterDay {
                            left_out: 0,
                            stretches: vec![stretch],
                        };
                        self.counters.insert(place, (counter.clone(), day));
                    }
                }
            }
        }
    }

    /// The bytes by which the day is kept.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let boots: BTreeSet<Boot> = self.boots().map(|(boot, ..)| boot).collect();
        let boots: Vec<Boot> = boots.into_iter().collect();
        let mut out = vec![VERSION];
        put_varint(&mut out, self.samples);
        put_varint(&mut out, self.last_second.into());
        put_length(&mut out, boots.len());
        for boot in &boots {
            out.extend_from_slice(&boot.0.to_le_bytes());
        }
        put_length(&mut out, self.counters.len());
        for (counter, day) in &self.counters {
            out.push(match counter.direction {
                Direction::Received => 0,
                Direction::Sent => 1,
            });
            put_text(&mut out, &counter.interface);
            put_varint(&mut out, day.left_out);
            put_length(&mut out, day.stretches.len());
            for stretch in &day.stretches {
                put_stretch(&mut out, stretch, &boots);
            }
        }
        out
    }

    /// The traffic that [`DayTraffic::encode`] has made bytes of, now or in an earlier
    /// version.
    ///
    /// # Errors
    /// The bytes are damaged, or of a later version.
    pub fn decode(bytes: &[u8]) -> Result<DayTraffic, Damage> {
        let mut reader = Reader::new(bytes);
        let version = reader.byte()?;
        if version != VERSION && version != FIRST_VERSION {
            return Err(Damage("the traffic has an unknown version"));
        }
        let samples = reader.varint()?;
        let last_second = read_second(&mut reader)?;
        let boots = match version {
            VERSION => read_boots(&mut reader)?,
            _ => Vec::new(),
        };
        let count = reader.length(MAX_SERIES)?;
        let mut counters: Vec<(Counter, CounterDay)> = Vec::with_capacity(count);
        for _ in 0..count {
            let counter = read_name(&mut reader)?;
            let day = match version {
                VERSION => read_day(&mut reader, &boots)?,
                _ => read_first_version(&mut reader, last_second)?,
            };
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

/// The readings of a counter, in their order.
type Readings = Vec<(Identity, Reading)>;

/// The readings of each counter: in the order of time, but those of one boot in the order
/// of their numbers.
fn readings(chunk: &Chunk) -> Vec<(Counter, Readings)> {
    let mut found = Vec::new();
    for (series, column) in chunk.series.iter().zip(&chunk.columns) {
        let Some(counter) = Counter::of(series) else {
            continue;
        };
        let told = chunk.rows.iter().zip(column);
        let told = told.filter(|(_, value)| !value.is_nan());
        let readings = told.map(|(row, value)| {
            let reading = Reading::new(row.second, row.identity, *value);
            (row.identity, reading)
        });
        found.push((counter, in_order(&readings.collect::<Readings>())));
    }
    found
}

/// Sorts the numbered readings of each boot, which stay where readings of that boot are.
fn in_order(readings: &[(Identity, Reading)]) -> Readings {
    let mut places: BTreeMap<Boot, Vec<usize>> = BTreeMap::new();
    for (place, (identity, _)) in readings.iter().enumerate() {
        if let Identity::Numbered(boot, _) = identity {
            places.entry(*boot).or_default().push(place);
        }
    }
    let mut sorted = readings.to_vec();
    for places in places.into_values() {
        let mut of_boot: Readings = places.iter().map(|place| readings[*place]).collect();
        if of_boot.is_sorted_by_key(|(_, reading)| reading.number) {
            continue;
        }
        of_boot.sort_by_key(|(_, reading)| reading.number);
        for (place, reading) in places.into_iter().zip(of_boot) {
            sorted[place] = reading;
        }
    }
    sorted
}

fn put_stretch(out: &mut Vec<u8>, stretch: &Stretch, boots: &[Boot]) {
    let Stretch {
        boot, first, last, ..
    } = stretch;
    let place = boot.and_then(|boot| boots.binary_search(&boot).ok());
    let mut code = 4 * place.map_or(0, |place| place + 1);
    code += if first.number.is_some() {
        HAS_FIRST_NUMBER
    } else {
        0
    };
    code += if last.number.is_some() {
        HAS_LAST_NUMBER
    } else {
        0
    };
    put_length(out, code);
    put_varint(out, first.second.into());
    put_signed(out, i64::from(last.second) - i64::from(first.second));
    if let Some(number) = first.number {
        put_varint(out, number);
    }
    if let Some(number) = last.number {
        let difference = number.wrapping_sub(first.number.unwrap_or(0));
        put_signed(out, difference.cast_signed());
    }
    let difference = last.bytes.wrapping_sub(first.bytes);
    put_varint(out, first.bytes);
    put_signed(out, difference.cast_signed());
    put_signed(out, stretch.bytes.wrapping_sub(difference).cast_signed());
}

fn read_stretch(reader: &mut Reader<'_>, boots: &[Boot]) -> Result<Stretch, Damage> {
    let code = reader.length(4 * boots.len() + 3)?;
    let boot = (code / 4).checked_sub(1).map(|place| boots[place]);
    let first_second = read_second(reader)?;
    let last_second = i64::from(first_second).checked_add(reader.signed()?);
    let last_second = last_second.and_then(|second| u32::try_from(second).ok());
    let last_second = last_second.ok_or(Damage("a second is too late"))?;
    let first_number = match code & HAS_FIRST_NUMBER {
        0 => None,
        _ => Some(reader.varint()?),
    };
    let last_number = match code & HAS_LAST_NUMBER {
        0 => None,
        _ => {
            let difference = reader.signed()?.cast_unsigned();
            Some(first_number.unwrap_or(0).wrapping_add(difference))
        }
    };
    let first_bytes = reader.varint()?;
    let difference = reader.signed()?.cast_unsigned();
    let more = reader.signed()?.cast_unsigned();
    Ok(Stretch {
        boot,
        first: Reading {
            second: first_second,
            number: first_number,
            bytes: first_bytes,
        },
        last: Reading {
            second: last_second,
            number: last_number,
            bytes: first_bytes.wrapping_add(difference),
        },
        bytes: difference.wrapping_add(more),
    })
}

fn read_boots(reader: &mut Reader<'_>) -> Result<Vec<Boot>, Damage> {
    let count = reader.length(MAX_SERIES * MAX_BOOTS)?;
    let mut boots = Vec::with_capacity(count);
    for _ in 0..count {
        boots.push(Boot(u64::from_le_bytes(reader.array()?)));
    }
    Ok(boots)
}

fn read_second(reader: &mut Reader<'_>) -> Result<u32, Damage> {
    u32::try_from(reader.varint()?).map_err(|_| Damage("a second is too late"))
}

fn read_name(reader: &mut Reader<'_>) -> Result<Counter, Damage> {
    let direction = match reader.byte()? {
        0 => Direction::Received,
        1 => Direction::Sent,
        _ => return Err(Damage("a counter has an unknown direction")),
    };
    let interface = reader.text(MAX_INTERFACE_BYTES)?.into();
    Ok(Counter {
        interface,
        direction,
    })
}

fn read_day(reader: &mut Reader<'_>, boots: &[Boot]) -> Result<CounterDay, Damage> {
    let left_out = reader.varint()?;
    let count = reader.length(MAX_BOOTS)?;
    if count == 0 {
        return Err(Damage("a counter has no reading"));
    }
    let mut stretches = Vec::with_capacity(count);
    for _ in 0..count {
        stretches.push(read_stretch(reader, boots)?);
    }
    Ok(CounterDay {
        left_out,
        stretches,
    })
}

/// Reads a counter's day of the first version: the second of the first reading, the first
/// reading, the last one, and the bytes between. A reading was 0, or 1 and a boot, or 2 for
/// the first reading's boot; then the counter, of the last reading as the difference to the
/// first one.
fn read_first_version(
    reader: &mut Reader<'_>,
    last_second: u32,
) -> Result<CounterDay, Damage> {
    let second = read_second(reader)?;
    let first_boot = read_boot(reader, None)?;
    let bytes = reader.varint()?;
    let first = Reading {
        second,
        number: None,
        bytes,
    };
    let last_boot = read_boot(reader, first_boot)?;
    let difference = reader.signed()?.cast_unsigned();
    let last = Reading {
        second: last_second.max(second),
        number: None,
        bytes: bytes.wrapping_add(difference),
    };
    let flowed = reader.varint()?;
    let (first, last) = ((first_boot, first), (last_boot, last));
    Ok(CounterDay::from_first_version(first, last, flowed))
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
