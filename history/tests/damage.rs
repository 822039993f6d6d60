//! Damaged bytes are told, and never end the program or take its memory.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use fleetbeat_history::open_chunk;
use fleetbeat_history::{
    Arrival, Chunk, ChunkError, Day, Identity, MAX_SAMPLES, Sample, StoredChunk, VERSION,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn samples() -> Vec<Sample> {
    let start = Day::new(20_000).start();
    let sample = |number: u16| {
        let identity = Identity::new(Some("boot"), Some(u64::from(number)));
        let at = start + 120 * i64::from(number);
        let mut sample = Sample::new(at, identity, Arrival::Live);
        sample.set_loads(Some(f64::from(number % 61)), Some(f64::from(number)), None);
        sample.set_service("wg", !number.is_multiple_of(50));
        sample.set_metric("load1", f64::from(number * 7 % 101) / 100.0);
        sample
    };
    (0..200).map(sample).collect()
}

fn chunk() -> Vec<u8> {
    let samples = samples();
    Chunk::empty(samples[0].day())
        .merge(&samples, 24)
        .chunk
        .encode()
}

fn open_blob() -> Vec<u8> {
    let samples = samples();
    samples.iter().fold(Vec::new(), |blob, sample| {
        open_chunk::append(&blob, sample).unwrap()
    })
}

/// The bytes behind a right version and checksum.
fn sealed(sections: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(sections);
    let mut chunk = vec![VERSION];
    chunk.extend_from_slice(&crc.sum().to_le_bytes());
    chunk.extend_from_slice(sections);
    chunk
}

/// Reads all of a chunk.
fn read(chunk: &[u8]) -> Result<Chunk, ChunkError> {
    StoredChunk::open(chunk)?.decode()
}

#[test]
fn a_flipped_bit_is_told() {
    let chunk = chunk();
    for place in 0..chunk.len() {
        for bit in 0..8 {
            let mut damaged = chunk.clone();
            damaged[place] ^= 1 << bit;
            let error = read(&damaged).unwrap_err();
            let is_version = matches!(error, ChunkError::Version(_));
            assert_eq!(is_version, place == 0, "byte {place}: {error}");
        }
    }
}

#[test]
fn a_chunk_that_is_cut_or_longer_is_told() {
    let mut chunk = chunk();
    for length in 0..chunk.len() {
        assert!(read(&chunk[..length]).is_err(), "{length} bytes");
    }
    chunk.push(0);
    assert!(read(&chunk).is_err());
}

#[test]
fn a_cut_open_chunk_keeps_what_is_before() {
    let (blob, samples) = (open_blob(), samples());
    let mut seen = 0;
    for length in 0..=blob.len() {
        let open = open_chunk::read(&blob[..length]);
        assert_eq!(open.samples, samples[..open.samples.len()]);
        assert!(open.samples.len() >= seen);
        seen = open.samples.len();

        // What was cut gives way to what comes next.
        let mended = open_chunk::append(&blob[..length], &samples[199]).unwrap();
        let mended = open_chunk::read(&mended);
        assert_eq!(mended.damage, None);
        assert_eq!(mended.samples.len(), seen + 1);
    }
    assert_eq!(seen, samples.len());
}

/// A chunk with the most samples and series that there may be is read, and one that only
/// pretends to more is refused before memory is taken.
#[test]
fn the_largest_chunk_is_read() {
    let start = Day::new(20_000).start();
    let sample = |number: i64| {
        let boot = (number % 3000).to_string();
        let identity = Identity::new(Some(&boot), Some(number.unsigned_abs() << 40));
        let mut sample = Sample::new(start + number * 4, identity, Arrival::Live);
        for name in 0..4 {
            sample.set_metric(&format!("{name:0>250}"), number as f64 * 1e300);
        }
        sample
    };
    let count = i64::try_from(MAX_SAMPLES).unwrap();
    let samples: Vec<_> = (0..count + 10).map(sample).collect();
    let merged = Chunk::empty(Day::new(20_000)).merge(&samples, 24);
    assert_eq!(merged.chunk.len(), MAX_SAMPLES);
    assert_eq!(merged.cut_samples, 10);
    assert_eq!(read(&merged.chunk.encode()).unwrap(), merged.chunk);
}

#[test]
fn a_chunk_that_would_take_all_memory_is_refused() {
    let mut deflated = Vec::new();
    let zeros = vec![0; 64 << 20];
    let mut compress = flate2::Compress::new(flate2::Compression::fast(), false);
    deflated.reserve(1 << 20);
    let status =
        compress.compress_vec(&zeros, &mut deflated, flate2::FlushCompress::Finish);
    assert_eq!(status.unwrap(), flate2::Status::StreamEnd);

    let mut sections = Vec::new();
    let mut length = 2 * deflated.len() + 1;
    while length >= 0x80 {
        sections.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    sections.push(u8::try_from(length).unwrap());
    sections.extend_from_slice(&deflated);
    let error = read(&sealed(&sections)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the chunk is damaged: a section is too large"
    );
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    }
}

/// Changes to bytes: a place, and what stands there then.
fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)
}

fn changed(mut bytes: Vec<u8>, changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    for (place, byte) in changes {
        let place = place.index(bytes.len());
        bytes[place] = *byte;
    }
    bytes
}

proptest! {
    #![proptest_config(config(1000))]

    /// Even with a right checksum, whatever the sections say is read or refused quickly,
    /// and what is read can be merged and stored.
    #[test]
    fn hostile_sections_are_read_or_refused(changes in changes(), rest in vec(any::<u8>(), 0..40)) {
        let mut sections = changed(chunk()[5..].to_vec(), &changes);
        sections.extend_from_slice(&rest);
        is_quick(&sealed(&sections));
    }

    /// The same where nothing is deflated, so that the changes reach the numbers.
    #[test]
    fn hostile_numbers_are_read_or_refused(changes in changes(), part in any::<prop::sample::Index>()) {
        let samples = samples();
        let chunk = Chunk::empty(samples[0].day()).merge(&samples[..20], 24).chunk;
        let mut parts = chunk.sections();
        let part = part.index(parts.len());
        parts[part] = changed(parts[part].clone(), &changes);

        let mut sections = Vec::new();
        for part in &parts {
            let length = u16::try_from(2 * part.len()).unwrap();
            sections.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
            sections.push(u8::try_from(length >> 7).unwrap());
            sections.extend_from_slice(part);
        }
        is_quick(&sealed(&sections));
    }

    #[test]
    fn noise_is_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        is_quick(&bytes);
        is_quick(&sealed(&bytes));
        let mut blob = vec![1];
        blob.extend_from_slice(&bytes);
        for blob in [&bytes, &blob] {
            let open = open_chunk::read(blob);
            let again = open_chunk::append(blob, &samples()[0]).unwrap();
            prop_assert_eq!(open_chunk::read(&again).samples.len(), open.samples.len() + 1);
        }
    }

    #[test]
    fn a_changed_open_chunk_is_read_as_far_as_it_goes(changes in changes()) {
        let blob = changed(open_blob(), &changes);
        let open = open_chunk::read(&blob);
        let again = open_chunk::append(&blob, &samples()[0]);
        let again = open_chunk::read(&again.unwrap());
        prop_assert_eq!(again.damage, None);
        prop_assert_eq!(again.samples.len(), open.samples.len() + 1);
    }
}

fn is_quick(bytes: &[u8]) {
    let begun = Instant::now();
    if let Ok(chunk) = read(bytes) {
        let again = chunk.merge(&samples(), 24).chunk;
        assert_eq!(read(&again.encode()).unwrap(), again);
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
}
