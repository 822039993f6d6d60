//! One series of a chunk as bytes.
//!
//! ```text
//! column  = kind, [runs of present values], values
//! kind    = the scale (0 to 3) or 4 for two states; + 8 if some values are missing
//! values  = two states: runs
//!         | integers: the first one; how many bytes the largest difference has; of all
//!           differences the lowest byte, then of all the second one, and so on
//! ```
//!
//! A difference is that of an integer to the one before it, folded. Its bytes stand apart
//! because the lowest ones are noise and the highest ones are mostly alike: with varints
//! in place of that, a counter of bytes takes a third more when it is deflated.

use crate::bytes::{Damage, Reader, fold, put_length, put_signed, unfold};
use crate::number::Scale;
use crate::runs::{put_runs, read_runs};

const STATES: u8 = 4;
const SOME_MISSING: u8 = 8;

/// The column of a series, with NaN for each missing value.
pub(crate) fn encode(values: &[f64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(values.len() * 2);
    let present: Vec<f64> = values.iter().copied().filter(|of| !of.is_nan()).collect();
    let missing = if present.len() == values.len() {
        0
    } else {
        SOME_MISSING
    };

    let is_state = |value: &f64| *value == 0.0 || *value == 1.0;
    let (kind, integers) = if present.iter().all(is_state) {
        (STATES, Vec::new())
    } else {
        to_integers(&present)
    };

    out.push(kind | missing);
    if missing != 0 {
        put_runs(&mut out, values.iter().map(|value| !value.is_nan()));
    }
    if kind == STATES {
        put_runs(&mut out, present.iter().map(|value| *value == 1.0));
    } else {
        put_integers(&mut out, &integers);
    }
    out
}

/// The values of a column of `count` rows.
pub(crate) fn decode(bytes: &[u8], count: usize) -> Result<Vec<f64>, Damage> {
    let mut reader = Reader::new(bytes);
    let kind = reader.byte()?;
    let present = if kind & SOME_MISSING == 0 {
        None
    } else {
        Some(read_runs(&mut reader, count)?)
    };
    let is_there = |of: &Vec<bool>| of.iter().filter(|is_present| **is_present).count();
    let present_count = present.as_ref().map_or(count, is_there);

    let values = decode_present(&mut reader, kind & !SOME_MISSING, present_count)?;
    if !reader.is_empty() {
        return Err(Damage("a column is too long"));
    }
    Ok(match present {
        Some(present) => spread(&present, values),
        None => values,
    })
}

fn decode_present(
    reader: &mut Reader<'_>,
    kind: u8,
    count: usize,
) -> Result<Vec<f64>, Damage> {
    if kind == STATES {
        let states = read_runs(reader, count)?;
        return Ok(states
            .into_iter()
            .map(|of| f64::from(u8::from(of)))
            .collect());
    }
    let scale = Scale::ALL.get(usize::from(kind));
    let scale = scale.ok_or(Damage("a column has an unknown kind"))?;

    let integers = read_integers(reader, count)?;
    let numbers = integers.into_iter().map(|integer| scale.to_number(integer));
    let numbers: Option<Vec<_>> = numbers.collect();
    numbers.ok_or(Damage("a value is not a number"))
}

/// The values in their places, and NaN in the others.
fn spread(present: &[bool], values: Vec<f64>) -> Vec<f64> {
    let mut values = values.into_iter();
    let mut value = |is_present: &bool| {
        let value = is_present.then(|| values.next());
        value.flatten().unwrap_or(f64::NAN)
    };
    present.iter().map(&mut value).collect()
}

/// The values as integers of the first scale that holds all of them exactly.
fn to_integers(values: &[f64]) -> (u8, Vec<i64>) {
    let with = |scale: Scale| -> Option<Vec<i64>> {
        values
            .iter()
            .map(|value| scale.to_integer(*value))
            .collect()
    };
    let kinds = (0_u8..).zip(Scale::ALL);
    let mut fits = kinds.filter_map(|(kind, scale)| Some((kind, with(scale)?)));
    fits.next().unwrap_or_default()
}

fn put_integers(out: &mut Vec<u8>, integers: &[i64]) {
    let Some(first) = integers.first() else {
        return;
    };
    put_signed(out, *first);
    let differences = integers.windows(2);
    let differences = differences.map(|pair| fold(pair[1].wrapping_sub(pair[0])));
    let differences: Vec<_> = differences.map(u64::to_le_bytes).collect();

    let width =
        |bytes: &[u8; 8]| 8 - bytes.iter().rev().take_while(|of| **of == 0).count();
    let widest = differences.iter().map(width).max().unwrap_or(0);
    put_length(out, widest);
    for place in 0..widest {
        out.extend(differences.iter().map(|bytes| bytes[place]));
    }
}

fn read_integers(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, Damage> {
    let Some(differences) = count.checked_sub(1) else {
        return Ok(Vec::new());
    };
    let mut last = reader.signed()?;
    let widest = reader.length(size_of::<u64>())?;
    let mut folded = vec![[0; 8]; differences];
    for place in 0..widest {
        let bytes = reader.bytes(differences)?;
        for (folded, byte) in folded.iter_mut().zip(bytes) {
            folded[place] = *byte;
        }
    }

    let mut integers = vec![last];
    integers.extend(folded.into_iter().map(|bytes| {
        last = last.wrapping_add(unfold(u64::from_le_bytes(bytes)));
        last
    }));
    Ok(integers)
}
