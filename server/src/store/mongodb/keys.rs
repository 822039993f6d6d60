//! Hosts' own keys and the codes that enrol hosts, in MongoDB.
//!
//! MongoDB changes one document at a time. A use of a code is a document of its own, whose
//! name is the code's id and the use's number: so no more hosts use a code than may, and a
//! host whose enrolment was broken off finds its use again. The key follows, and then the
//! record is closed to all other keys. Each of these steps can be done again.

use std::collections::BTreeMap;

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{AgentId, KeyHash, Timestamp};
use mongodb::Collection;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;

use super::connection::Connection;
use super::document::{Owned, carry, count_up, date, text, time};
use super::error::MongoDbError;
use super::pending::{self, Host};
use super::sequence;
use crate::store::enrollment::{self, ENDED_CODES_STAY, EnrollStep};
use crate::store::event::{Act, EventKind, Facts, NewEvent};
use crate::store::key::{
    self, AgentKey, Code, EnrollRefusal, EnrollRequest, Enrolled, KeyHost, ListedKey,
    MAX_ENDED, Mark, flags_as_json, flags_from_json, networks_as_texts, networks_from,
};

/// So often in a row no other instance changes a key between reading and writing it.
const MAX_TRIES: usize = 16;
/// The field that marks a code that is being removed: since when.
const REMOVED: &str = "removed_at";

/// Every code, the newest first.
pub(super) fn codes(mongodb: &Connection) -> Result<Vec<Code>, MongoDbError> {
    let present = doc! {REMOVED: {"$exists": false}};
    let collection = mongodb.enrollment_codes();
    let found = collection.find(present);
    let mut codes = mongodb.collect(found, code_from_document)?;
    for code in &mut codes {
        code.uses = count_uses(mongodb, doc! {"code": &code.id})?;
    }
    codes.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id)));
    Ok(codes)
}

/// Adds a code. Codes that have ended long ago go.
pub(super) fn add_code(
    mongodb: &Connection,
    code: &Code,
    act: &Act,
) -> Result<(), MongoDbError> {
    let codes = mongodb.enrollment_codes();
    let long_ago = code.created_at.checked_sub(ENDED_CODES_STAY);
    let ended = doc! {"expires_at": {"$lt": date(long_ago.unwrap_or(Timestamp::MIN))}};
    let ended = mongodb.collect(codes.find(ended), |code| {
        text(code, "_id").map(str::to_owned)
    })?;
    forget(mongodb, &ended)?;

    let event = code.event(EventKind::CodeCreated, act);
    let mut document = code_to_document(code);
    document.insert("pending", [pending::new_document(&event, None)]);
    mongodb.run(async { codes.insert_one(document).await })?;
    deliver(mongodb, &codes, &code.id);
    Ok(())
}

/// Removes a code and gives it. First the code is marked as removed, together with the
/// event; a code that is marked does not count any more.
pub(super) fn remove_code(
    mongodb: &Connection,
    id: &str,
    act: &Act,
) -> Result<Option<Code>, MongoDbError> {
    let Some(mut code) = find_code(mongodb, id)? else {
        return Ok(None);
    };
    code.uses = count_uses(mongodb, doc! {"code": id})?;

    let codes = mongodb.enrollment_codes();
    let event = code.event(EventKind::CodeDeleted, act);
    let mut mark = doc! {"$set": {REMOVED: date(act.at)}};
    carry(&mut mark, vec![pending::new_document(&event, None)]);
    let present = doc! {"_id": id, REMOVED: {"$exists": false}};
    let marked = mongodb.run(async { codes.update_one(present, mark).await })?;
    if marked.matched_count == 0 {
        return Ok(None);
    }
    finish(mongodb, doc! {"_id": id})?;
    Ok(Some(code))
}

/// Delivers the events that a killed instance has left, and removes the codes that it has
/// marked.
pub(super) fn finish_left(mongodb: &Connection) -> Result<(), MongoDbError> {
    pending::deliver(mongodb, &mongodb.agent_keys(), doc! {})?;
    pending::deliver(mongodb, &mongodb.enrollment_codes(), doc! {})?;
    finish(mongodb, doc! {})
}

/// Removes the marked codes that `condition` selects, once their events are delivered.
fn finish(mongodb: &Connection, condition: Document) -> Result<(), MongoDbError> {
    let codes = mongodb.enrollment_codes();
    let mut marked = doc! {REMOVED: {"$exists": true}};
    marked.extend(condition);
    pending::deliver(mongodb, &codes, marked.clone())?;
    marked.extend(pending::carries_none());
    let ids = mongodb.collect(codes.find(marked), |code| {
        text(code, "_id").map(str::to_owned)
    })?;
    forget(mongodb, &ids)
}

/// Deletes these codes and what is known of their uses.
fn forget(mongodb: &Connection, ids: &[String]) -> Result<(), MongoDbError> {
    if ids.is_empty() {
        return Ok(());
    }
    let (codes, uses) = (mongodb.enrollment_codes(), mongodb.code_uses());
    let of_these = doc! {"code": {"$in": ids}};
    mongodb.run(async { uses.delete_many(of_these).await })?;
    let these = doc! {"_id": {"$in": ids}};
    mongodb.run(async { codes.delete_many(these).await })?;
    Ok(())
}

fn find_code(mongodb: &Connection, id: &str) -> Result<Option<Code>, MongoDbError> {
    let codes = mongodb.enrollment_codes();
    let present = doc! {"_id": id, REMOVED: {"$exists": false}};
    let found = mongodb.run(async { codes.find_one(present).await })?;
    Ok(found.as_ref().and_then(code_from_document))
}

fn count_uses(mongodb: &Connection, of: Document) -> Result<u32, MongoDbError> {
    let uses = mongodb.code_uses();
    let count = mongodb.run(async { uses.count_documents(of).await })?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Takes a host's key, if the rules allow it.
pub(super) fn enroll(
    mongodb: &Connection,
    request: &EnrollRequest,
) -> Result<Result<Enrolled, EnrollRefusal>, MongoDbError> {
    let mut has_claimed = false;
    for _ in 0..MAX_TRIES {
        let key = find(mongodb, request.agent_id)?;
        let code = match &request.code {
            Some((id, _)) => find_code(mongodb, id)?,
            None => None,
        };
        let code = match code {
            Some(code) => Some(with_uses_of_others(mongodb, request, code)?),
            None => None,
        };
        let record = record_of(mongodb, request.agent_id)?;
        let is_at_record = request.source.is_some()
            && record
                .as_ref()
                .is_some_and(|record| record.known.ip == request.source);
        let decided =
            enrollment::decide(request, key.as_ref(), code.as_ref(), is_at_record);
        let step = match decided {
            Ok(step) => step,
            Err(refusal) => {
                // Another key of the host was quicker.
                if let Some(code) = code.filter(|_| has_claimed) {
                    let uses = mongodb.code_uses();
                    let own = use_of(request, &code);
                    mongodb.run(async { uses.delete_many(own).await })?;
                }
                return Ok(Err(refusal));
            }
        };

        let is_done = match (step, &code) {
            (EnrollStep::Nothing, _) => {
                close_record(mongodb, request.agent_id)?;
                return Ok(Ok(Enrolled::Before));
            }
            (EnrollStep::Follow, _) => follow(mongodb, request, key.as_ref())?,
            (EnrollStep::Take { again }, Some(code)) => {
                if !claim(mongodb, request, code)? {
                    return Ok(Err(EnrollRefusal::UsedUpCode));
                }
                has_claimed = true;
                let event = Enrolling {
                    request,
                    code,
                    record: record.as_ref(),
                    again,
                };
                event.take(mongodb, key.as_ref())?
            }
            (EnrollStep::Take { .. }, None) => {
                return Ok(Err(EnrollRefusal::UnknownCode));
            }
        };
        if is_done {
            return Ok(Ok(Enrolled::Now));
        }
    }
    Err(MongoDbError::refused("the key changes all the time"))
}

/// The code with the uses that are not the request's own.
fn with_uses_of_others(
    mongodb: &Connection,
    request: &EnrollRequest,
    code: Code,
) -> Result<Code, MongoDbError> {
    let all = count_uses(mongodb, doc! {"code": &code.id})?;
    let own = count_uses(mongodb, use_of(request, &code))?;
    let uses = all.saturating_sub(own);
    Ok(Code { uses, ..code })
}

/// The use of the code by the request's key.
fn use_of(request: &EnrollRequest, code: &Code) -> Document {
    doc! {
        "code": &code.id,
        "agent_id": request.agent_id.expose(),
        "hash": request.hash.show(),
    }
}

/// Takes one of the code's uses for the request's key, unless the key has one already;
/// false if there is none left.
fn claim(
    mongodb: &Connection,
    request: &EnrollRequest,
    code: &Code,
) -> Result<bool, MongoDbError> {
    let uses = mongodb.code_uses();
    let mut number = code.uses;
    while number < code.max_uses {
        if count_uses(mongodb, use_of(request, code))? > 0 {
            return Ok(true);
        }
        let mut claim = use_of(request, code);
        claim.insert("_id", format!("{}:{number}", code.id));
        match mongodb.run(async { uses.insert_one(claim).await }) {
            Ok(_) => return Ok(true),
            // Another host has this one, or the same call is made twice at once.
            Err(error) if error.is_duplicate_key() => number += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(count_uses(mongodb, use_of(request, code))? > 0)
}

/// Notes the key that follows. False if the key has changed meanwhile.
fn follow(
    mongodb: &Connection,
    request: &EnrollRequest,
    key: Option<&AgentKey>,
) -> Result<bool, MongoDbError> {
    let Some(key) = key else {
        return Ok(false);
    };
    let rev = sequence::next(mongodb, clock::now())?;
    let set = doc! {"$set": {"next": request.hash.show(), "rev": rev}};
    let keys = mongodb.agent_keys();
    let updated = mongodb.run(async { keys.update_one(as_read(key), set).await })?;
    Ok(updated.matched_count > 0)
}

/// A key that is about to become its host's.
struct Enrolling<'a> {
    request: &'a EnrollRequest,
    code: &'a Code,
    record: Option<&'a Owned>,
    again: bool,
}

impl Enrolling<'_> {
    /// Makes the key the host's, and closes the host's record to all other keys. False if
    /// another instance has changed the key meanwhile.
    fn take(
        &self,
        mongodb: &Connection,
        before: Option<&AgentKey>,
    ) -> Result<bool, MongoDbError> {
        let rev = sequence::next(mongodb, clock::now())?;
        let key = AgentKey::enrolled_by(self.request, self.code, rev);
        let event = key.enrolled(&self.request.act(), self.again);
        let event = new_document(&event, self.record);
        let keys = mongodb.agent_keys();
        let fields = key_to_document(&key);
        let result = match before {
            None => {
                let mut document = fields;
                document.insert("_id", key.agent_id.expose());
                document.insert("pending", [event]);
                let inserted = mongodb.run(async { keys.insert_one(document).await });
                inserted.map(|_| true)
            }
            Some(before) => {
                let unset = doc! {"next": "", "revoked_at": "", "removed_at": ""};
                let mut update = doc! {"$set": fields, "$unset": unset};
                carry(&mut update, vec![event]);
                push_ended(&mut update, before.hash);
                let query = as_read(before);
                let updated = mongodb.run(async { keys.update_one(query, update).await });
                updated.map(|updated| updated.matched_count > 0)
            }
        };
        let is_done = match result {
            Err(error) if error.is_duplicate_key() => false,
            result => result?,
        };
        if is_done {
            close_record(mongodb, key.agent_id)?;
            deliver(mongodb, &keys, &key.agent_id.expose());
        }
        Ok(is_done)
    }
}

/// Closes the host's record to all keys but its own.
fn close_record(mongodb: &Connection, id: AgentId) -> Result<(), MongoDbError> {
    let servers = mongodb.servers();
    let open = doc! {"agent_id": id.expose(), "keyed": {"$ne": true}};
    let mut close = count_up();
    close.insert("$set", doc! {"keyed": true});
    mongodb.run(async { servers.update_one(open, close).await })?;
    Ok(())
}

/// Every key with its host's record.
pub(super) fn all(mongodb: &Connection) -> Result<Vec<ListedKey>, MongoDbError> {
    let keys = mongodb.agent_keys();
    let keys = mongodb.collect(keys.find(doc! {}), key_from_document)?;
    let servers = mongodb.servers();
    let fields = doc! {
        "agent_id": 1, "server_id": 1, "ip": 1, "hostname": 1, "last_heartbeat": 1,
    };
    let with_agent = servers.find(doc! {"agent_id": {"$exists": true}});
    let hosts: BTreeMap<AgentId, KeyHost> = mongodb
        .collect(with_agent.projection(fields), |record| {
            let id = AgentId::parse(text(record, "agent_id")?)?;
            Some((id, host_of(&Owned::from_document(record))))
        })?
        .into_iter()
        .collect();

    let listed = keys.into_iter().map(|key| ListedKey {
        host: hosts.get(&key.agent_id).cloned(),
        key,
    });
    let mut listed: Vec<ListedKey> = listed.collect();
    listed.sort_by(|a, b| {
        let name =
            |listed: &ListedKey| (listed.key.hostname.clone(), listed.key.agent_id);
        name(a).cmp(&name(b))
    });
    Ok(listed)
}

fn host_of(owned: &Owned) -> KeyHost {
    KeyHost {
        server_id: owned.known.key.clone(),
        ip: owned.known.ip,
        hostname: owned.hostname.clone(),
        last_heartbeat: owned.known.last_heartbeat,
    }
}

/// One host's key.
pub(super) fn find(
    mongodb: &Connection,
    id: AgentId,
) -> Result<Option<AgentKey>, MongoDbError> {
    let keys = mongodb.agent_keys();
    let this = doc! {"_id": id.expose()};
    let found = mongodb.run(async { keys.find_one(this).await })?;
    Ok(found.as_ref().and_then(key_from_document))
}

/// Hands over the keys that have changed since `rev`.
pub(super) fn since(
    mongodb: &Connection,
    rev: i64,
    each: &mut dyn FnMut(AgentKey),
) -> Result<(), MongoDbError> {
    let keys = mongodb.agent_keys();
    let found = keys.find(doc! {"rev": {"$gt": rev}}).sort(doc! {"rev": 1});
    mongodb.collect(found, |document| {
        if let Some(key) = key_from_document(document) {
            each(key);
        }
        None::<()>
    })?;
    Ok(())
}

/// The key that follows is used.
pub(super) fn use_next(
    mongodb: &Connection,
    id: AgentId,
    next: KeyHash,
    at: Timestamp,
) -> Result<Option<AgentKey>, MongoDbError> {
    let Some(key) = find(mongodb, id)? else {
        return Ok(None);
    };
    if key.next != Some(next) || !key.is_active() {
        return Ok(Some(key));
    }
    let change = Change {
        query: doc! {
            "_id": id.expose(),
            "next": next.show(),
            "revoked_at": {"$exists": false},
            "removed_at": {"$exists": false},
        },
        set: doc! {"hash": next.show(), "rotate": false},
        unset: doc! {"next": ""},
        event: Some(key::rotated(&key, at)),
        ended: key.hash,
    };
    change.make(mongodb, id)
}

/// Ends a host's key.
pub(super) fn revoke(
    mongodb: &Connection,
    id: AgentId,
    act: &Act,
) -> Result<Option<AgentKey>, MongoDbError> {
    let active = doc! {"hash": {"$exists": true}, "revoked_at": {"$exists": false}};
    let end = doc! {"revoked_at": date(act.at)};
    change_and_tell(
        mongodb,
        id,
        active,
        (end, doc! {}),
        (EventKind::KeyRevoked, act),
    )
}

/// Refuses the host from now on, which is about to be removed. Gives the key that it had,
/// or the mark. The same call again changes nothing.
pub(super) fn refuse(
    mongodb: &Connection,
    id: AgentId,
    hostname: &str,
    act: &Act,
) -> Result<Option<AgentKey>, MongoDbError> {
    for _ in 0..MAX_TRIES {
        let Some(key) = find(mongodb, id)? else {
            let rev = sequence::next(mongodb, clock::now())?;
            let mark = AgentKey::mark_of_removed(id, hostname, act.at, rev);
            let mut document = key_to_document(&mark);
            document.insert("_id", id.expose());
            let keys = mongodb.agent_keys();
            match mongodb.run(async { keys.insert_one(document).await }) {
                Ok(_) => return Ok(Some(mark)),
                // The host is enrolled at this very moment.
                Err(error) if error.is_duplicate_key() => continue,
                Err(error) => return Err(error),
            }
        };
        let mut query = as_read(&key);
        query.insert("removed_at", doc! {"$exists": false});
        let change = Change {
            query,
            set: doc! {"removed_at": date(act.at)},
            unset: doc! {},
            event: key.is_active().then(|| key.ended_by_removal(act)),
            ended: None,
        };
        let refused = change.make(mongodb, id)?;
        if refused.as_ref().is_some_and(|key| key.removed_at.is_some()) {
            return Ok(refused);
        }
    }
    Err(MongoDbError::refused("the key changes all the time"))
}

/// What is known of those of these agents that have no record.
pub(super) fn marks_of(
    mongodb: &Connection,
    ids: Vec<AgentId>,
) -> Result<BTreeMap<AgentId, Mark>, MongoDbError> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<String> = ids.into_iter().map(AgentId::expose).collect();
    let keys = mongodb.agent_keys();
    let found = keys.find(doc! {"_id": {"$in": ids}});
    let found = mongodb.collect_for_heartbeats(found, |document| {
        let key = key_from_document(document)?;
        Some((key.agent_id, key.mark()?))
    })?;
    Ok(found.into_iter().collect())
}

/// Lets a host come back that was removed.
pub(super) fn readmit(
    mongodb: &Connection,
    id: AgentId,
    act: &Act,
) -> Result<Option<AgentKey>, MongoDbError> {
    let removed = doc! {"removed_at": {"$exists": true}};
    let lift = doc! {"removed_at": ""};
    change_and_tell(
        mongodb,
        id,
        removed,
        (doc! {}, lift),
        (EventKind::HostReadmitted, act),
    )
}

/// Asks a host to replace its key.
pub(super) fn ask_for_rotation(
    mongodb: &Connection,
    id: AgentId,
    act: &Act,
) -> Result<Option<AgentKey>, MongoDbError> {
    let unasked = doc! {
        "hash": {"$exists": true},
        "revoked_at": {"$exists": false},
        "removed_at": {"$exists": false},
        "rotate": {"$ne": true},
    };
    let ask = doc! {"rotate": true};
    change_and_tell(
        mongodb,
        id,
        unasked,
        (ask, doc! {}),
        (EventKind::KeyRotationAsked, act),
    )
}

/// Sets and unsets these fields of the host's key, if it is as `query` says, and tells of
/// it by an event of this kind. Gives the key as it is then.
fn change_and_tell(
    mongodb: &Connection,
    id: AgentId,
    mut query: Document,
    (set, unset): (Document, Document),
    (kind, act): (EventKind, &Act),
) -> Result<Option<AgentKey>, MongoDbError> {
    let Some(key) = find(mongodb, id)? else {
        return Ok(None);
    };
    query.insert("_id", id.expose());
    let change = Change {
        query,
        set,
        unset,
        event: Some(key.event(kind, act, Facts::new())),
        ended: None,
    };
    change.make(mongodb, id)
}

/// A change of a key, with the event that tells it, if it is told.
struct Change {
    query: Document,
    set: Document,
    unset: Document,
    event: Option<NewEvent>,
    /// The key that ends with it.
    ended: Option<KeyHash>,
}

impl Change {
    /// Makes the change if the query finds the key, and gives the key as it is then.
    fn make(
        self,
        mongodb: &Connection,
        id: AgentId,
    ) -> Result<Option<AgentKey>, MongoDbError> {
        let record = record_of(mongodb, id)?;
        let mut set = self.set;
        set.insert("rev", sequence::next(mongodb, clock::now())?);
        let mut update = doc! {"$set": set};
        if !self.unset.is_empty() {
            update.insert("$unset", self.unset);
        }
        let event = self
            .event
            .map(|event| new_document(&event, record.as_ref()));
        carry(&mut update, Vec::from_iter(event));
        push_ended(&mut update, self.ended);

        let keys = mongodb.agent_keys();
        let update = keys
            .find_one_and_update(self.query, update)
            .return_document(ReturnDocument::After);
        match mongodb.run(async { update.await })? {
            Some(changed) => {
                deliver(mongodb, &keys, &id.expose());
                Ok(key_from_document(&changed))
            }
            None => find(mongodb, id),
        }
    }
}

/// The host's record.
fn record_of(mongodb: &Connection, id: AgentId) -> Result<Option<Owned>, MongoDbError> {
    let servers = mongodb.servers();
    let this = doc! {"agent_id": id.expose()};
    let found = mongodb.run(async { servers.find_one(this).await })?;
    Ok(found.as_ref().map(Owned::from_document))
}

fn new_document(event: &NewEvent, record: Option<&Owned>) -> Document {
    let host = record.map(|owned| Host {
        server_id: &owned.known.key,
        ip: owned.known.ip.map(|ip| ip.to_string()).unwrap_or_default(),
        hostname: &owned.hostname,
    });
    pending::new_document(event, host.as_ref())
}

/// Delivers the events of a key or code. What fails here is done by the watch.
fn deliver(mongodb: &Connection, collection: &Collection<Document>, id: &str) {
    if let Err(error) = pending::deliver(mongodb, collection, doc! {"_id": id}) {
        log::debug!("events of keys wait: {error}");
    }
}

/// The query for a key, if nothing has changed since it was read.
fn as_read(key: &AgentKey) -> Document {
    doc! {"_id": key.agent_id.expose(), "rev": key.rev}
}

/// The fields of a key that was just enrolled, or of a mark.
fn key_to_document(key: &AgentKey) -> Document {
    let mut fields = doc! {
        "hostname": &key.hostname,
        "rotate": key.rotate,
        "code": &key.code,
        "flags": json(&flags_as_json(&key.flags)),
        "reinstall": key.reinstall,
        "enrolled_at": date(key.enrolled_at),
        "rev": key.rev,
    };
    if let Some(hash) = key.hash {
        fields.insert("hash", hash.show());
    }
    if let Some(removed_at) = key.removed_at {
        fields.insert("removed_at", date(removed_at));
    }
    fields
}

/// A key; `None` for a document that another program has damaged.
fn key_from_document(document: &Document) -> Option<AgentKey> {
    let hash = |name| text(document, name).and_then(KeyHash::parse);
    Some(AgentKey {
        agent_id: AgentId::parse(text(document, "_id")?)?,
        hostname: text(document, "hostname").unwrap_or_default().to_owned(),
        hash: hash("hash"),
        next: hash("next"),
        ended: ended_from(document),
        rotate: document.get_bool("rotate").unwrap_or(false),
        revoked_at: time(document, "revoked_at"),
        removed_at: time(document, "removed_at"),
        code: text(document, "code").unwrap_or_default().to_owned(),
        flags: flags_from_json(text(document, "flags").unwrap_or_default()),
        reinstall: document.get_bool("reinstall").unwrap_or(false),
        enrolled_at: time(document, "enrolled_at").unwrap_or(Timestamp::UNIX_EPOCH),
        rev: document.get_i64("rev").unwrap_or_default(),
    })
}

fn ended_from(document: &Document) -> Vec<KeyHash> {
    let ended = document.get_array("ended").into_iter().flatten();
    ended
        .filter_map(|hash| KeyHash::parse(hash.as_str()?))
        .collect()
}

/// Puts a key that has ended to the others.
fn push_ended(update: &mut Document, hash: Option<KeyHash>) {
    let Some(hash) = hash else {
        return;
    };
    let surplus = -i64::try_from(MAX_ENDED).unwrap_or(i64::MAX);
    let ended = doc! {"ended": {"$each": [hash.show()], "$slice": surplus}};
    match update.get_document_mut("$push") {
        Ok(push) => push.extend(ended),
        Err(_) => drop(update.insert("$push", ended)),
    }
}

fn code_to_document(code: &Code) -> Document {
    doc! {
        "_id": &code.id,
        "hash": code.hash.show(),
        "max_uses": i64::from(code.max_uses),
        "expires_at": date(code.expires_at),
        "flags": json(&flags_as_json(&code.flags)),
        "networks": networks_as_texts(&code.networks),
        "reinstall": code.reinstall,
        "note": &code.note,
        "created_by": &code.created_by,
        "created_at": date(code.created_at),
    }
}

/// A code without its uses; `None` for a document that another program has damaged.
fn code_from_document(document: &Document) -> Option<Code> {
    let networks: Vec<String> = document
        .get_array("networks")
        .into_iter()
        .flatten()
        .filter_map(Bson::as_str)
        .map(str::to_owned)
        .collect();
    let max_uses = document.get_i64("max_uses").ok()?;
    Some(Code {
        id: text(document, "_id")?.to_owned(),
        hash: text(document, "hash").and_then(KeyHash::parse)?,
        max_uses: u32::try_from(max_uses).ok()?,
        uses: 0,
        expires_at: time(document, "expires_at")?,
        flags: flags_from_json(text(document, "flags").unwrap_or_default()),
        networks: networks_from(&networks),
        reinstall: document.get_bool("reinstall").unwrap_or(false),
        note: text(document, "note").unwrap_or_default().to_owned(),
        created_by: text(document, "created_by").unwrap_or_default().to_owned(),
        created_at: time(document, "created_at")?,
    })
}

fn json(facts: &Facts) -> String {
    serde_json::to_string(facts).unwrap_or_default()
}
