//! Hosts that somebody removes for good.
//!
//! The record is marked as removed together with the event that tells it, and deleted once
//! the event is delivered. So an instance that is killed in between leaves a record that
//! the watch removes, and the removal is told once.

use fleetbeat_protocol::AgentId;
use mongodb::bson::{Document, doc};

use super::connection::Connection;
use super::document::{count_up, named, text};
use super::error::MongoDbError;
use super::pending::{self, Host};
use super::{fleet, history, keys, owners, watch};
use crate::store::event::Act;
use crate::store::identity::{tombstone_of_agent, tombstone_of_ip};
use crate::store::key::AgentKey;
use crate::store::removal::Removal;
use crate::store::server::HostName;

/// Heartbeats that bring events hold a removal up; not so often in a row.
const MAX_TRIES: usize = 16;

/// Removes the host with the flags that would wait for its return. Its agent is refused
/// before, so that no heartbeat brings the record back. Gives the record as it was, and the
/// agent's key or mark; `None` if the host is not known.
pub(super) fn remove(
    mongodb: &Connection,
    host: &HostName,
    act: &Act,
) -> Result<Option<(Document, Option<AgentKey>)>, MongoDbError> {
    let servers = mongodb.servers();
    let mut present = named(host);
    present.extend(pending::not_removed());
    let found = mongodb.run(async { servers.find_one(present).await })?;
    let Some(record) = found else {
        return Ok(None);
    };
    let server_id = text(&record, "server_id").unwrap_or_default();
    let agent = text(&record, "agent_id").and_then(AgentId::parse);
    let hostname = text(&record, "hostname").unwrap_or_default();
    let refused = match agent {
        Some(id) => keys::refuse(mongodb, id, hostname, act)?,
        None => None,
    };
    watch::note_removal(mongodb, server_id, Removal::Asked)?;
    history::note_gone(mongodb, server_id)?;

    let of_host = Host {
        server_id,
        ip: text(&record, "ip").unwrap_or_default().to_owned(),
        hostname,
    };
    let event = pending::new_document(&Removal::Asked.event(act), Some(&of_host));
    let mut mark = pending::mark_removed(act.at, event);
    mark.extend(count_up());
    let mut as_found = doc! {"_id": record.get("_id").cloned()};
    as_found.extend(pending::not_removed());
    let marked = mongodb.run(async { servers.update_one(as_found, mark).await })?;
    if marked.matched_count == 0 {
        return Ok(None);
    }

    delete(mongodb, &record)?;
    fleet::note_removals(mongodb)?;
    let ip = text(&record, "ip").and_then(|ip| ip.parse().ok());
    let names = ip.map(tombstone_of_ip).into_iter();
    let names: Vec<String> = names.chain(agent.map(tombstone_of_agent)).collect();
    owners::arrive(mongodb, &[], &names)?;
    Ok(Some((record, refused)))
}

fn delete(mongodb: &Connection, record: &Document) -> Result<(), MongoDbError> {
    let servers = mongodb.servers();
    let this = doc! {"_id": record.get("_id").cloned()};
    for _ in 0..MAX_TRIES {
        pending::finish_removals(mongodb, &servers, this.clone())?;
        let left = mongodb.run(async { servers.find_one(this.clone()).await })?;
        if left.is_none() {
            return Ok(());
        }
    }
    Err(MongoDbError::refused(
        "the host's record changes all the time",
    ))
}
