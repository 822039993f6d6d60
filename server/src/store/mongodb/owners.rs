//! Which record a heartbeat is stored in: reads from MongoDB what
//! [`crate::store::identity`] decides by, and does the steps that prepare.
//!
//! MongoDB changes one document at a time. So each step is a row of changes that leaves
//! nothing lost wherever it breaks off: flags are in a tombstone before their record
//! goes, and a record without an address, which an exchange leaves for a moment, gets
//! the address that its host names next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use fleetbeat_protocol::{AgentId, Timestamp};
use mongodb::bson::{Bson, Document, doc};

use super::connection::Connection;
use super::document::{
    Owned, as_read, carry, count_up, date, flags_to_bson, owned_fields, read_set_flags,
};
use super::error::MongoDbError;
use super::fleet;
use super::pending::{self, Host};
use super::sender::{Sender, sender};
use super::watch;
use super::{history, keys};
use crate::store::flags::SetFlags;
use crate::store::identity::{
    self, Finding, Found, Heir, Known, Step, Tombstone, tombstone_of_agent,
    tombstone_of_ip,
};
use crate::store::key::Mark;
use crate::store::removal::Removal;
use crate::store::server::{Beat, Denial};

/// What is gathered over the rounds in which heartbeats are stored.
#[derive(Default)]
pub(super) struct Outcome {
    /// The hosts whose record MongoDB refuses in every round.
    pub(super) refused: BTreeSet<IpAddr>,
    /// The hosts whose heartbeats are stored nowhere.
    pub(super) denied: BTreeMap<Sender, Denial>,
    /// The addresses whose record has changed, or may have.
    pub(super) changed: BTreeSet<IpAddr>,
    /// What the log is to be told.
    pub(super) findings: Vec<Finding>,
    /// The events that heartbeats carry.
    pub(super) told: BTreeMap<Sender, Document>,
    /// The addresses whose record carries events.
    pub(super) carriers: BTreeSet<IpAddr>,
}

/// The records that heartbeats may belong to, as they were read.
pub(super) struct Records {
    by_ip: BTreeMap<IpAddr, Owned>,
    by_agent: BTreeMap<AgentId, Owned>,
    clones: Vec<Owned>,
    tombstones: BTreeMap<String, Tombstone<String>>,
    /// What is known of agents that have no record.
    marks: BTreeMap<AgentId, Mark>,
    service_time: i64,
}

impl Records {
    /// Reads the records at the heartbeats' addresses, those of the agents that are not
    /// among them, those of the hosts that claim to be agents which have booted or are
    /// elsewhere, and the tombstones of agents that have no record.
    pub(super) fn read(
        mongodb: &Connection,
        beats: &[&Beat],
        service_time: i64,
    ) -> Result<Records, MongoDbError> {
        let mut records = Records {
            by_ip: BTreeMap::new(),
            by_agent: BTreeMap::new(),
            clones: Vec::new(),
            tombstones: BTreeMap::new(),
            marks: BTreeMap::new(),
            service_time,
        };
        let ips = beats.iter().map(|beat| beat.ip.to_string()).collect();
        for owned in find(mongodb, "ip", ips)? {
            if let Some(ip) = owned.known.ip {
                records.by_ip.insert(ip, owned);
            }
        }

        let is_elsewhere = |beat: &&&Beat| {
            let record = records.by_ip.get(&beat.ip);
            record.is_none_or(|owned| owned.known.agent_id != beat.heartbeat.agent_id)
        };
        let elsewhere: Vec<&Beat> = beats.iter().filter(is_elsewhere).copied().collect();
        let agents = elsewhere.iter().filter_map(|beat| beat.heartbeat.agent_id);
        for owned in find(mongodb, "agent_id", agents.map(AgentId::expose).collect())? {
            if let Some(id) = owned.known.agent_id {
                records.by_agent.insert(id, owned);
            }
        }

        let has_booted = |beat: &&&Beat| {
            let record = records.by_ip.get(&beat.ip);
            record.is_some_and(|owned| owned.known.boot_id != beat.heartbeat.boot_id)
        };
        let booted = beats.iter().filter(has_booted).copied();
        let doubtful = booted.chain(elsewhere.iter().copied());
        let agents = doubtful.filter_map(|beat| beat.heartbeat.agent_id);
        let agents = agents.map(AgentId::expose).collect();
        records.clones = find(mongodb, "clone_of", agents)?;

        let (mut names, mut unknown) = (Vec::new(), Vec::new());
        for beat in elsewhere {
            let agent_id = beat.heartbeat.agent_id;
            let is_unknown = |id: &AgentId| !records.by_agent.contains_key(id);
            let agent_id = agent_id.filter(is_unknown);
            unknown.extend(agent_id);
            names.extend(agent_id.map(tombstone_of_agent));
            if !records.by_ip.contains_key(&beat.ip) {
                names.push(tombstone_of_ip(beat.ip));
            }
        }
        records.read_tombstones(mongodb, names)?;
        records.marks = keys::marks_of(mongodb, unknown)?;
        Ok(records)
    }

    fn read_tombstones(
        &mut self,
        mongodb: &Connection,
        names: Vec<String>,
    ) -> Result<(), MongoDbError> {
        if names.is_empty() {
            return Ok(());
        }
        let tombstones = mongodb.tombstones();
        let found = tombstones.find(doc! {"_id": {"$in": names}});
        let found = mongodb.collect_for_heartbeats(found, |document| {
            let name = document.get_str("_id").ok()?.to_owned();
            Some((name, read_tombstone(document)))
        })?;
        self.tombstones.extend(found);
        Ok(())
    }

    /// The next step for the heartbeat.
    pub(super) fn decide(&self, beat: &Beat) -> Step<'_, String> {
        let at_ip = self.by_ip.get(&beat.ip).map(|owned| &owned.known);
        let id = beat.heartbeat.agent_id;
        let own = id.and_then(|id| {
            let is_own = |known: &&Known<String>| known.agent_id == Some(id);
            let elsewhere = || self.by_agent.get(&id).map(|owned| &owned.known);
            at_ip.filter(is_own).or_else(elsewhere)
        });
        let clone = id.and_then(|id| {
            let is_clone = |known: &&Known<String>| {
                known.is_clone_of(id) && known.ip.is_some_and(|ip| ip != beat.ip)
            };
            let clones = self.clones.iter().map(|owned| &owned.known);
            clones
                .filter(is_clone)
                .max_by_key(|known| known.first_heartbeat)
        });
        let name = id.map(tombstone_of_agent);
        let found = Found {
            at_ip,
            own,
            clone,
            tombstone: name.and_then(|name| self.tombstones.get(&name)),
            mark: id.and_then(|id| self.marks.get(&id).copied()),
        };
        identity::decide(beat, &found)
    }

    /// The flags that a new host begins with, and the tombstones in which they waited.
    pub(super) fn flags_of_new(
        &self,
        beat: &Beat,
        agent_id: Option<AgentId>,
        clone_of: Option<&Known<String>>,
    ) -> (SetFlags, Vec<String>) {
        if let Some(original) = clone_of {
            return (self.flags(original), Vec::new());
        }
        let names = agent_id.map(tombstone_of_agent).into_iter();
        for name in names.chain([tombstone_of_ip(beat.ip)]) {
            if let Some(tombstone) = self.tombstones.get(&name) {
                return (tombstone.flags.clone(), vec![name]);
            }
        }
        (SetFlags::of_new_host(beat.new_flags), Vec::new())
    }

    /// Has the record carry the event of a heartbeat that is stored nowhere.
    pub(super) fn tell_denied(
        &self,
        mongodb: &Connection,
        beat: &Beat,
        record: &Known<String>,
        finding: Finding,
        outcome: &mut Outcome,
    ) -> Result<(), MongoDbError> {
        let ip = record.ip.unwrap_or(beat.ip);
        let mut update = doc! {};
        carry(
            &mut update,
            self.event(beat, record, ip, &finding).into_iter().collect(),
        );
        if !update.is_empty() {
            let servers = mongodb.servers();
            let of_record = doc! {"server_id": &record.key};
            mongodb.run_for_heartbeats(async {
                servers.update_one(of_record, update).await
            })?;
            outcome.carriers.insert(ip);
        }
        outcome.findings.push(finding);
        Ok(())
    }

    fn owned(&self, record: &Known<String>) -> Option<&Owned> {
        let mut all = self
            .by_ip
            .values()
            .chain(self.by_agent.values())
            .chain(&self.clones);
        all.find(|owned| owned.known == *record)
    }

    fn flags(&self, record: &Known<String>) -> SetFlags {
        let owned = self.owned(record);
        owned.map(|owned| owned.flags.clone()).unwrap_or_default()
    }

    /// Does a step after which the records have to be read again. A step that meets
    /// another instance's changes nothing, or as much as can be done again.
    pub(super) fn prepare(
        &self,
        mongodb: &Connection,
        beat: &Beat,
        step: &Step<'_, String>,
        outcome: &mut Outcome,
    ) -> Result<(), MongoDbError> {
        match step {
            Step::Remove(record) => {
                let (server_id, ip) = (record.key.clone(), beat.ip);
                if self.lay_to_rest(mongodb, record, None)? {
                    self.delete(mongodb, record, Removal::Replaced)?;
                    outcome.findings.push(Finding::Replaced { server_id, ip });
                }
            }
            Step::Take { record, waiting } => {
                outcome.changed.extend(record.ip);
                let told = outcome.told.remove(&sender(beat));
                self.take(mongodb, beat, record, *waiting, told)?;
            }
            Step::Absorb { record, clone } => {
                outcome
                    .changed
                    .extend(record.ip.into_iter().chain(clone.ip));
                self.absorb(mongodb, record, clone)?;
            }
            Step::Move(record) => {
                outcome.changed.extend(record.ip);
                let finding = moved(record, beat.ip);
                let event = self.event(beat, record, beat.ip, &finding);
                let is_done = relocate(mongodb, record, beat.ip, Some(beat.at), event)?;
                if is_done {
                    leave(mongodb, record)?;
                    outcome.findings.push(finding);
                    outcome.carriers.insert(beat.ip);
                }
            }
            Step::Exchange { record, other } => {
                outcome.changed.extend(record.ip);
                if self.exchange(mongodb, beat, record, other)? {
                    outcome.findings.push(moved(record, beat.ip));
                    let finding = record.ip.map(|to| moved(other, to));
                    outcome.findings.extend(finding);
                    outcome.carriers.insert(beat.ip);
                    outcome.carriers.extend(record.ip);
                }
            }
            Step::Store { .. } | Step::Insert { .. } | Step::Refuse { .. } => {}
        }
        Ok(())
    }

    /// Makes one record of two.
    fn absorb(
        &self,
        mongodb: &Connection,
        record: &Known<String>,
        clone: &Known<String>,
    ) -> Result<(), MongoDbError> {
        if let Some(owned) = self.owned(record)
            && merge_flags(mongodb, owned, &self.flags(clone))?
        {
            history::note_heir(mongodb, &clone.key, &record.key)?;
            self.delete(mongodb, clone, Removal::Absorbed)?;
        }
        Ok(())
    }

    /// Gives the record to the heartbeat's agent. `told` is the event that tells it.
    fn take(
        &self,
        mongodb: &Connection,
        beat: &Beat,
        record: &Known<String>,
        waiting: Option<&SetFlags>,
        told: Option<Document>,
    ) -> Result<(), MongoDbError> {
        let (Some(id), Some(owned)) = (beat.heartbeat.agent_id, self.owned(record))
        else {
            return Ok(());
        };
        let is_own = record.is_clone_of(id);
        let heir = Heir {
            key: record.key.clone(),
            ip: record.ip,
        };
        let heir = Some(&heir).filter(|_| waiting.is_none());
        if !is_own && !self.lay_to_rest(mongodb, record, heir)? {
            return Ok(());
        }

        let mut set = doc! {"agent_id": id.expose()};
        let mut unset = doc! {"clone_of": "", "guest_since": ""};
        match &beat.heartbeat.boot_id {
            Some(boot_id) => drop(set.insert("boot_id", boot_id)),
            None => drop(unset.insert("boot_id", "")),
        }
        if let Some(waiting) = waiting {
            let mut flags = waiting.clone();
            if is_own {
                flags.merge(&owned.flags);
            }
            set.extend(flags_to_bson(&flags));
        }
        let mut update = owned.update(set, unset);
        carry(&mut update, told.into_iter().collect());
        if change(mongodb, owned.unchanged(), update)? {
            arrive(mongodb, &[], &[tombstone_of_agent(id)])?;
        }
        Ok(())
    }

    /// [`lay_to_rest`] of a record that was read.
    fn lay_to_rest(
        &self,
        mongodb: &Connection,
        record: &Known<String>,
        heir: Option<&Heir<String>>,
    ) -> Result<bool, MongoDbError> {
        match self.owned(record) {
            Some(owned) => lay_to_rest(mongodb, owned, heir, self.service_time),
            None => Ok(false),
        }
    }

    /// Deletes a record if nothing has changed since it was read.
    fn delete(
        &self,
        mongodb: &Connection,
        record: &Known<String>,
        removal: Removal,
    ) -> Result<(), MongoDbError> {
        if let Some(owned) = self.owned(record) {
            prepare_removal(mongodb, &record.key, removal)?;
            let servers = mongodb.servers();
            let mut condition = owned.unchanged();
            condition.extend(pending::carries_none());
            mongodb.run_for_heartbeats(async { servers.delete_one(condition).await })?;
            fleet::note_removals(mongodb)?;
        }
        Ok(())
    }

    /// The event of what has been found out about the record, which has the address `ip`
    /// then.
    fn event(
        &self,
        beat: &Beat,
        record: &Known<String>,
        ip: IpAddr,
        finding: &Finding,
    ) -> Option<Document> {
        let owned = self.owned(record);
        let host = Host {
            server_id: &record.key,
            ip: ip.to_string(),
            hostname: owned.map_or("", |owned| owned.hostname.as_str()),
        };
        let event = finding.event(beat.at)?;
        Some(pending::new_document(&event, Some(&host)))
    }

    /// Lets two records change places. No two records may have one address, so `other`
    /// has none for a moment.
    fn exchange(
        &self,
        mongodb: &Connection,
        beat: &Beat,
        record: &Known<String>,
        other: &Known<String>,
    ) -> Result<bool, MongoDbError> {
        let Some(before) = record.ip else {
            return Ok(false);
        };
        let mut park = count_up();
        park.insert("$unset", doc! {"ip": ""});
        if !change(mongodb, as_read(other), park)? {
            return Ok(false);
        }
        let parked = Known {
            ip: None,
            ..other.clone()
        };
        let event = self.event(beat, record, beat.ip, &moved(record, beat.ip));
        let is_done = relocate(mongodb, record, beat.ip, Some(beat.at), event)?;
        if is_done {
            let asked = other.wanted_ip == Some(before);
            let event = self.event(beat, other, before, &moved(other, before));
            relocate(mongodb, &parked, before, asked.then_some(beat.at), event)?;
        } else {
            relocate(mongodb, &parked, beat.ip, None, None)?;
        }
        Ok(is_done)
    }
}

/// The records whose `field` has one of the values.
fn find(
    mongodb: &Connection,
    field: &str,
    values: Vec<String>,
) -> Result<Vec<Owned>, MongoDbError> {
    if values.is_empty() {
        return Ok(Vec::new());
    }
    let servers = mongodb.servers();
    let found = servers.find(doc! {field: {"$in": values}});
    let found = found.projection(owned_fields());
    mongodb.collect_for_heartbeats(found, |document| Some(Owned::from_document(document)))
}

/// Keeps the flags of a record that makes room, or goes to another agent. `heir`: the
/// record keeps them, too. False if something has changed meanwhile, so that the record
/// has to stay for now.
pub(super) fn lay_to_rest(
    mongodb: &Connection,
    owned: &Owned,
    heir: Option<&Heir<String>>,
    service_time: i64,
) -> Result<bool, MongoDbError> {
    let (record, flags) = (&owned.known, &owned.flags);
    let bury = |name: String, flags: &SetFlags| {
        bury(mongodb, &name, heir, flags, service_time).map(|()| true)
    };
    match (record.agent_id, record.clone_of, record.ip) {
        // What nobody has set is not worth a tombstone for each installation.
        (Some(_), ..) if heir.is_some() && flags.are_defaults() => Ok(true),
        (Some(id), ..) => bury(tombstone_of_agent(id), flags),
        (None, Some(id), _) => lay_clone_to_rest(mongodb, owned, id, service_time),
        (None, None, Some(ip)) if heir.is_none() => bury(tombstone_of_ip(ip), flags),
        (None, None, _) => Ok(true),
    }
}

/// Keeps the flags of a record whose host claims to be the agent `id`, if it may be that
/// agent's. A copied host that comes back has the flags of its original.
fn lay_clone_to_rest(
    mongodb: &Connection,
    clone: &Owned,
    id: AgentId,
    service_time: i64,
) -> Result<bool, MongoDbError> {
    if let Some(original) = find(mongodb, "agent_id", vec![id.expose()])?.first() {
        let is_copy = !clone.known.may_be(&original.known);
        return Ok(is_copy || merge_flags(mongodb, original, &clone.flags)?);
    }
    let name = tombstone_of_agent(id);
    let tombstones = mongodb.tombstones();
    let older = tombstones.find_one(doc! {"_id": &name});
    let older = mongodb.run_for_heartbeats(async { older.await })?;
    let mut flags = match &older {
        Some(older) => read_tombstone(older).flags,
        None => clone.flags.clone(),
    };
    flags.merge(&clone.flags);
    bury(mongodb, &name, None, &flags, service_time).map(|()| true)
}

/// Of each flag, the later change is the record's from now on. False if something has
/// changed meanwhile: an admin may be setting the same flags.
fn merge_flags(
    mongodb: &Connection,
    record: &Owned,
    other: &SetFlags,
) -> Result<bool, MongoDbError> {
    let mut flags = record.flags.clone();
    flags.merge(other);
    if flags == record.flags {
        return Ok(true);
    }
    let update = record.update(flags_to_bson(&flags), doc! {});
    change(mongodb, record.unchanged(), update)
}

/// Keeps flags in a tombstone. An older tombstone of the same name goes.
fn bury(
    mongodb: &Connection,
    name: &str,
    heir: Option<&Heir<String>>,
    flags: &SetFlags,
    service_time: i64,
) -> Result<(), MongoDbError> {
    let mut tombstone = doc! {"buried_at": service_time};
    tombstone.extend(flags_to_bson(flags));
    if let Some(heir) = heir {
        tombstone.insert("heir", &heir.key);
        tombstone.extend(
            heir.ip
                .map(|ip| ("heir_ip".to_owned(), ip.to_string().into())),
        );
    }
    let tombstones = mongodb.tombstones();
    let replace = tombstones.replace_one(doc! {"_id": name}, tombstone);
    let replace = replace.upsert(true);
    mongodb.run_for_heartbeats(async { replace.await })?;
    Ok(())
}

fn read_tombstone(document: &Document) -> Tombstone<String> {
    let text = |name| document.get_str(name).ok();
    let heir = text("heir").map(|key| Heir {
        key: key.to_owned(),
        ip: text("heir_ip").and_then(|ip| ip.parse().ok()),
    });
    Tombstone {
        flags: read_set_flags(document),
        heir,
    }
}

/// Gives the record another address. False if the address is taken, or the record has
/// changed meanwhile. `moved_at` is when the host itself has asked for the address, and
/// `event` tells the move.
fn relocate(
    mongodb: &Connection,
    record: &Known<String>,
    to: IpAddr,
    moved_at: Option<Timestamp>,
    event: Option<Document>,
) -> Result<bool, MongoDbError> {
    let mut set = doc! {"ip": to.to_string(), "ip_confirmed": false};
    let mut update = count_up();
    if let Some(at) = moved_at {
        set.insert("moved_at", date(at));
        update.insert("$unset", doc! {"wanted_ip": ""});
    }
    update.insert("$set", set);
    carry(&mut update, event.into_iter().collect());
    change(mongodb, as_read(record), update)
}

/// Notes why a record is about to be removed, and delivers the events that it carries:
/// they would go with it.
pub(super) fn prepare_removal(
    mongodb: &Connection,
    server_id: &str,
    removal: Removal,
) -> Result<(), MongoDbError> {
    watch::note_removal(mongodb, server_id, removal)?;
    history::note_gone(mongodb, server_id)?;
    let host = doc! {"server_id": server_id};
    pending::deliver(mongodb, &mongodb.servers(), host)
}

/// Updates a record; false if it is not found, or has met an address that is taken.
fn change(
    mongodb: &Connection,
    condition: Document,
    update: Document,
) -> Result<bool, MongoDbError> {
    let servers = mongodb.servers();
    match mongodb
        .run_for_heartbeats(async { servers.update_one(condition, update).await })
    {
        Ok(result) => Ok(result.matched_count > 0),
        Err(error) if error.is_duplicate_key() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Notes which host has left its address.
fn leave(mongodb: &Connection, record: &Known<String>) -> Result<(), MongoDbError> {
    let Some(ip) = record.ip else {
        return Ok(());
    };
    let moves = mongodb.moves();
    let left = doc! {"server_id": &record.key};
    let replace = moves.replace_one(doc! {"_id": ip.to_string()}, left);
    let replace = replace.upsert(true);
    mongodb.run_for_heartbeats(async { replace.await })?;
    Ok(())
}

/// These addresses have new hosts, whose flags waited in these tombstones. An insert can
/// set nothing by MongoDB's clock, so `changed_at` comes here.
pub(super) fn arrive(
    mongodb: &Connection,
    ips: &[IpAddr],
    tombstones: &[String],
) -> Result<(), MongoDbError> {
    if !tombstones.is_empty() {
        let raised = doc! {"_id": {"$in": tombstones}};
        let tombstones = mongodb.tombstones();
        mongodb.run_for_heartbeats(async { tombstones.delete_many(raised).await })?;
    }
    if !ips.is_empty() {
        let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
        let (moves, servers) = (mongodb.moves(), mongodb.servers());
        let arrived = doc! {"_id": {"$in": &ips}};
        mongodb.run_for_heartbeats(async { moves.delete_many(arrived).await })?;
        let now = doc! {"$currentDate": {"changed_at": true}};
        let arrived = servers.update_many(doc! {"ip": {"$in": ips}}, now);
        mongodb.run_for_heartbeats(async { arrived.await })?;
    }
    Ok(())
}

/// The address of the host that has left `ip`.
pub(super) fn moved_to(
    mongodb: &Connection,
    ip: IpAddr,
) -> Result<Option<IpAddr>, MongoDbError> {
    let moves = mongodb.moves();
    let left = doc! {"_id": ip.to_string()};
    let left = mongodb.run(async { moves.find_one(left).await })?;
    let Some(Bson::String(server_id)) =
        left.and_then(|mut left| left.remove("server_id"))
    else {
        return Ok(None);
    };
    let servers = mongodb.servers();
    let host = doc! {"server_id": server_id};
    let host = mongodb.run(async { servers.find_one(host).await })?;
    Ok(host.and_then(|host| Owned::from_document(&host).known.ip))
}

fn moved(record: &Known<String>, to: IpAddr) -> Finding {
    Finding::Moved {
        server_id: record.key.clone(),
        from: record.ip,
        to,
    }
}
