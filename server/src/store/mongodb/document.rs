//! Hosts' records as MongoDB documents.
//!
//! This program writes documents exactly, but another program may have written a document
//! that is read. So when reading, a field of a wrong type counts as the default, and a
//! damaged record never hides the others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{
    AgentId, Flags, FlagsPatch, Heartbeat, HostState, Mode, Server, Service, Status,
    Tags, Timestamp,
};
use log::Level;
use mongodb::bson::{
    Bson, DateTime, Document, deserialize_from_bson, doc, serialize_to_bson,
};

use crate::recurring::log_if_due;
use crate::store::column::{COLUMNS, Column, FLAGS, Identity, Kind};
use crate::store::flags::SetFlags;
use crate::store::identity::Known;
use crate::store::server::{Beat, HostName, Supersedes, new_server_id};
use crate::store::settings::{SetSetting, SetSettings};
use crate::store::state::SetState;
use crate::store::tags::{SetTag, SetTags};

/// The record, as far as it can be read; `None`, and a line in the log, for a document
/// without an address.
pub(super) fn read_server(document: &Document) -> Option<Server> {
    let Some(ip) = text(document, "ip").and_then(|ip| ip.parse::<IpAddr>().ok()) else {
        let line = || {
            let id = document.get("_id");
            format!("a record without an address in MongoDB is left out: {id:?}")
        };
        log_if_due(Level::Warn, "damaged records", "", line);
        return None;
    };

    let mut server = read_identity(ip.to_canonical(), document).into_server();
    for column in COLUMNS {
        if let Some(value) = find(document, column.bson) {
            read(&column.kind, value, &mut server);
        }
    }
    server.flags = read_flags(document);
    server.tags = read_tags(document);
    server.state = read_set_state(document).state;
    server.settings = read_set_settings(document).shown();
    Some(server)
}

/// A record as far as identity goes, by its `server_id`.
pub(super) struct Owned {
    pub(super) known: Known<String>,
    pub(super) hostname: String,
    pub(super) flags: SetFlags,
    /// The revision, which each change counts up.
    rev: Option<Bson>,
}

/// The fields that [`Owned::from_document`] reads.
pub(super) fn owned_fields() -> Document {
    let fields = [
        "server_id",
        "ip",
        "agent_id",
        "boot_id",
        "first_heartbeat",
        "last_heartbeat",
        "guest_since",
        "status",
        "moved_at",
        "wanted_ip",
        "clone_of",
        "hostname",
        "keyed",
        "rev",
    ];
    let fields = fields.into_iter().chain(set_fields());
    fields
        .map(|name| (name.to_owned(), Bson::Int32(1)))
        .collect()
}

/// The fields that [`read_set_flags`] reads.
pub(super) fn set_fields() -> impl Iterator<Item = &'static str> {
    let flags = FLAGS.iter().map(|flag| flag.name);
    flags.chain([
        "flag_changes",
        "tags",
        "tag_changes",
        "state",
        "settings",
        "setting_changes",
    ])
}

impl Owned {
    /// The record, as far as it can be read.
    pub(super) fn from_document(document: &Document) -> Owned {
        let address =
            |name| text(document, name).and_then(|ip| ip.parse::<IpAddr>().ok());
        let agent = |name| text(document, name).and_then(AgentId::parse);
        let known = Known {
            key: text(document, "server_id").unwrap_or_default().to_owned(),
            ip: address("ip"),
            agent_id: agent("agent_id"),
            boot_id: text(document, "boot_id").map(str::to_owned),
            first_heartbeat: time(document, "first_heartbeat")
                .unwrap_or(Timestamp::UNIX_EPOCH),
            last_heartbeat: time(document, "last_heartbeat")
                .unwrap_or(Timestamp::UNIX_EPOCH),
            guest_since: time(document, "guest_since"),
            is_down: text(document, "status") == Some(Status::Down.as_str()),
            moved_at: time(document, "moved_at"),
            wanted_ip: address("wanted_ip"),
            clone_of: agent("clone_of"),
            is_keyed: document.get_bool("keyed").unwrap_or(false),
        };
        Owned {
            known,
            hostname: text(document, "hostname").unwrap_or_default().to_owned(),
            flags: read_set_flags(document),
            rev: document.get("rev").cloned(),
        }
    }

    /// The update that sets and removes these fields and counts the revision up. A
    /// revision that cannot be counted gives way to one that is higher than any.
    pub(super) fn update(&self, mut set: Document, unset: Document) -> Document {
        let mut update = count_up();
        if self.rev.as_ref().is_some_and(|rev| number(rev).is_none()) {
            update.remove("$inc");
            set.insert("rev", clock::now().as_millisecond());
        }
        update.insert("$set", set);
        if !unset.is_empty() {
            update.insert("$unset", unset);
        }
        update
    }

    /// The query for the record, if nothing has changed since it was read: neither a
    /// heartbeat nor a flag.
    pub(super) fn unchanged(&self) -> Document {
        let rev = self.rev.clone();
        let mut query = as_read(&self.known);
        query.insert("rev", rev.unwrap_or_else(|| doc! {"$exists": false}.into()));
        query
    }
}

/// The flags, which stand beside the other fields as in the API: an instance of a version
/// that knows nothing of identities reads and writes them there, too.
fn read_flags(document: &Document) -> Flags {
    let mut flags = Flags::default();
    for flag in FLAGS {
        if let Ok(value) = document.get_bool(flag.name) {
            *(flag.in_flags)(&mut flags) = value;
        }
    }
    flags
}

/// The tags of admins.
fn read_tags(document: &Document) -> Tags {
    document.get("tags").map(tags).unwrap_or_default()
}

/// What admins have set, with the order in which they have set it.
pub(super) fn read_set_flags(document: &Document) -> SetFlags {
    SetFlags {
        flags: read_flags(document),
        tags: read_set_tags(document),
        state: read_set_state(document),
        settings: read_set_settings(document),
        flag_changes: read_changes(document, "flag_changes"),
    }
}

fn read_set_tags(document: &Document) -> SetTags {
    let mut values = read_tags(document);
    let changes = read_changes(document, "tag_changes").into_iter();
    let mut set: BTreeMap<String, SetTag> = changes
        .map(|(key, change)| {
            let value = values.remove(&key);
            (key, SetTag { value, change })
        })
        .collect();
    // Another program has set these.
    let others = values.into_iter();
    set.extend(others.map(|(key, value)| {
        let value = Some(value);
        (key, SetTag { value, change: 0 })
    }));
    SetTags(set)
}

/// The state; the one of a host for which nobody has set any where there is none.
fn read_set_state(document: &Document) -> SetState {
    let Ok(state) = document.get_document("state") else {
        return SetState::default();
    };
    let mode = text(state, "mode").and_then(Mode::parse);
    SetState {
        state: HostState {
            mode: mode.unwrap_or_default(),
            until: time(state, "until"),
            reason: text(state, "reason").map(str::to_owned),
            since: time(state, "since"),
        },
        change: state.get_i64("change").unwrap_or_default(),
    }
}

/// The settings, also those that another program has set, and those that were removed.
fn read_set_settings(document: &Document) -> SetSettings {
    let mut changes = read_changes(document, "setting_changes");
    let values = document.get_document("settings").into_iter().flatten();
    let setting = |(name, value): (&String, &Bson)| {
        let value = deserialize_from_bson(value.clone()).ok()?;
        let change = changes.remove(name).unwrap_or_default();
        Some((name.clone(), SetSetting { value, change }))
    };
    let mut set: BTreeMap<String, SetSetting> = values.filter_map(setting).collect();
    let removed = changes.into_iter().map(|(name, change)| {
        let value = serde_json::Value::Null;
        (name, SetSetting { value, change })
    });
    set.extend(removed);
    SetSettings(set)
}

/// By name, the number of its last change.
fn read_changes(document: &Document, field: &str) -> BTreeMap<String, i64> {
    let changes = document.get_document(field).into_iter().flatten();
    let change = |(name, value): (&String, &Bson)| Some((name.clone(), value.as_i64()?));
    changes.filter_map(change).collect()
}

/// What admins have set, as fields.
pub(super) fn flags_to_bson(set: &SetFlags) -> Document {
    let mut flags = set.flags;
    let values = FLAGS.iter().map(|flag| {
        let value = *(flag.in_flags)(&mut flags);
        (flag.name.to_owned(), Bson::Boolean(value))
    });
    let mut fields: Document = values.collect();
    let change = |(name, number): (&String, &i64)| (name.clone(), Bson::Int64(*number));
    let changes: Document = set.flag_changes.iter().map(change).collect();
    fields.insert("flag_changes", changes);
    fields.extend(tags_to_bson(&set.tags));
    fields.extend(state_to_bson(&set.state));
    fields.extend(settings_to_bson(&set.settings));
    fields
}

/// The tags of admins as fields: two whole documents, because keys hold dots, which an
/// update of single members would take for paths.
fn tags_to_bson(set: &SetTags) -> Document {
    let change = |(key, tag): (&String, &SetTag)| (key.clone(), Bson::Int64(tag.change));
    let changes: Document = set.0.iter().map(change).collect();
    doc! {"tags": texts_to_bson(&set.shown()), "tag_changes": changes}
}

/// The settings as fields, for people and programs to read.
fn settings_to_bson(set: &SetSettings) -> Document {
    let value = |(name, value): (String, serde_json::Value)| {
        Some((name, serialize_to_bson(&value).ok()?))
    };
    let values: Document = set.values().into_iter().filter_map(value).collect();
    let change = |(name, setting): (&String, &SetSetting)| {
        (name.clone(), Bson::Int64(setting.change))
    };
    let changes: Document = set.0.iter().map(change).collect();
    if changes.is_empty() {
        return doc! {};
    }
    doc! {"settings": values, "setting_changes": changes}
}

/// The state as a field; none as long as nobody has set any.
fn state_to_bson(set: &SetState) -> Document {
    if *set == SetState::default() {
        return doc! {};
    }
    let state = &set.state;
    let mut fields = doc! {"mode": state.mode.as_str(), "change": set.change};
    fields.extend(state.until.map(|until| ("until".to_owned(), date(until))));
    fields.extend(state.since.map(|since| ("since".to_owned(), date(since))));
    let reason = state.reason.as_deref();
    fields.extend(reason.map(|reason| ("reason".to_owned(), reason.into())));
    doc! {"state": fields}
}

fn read_identity(ip: IpAddr, document: &Document) -> Identity {
    let first_heartbeat =
        time(document, "first_heartbeat").unwrap_or(Timestamp::UNIX_EPOCH);
    let is_active = text(document, "status") == Some(Status::Active.as_str());
    Identity {
        ip,
        server_id: text(document, "server_id").unwrap_or_default().to_owned(),
        status: if is_active {
            Status::Active
        } else {
            Status::Down
        },
        last_heartbeat: time(document, "last_heartbeat").unwrap_or(first_heartbeat),
        first_heartbeat,
        up_since: time(document, "up_since"),
        observed_ip: text(document, "observed_ip").and_then(|ip| ip.parse().ok()),
        ip_confirmed: document.get_bool("ip_confirmed").unwrap_or(false),
    }
}

pub(super) fn text<'a>(document: &'a Document, name: &str) -> Option<&'a str> {
    document.get_str(name).ok()
}

pub(super) fn time(document: &Document, name: &str) -> Option<Timestamp> {
    let date = document.get_datetime(name).ok()?;
    Timestamp::from_millisecond(date.timestamp_millis()).ok()
}

fn number(value: &Bson) -> Option<f64> {
    let number = value
        .as_f64()
        .or_else(|| value.as_i32().map(f64::from))
        .or_else(|| value.as_i64().map(|n| n as f64));
    number.filter(|number| number.is_finite())
}

/// The revision, which each change counts up; 0 where another program has left no number.
#[allow(
    clippy::cast_possible_truncation,
    reason = "whole, unless another program wrote it"
)]
pub(super) fn read_revision(document: &Document) -> i64 {
    document.get("rev").and_then(number).unwrap_or_default() as i64
}

/// The value at `path`; `None` if there is none, or no document on the way to it.
fn find<'a>(document: &'a Document, path: &[&str]) -> Option<&'a Bson> {
    let (name, parents) = path.split_last()?;
    let mut document = document;
    for parent in parents {
        document = document.get_document(parent).ok()?;
    }
    document.get(name)
}

/// Reads a column's value into a record, which keeps its default if the value is of a
/// wrong type.
fn read(kind: &Kind, value: &Bson, server: &mut Server) {
    match kind {
        Kind::Text(place) => {
            let text = value.as_str().unwrap_or_default();
            *(place.in_server)(server) = text.to_owned();
        }
        Kind::OptionalText(place) => {
            *(place.in_server)(server) = value.as_str().map(str::to_owned);
        }
        Kind::Number(place) => *(place.in_server)(server) = number(value),
        Kind::Services(place) => *(place.in_server)(server) = services(value),
        Kind::Metrics(place) => *(place.in_server)(server) = metrics(value),
        Kind::Tags(place) => *(place.in_server)(server) = tags(value),
    }
}

pub(super) fn services(value: &Bson) -> Vec<Service> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let service = |item: &Bson| {
        let item = item.as_document()?;
        Some(Service {
            name: item.get_str("name").ok()?.to_owned(),
            active: item.get_bool("active").unwrap_or(false),
        })
    };
    items.iter().filter_map(service).collect()
}

fn metrics(value: &Bson) -> BTreeMap<String, f64> {
    let members = value.as_document().into_iter().flatten();
    members
        .filter_map(|(name, value)| Some((name.clone(), number(value)?)))
        .collect()
}

fn tags(value: &Bson) -> Tags {
    let members = value.as_document().into_iter().flatten();
    members
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// What every change of a record begins with, so that all instances see it: the revision
/// goes up, and MongoDB's clock tells when.
pub(super) fn count_up() -> Document {
    doc! {"$inc": {"rev": 1_i64}, "$currentDate": {"changed_at": true}}
}

/// A BSON date, to the millisecond.
pub(super) fn date(at: Timestamp) -> Bson {
    Bson::DateTime(DateTime::from_millis(at.as_millisecond()))
}

/// Lets an update carry these events. Repeated, the same update carries them once.
pub(super) fn carry(update: &mut Document, events: Vec<Document>) {
    if !events.is_empty() {
        update.insert("$addToSet", doc! {"pending": {"$each": events}});
    }
}

/// How a heartbeat is stored in a record.
pub(super) struct Update<'a> {
    /// The record as it was read.
    pub(super) record: &'a Known<String>,
    /// The address that the host asks for and cannot have yet.
    pub(super) wanted_ip: Option<IpAddr>,
    /// The record's revision is not a number that could be counted up: the record gets a
    /// revision that is higher than any.
    pub(super) mend: bool,
    /// The event that tells what has been found out about the host.
    pub(super) told: Option<Document>,
}

/// The update that stores a heartbeat in a record. It never touches a flag. It finds the
/// record only while the record has the address and the agent that were read, and a
/// spooled heartbeat only an older record.
pub(super) fn update(beat: &Beat, how: &Update<'_>) -> Document {
    let mut set = doc! {
        "status": beat.status.as_str(),
        "last_heartbeat": date(beat.at),
    };
    for column in COLUMNS {
        insert(&mut set, column, &beat.heartbeat);
    }
    if how.record.key.is_empty() {
        // Another program has made the record.
        set.insert("server_id", new_server_id());
    }

    if beat.speaker.has_own_key() {
        set.insert("keyed", true);
    }
    if how.record.is_down && beat.status == Status::Active {
        set.insert("up_since", date(beat.at));
    }

    let mut unset = doc! {"down_since": ""};
    if beat.supersedes == Supersedes::Always {
        let mut put = |name: &str, value: Option<String>| match value {
            Some(value) => drop(set.insert(name, value)),
            None => drop(unset.insert(name, "")),
        };
        put("boot_id", beat.heartbeat.boot_id.clone());
        put("wanted_ip", how.wanted_ip.map(|ip| ip.to_string()));
        let is_guest = beat.heartbeat.agent_id.is_none() && how.record.agent_id.is_some();
        match how.record.guest_since {
            _ if !is_guest => drop(unset.insert("guest_since", "")),
            None => drop(set.insert("guest_since", date(beat.at))),
            Some(_) => {}
        }
        if let Some(observed) = beat.observed_ip {
            set.insert("observed_ip", observed.to_string());
            if how.record.ip == Some(observed) {
                set.insert("ip_confirmed", true);
            }
        }
    }

    if beat.supersedes == Supersedes::Always {
        match beat.clock_off() {
            Some(offset) => drop(set.insert("clock_off", offset)),
            None => drop(unset.insert("clock_off", "")),
        }
    }

    let mut update = count_up();
    carry(&mut update, how.told.iter().cloned().collect());
    if how.mend {
        update.remove("$inc");
        set.insert("rev", clock::now().as_millisecond());
    }
    update.insert("$set", set);
    update.insert("$unset", unset);
    doc! {"q": superseded(beat, how.record), "u": update}
}

/// The query for the record, if the heartbeat supersedes what the record says.
fn superseded(beat: &Beat, record: &Known<String>) -> Document {
    let mut query = as_read(record);
    if !beat.speaker.has_own_key() {
        query.insert("keyed", doc! {"$ne": true});
    }
    // Newer records are excluded, instead of older ones asked for, so that no planner
    // looks for the host among all whose record is older.
    if beat.supersedes == Supersedes::IfNewer {
        let newer = doc! {"last_heartbeat": {"$gte": date(beat.at)}};
        query.insert("$nor", [newer]);
    }
    query
}

/// The query for a record that has the address and the agent that were read.
pub(super) fn as_read(record: &Known<String>) -> Document {
    let is_missing = || Bson::from(doc! {"$exists": false});
    let ip = record.ip.map(|ip| Bson::from(ip.to_string()));
    let agent_id = record.agent_id.map(|id| Bson::from(id.expose()));
    let mut query = doc! {
        "ip": ip.unwrap_or_else(is_missing),
        "agent_id": agent_id.unwrap_or_else(is_missing),
    };
    if record.ip.is_none() {
        query.insert("server_id", &record.key);
    }
    query
}

/// A new host's record.
pub(super) fn new_record(
    beat: &Beat,
    agent_id: Option<AgentId>,
    is_clone: bool,
    flags: &SetFlags,
) -> Document {
    let mut record = doc! {
        "ip": beat.ip.to_string(),
        "server_id": new_server_id(),
        "status": beat.status.as_str(),
        "last_heartbeat": date(beat.at),
        "first_heartbeat": date(beat.at),
        "rev": 1_i64,
        "ip_confirmed": beat.observed_ip == Some(beat.ip),
    };
    if beat.speaker.has_own_key() {
        record.insert("keyed", true);
    }
    if beat.status == Status::Active {
        record.insert("up_since", date(beat.at));
    }
    for column in COLUMNS {
        insert(&mut record, column, &beat.heartbeat);
    }

    let claimed = beat.heartbeat.agent_id.filter(|_| is_clone);
    for (name, value) in [
        ("agent_id", agent_id.map(AgentId::expose)),
        ("clone_of", claimed.map(AgentId::expose)),
        ("boot_id", beat.heartbeat.boot_id.clone()),
        ("observed_ip", beat.observed_ip.map(|ip| ip.to_string())),
    ] {
        if let Some(value) = value {
            record.insert(name, value);
        }
    }
    if let Some(offset) = beat.clock_off() {
        record.insert("clock_off", offset);
    }
    record.extend(flags_to_bson(flags));
    record
}

/// Adds a column's value, in the documents of its path.
fn insert(set: &mut Document, column: &Column, heartbeat: &Heartbeat) {
    let value = match &column.kind {
        Kind::Text(place) => Bson::from((place.in_heartbeat)(heartbeat)),
        Kind::OptionalText(place) => Bson::from((place.in_heartbeat)(heartbeat).clone()),
        Kind::Number(place) => Bson::from(*(place.in_heartbeat)(heartbeat)),
        Kind::Services(place) => services_to_bson((place.in_heartbeat)(heartbeat)),
        Kind::Metrics(place) => metrics_to_bson((place.in_heartbeat)(heartbeat)),
        Kind::Tags(place) => texts_to_bson((place.in_heartbeat)(heartbeat)),
    };
    let Some((name, parents)) = column.bson.split_last() else {
        return;
    };
    let mut document = set;
    for parent in parents {
        let inner = document.entry(*parent).or_insert_with(|| doc! {}.into());
        let Some(inner) = inner.as_document_mut() else {
            return;
        };
        document = inner;
    }
    document.insert(*name, value);
}

pub(super) fn services_to_bson(services: &[Service]) -> Bson {
    let service =
        |service: &Service| doc! {"name": &service.name, "active": service.active};
    Bson::Array(services.iter().map(service).map(Bson::from).collect())
}

fn metrics_to_bson(metrics: &BTreeMap<String, f64>) -> Bson {
    let member = |(name, value): (&String, &f64)| (name.clone(), Bson::from(*value));
    Bson::Document(metrics.iter().map(member).collect())
}

fn texts_to_bson(texts: &Tags) -> Bson {
    let member = |(key, value): (&String, &String)| (key.clone(), Bson::from(value));
    Bson::Document(texts.iter().map(member).collect())
}

/// The query for the host of this name.
pub(super) fn named(host: &HostName) -> Document {
    match host {
        HostName::Ip(ip) => doc! {"ip": ip.to_string()},
        HostName::ServerId(id) => doc! {"server_id": id},
    }
}

/// The update that sets a patch's flags and no others. `number` orders the change among
/// all changes of flags.
pub(super) fn flags_update(patch: FlagsPatch, number: i64) -> Document {
    let mut set = doc! {};
    for flag in FLAGS {
        if let Some(value) = (flag.in_patch)(&patch) {
            set.insert(flag.name, value);
            set.insert(format!("flag_changes.{}", flag.name), number);
        }
    }

    let mut update = count_up();
    if !set.is_empty() {
        update.insert("$set", set);
    }
    update
}

/// The update that sets a record's tags of admins.
pub(super) fn tags_update(tags: &SetTags) -> Document {
    let mut update = count_up();
    update.insert("$set", tags_to_bson(tags));
    update
}

/// The update that sets a record's settings.
pub(super) fn settings_update(settings: &SetSettings) -> Document {
    let mut update = count_up();
    let set = settings_to_bson(settings);
    if !set.is_empty() {
        update.insert("$set", set);
    }
    update
}

/// The update that sets a record's state.
pub(super) fn state_update(state: &SetState) -> Document {
    let mut update = count_up();
    update.insert("$set", state_to_bson(state));
    update
}
