//! The open chunk: samples of a host since the last merge, kept in the host's record.
//!
//! A heartbeat adds some bytes at the end, because its names are those of the heartbeat
//! before it and its numbers are near. The format of a blob:
//!
//! ```text
//! blob   = version, records
//! record = 1, number of series, then kind and name of each     (until the next such one)
//!        | 2 + flags, time, [boot], [number], cells            (a sample)
//! time   = the difference to the last difference
//! number = the difference to the last number plus one
//! cell   = 0: missing | 1, 8 bytes: an f64 | 2 + the difference to the last integer
//! ```
//!
//! A blob that ends in the middle of a record, or is damaged there, keeps what is before
//! it.

mod state;

use crate::bytes::{Damage, Reader};
use crate::sample::Sample;
use state::{MAX_SAMPLES, Record, State};

/// Largest blob, in bytes. A usual host has about 2 kB after four hours.
pub const MAX_OPEN_BYTES: usize = 32 << 10;
/// Most samples in a blob: one every five seconds, for four hours.
pub const MAX_OPEN_SAMPLES: usize = MAX_SAMPLES;

const VERSION: u8 = 1;

/// The blob has no room: the host's samples have to be merged first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the open chunk is full")]
pub struct Full;

/// What a blob holds.
#[derive(Debug)]
pub struct OpenSamples {
    /// The samples, in the order in which they were appended.
    pub samples: Vec<Sample>,
    /// What ends the blob too early; the samples are those before it.
    pub damage: Option<Damage>,
}

/// The blob with one more sample. An empty blob is one without samples. What is damaged
/// at the end of the blob gives way.
///
/// # Errors
/// The blob has no room.
pub fn append(blob: &[u8], sample: &Sample) -> Result<Vec<u8>, Full> {
    let (good, state) = last_state(blob);
    let mut out = Vec::with_capacity(good + 64);
    if good == 0 {
        out.push(VERSION);
    } else {
        out.extend_from_slice(&blob[..good]);
    }
    if state.samples >= MAX_OPEN_SAMPLES {
        return Err(Full);
    }
    state.put(&mut out, sample);
    if out.len() > MAX_OPEN_BYTES {
        Err(Full)
    } else {
        Ok(out)
    }
}

/// The samples of a blob.
#[must_use]
pub fn read(blob: &[u8]) -> OpenSamples {
    let mut samples = Vec::new();
    let (_, _, damage) = walk(blob, |state| samples.push(state.sample()));
    OpenSamples { samples, damage }
}

/// The samples of a blob, each with its counters of bytes alone.
#[must_use]
pub fn read_counters(blob: &[u8]) -> OpenSamples {
    let mut samples = Vec::new();
    let (_, _, damage) = walk(blob, |state| samples.push(state.counters()));
    OpenSamples { samples, damage }
}

/// The length of the blob up to what is damaged, and the state there.
fn last_state(blob: &[u8]) -> (usize, State) {
    let (good, state, damage) = walk(blob, |_| ());
    match damage {
        None => (good, state),
        Some(_) => (good, walk(&blob[..good], |_| ()).1),
    }
}

/// Reads all records, and calls `each` behind each sample. Gives the number of good
/// bytes, the state behind the last record, and what ends the blob too early.
fn walk(blob: &[u8], mut each: impl FnMut(&State)) -> (usize, State, Option<Damage>) {
    let mut state = State::default();
    let mut reader = Reader::new(blob);
    if reader.is_empty() {
        return (0, state, None);
    }
    if reader.byte() != Ok(VERSION) {
        return (
            0,
            state,
            Some(Damage("the open chunk has an unknown version")),
        );
    }

    loop {
        let good = blob.len() - reader.left();
        if reader.is_empty() {
            return (good, state, None);
        }
        match state.read_record(&mut reader) {
            Ok(Record::Names) => {}
            Ok(Record::Sample) => each(&state),
            Err(damage) => return (good, state, Some(damage)),
        }
    }
}
