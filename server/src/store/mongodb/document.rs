//! Hosts' records as MongoDB documents.
//!
//! This program writes documents exactly, but another program may have written a document
//! that is read. So when reading, a field of a wrong type counts as the default, and a
//! damaged record never hides the others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fleetbeat_daemon::clock;
use fleetbeat_protocol::{FlagsPatch, Heartbeat, Server, Service, Status, Timestamp};
use log::Level;
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde::{Deserialize, Serialize};

use crate::recurring::log_if_due;
use crate::store::column::{COLUMNS, Column, FLAGS, Identity, Kind};
use crate::store::server::{Beat, Supersedes, new_server_id};

/// A record's age in writes, which tells the newer of two copies: the epoch and the
/// revision. A host that was deleted and came back starts a new epoch, the time of its
/// first heartbeat in milliseconds since 1970; each write counts the revision up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Version(pub(super) i64, pub(super) i64);

/// A record and its version. As JSON, this is the copy that Redis holds; the version
/// stands first, where the script in Redis looks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct VersionedServer {
    /// Which of two copies of the record is newer.
    #[serde(rename = "rev")]
    pub(super) version: Version,
    /// The record.
    #[serde(flatten)]
    pub(super) server: Server,
}

impl VersionedServer {
    /// The record, as far as it can be read; `None`, and a line in the log, for a
    /// document without an address.
    pub(super) fn from_document(document: &Document) -> Option<VersionedServer> {
        let Some(ip) = text(document, "ip").and_then(|ip| ip.parse::<IpAddr>().ok())
        else {
            let line = || {
                let id = document.get("_id");
                format!("a record without an address in MongoDB is left out: {id:?}")
            };
            log_if_due(Level::Warn, "damaged records", "", line);
            return None;
        };

        let identity = read_identity(ip.to_canonical(), document);
        let epoch = identity.first_heartbeat.as_millisecond();
        let version = Version(epoch, read_revision(document));

        let mut server = identity.into_server();
        for column in COLUMNS {
            if let Some(value) = find(document, column.bson) {
                read(&column.kind, value, &mut server);
            }
        }
        for flag in FLAGS {
            if let Ok(value) = document.get_bool(flag.name) {
                *(flag.in_flags)(&mut server.flags) = value;
            }
        }
        Some(VersionedServer { version, server })
    }
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
    }
}

fn text<'a>(document: &'a Document, name: &str) -> Option<&'a str> {
    document.get_str(name).ok()
}

fn time(document: &Document, name: &str) -> Option<Timestamp> {
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

#[allow(
    clippy::cast_possible_truncation,
    reason = "whole, unless another program wrote it"
)]
fn read_revision(document: &Document) -> i64 {
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
    }
}

fn services(value: &Bson) -> Vec<Service> {
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

/// A BSON date, to the millisecond.
pub(super) fn date(at: Timestamp) -> Bson {
    Bson::DateTime(DateTime::from_millis(at.as_millisecond()))
}

/// How a heartbeat is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upsert {
    /// A host that is not found is inserted.
    pub(super) insert: bool,
    /// The record's revision is not a number that could be counted up: the record gets a
    /// revision that is higher than any.
    pub(super) mend: bool,
}

impl Default for Upsert {
    fn default() -> Upsert {
        Upsert {
            insert: true,
            mend: false,
        }
    }
}

/// The update that stores a heartbeat. It inserts a host with the flags' defaults, and
/// never touches a flag of a host that is there. The update of a spooled heartbeat finds
/// only a host whose record is older. Where the record is newer, an insert meets the
/// record's address and is refused; without the insert nothing happens.
pub(super) fn upsert(beat: &Beat, how: Upsert) -> Document {
    let mut set = doc! {
        "status": beat.status.as_str(),
        "last_heartbeat": date(beat.at),
    };
    for column in COLUMNS {
        insert(&mut set, column, &beat.heartbeat);
    }

    let mut set_on_insert = doc! {
        "server_id": new_server_id(),
        "first_heartbeat": date(beat.at),
    };
    for flag in FLAGS {
        set_on_insert.insert(flag.name, flag.default());
    }

    let mut update = doc! {};
    if how.mend {
        set.insert("rev", clock::now().as_millisecond());
    } else {
        update.insert("$inc", doc! {"rev": 1_i64});
    }
    update.insert("$set", set);
    update.insert("$setOnInsert", set_on_insert);
    doc! {"q": superseded(beat), "u": update, "upsert": how.insert}
}

/// The query for a record that the heartbeat supersedes.
fn superseded(beat: &Beat) -> Document {
    let ip = beat.ip.to_string();
    // Newer records are excluded, instead of older ones asked for, so that no planner
    // looks for the host among all whose record is older.
    match beat.supersedes {
        Supersedes::Always => doc! {"ip": ip},
        Supersedes::IfNewer => {
            doc! {"ip": ip, "$nor": [{"last_heartbeat": {"$gte": date(beat.at)}}]}
        }
        Supersedes::IfUnknown => doc! {"ip": &ip, "$nor": [{"ip": &ip}]},
    }
}

/// Adds a column's value, in the documents of its path.
fn insert(set: &mut Document, column: &Column, heartbeat: &Heartbeat) {
    let value = match &column.kind {
        Kind::Text(place) => Bson::from((place.in_heartbeat)(heartbeat)),
        Kind::OptionalText(place) => Bson::from((place.in_heartbeat)(heartbeat).clone()),
        Kind::Number(place) => Bson::from(*(place.in_heartbeat)(heartbeat)),
        Kind::Services(place) => services_to_bson((place.in_heartbeat)(heartbeat)),
        Kind::Metrics(place) => metrics_to_bson((place.in_heartbeat)(heartbeat)),
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

fn services_to_bson(services: &[Service]) -> Bson {
    let service =
        |service: &Service| doc! {"name": &service.name, "active": service.active};
    Bson::Array(services.iter().map(service).map(Bson::from).collect())
}

fn metrics_to_bson(metrics: &BTreeMap<String, f64>) -> Bson {
    let member = |(name, value): (&String, &f64)| (name.clone(), Bson::from(*value));
    Bson::Document(metrics.iter().map(member).collect())
}

/// A spooled heartbeat as the history keeps it; `None` for a live one.
pub(super) fn history(beat: &Beat) -> Option<Document> {
    let collected_at = beat.collected_at()?;
    let heartbeat =
        serde_json::to_string(&beat.heartbeat).expect("a heartbeat is plain JSON");
    Some(doc! {
        "ip": beat.ip.to_string(),
        "collected_at": date(collected_at),
        "heartbeat": heartbeat,
    })
}

/// The update that sets a patch's flags and no others.
pub(super) fn flags_update(patch: FlagsPatch) -> Document {
    let named = FLAGS.iter().filter_map(|flag| {
        let value = (flag.in_patch)(&patch)?;
        Some((flag.name.to_owned(), Bson::from(value)))
    });
    let set: Document = named.collect();

    let mut update = doc! {"$inc": {"rev": 1_i64}};
    if !set.is_empty() {
        update.insert("$set", set);
    }
    update
}
