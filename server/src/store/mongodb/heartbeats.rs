//! Heartbeats on the way into MongoDB: spooled heartbeats into the history, then all
//! heartbeats into the hosts' records, many in a command.
//!
//! MongoDB may refuse some updates of a command. For example, two instances insert the
//! same new host at once, a new id is taken, or the revision of a record that another
//! program has damaged cannot be counted up. So a further round writes the refused
//! heartbeats again, in another way where that helps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use log::Level;
use mongodb::bson::Document;

use super::connection::{Connection, RefusedUpdate};
use super::document::{self, Upsert};
use super::error::{DUPLICATE_KEY, MongoDbError};
use crate::recurring::log_if_due;
use crate::store::server::{Beat, Supersedes};

/// So often in a row a first heartbeat does not meet another instance's, or an id that is
/// taken.
const MAX_ROUNDS: usize = 5;
/// After this no further round begins.
const MAX_ROUNDS_TIME: Duration = Duration::from_millis(400);

/// A heartbeat that is not stored yet, and how the next round is to write the heartbeat.
#[derive(Clone, Copy)]
struct Open<'a> {
    beat: &'a Beat,
    how: Upsert,
}

/// Stores the heartbeats, in as many rounds as are needed. Gives the hosts whose record
/// MongoDB refuses in every round.
pub(super) fn record(
    mongodb: &Connection,
    beats: &[Beat],
) -> Result<BTreeSet<IpAddr>, MongoDbError> {
    let started = Instant::now();
    keep_history(mongodb, beats)?;

    let how = Upsert::default();
    let mut open: Vec<Open<'_>> = newest_of_each_host(beats)
        .into_iter()
        .map(|beat| Open { beat, how })
        .collect();
    for _ in 0..MAX_ROUNDS {
        let updates = open
            .iter()
            .map(|open| document::upsert(open.beat, open.how))
            .collect();
        let refused = mongodb.update(updates)?;
        open = refused
            .into_iter()
            .map(|refused| try_otherwise(&open, refused))
            .collect::<Result<_, _>>()?;
        if open.is_empty() || started.elapsed() > MAX_ROUNDS_TIME {
            break;
        }
    }

    // A spooled heartbeat that is not to be inserted any more is stored in the history,
    // and the host's record is newer.
    Ok(open
        .into_iter()
        .filter(|open| open.how.insert)
        .map(|open| open.beat.ip)
        .collect())
}

/// What a further round makes of a heartbeat whose update was refused.
fn try_otherwise<'a>(
    round: &[Open<'a>],
    refused: RefusedUpdate,
) -> Result<Open<'a>, MongoDbError> {
    let RefusedUpdate {
        index,
        code,
        reason,
    } = refused;
    let Some(mut open) = round.get(index).copied() else {
        return Err(MongoDbError::refused(reason));
    };
    if code != DUPLICATE_KEY {
        let line = || format!("MongoDB refuses the record of {}: {reason}", open.beat.ip);
        log_if_due(Level::Warn, "refused records", &reason, line);
        open.how.mend = true;
    } else if open.beat.supersedes != Supersedes::Always && !reason.contains("server_id")
    {
        // The insert has met the host's address, so the host's record is newer than this
        // spooled heartbeat.
        open.how.insert = false;
    }
    Ok(open)
}

/// Keeps the spooled heartbeats as history, once for each host and time.
fn keep_history(mongodb: &Connection, beats: &[Beat]) -> Result<(), MongoDbError> {
    let documents: Vec<Document> = beats.iter().filter_map(document::history).collect();
    if documents.is_empty() {
        return Ok(());
    }
    let history = mongodb.history();
    let inserted =
        mongodb.run(async { history.insert_many(documents).ordered(false).await });
    match inserted {
        Err(error) if error.is_duplicate_key() => Ok(()),
        result => result.map(|_| ()),
    }
}

/// A single heartbeat for each host: the last live heartbeat, or else the newest spooled
/// heartbeat. The updates of a command have no certain order, and the other heartbeats
/// would be overwritten at once.
fn newest_of_each_host(beats: &[Beat]) -> Vec<&Beat> {
    let is_live = |beat: &Beat| beat.supersedes == Supersedes::Always;
    let mut newest: BTreeMap<IpAddr, &Beat> = BTreeMap::new();
    for beat in beats {
        let entry = newest.entry(beat.ip).or_insert(beat);
        if is_live(beat) || (!is_live(entry) && beat.at > entry.at) {
            *entry = beat;
        }
    }
    newest.into_values().collect()
}
