//! The form of what is stored: a chunk and an open chunk that were written once.
//!
//! `FLEETBEAT_WRITE=1 cargo test -p fleetbeat-history --test golden` writes the files
//! anew, which a released format forbids.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use fleetbeat_history::open_chunk;
use fleetbeat_history::{Arrival, Chunk, Day, Identity, Sample, StoredChunk};

/// An hour with everything that a chunk may have: two boots, samples without a number, a
/// gap that the spool has filled, services and metrics that come and go, huge, negative
/// and fractional numbers.
fn samples() -> Vec<Sample> {
    let start = Day::new(20_450).start() + 3600;
    let sample = |number: u16| {
        let boot = if number < 12 {
            "first boot"
        } else {
            "second boot"
        };
        let identity = match number {
            5 => Identity::new(None, Some(1)),
            6 => Identity::new(Some(boot), None),
            _ => Identity::new(Some(boot), Some(u64::from(number % 12))),
        };
        let is_spooled = (8..11).contains(&number);
        let arrival = if is_spooled {
            Arrival::Spooled
        } else {
            Arrival::Live
        };
        let at = start + 120 * i64::from(number) + i64::from(number % 5 == 3);

        let value = f64::from(number);
        let mut sample = Sample::new(at, identity, arrival);
        let net = (!number.is_multiple_of(4)).then_some(7.25 * value % 100.0);
        sample.set_loads(Some(20.0 + value / 3.0), Some(45.2), net);
        sample.set_service("wg", true);
        sample.set_service("ov", number % 9 != 4);
        if number > 7 {
            sample.set_service("späť", false);
        }
        sample.set_metric("load1", 0.1 * value);
        sample.set_metric("temperature", 3.0 - value);
        sample.set_metric("disk_used_percent{mount=\"/\"}", 70.0 + value / 100.0);
        let received = 1e11 * f64::from(1 + number % 12) + value;
        sample.set_metric("interface_received_bytes_total", received);
        if number % 10 == 9 {
            sample.set_metric("huge", 1.5e300 / (value + 1.0));
        }
        sample
    };
    (0..30).map(sample).collect()
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("golden")
        .join(name)
}

/// The bytes in hexadecimal, 32 in a line, with a line for each part.
fn hex(parts: &[Vec<u8>]) -> String {
    let mut text = String::new();
    for part in parts {
        for line in part.chunks(32) {
            for byte in line {
                write!(text, "{byte:02x}").unwrap();
            }
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.split_whitespace().collect();
    let digits = digits.concat();
    let byte = |place| u8::from_str_radix(&digits[place..place + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// What the file says, after it was written if that is asked for.
fn compare(name: &str, text: &str) -> String {
    let file = golden(name);
    if env::var_os("FLEETBEAT_WRITE").is_some() {
        fs::write(&file, text).unwrap();
    }
    fs::read_to_string(file).unwrap()
}

fn chunk() -> Chunk {
    let samples = samples();
    Chunk::empty(samples[0].day()).merge(&samples, 24).chunk
}

#[test]
fn a_chunk_has_these_sections() {
    let sections = hex(&chunk().sections());
    assert_eq!(sections, compare("sections.hex", &sections));
}

/// Its bytes may differ from those that a later library makes of the same sections.
#[test]
fn a_stored_chunk_is_read() {
    let stored = compare("chunk.hex", &hex(&[chunk().encode()]));
    let stored = StoredChunk::open(&from_hex(&stored)).unwrap();
    assert_eq!(stored.decode().unwrap(), chunk());
}

#[test]
fn an_open_chunk_has_these_bytes() {
    let mut blob = Vec::new();
    for sample in samples() {
        blob = open_chunk::append(&blob, &sample).unwrap();
    }
    let text = hex(&[blob]);
    let stored = compare("open.hex", &text);
    assert_eq!(text, stored);
    assert_eq!(open_chunk::read(&from_hex(&stored)).samples, samples());
}
