//! Columns of two states, as the lengths of their runs.
//!
//! The first run is of `true` and may be empty; the states take turns.

use crate::bytes::{Damage, Reader, put_length};

/// Appends the runs of `states`. Reading them needs the number of states.
pub(crate) fn put_runs(out: &mut Vec<u8>, states: impl IntoIterator<Item = bool>) {
    let mut current = true;
    let mut length = 0;
    for state in states {
        if state != current {
            put_length(out, length);
            current = state;
            length = 0;
        }
        length += 1;
    }
    put_length(out, length);
}

/// Reads the runs of `count` states.
pub(crate) fn read_runs(
    reader: &mut Reader<'_>,
    count: usize,
) -> Result<Vec<bool>, Damage> {
    let mut states = Vec::with_capacity(count);
    let mut state = true;
    loop {
        let length = reader.length(count - states.len())?;
        if length == 0 && !states.is_empty() {
            return Err(Damage("a run is empty"));
        }
        states.resize(states.len() + length, state);
        if states.len() == count {
            return Ok(states);
        }
        state = !state;
    }
}
