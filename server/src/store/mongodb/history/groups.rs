//! The fleet and its countries, as hosts of their own.
//!
//! ```text
//! group_samples {_id: second, samples: {"fleet": …, "country:DE": …}}
//! ```
//!
//! A document a minute waits until there is an hour of them; then they are merged into
//! days as the heartbeats of hosts are, and deleted.

use std::collections::{BTreeMap, BTreeSet};

use fleetbeat_history::chart::ChartQuery;
use fleetbeat_history::{Host, HostSamples, Sample, chart_of, open_chunk};
use mongodb::bson::{Bson, Document, doc};

use super::days::{find as find_days, merge as merge_days, oldest};
use super::open::binary;
use crate::store::history::{GroupHistory, Groups, HistorySettings, Tended};
use crate::store::mongodb::connection::Connection;
use crate::store::mongodb::error::MongoDbError;

/// Seconds from the first document to the last after which all are merged.
const LONG: i64 = 3600;

/// What waits: the documents, and the samples by the group's name.
#[derive(Default)]
struct Waiting {
    seconds: Vec<i64>,
    samples: BTreeMap<String, Vec<Sample>>,
}

/// Keeps samples of groups. Doing so again changes nothing.
pub(in crate::store::mongodb) fn add(
    mongodb: &Connection,
    groups: &[HostSamples],
) -> Result<(), MongoDbError> {
    let mut documents: BTreeMap<i64, Document> = BTreeMap::new();
    for HostSamples { host, samples } in groups {
        for sample in samples {
            // A single sample always has room.
            if let Ok(bytes) = open_chunk::append(&[], sample) {
                let set = documents.entry(sample.at()).or_default();
                set.insert(format!("samples.{host}"), binary(bytes));
            }
        }
    }
    let updates = documents.into_iter().map(|(second, set)| {
        doc! {"q": {"_id": second}, "u": {"$set": set}, "upsert": true}
    });
    let updates: Vec<Document> = updates.collect();
    if updates.is_empty() {
        return Ok(());
    }
    let updated = mongodb.update_others("group_samples", updates)?;
    // A duplicate key: another instance has noted the same minute at this moment.
    let mut refused = updated.refused.into_iter();
    match refused.find(|of| !of.is_duplicate_key) {
        Some(refused) => Err(MongoDbError::refused(refused.reason)),
        None => Ok(()),
    }
}

/// Merges what has waited for long.
pub(super) fn merge(
    mongodb: &Connection,
    settings: &HistorySettings,
    tended: &mut Tended,
) -> Result<(), MongoDbError> {
    let [first, last] = [find_second(mongodb, 1)?, find_second(mongodb, -1)?];
    if first
        .zip(last)
        .is_none_or(|(first, last)| last - first < LONG)
    {
        return Ok(());
    }
    let waiting = find(mongodb)?;
    let samples = waiting.samples.into_iter().collect::<Vec<_>>();
    let samples = samples
        .iter()
        .map(|(host, samples)| (&**host, samples.clone()));
    let samples: Vec<(&str, Vec<Sample>)> = samples.collect();
    merge_days(mongodb, settings, &samples, tended)?;

    let (groups, done) = (mongodb.group_samples(), doc! {"$in": waiting.seconds});
    mongodb.run(async { groups.delete_many(doc! {"_id": done}).await })?;
    Ok(())
}

/// The first second of which something waits, or in the order -1 the last one.
fn find_second(mongodb: &Connection, order: i32) -> Result<Option<i64>, MongoDbError> {
    let groups = mongodb.group_samples();
    let one = groups.find(doc! {}).sort(doc! {"_id": order}).limit(1);
    let one = one.projection(doc! {"_id": 1});
    let seconds = mongodb.collect(one, |found| found.get_i64("_id").ok())?;
    Ok(seconds.first().copied())
}

fn find(mongodb: &Connection) -> Result<Waiting, MongoDbError> {
    let groups = mongodb.group_samples();
    let mut waiting = Waiting::default();
    let documents =
        mongodb.collect(groups.find(doc! {}).sort(doc! {"_id": 1}), |found| {
            Some((
                found.get_i64("_id").ok()?,
                found.get_document("samples").ok()?.clone(),
            ))
        })?;
    for (second, samples) in documents {
        waiting.seconds.push(second);
        for (host, sample) in samples {
            if let Bson::Binary(sample) = sample {
                let read = open_chunk::read(&sample.bytes).samples;
                waiting.samples.entry(host).or_default().extend(read);
            }
        }
    }
    Ok(waiting)
}

/// The charts of the groups.
pub(in crate::store::mongodb) fn charts(
    mongodb: &Connection,
    groups: Groups,
    query: &ChartQuery,
) -> Result<Vec<GroupHistory>, MongoDbError> {
    // Before the days: what is merged in between is in both, and not in none.
    let waiting = find(mongodb)?.samples;
    let hosts = match groups {
        Groups::Fleet => BTreeSet::from([Host::fleet()]),
        Groups::Countries => find_countries(mongodb, &waiting)?,
    };
    let oldest = oldest(mongodb)?;
    let mut charts = Vec::with_capacity(hosts.len());
    for host in hosts {
        let chunks = find_days(mongodb, host.as_str(), query.days())?;
        let open = waiting.get(host.as_str()).map(Vec::as_slice);
        let chart = chart_of(chunks, oldest, open.unwrap_or_default(), query);
        charts.push(GroupHistory { host, chart });
    }
    Ok(charts)
}

/// The countries of which something is kept.
fn find_countries(
    mongodb: &Connection,
    waiting: &BTreeMap<String, Vec<Sample>>,
) -> Result<BTreeSet<Host>, MongoDbError> {
    let days = mongodb.history_days();
    // The sign behind the colon comes next.
    let all = days.find(doc! {"_id": {"$gte": "country:", "$lt": "country;"}});
    let kept = mongodb.collect(all.projection(doc! {"_id": 1}), |found| {
        let (host, _) = found.get_str("_id").ok()?.rsplit_once(':')?;
        Some(Host::new(host))
    })?;
    let waiting = waiting.keys().map(Host::new);
    let hosts = kept.into_iter().chain(waiting);
    Ok(hosts.filter(|host| host.as_country().is_some()).collect())
}
