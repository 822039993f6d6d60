//! The rows of a chunk as bytes.

use std::collections::BTreeSet;

use crate::bytes::{Damage, Reader, put_length, put_signed, put_varint};
use crate::chunk::row::{MAX_SAMPLES, Row};
use crate::day::DAY_SECONDS;
use crate::runs::{put_runs, read_runs};
use crate::sample::{Arrival, Boot, Identity};

/// Appends the rows.
pub(crate) fn put_rows(out: &mut Vec<u8>, rows: &[Row]) {
    put_length(out, rows.len());
    put_times(out, rows);
    put_runs(out, rows.iter().map(|row| row.arrival == Arrival::Live));
    put_identities(out, rows);
}

/// Reads the rows.
pub(crate) fn read_rows(reader: &mut Reader<'_>) -> Result<Vec<Row>, Damage> {
    let count = reader.length(MAX_SAMPLES)?;
    let times = read_times(reader, count)?;
    let arrivals = read_runs(reader, count)?;
    let identities = read_identities(reader, count)?;

    let parts = times.into_iter().zip(arrivals).zip(identities);
    let rows = parts.map(|((second, is_live), identity)| Row {
        second,
        identity,
        arrival: if is_live {
            Arrival::Live
        } else {
            Arrival::Spooled
        },
    });
    Ok(rows.collect())
}

fn put_times(out: &mut Vec<u8>, rows: &[Row]) {
    let (mut last, mut last_step) = (0, 0);
    for row in rows {
        let step = i64::from(row.second) - last;
        put_signed(out, step - last_step);
        last = i64::from(row.second);
        last_step = step;
    }
}

fn read_times(reader: &mut Reader<'_>, count: usize) -> Result<Vec<u32>, Damage> {
    let mut times = Vec::with_capacity(count);
    let (mut last, mut step) = (0_i64, 0_i64);
    for _ in 0..count {
        step = step.wrapping_add(reader.signed()?);
        last = last.wrapping_add(step);
        let is_in_order = step >= 0 && (0..DAY_SECONDS).contains(&last);
        let second = u32::try_from(last).ok().filter(|_| is_in_order);
        times.push(second.ok_or(Damage("the times are not in order"))?);
    }
    Ok(times)
}

/// The place of each boot among the sorted boots makes the rows' codes.
fn put_identities(out: &mut Vec<u8>, rows: &[Row]) {
    let boots = rows.iter().filter_map(|row| row.identity.boot());
    let boots: Vec<_> = boots.collect::<BTreeSet<_>>().into_iter().collect();
    put_length(out, boots.len());
    for boot in &boots {
        out.extend_from_slice(&boot.0.to_le_bytes());
    }

    let code = |row: &Row| {
        let place = |boot: Boot| boots.binary_search(&boot).unwrap_or_default();
        match row.identity {
            Identity::Unknown => 0,
            Identity::Boot(boot) => 2 * place(boot) + 1,
            Identity::Numbered(boot, _) => 2 * place(boot) + 2,
        }
    };
    let codes: Vec<_> = rows.iter().map(code).collect();
    for run in codes.chunk_by(|code, next| code == next) {
        put_length(out, run[0]);
        put_length(out, run.len());
    }

    let mut expected = 0_i64;
    for row in rows {
        if let Identity::Numbered(_, number) = row.identity {
            let number = number.cast_signed();
            put_signed(out, number.wrapping_sub(expected));
            expected = number.wrapping_add(1);
        }
    }
}

fn read_identities(
    reader: &mut Reader<'_>,
    count: usize,
) -> Result<Vec<Identity>, Damage> {
    let boots = reader.length(count)?;
    let mut known = Vec::with_capacity(boots);
    for _ in 0..boots {
        known.push(Boot(u64::from_le_bytes(reader.array()?)));
    }

    let mut codes = Vec::with_capacity(count);
    while codes.len() < count {
        let code = reader.length(2 * boots)?;
        let run = reader.length(count - codes.len())?;
        if run == 0 {
            return Err(Damage("a run is empty"));
        }
        codes.resize(codes.len() + run, code);
    }

    let mut expected = 0_i64;
    let mut identity = |code: usize| -> Result<Identity, Damage> {
        let Some(place) = code.checked_sub(1) else {
            return Ok(Identity::Unknown);
        };
        let boot = known[place / 2];
        if place % 2 == 0 {
            return Ok(Identity::Boot(boot));
        }
        let number = expected.wrapping_add(reader.signed()?);
        expected = number.wrapping_add(1);
        Ok(Identity::Numbered(boot, number.cast_unsigned()))
    };
    codes.into_iter().map(&mut identity).collect()
}

/// Appends the number of a day.
pub(crate) fn put_day(out: &mut Vec<u8>, number: u32) {
    put_varint(out, u64::from(number));
}
