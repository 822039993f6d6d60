//! Records and users as MongoDB documents.
//!
//! What we write is exact. What we read may have been written by another program: a field
//! of a wrong type counts as its default, so that one damaged record never hides the
//! others.

use std::net::IpAddr;

use fleetbeat_protocol::{
    Flags, FlagsPatch, Load, Role, Server, Service, Status, Timestamp,
};
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde::{Deserialize, Serialize};

use crate::store::server::{Beat, Supersedes, new_server_id};
use crate::store::user::User;

/// A record's age in writes: which of two copies is newer. A host that was deleted and
/// came back starts a new epoch, its first heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Version(pub(super) i64, pub(super) i64);

/// A record and its version; as JSON, what Redis holds. The version stands first, where a
/// script finds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Versioned {
    pub(super) rev: Version,
    #[serde(flatten)]
    pub(super) server: Server,
}

impl Versioned {
    /// The record, as far as it can be read; `None`, and a line in the log, without an
    /// address.
    pub(super) fn from_document(document: &Document) -> Option<Versioned> {
        let fields = Fields(document);
        let Some(ip) = fields.text("ip").and_then(|ip| ip.parse::<IpAddr>().ok()) else {
            log::warn!(
                "a record without an address in MongoDB is left out: {:?}",
                document.get("_id")
            );
            return None;
        };
        let first_heartbeat = fields
            .date("first_heartbeat")
            .unwrap_or(Timestamp::UNIX_EPOCH);
        let load = document.get_document("load").ok();
        let percentage = |name| load.and_then(|load| Fields(load).number(name));
        let flag = |name, default| document.get_bool(name).unwrap_or(default);
        let defaults = Flags::default();
        let server = Server {
            server_id: fields.text("server_id").unwrap_or_default().to_owned(),
            ip: ip.to_canonical(),
            hostname: fields.text("hostname").unwrap_or_default().to_owned(),
            country_code: fields.text("countryCode").unwrap_or_default().to_owned(),
            country: fields.text("country").unwrap_or_default().to_owned(),
            region: fields.text("region").map(str::to_owned),
            city: fields.text("city").unwrap_or_default().to_owned(),
            status: if fields.text("status") == Some("active") {
                Status::Active
            } else {
                Status::Down
            },
            last_heartbeat: fields.date("last_heartbeat").unwrap_or(first_heartbeat),
            first_heartbeat,
            load: Load {
                cpu: percentage("cpu"),
                ram: percentage("ram"),
                net: percentage("net"),
            },
            services: fields.services(),
            metrics: fields.metrics(),
            flags: Flags {
                gaming: flag("gaming", defaults.gaming),
                streaming: flag("streaming", defaults.streaming),
                paid: flag("paid", defaults.paid),
                enabled: flag("enabled", defaults.enabled),
                is_static: flag("static", defaults.is_static),
            },
        };
        #[allow(
            clippy::cast_possible_truncation,
            reason = "whole, unless another program wrote it"
        )]
        let rev = fields.number("rev").unwrap_or_default() as i64;
        Some(Versioned {
            rev: Version(first_heartbeat.as_millisecond(), rev),
            server,
        })
    }
}

/// Reads what may be of a wrong type.
struct Fields<'a>(&'a Document);

impl<'a> Fields<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get_str(name).ok()
    }

    fn number(&self, name: &str) -> Option<f64> {
        number(self.0.get(name)?)
    }

    fn date(&self, name: &str) -> Option<Timestamp> {
        let date = self.0.get_datetime(name).ok()?;
        Timestamp::from_millisecond(date.timestamp_millis()).ok()
    }

    fn services(&self) -> Vec<Service> {
        let items = self
            .0
            .get_array("services")
            .map(Vec::as_slice)
            .unwrap_or_default();
        let read = |item: &Bson| {
            let item = item.as_document()?;
            Some(Service {
                name: item.get_str("name").ok()?.to_owned(),
                active: item.get_bool("active").unwrap_or(false),
            })
        };
        items.iter().filter_map(read).collect()
    }

    fn metrics(&self) -> std::collections::BTreeMap<String, f64> {
        let members = self.0.get_document("metrics").into_iter().flatten();
        members
            .filter_map(|(name, value)| Some((name.clone(), number(value)?)))
            .collect()
    }
}

fn number(value: &Bson) -> Option<f64> {
    let number = value
        .as_f64()
        .or_else(|| value.as_i32().map(f64::from))
        .or_else(|| value.as_i64().map(|n| n as f64));
    number.filter(|number| number.is_finite())
}

/// A BSON date, to the millisecond.
pub(super) fn date(at: Timestamp) -> Bson {
    Bson::DateTime(DateTime::from_millis(at.as_millisecond()))
}

/// The update that stores a heartbeat: it inserts a host with the flags' defaults, and
/// never touches a flag of one that is there. A spooled one finds only a host whose state
/// is older; where there is another, inserting meets its address, and without inserting
/// nothing happens.
pub(super) fn upsert(beat: &Beat, how: Upsert) -> Document {
    let Beat {
        ip,
        heartbeat,
        at,
        status,
        supersedes,
    } = beat;
    let mut query = doc! {"ip": ip.to_string()};
    // By what it is not, so that no planner looks for the host among all whose state is
    // older.
    match supersedes {
        Supersedes::Always => {}
        Supersedes::IfNewer => {
            drop(query.insert("$nor", [doc! {"last_heartbeat": {"$gte": date(*at)}}]))
        }
        Supersedes::IfUnknown => {
            drop(query.insert("$nor", [doc! {"ip": ip.to_string()}]))
        }
    }
    let services: Vec<Bson> = heartbeat
        .services
        .iter()
        .map(|service| Bson::from(doc! {"name": &service.name, "active": service.active}))
        .collect();
    let metrics: Document = heartbeat
        .metrics
        .iter()
        .map(|(name, value)| (name.clone(), Bson::from(*value)))
        .collect();
    let load = &heartbeat.load;
    let Flags {
        gaming,
        streaming,
        paid,
        enabled,
        is_static,
    } = Flags::default();
    let mut update = doc! {
        "$set": {
            "hostname": &heartbeat.hostname,
            "countryCode": &heartbeat.country_code,
            "country": &heartbeat.country,
            "region": heartbeat.region.clone(),
            "city": &heartbeat.city,
            "status": status.as_str(),
            "last_heartbeat": date(*at),
            "load": {"cpu": load.cpu, "ram": load.ram, "net": load.net},
            "services": services,
            "metrics": metrics,
        },
        "$setOnInsert": {
            "server_id": new_server_id(),
            "first_heartbeat": date(*at),
            "gaming": gaming,
            "streaming": streaming,
            "paid": paid,
            "enabled": enabled,
            "static": is_static,
        },
    };
    let (operator, rev) = if how.mend {
        ("$set", Timestamp::now().as_millisecond())
    } else {
        ("$inc", 1)
    };
    match update.get_document_mut(operator) {
        Ok(fields) => drop(fields.insert("rev", rev)),
        Err(_) => drop(update.insert(operator, doc! {"rev": rev})),
    }
    doc! {"q": query, "u": update, "upsert": how.insert}
}

/// How a heartbeat is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upsert {
    /// A host that is not found is inserted.
    pub(super) insert: bool,
    /// The record's version is no number that could be counted up: it gets one that is
    /// newer than any.
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

/// A spooled heartbeat as it is kept; `None` for a live one.
pub(super) fn history(beat: &Beat) -> Option<Document> {
    let collected_at = beat.collected_at()?;
    let heartbeat =
        serde_json::to_string(&beat.heartbeat).expect("a heartbeat is plain JSON");
    Some(
        doc! {"ip": beat.ip.to_string(), "collected_at": date(collected_at), "heartbeat": heartbeat},
    )
}

/// The update that sets a patch's flags and no others.
pub(super) fn flags_update(patch: FlagsPatch) -> Document {
    let FlagsPatch {
        gaming,
        streaming,
        paid,
        enabled,
        is_static,
    } = patch;
    let flags = [
        ("gaming", gaming),
        ("streaming", streaming),
        ("paid", paid),
        ("enabled", enabled),
        ("static", is_static),
    ];
    let set: Document = flags
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Bson::from(value?))))
        .collect();
    let mut update = doc! {"$inc": {"rev": 1_i64}};
    if !set.is_empty() {
        update.insert("$set", set);
    }
    update
}

/// A user; `None`, and a line in the log, for one without a name, a known role or a
/// password.
pub(super) fn user_from_document(document: &Document) -> Option<User> {
    let read = || {
        Some(User {
            username: document.get_str("username").ok()?.to_owned(),
            role: document.get_str("role").ok()?.parse::<Role>().ok()?,
            hashed_password: document.get_str("hashed_password").ok()?.to_owned(),
            token_version: document
                .get_str("token_version")
                .unwrap_or_default()
                .to_owned(),
        })
    };
    let user = read();
    if user.is_none() {
        log::warn!(
            "a damaged user in MongoDB is left out: {:?}",
            document.get("_id")
        );
    }
    user
}
