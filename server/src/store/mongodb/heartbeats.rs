//! Heartbeats on the way into MongoDB: the newest of each host into the hosts' records,
//! many in a command, and then all of them into the history.
//!
//! A round reads the records that the heartbeats may belong to, asks
//! [`crate::store::identity`] what to do, and does it. Every statement names the address
//! and the agent that were read. If another instance has changed a record meanwhile, or
//! inserted the same new host, nothing is found, or the address is taken: then a further
//! round reads again. A further round also follows a step that only prepares, and writes
//! in another way where MongoDB refuses, for example because the revision of a record
//! that another program has damaged cannot be counted up.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use log::Level;
use mongodb::bson::Document;

use super::connection::Connection;
use super::document::{self, Update};
use super::error::MongoDbError;
use super::history;
use super::owners::{self, Outcome, Records};
use super::pending::{self, Host};
use super::sender::{Sender, sender};
use crate::recurring::log_if_due;
use crate::store::identity::{Conflicts, Finding, Step};
use crate::store::server::{Beat, Supersedes};

/// So often in a row a first heartbeat does not meet another instance's, or an id that is
/// taken; a host that moves needs some rounds, too.
const MAX_ROUNDS: usize = 8;
/// After this no further round begins.
const MAX_ROUNDS_TIME: Duration = Duration::from_millis(400);

/// A heartbeat that is not stored yet.
#[derive(Clone, Copy)]
struct Open<'a> {
    beat: &'a Beat,
    /// The record's revision cannot be counted up.
    mend: bool,
}

/// A step that waits to be done together with others.
#[derive(Default)]
struct Round<'a> {
    live: Vec<(Open<'a>, Document)>,
    spooled: Vec<(Open<'a>, Document)>,
    inserts: Vec<(Open<'a>, Document, Vec<String>)>,
    /// The heartbeats for which a further round is needed.
    again: Vec<Open<'a>>,
}

/// Stores the heartbeats, in as many rounds as are needed. `max_series` of each heartbeat
/// are kept as history, or nothing. `outcome` is also good after
/// an error.
pub(super) fn record(
    mongodb: &Connection,
    beats: &[Beat],
    service_time: i64,
    max_series: Option<usize>,
    conflicts: &Conflicts,
    outcome: &mut Outcome,
) -> Result<(), MongoDbError> {
    let started = Instant::now();
    outcome.changed.extend(beats.iter().map(|beat| beat.ip));
    let mut hosts: BTreeMap<Sender, String> = BTreeMap::new();
    let mut open: Vec<Open<'_>> = newest_of_each_host(beats)
        .into_iter()
        .map(|beat| Open { beat, mend: false })
        .collect();

    for _ in 0..MAX_ROUNDS {
        let beats: Vec<&Beat> = open.iter().map(|open| open.beat).collect();
        let records = Records::read(mongodb, &beats, service_time)?;
        let mut round = Round::default();
        for open in &open {
            let step = records.decide(open.beat);
            let host = plan(
                mongodb, *open, step, &records, conflicts, &mut round, outcome,
            )?;
            if let Some(host) = host {
                hosts.insert(sender(open.beat), host);
            }
        }

        open = round.write(mongodb)?;
        if open.is_empty() || started.elapsed() > MAX_ROUNDS_TIME {
            break;
        }
    }

    outcome.refused = open.into_iter().map(|open| open.beat.ip).collect();
    match max_series {
        Some(max_series) => history::append(mongodb, beats, &hosts, max_series),
        None => Ok(()),
    }
}

/// Plans the step, or does it if it only prepares. Gives the `server_id` of the record
/// that the heartbeat belongs to, if that is known already.
fn plan<'a>(
    mongodb: &Connection,
    open: Open<'a>,
    step: Step<'_, String>,
    records: &Records,
    conflicts: &Conflicts,
    round: &mut Round<'a>,
    outcome: &mut Outcome,
) -> Result<Option<String>, MongoDbError> {
    let beat = open.beat;
    match step {
        Step::Store { record, wanted_ip } => {
            outcome.changed.extend(record.ip);
            if beat.supersedes == Supersedes::Always {
                let finding = conflicts.look_at(record, beat, wanted_ip);
                let ip = record.ip.unwrap_or(beat.ip);
                tell(beat, (&record.key, ip), finding, outcome);
            }
            let how = Update {
                record,
                wanted_ip,
                mend: open.mend,
                told: outcome.told.get(&sender(beat)).cloned(),
            };
            store(open, &how, round);
            Ok(Some(record.key.clone()))
        }
        Step::Insert { agent_id, clone_of } => {
            let (flags, tombstones) = records.flags_of_new(beat, agent_id, clone_of);
            let is_clone = clone_of.is_some();
            let mut document = document::new_record(beat, agent_id, is_clone, &flags);
            let host = document.get_str("server_id").ok().map(str::to_owned);
            let clone = beat.heartbeat.agent_id.filter(|_| is_clone);
            if let (Some(agent_id), Some(host)) = (clone, &host) {
                let ip = beat.ip;
                let finding = Some(Finding::Clone { ip, agent_id });
                tell(beat, (host, ip), finding, outcome);
                let event = outcome.told.get(&sender(beat)).cloned();
                document.insert("pending", Vec::from_iter(event));
            }
            round.inserts.push((open, document, tombstones));
            Ok(host)
        }
        Step::Refuse { record, denial } => {
            outcome.denied.insert(sender(beat), denial);
            let finding = conflicts.look_at_denied(record, beat, denial);
            if let (Some(record), Some(finding)) = (record, finding) {
                records.tell_denied(mongodb, beat, record, finding, outcome)?;
            }
            Ok(None)
        }
        step => {
            if let Step::Take { record, waiting } = step {
                let finding = conflicts.look_at_taken(record, beat, waiting);
                let ip = record.ip.unwrap_or(beat.ip);
                tell(beat, (&record.key, ip), finding, outcome);
            }
            records.prepare(mongodb, beat, &step, outcome)?;
            round.again.push(open);
            Ok(None)
        }
    }
}

/// Keeps the event of what has been found out about the host with this `server_id` and
/// address, for the update of its record, and the finding for the log. A further round
/// carries the event of the first one, so that it is there once.
fn tell(
    beat: &Beat,
    (server_id, ip): (&str, IpAddr),
    finding: Option<Finding>,
    outcome: &mut Outcome,
) {
    let Some(finding) = finding else {
        return;
    };
    let host = Host {
        server_id,
        ip: ip.to_string(),
        hostname: &beat.heartbeat.hostname,
    };
    if let Some(event) = finding.event(beat.at) {
        let is_same = |told: &Document| document::text(told, "host") == Some(server_id);
        let sender = sender(beat);
        // The id of a new record may have been taken: then it has another one now.
        if !outcome.told.get(&sender).is_some_and(is_same) {
            let event = pending::new_document(&event, Some(&host));
            outcome.told.insert(sender, event);
        }
        outcome.carriers.insert(ip);
    }
    outcome.findings.push(finding);
}

fn store<'a>(open: Open<'a>, how: &Update<'_>, round: &mut Round<'a>) {
    let record = how.record;
    let update = document::update(open.beat, how);
    match open.beat.supersedes {
        Supersedes::Always => round.live.push((open, update)),
        // A record that is newer stays as it is.
        Supersedes::IfNewer if record.last_heartbeat < open.beat.at => {
            round.spooled.push((open, update));
        }
        Supersedes::IfNewer | Supersedes::IfUnknown => {}
    }
}

impl<'a> Round<'a> {
    /// Writes what was planned. Gives the heartbeats that are not stored yet.
    fn write(mut self, mongodb: &Connection) -> Result<Vec<Open<'a>>, MongoDbError> {
        let live = std::mem::take(&mut self.live);
        let opens: Vec<Open<'a>> = live.iter().map(|(open, _)| *open).collect();
        let missed = self.update(mongodb, live)?;
        if missed > 0 {
            // Nobody knows which: all are written again.
            self.again.extend(opens);
        }
        // A spooled heartbeat that finds no record has met a newer one.
        let spooled = std::mem::take(&mut self.spooled);
        self.update(mongodb, spooled)?;
        self.insert(mongodb)?;
        Ok(self.again)
    }

    /// Runs updates; gives how many have not found their record.
    fn update(
        &mut self,
        mongodb: &Connection,
        updates: Vec<(Open<'a>, Document)>,
    ) -> Result<usize, MongoDbError> {
        if updates.is_empty() {
            return Ok(0);
        }
        let (opens, updates): (Vec<Open<'a>>, Vec<Document>) =
            updates.into_iter().unzip();
        let updated = mongodb.update(updates)?;
        let missed =
            opens.len() - (updated.matched + updated.refused.len()).min(opens.len());

        for refused in updated.refused {
            let Some(mut open) = opens.get(refused.index).copied() else {
                return Err(MongoDbError::refused(refused.reason));
            };
            // An agent that another instance has just given a record is looked for again.
            if !refused.is_duplicate_key {
                let (ip, reason) = (open.beat.ip, &refused.reason);
                let line = || format!("MongoDB refuses the record of {ip}: {reason}");
                log_if_due(Level::Warn, "refused records", reason, line);
                open.mend = true;
            }
            if missed == 0 {
                self.again.push(open);
            }
        }
        Ok(missed)
    }

    /// Inserts new hosts. One that is there already was inserted by another instance, or
    /// has got an id that is taken.
    fn insert(&mut self, mongodb: &Connection) -> Result<(), MongoDbError> {
        let inserts = std::mem::take(&mut self.inserts);
        if inserts.is_empty() {
            return Ok(());
        }
        let documents: Vec<&Document> =
            inserts.iter().map(|(_, document, _)| document).collect();
        let servers = mongodb.servers();
        let inserted = mongodb.run_for_heartbeats(async {
            servers.insert_many(documents).ordered(false).await
        });
        let taken = match inserted {
            Ok(_) => Vec::new(),
            Err(error) => error.duplicates().ok_or(error)?,
        };

        let mut tombstones = Vec::new();
        let mut arrived = Vec::new();
        for (index, (open, _, names)) in inserts.into_iter().enumerate() {
            if taken.contains(&index) {
                self.again.push(open);
            } else {
                tombstones.extend(names);
                arrived.push(open.beat.ip);
            }
        }
        owners::arrive(mongodb, &arrived, &tombstones)
    }
}

/// A single heartbeat for each host: the last live heartbeat, or else the newest spooled
/// heartbeat. The updates of a command have no certain order, and the other heartbeats
/// would be overwritten at once.
fn newest_of_each_host(beats: &[Beat]) -> Vec<&Beat> {
    let is_live = |beat: &Beat| beat.supersedes == Supersedes::Always;
    let mut newest: BTreeMap<Sender, &Beat> = BTreeMap::new();
    for beat in beats {
        let entry = newest.entry(sender(beat)).or_insert(beat);
        if is_live(beat) || (!is_live(entry) && beat.at > entry.at) {
            *entry = beat;
        }
    }
    newest.into_values().collect()
}
