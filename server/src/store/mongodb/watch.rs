//! The watch in MongoDB: the instance that holds the lease compares the hosts' records
//! with their sightings, which it also keeps in memory.
//!
//! A sighting changes together with the events that it makes: one update, which finds the
//! sighting only with the number `seq` and the epoch that were read, sets what is seen,
//! counts `seq` up and adds the events to `pending`. So each change is told once, whichever
//! instance is killed or held up where.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fleetbeat_protocol::{Status, Timestamp};
use mongodb::bson::{Bson, Document, doc};

use super::connection::{Connection, MAX_ASKED};
use super::document::{carry, date, services, services_to_bson, text, time};
use super::error::MongoDbError;
use super::pending::{self, Host};
use super::{alerts, api_tokens, keys, users};
use crate::store::event::{Act, Class, NewEvent};
use crate::store::event_store::{Mass, WatchOrder, Watched};
use crate::store::removal::{IDENTITY, Removal, SWEEP};
use crate::store::sighting::{Before, Sighting, boot_before, compare, settle};

/// The time between two searches for events that a killed instance has left.
const LEFT_EVERY: Duration = Duration::from_secs(60);
/// The document of a fleet that went down together.
const MASS_DOWN: &str = "mass_down";
/// The document that says that hosts which were there before the watch count as seen.
const SEEDED: &str = "sightings";

/// What a sighting is made of.
const SEEN: [&str; 9] = [
    "server_id",
    "ip",
    "hostname",
    "status",
    "last_heartbeat",
    "boot_id",
    "clock_off",
    "services",
    "rev",
];

/// What the holder of the lease remembers.
#[derive(Default)]
pub(super) struct Watch {
    /// The epoch under which everything was read; `None` if it is to be read again.
    epoch: Option<i64>,
    /// By `server_id`.
    sightings: BTreeMap<String, Kept>,
    /// The revision of each record when it was looked at.
    revisions: BTreeMap<String, Option<Bson>>,
    mass: MassDown,
    left_last: Option<Instant>,
}

/// A sighting as it is kept.
#[derive(Debug, Clone)]
struct Kept {
    seq: i64,
    /// Under which it was written.
    epoch: i64,
    before: Before,
    ip: String,
    hostname: String,
}

/// The state of the fleet as a whole.
#[derive(Debug, Clone, Copy, Default)]
struct MassDown {
    seq: i64,
    /// Since when hosts are down that went down together.
    since: Option<Timestamp>,
}

/// A record as it is now.
struct Seen {
    server_id: String,
    ip: String,
    hostname: String,
    sighting: Sighting,
    rev: Option<Bson>,
}

/// What is to be written about a host.
struct Change {
    server_id: String,
    /// The number that the sighting has; 0 if it is made.
    seq: i64,
    /// Under which the sighting was written.
    epoch: i64,
    update: Document,
    kept: Kept,
}

/// Lets the hosts that are there count as seen, once for each database: when the first
/// version with events opens it.
pub(super) fn seed(mongodb: &Connection) -> Result<(), MongoDbError> {
    let state = mongodb.state();
    let seeded = doc! {"_id": SEEDED};
    if mongodb
        .run(async { state.find_one(seeded.clone()).await })?
        .is_some()
    {
        return Ok(());
    }
    let servers = mongodb.servers();
    let all = servers.find(doc! {}).projection(projection());
    let all = mongodb.collect(all, Seen::from_document)?;
    for chunk in all.chunks(MAX_ASKED) {
        let sightings = chunk.iter().map(|seen| {
            let mut sighting = what_is_seen(seen, None, seen.sighting.last_heartbeat);
            sighting.insert("_id", &seen.server_id);
            sighting.insert("seq", 1_i64);
            sighting.insert("epoch", 0_i64);
            sighting
        });
        insert_sightings(mongodb, &sightings.collect::<Vec<Document>>())?;
    }
    let mark = doc! {"$set": {"done": true}};
    let mark = state.update_one(seeded, mark).upsert(true);
    mongodb.run(async { mark.await })?;
    Ok(())
}

impl Watch {
    /// Everything is to be read again.
    pub(super) fn forget(&mut self) {
        self.epoch = None;
    }

    /// Looks at the hosts once, under the lease's `epoch`.
    pub(super) fn look(
        &mut self,
        mongodb: &Connection,
        epoch: i64,
        order: &WatchOrder,
    ) -> Result<Watched, MongoDbError> {
        if self.epoch != Some(epoch) {
            self.load(mongodb)?;
            self.epoch = Some(epoch);
        }
        if self
            .left_last
            .is_none_or(|last| last.elapsed() > LEFT_EVERY)
        {
            deliver_left(mongodb)?;
            users::finish_removals(mongodb, order.now)?;
            api_tokens::finish_removals(mongodb, order.now)?;
            let old = pending::removed_long_before(order.now);
            pending::finish_removals(mongodb, &mongodb.servers(), old)?;
            keys::finish_left(mongodb)?;
            alerts::finish_left(mongodb, order.now)?;
            self.left_last = Some(Instant::now());
        }

        let revisions = read_revisions(mongodb)?;
        let is_changed =
            |(id, rev): &(&String, &Option<Bson>)| self.revisions.get(*id) != Some(*rev);
        let changed: Vec<String> = revisions
            .iter()
            .filter(is_changed)
            .map(|(id, _)| id.clone())
            .collect();
        let gone: Vec<String> = self
            .sightings
            .keys()
            .filter(|id| !revisions.contains_key(*id))
            .cloned()
            .collect();

        let mut watched = Watched::default();
        for chunk in changed.chunks(MAX_ASKED) {
            watched.events += self.see(mongodb, epoch, chunk, order)?;
        }
        for chunk in gone.chunks(MAX_ASKED) {
            watched.events += self.part(mongodb, epoch, chunk, order)?;
        }
        self.revisions.retain(|id, _| revisions.contains_key(id));
        watched.mass = self.judge_mass(mongodb, order)?;
        watched.events += usize::from(watched.mass.is_some());
        Ok(watched)
    }

    /// Reads all sightings, after their events have been delivered.
    fn load(&mut self, mongodb: &Connection) -> Result<(), MongoDbError> {
        *self = Watch::default();
        let sightings = mongodb.sightings();
        pending::deliver(mongodb, &sightings, doc! {})?;
        let mut gone = pending::carries_none();
        gone.insert("gone", true);
        mongodb.run(async { sightings.delete_many(gone).await })?;
        let all = sightings.find(doc! {"gone": {"$ne": true}});
        let all = mongodb.collect(all, |document| {
            let id = text(document, "_id")?.to_owned();
            Some((id, Kept::from_document(document)))
        })?;
        self.sightings = all.into_iter().collect();

        let state = mongodb.state();
        let mass = doc! {"_id": MASS_DOWN};
        pending::deliver(mongodb, &state, mass.clone())?;
        let mass = mongodb.run(async { state.find_one(mass).await })?;
        self.mass = mass.map_or_else(MassDown::default, |mass| MassDown {
            seq: mass.get_i64("seq").unwrap_or_default(),
            since: time(&mass, "since"),
        });
        Ok(())
    }

    /// Writes what has changed of these hosts. Gives the number of events.
    fn see(
        &mut self,
        mongodb: &Connection,
        epoch: i64,
        ids: &[String],
        order: &WatchOrder,
    ) -> Result<usize, MongoDbError> {
        let servers = mongodb.servers();
        let asked = doc! {"server_id": {"$in": ids}};
        let found = servers.find(asked).projection(projection());
        let found = mongodb.collect(found, Seen::from_document)?;

        let mut events = 0;
        let mut changes = Vec::new();
        for seen in &found {
            let kept = self.sightings.get(&seen.server_id);
            let (change, told) = change(seen, kept, epoch, order.now);
            events += told;
            changes.extend(change);
        }
        self.write(mongodb, changes)?;
        let looked_at = found.into_iter().map(|seen| (seen.server_id, seen.rev));
        self.revisions.extend(looked_at);
        Ok(events)
    }

    /// Writes sightings with their events, and delivers the events.
    fn write(
        &mut self,
        mongodb: &Connection,
        changes: Vec<Change>,
    ) -> Result<(), MongoDbError> {
        if changes.is_empty() {
            return Ok(());
        }
        let (new, known): (Vec<Change>, Vec<Change>) =
            changes.into_iter().partition(|change| change.seq == 0);
        let documents: Vec<Document> =
            new.iter().map(|change| change.update.clone()).collect();
        insert_sightings(mongodb, &documents)?;

        let updates = known.iter().map(|change| {
            doc! {
                "q": as_read(&change.server_id, change.seq, change.epoch),
                "u": change.update.clone(),
            }
        });
        update_sightings(mongodb, updates.collect())?;
        let all = new.into_iter().chain(known);
        let all: Vec<(String, Kept)> =
            all.map(|change| (change.server_id, change.kept)).collect();
        let ids: Vec<&String> = all.iter().map(|(id, _)| id).collect();
        let of_these = doc! {"_id": {"$in": ids}};
        pending::deliver(mongodb, &mongodb.sightings(), of_these)?;
        self.sightings.extend(all);
        Ok(())
    }

    /// Tells that these hosts are gone. Gives the number of events.
    fn part(
        &mut self,
        mongodb: &Connection,
        epoch: i64,
        ids: &[String],
        order: &WatchOrder,
    ) -> Result<usize, MongoDbError> {
        let sightings = mongodb.sightings();
        let asked = doc! {"_id": {"$in": ids}};
        let removals = sightings
            .find(asked.clone())
            .projection(doc! {"removal": 1});
        let removals = mongodb.collect(removals, |document| {
            let id = text(document, "_id")?.to_owned();
            Some((id, text(document, "removal").and_then(Removal::from_name)))
        })?;
        let removals: BTreeMap<String, Option<Removal>> = removals.into_iter().collect();

        let mut events = 0;
        let mut updates = Vec::new();
        for id in ids {
            let Some(kept) = self.sightings.get(id) else {
                continue;
            };
            let removal = removals.get(id).copied().flatten();
            let removal = removal.unwrap_or(Removal::Silent);
            let program = match removal {
                Removal::Silent => Some(SWEEP),
                Removal::Replaced | Removal::Absorbed => Some(IDENTITY),
                // Told with the removal itself.
                Removal::Asked => None,
            };
            let mut update = doc! {
                "$set": {"gone": true, "epoch": epoch},
                "$inc": {"seq": 1_i64},
            };
            if let Some(program) = program {
                let event = removal.event(&Act::program(program, order.now));
                let event = pending::new_document(&event, Some(&kept.host(id)));
                carry(&mut update, vec![event]);
                events += 1;
            }
            let as_read = as_read(id, kept.seq, kept.epoch);
            updates.push(doc! {"q": as_read, "u": update});
        }
        update_sightings(mongodb, updates)?;
        pending::deliver(mongodb, &sightings, asked.clone())?;
        let mut told = asked;
        told.insert("gone", true);
        told.extend(pending::carries_none());
        mongodb.run(async { sightings.delete_many(told).await })?;
        for id in ids {
            self.sightings.remove(id);
        }
        Ok(events)
    }

    /// Tells whether many hosts went down together, or are back.
    fn judge_mass(
        &mut self,
        mongodb: &Connection,
        order: &WatchOrder,
    ) -> Result<Option<Mass>, MongoDbError> {
        let window = order.now.checked_sub(order.down_after);
        let since = self.mass.since.or(window.ok()).unwrap_or(Timestamp::MIN);
        let down = self.sightings.values().filter(|kept| {
            let before = &kept.before;
            before.sighting.status == Status::Down
                && (since..=order.now).contains(&before.since)
        });
        let earliest = down.clone().map(|kept| kept.before.since).min();
        let down = i64::try_from(down.count()).unwrap_or(i64::MAX);
        let hosts = i64::try_from(self.sightings.len()).unwrap_or(i64::MAX);
        let found = match self.mass.since {
            None => Mass::begins(down, hosts),
            Some(_) => Mass::ends(down, hosts),
        };
        let Some(mass) = found else {
            return Ok(None);
        };

        let since = match mass {
            Mass::Down { .. } => earliest,
            Mass::Recovered { .. } => None,
        };
        let next = MassDown {
            seq: self.mass.seq + 1,
            since,
        };
        let event = pending::new_document(&mass.event(order.now), None);
        let mut update = doc! {
            "$set": {"seq": next.seq, "since": since.map_or(Bson::Null, date)},
        };
        carry(&mut update, vec![event]);
        let state = mongodb.state();
        let as_read = match self.mass.seq {
            0 => doc! {"_id": MASS_DOWN, "seq": {"$exists": false}},
            seq => doc! {"_id": MASS_DOWN, "seq": seq},
        };
        let update = state.update_one(as_read, update).upsert(true);
        mongodb.run(async { update.await })?;
        pending::deliver(mongodb, &state, doc! {"_id": MASS_DOWN})?;
        self.mass = next;
        Ok(Some(mass))
    }
}

impl Seen {
    /// A record, as far as it can be read; `None` for one without an id.
    fn from_document(document: &Document) -> Option<Seen> {
        Some(Seen {
            server_id: text(document, "server_id")?.to_owned(),
            ip: text(document, "ip").unwrap_or_default().to_owned(),
            hostname: text(document, "hostname").unwrap_or_default().to_owned(),
            sighting: read_sighting(document),
            rev: document.get("rev").cloned(),
        })
    }

    fn host(&self) -> Host<'_> {
        Host {
            server_id: &self.server_id,
            ip: self.ip.clone(),
            hostname: &self.hostname,
        }
    }
}

impl Kept {
    fn from_document(document: &Document) -> Kept {
        Kept {
            seq: document.get_i64("seq").unwrap_or_default(),
            epoch: document.get_i64("epoch").unwrap_or_default(),
            before: Before {
                sighting: read_sighting(document),
                boot_before: text(document, "boot_before").map(str::to_owned),
                since: time(document, "since").unwrap_or(Timestamp::UNIX_EPOCH),
            },
            ip: text(document, "ip").unwrap_or_default().to_owned(),
            hostname: text(document, "hostname").unwrap_or_default().to_owned(),
        }
    }

    fn host<'a>(&'a self, server_id: &'a str) -> Host<'a> {
        Host {
            server_id,
            ip: self.ip.clone(),
            hostname: &self.hostname,
        }
    }
}

/// What is to be written about a host, if anything, and how many events tell it.
fn change(
    seen: &Seen,
    kept: Option<&Kept>,
    epoch: i64,
    at: Timestamp,
) -> (Option<Change>, usize) {
    let before = kept.map(|kept| &kept.before);
    let now = settle(before, seen.sighting.clone());
    let told = compare(before, &now, at);
    let is_the_same = kept.is_some_and(|kept| {
        let was = &kept.before.sighting;
        (was.status, &was.boot_id, was.clock_off, &was.services)
            == (now.status, &now.boot_id, now.clock_off, &now.services)
            && (&kept.ip, &kept.hostname) == (&seen.ip, &seen.hostname)
    });
    if is_the_same && told.is_empty() {
        return (None, 0);
    }

    let since = match before {
        Some(before) if before.sighting.status == now.status => before.since,
        _ => at,
    };
    let next = Before {
        boot_before: boot_before(before, &now),
        sighting: now,
        since,
    };
    let host = seen.host();
    let as_document = |event: &NewEvent| pending::new_document(event, Some(&host));
    let events: Vec<Document> = told.iter().map(as_document).collect();
    let newest = told.iter().zip(&events).rev();
    let mut newest = newest.filter(|(event, _)| event.kind.class() == Class::Life);
    let newest = newest
        .next()
        .and_then(|(_, event)| event.get("_id").cloned());

    let settled = Seen {
        sighting: next.sighting.clone(),
        server_id: seen.server_id.clone(),
        ip: seen.ip.clone(),
        hostname: seen.hostname.clone(),
        rev: None,
    };
    let mut set = what_is_seen(&settled, next.boot_before.as_deref(), since);
    set.insert("epoch", epoch);
    if let Some(newest) = newest {
        set.insert("newest", newest);
    }
    let seq = kept.map_or(0, |kept| kept.seq);
    let update = if seq == 0 {
        set.insert("_id", &seen.server_id);
        set.insert("seq", 1_i64);
        set.insert("pending", events);
        set
    } else {
        let mut update = doc! {"$set": set, "$inc": {"seq": 1_i64}};
        carry(&mut update, events);
        update
    };
    let change = Change {
        server_id: seen.server_id.clone(),
        seq,
        epoch: kept.map_or(0, |kept| kept.epoch),
        update,
        kept: Kept {
            seq: seq + 1,
            epoch,
            before: next,
            ip: seen.ip.clone(),
            hostname: seen.hostname.clone(),
        },
    };
    (Some(change), told.len())
}

/// Selects a host's sighting as long as it is as it was read.
fn as_read(server_id: &str, seq: i64, epoch: i64) -> Document {
    doc! {"_id": server_id, "seq": seq, "epoch": epoch}
}

/// The fields of a sighting.
fn what_is_seen(seen: &Seen, boot_before: Option<&str>, since: Timestamp) -> Document {
    let sighting = &seen.sighting;
    doc! {
        "ip": &seen.ip,
        "hostname": &seen.hostname,
        "status": sighting.status.as_str(),
        "since": date(since),
        "boot_id": sighting.boot_id.as_deref(),
        "boot_before": boot_before,
        "clock_off": sighting.clock_off,
        "services": services_to_bson(&sighting.services),
    }
}

fn read_sighting(document: &Document) -> Sighting {
    let is_active = text(document, "status") == Some(Status::Active.as_str());
    let status = if is_active {
        Status::Active
    } else {
        Status::Down
    };
    let services_of = document.get("services").map(services);
    Sighting {
        status,
        last_heartbeat: time(document, "last_heartbeat").unwrap_or(Timestamp::UNIX_EPOCH),
        boot_id: text(document, "boot_id").map(str::to_owned),
        clock_off: document.get_i64("clock_off").ok(),
        services: services_of.unwrap_or_default(),
    }
}

fn projection() -> Document {
    let names = SEEN.into_iter();
    names
        .map(|name| (name.to_owned(), Bson::Int32(1)))
        .collect()
}

/// The revision of every record.
fn read_revisions(
    mongodb: &Connection,
) -> Result<BTreeMap<String, Option<Bson>>, MongoDbError> {
    let servers = mongodb.servers();
    let all = servers.find(doc! {});
    let all = all.projection(doc! {"_id": 0, "server_id": 1, "rev": 1});
    let all = mongodb.collect(all, |document| {
        let id = text(document, "server_id")?.to_owned();
        Some((id, document.get("rev").cloned()))
    })?;
    Ok(all.into_iter().collect())
}

/// Makes sightings. One that is there already was made by another holder of the lease.
fn insert_sightings(
    mongodb: &Connection,
    documents: &[Document],
) -> Result<(), MongoDbError> {
    pending::insert_new(mongodb, &mongodb.sightings(), documents)
}

/// Changes sightings, each as it was read.
///
/// # Errors
/// Another holder of the lease has changed one of them.
fn update_sightings(
    mongodb: &Connection,
    updates: Vec<Document>,
) -> Result<(), MongoDbError> {
    if updates.is_empty() {
        return Ok(());
    }
    let count = updates.len();
    let updated = mongodb.update_others("sightings", updates)?;
    if updated.matched < count {
        return Err(MongoDbError::refused(
            "another instance has written a sighting",
        ));
    }
    Ok(())
}

/// Delivers the events that a killed instance has left with what has changed.
fn deliver_left(mongodb: &Connection) -> Result<(), MongoDbError> {
    pending::deliver(mongodb, &mongodb.servers(), doc! {})?;
    pending::deliver(mongodb, &mongodb.users(), doc! {})?;
    pending::deliver(mongodb, &mongodb.api_tokens(), doc! {})
}

/// Notes why a host's record is about to be removed.
pub(super) fn note_removal(
    mongodb: &Connection,
    server_id: &str,
    removal: Removal,
) -> Result<(), MongoDbError> {
    let sightings = mongodb.sightings();
    let note = doc! {"$set": {"removal": removal.as_str()}};
    let host = doc! {"_id": server_id};
    mongodb.run(async { sightings.update_one(host, note).await })?;
    Ok(())
}

/// The events that stay as long as their hosts: by `_id`.
pub(super) fn newest_of_hosts(
    mongodb: &Connection,
) -> Result<BTreeSet<String>, MongoDbError> {
    let sightings = mongodb.sightings();
    let all = sightings.find(doc! {}).projection(doc! {"newest": 1});
    let all =
        mongodb.collect(all, |sighting| text(sighting, "newest").map(str::to_owned))?;
    Ok(all.into_iter().collect())
}
