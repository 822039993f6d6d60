//! Samples of hosts that have one at a time: they wait here until there are so many that a
//! merge is worth it, because each merge writes the whole chunk of a day.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};

use crate::open_chunk;
use crate::sample::Sample;
use crate::store::{Host, HostSamples};

/// Seconds from the first sample to the last after which all are merged.
const LONG: i64 = 3600;

/// Adds the samples. Of a host and second, the last one counts.
pub(crate) fn put(
    transaction: &Transaction<'_>,
    batch: &[HostSamples],
) -> rusqlite::Result<()> {
    let insert = "INSERT OR REPLACE INTO waiting (at, host, sample) VALUES (?1, ?2, ?3)";
    let mut insert = transaction.prepare_cached(insert)?;
    for HostSamples { host, samples } in batch {
        for sample in samples {
            // A single sample always has room.
            if let Ok(bytes) = open_chunk::append(&[], sample) {
                insert.execute(params![sample.at(), host.as_str(), bytes])?;
            }
        }
    }
    Ok(())
}

/// Whether the samples have waited for long.
pub(crate) fn is_long(connection: &Connection) -> rusqlite::Result<bool> {
    let select = "SELECT max(at) - min(at) FROM waiting";
    let waited: Option<i64> = connection.query_row(select, [], |row| row.get(0))?;
    Ok(waited.is_some_and(|waited| waited >= LONG))
}

/// All samples that wait, in the order of time. What cannot be read is left out.
pub(crate) fn find(
    connection: &Connection,
) -> rusqlite::Result<BTreeMap<Host, Vec<Sample>>> {
    let mut found: BTreeMap<Host, Vec<Sample>> = BTreeMap::new();
    let mut select =
        connection.prepare_cached("SELECT host, sample FROM waiting ORDER BY at")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let host = Host::new(row.get::<_, String>(0)?);
        let bytes = row.get_ref(1)?.as_bytes_or_null();
        let bytes = bytes.unwrap_or_default().unwrap_or_default();
        let samples = found.entry(host).or_default();
        samples.extend(open_chunk::read(bytes).samples);
    }
    Ok(found)
}

/// Removes all samples.
pub(crate) fn clear(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM waiting", [])?;
    Ok(())
}
