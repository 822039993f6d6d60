//! The traffic of hosts: what their days have, and what waits.

use fleetbeat_history::{Day, HostTraffic, Sample, traffic_of};

use super::days::find as find_days;
use super::open::find_counters;
use super::traffic::{Found, find as find_traffic};
use crate::store::history::TrafficQuery;
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::error::MongoDbError;

/// Hosts that are read at once.
const BATCH: usize = 500;

/// The traffic of each host, in their order.
pub(in crate::store::mongodb) fn traffic(
    mongodb: &Connection,
    hosts: &[TrafficQuery],
) -> Result<Vec<HostTraffic>, MongoDbError> {
    let mut sums = Vec::with_capacity(hosts.len());
    for batch in hosts.chunks(BATCH) {
        // Before the days: what is merged in between is in both, and not in none.
        let ids = batch.iter().map(|of| of.server_id.as_str());
        let mut waiting = find_counters(mongodb, &ids.collect::<Vec<_>>())?;
        let mut found = find_traffic(mongodb, batch)?;
        for query in batch {
            let found = found.remove(&query.server_id).unwrap_or_default();
            let (samples, is_damaged) =
                waiting.remove(&query.server_id).unwrap_or_default();
            let mut sum = sum(mongodb, query, found, &samples)?;
            sum.is_incomplete |= is_damaged;
            sums.push(sum);
        }
    }
    Ok(sums)
}

/// A host's traffic. Its chunks are read where a sample that waits has come late.
fn sum(
    mongodb: &Connection,
    query: &TrafficQuery,
    found: Found,
    waiting: &[Sample],
) -> Result<HostTraffic, MongoDbError> {
    let mut failure = None;
    let mut read_chunk = |day: Day| {
        let chunks = find_days(mongodb, &query.server_id, (day, day));
        let chunks = chunks.map_err(|error| failure = Some(error)).ok()?;
        chunks.into_iter().next().flatten()
    };
    let mut sum = traffic_of(found.days, waiting, query.days, &mut read_chunk);
    sum.is_incomplete |= found.unread > 0;
    match failure {
        Some(error) => Err(error),
        None => Ok(sum),
    }
}
