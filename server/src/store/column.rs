//! The table of what a host's record holds. Both backends work through it.
//!
//! A line of the table says how a field is called in SQLite and in MongoDB, of which kind
//! the values are, and where a value is in a heartbeat and in a record. The backends make
//! statements and documents from the table, and each backend knows how to write and read
//! the six kinds. So a new field of the heartbeat takes a line here and a step of
//! SQLite's schema (`embedded/schema.rs`). The alternative, to name each field in every
//! statement and document of every backend, had nine places that could disagree.
//!
//! The address, the id, the status and the times are not in the table, because a
//! heartbeat does not say them. A backend names them once, with the rule that each
//! follows.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fleetbeat_protocol::{
    Flags, FlagsPatch, Heartbeat, HostState, Load, Server, Service, Settings, Status,
    Tags, Timestamp,
};

use super::event::{Act, EventKind, NewEvent, facts};

/// A field of a record that each heartbeat sets.
pub(super) struct Column {
    /// The column in SQLite.
    pub(super) sql: &'static str,
    /// The path in MongoDB: the field's name, after the names of the documents around the
    /// field.
    pub(super) bson: &'static [&'static str],
    /// The kind of the values, and where a value is.
    pub(super) kind: Kind,
}

/// The kind of a column's values.
pub(super) enum Kind {
    /// A text, which may be empty.
    Text(Place<String>),
    /// A text, or nothing.
    OptionalText(Place<Option<String>>),
    /// A number, or nothing where it could not be measured.
    Number(Place<Option<f64>>),
    /// The watched services. JSON in SQLite, an array in MongoDB.
    Services(Place<Vec<Service>>),
    /// Numbers by name. JSON in SQLite, a document in MongoDB.
    Metrics(Place<BTreeMap<String, f64>>),
    /// Texts by name. JSON in SQLite, a document in MongoDB.
    Tags(Place<Tags>),
}

/// Where a column's value is: written from a heartbeat, read into a record.
pub(super) struct Place<T> {
    /// The value in a heartbeat.
    pub(super) in_heartbeat: fn(&Heartbeat) -> &T,
    /// The value in a record.
    pub(super) in_server: fn(&mut Server) -> &mut T,
}

macro_rules! columns {
    ($($sql:literal $bson:tt $kind:ident $($field:ident).+;)+) => {
        &[$(Column {
            sql: $sql,
            bson: &$bson,
            kind: Kind::$kind(Place {
                in_heartbeat: |heartbeat| &heartbeat.$($field).+,
                in_server: |server| &mut server.$($field).+,
            }),
        }),+]
    };
}

/// The fields that each heartbeat sets.
pub(super) const COLUMNS: &[Column] = columns! {
    // SQLite       MongoDB          kind         heartbeat and record
    "hostname"      ["hostname"]     Text         hostname;
    "country_code"  ["countryCode"]  Text         country_code;
    "country"       ["country"]      Text         country;
    "region"        ["region"]       OptionalText region;
    "city"          ["city"]         Text         city;
    "cpu"           ["load", "cpu"]  Number       load.cpu;
    "ram"           ["load", "ram"]  Number       load.ram;
    "net"           ["load", "net"]  Number       load.net;
    "services"      ["services"]     Services     services;
    "metrics"       ["metrics"]      Metrics      metrics;
    "agent_version" ["agent_version"] OptionalText agent_version;
    "agent_tags"    ["agent_tags"]   Tags         agent_tags;
};

/// A flag of a record: set by admins, never by a heartbeat.
pub(super) struct Flag {
    /// The name, the same in SQLite, in MongoDB and in the API.
    pub(super) name: &'static str,
    /// The flag's value among all flags.
    pub(super) in_flags: fn(&mut Flags) -> &mut bool,
    /// What a patch makes of the flag; `None` leaves it as it is.
    pub(super) in_patch: fn(&FlagsPatch) -> Option<bool>,
}

macro_rules! flags {
    ($($name:literal $field:ident;)+) => {
        &[$(Flag {
            name: $name,
            in_flags: |flags| &mut flags.$field,
            in_patch: |patch| patch.$field,
        }),+]
    };
}

/// Every flag.
pub(super) const FLAGS: &[Flag] = flags! {
    "gaming"     gaming;
    "streaming"  streaming;
    "paid"       paid;
    "enabled"    enabled;
    "static"     is_static;
};

impl Flag {
    /// The flag's value on a host until an admin sets the flag.
    pub(super) fn default(&self) -> bool {
        *(self.in_flags)(&mut Flags::default())
    }
}

/// The events of a patch: one for each flag that it gives another value than `before`.
pub(super) fn flag_changes(
    mut before: Flags,
    patch: FlagsPatch,
    act: &Act,
) -> Vec<NewEvent> {
    let change = |flag: &Flag| {
        let (from, to) = (*(flag.in_flags)(&mut before), (flag.in_patch)(&patch)?);
        let members = [
            ("flag", flag.name.into()),
            ("from", from.into()),
            ("to", to.into()),
        ];
        (from != to).then(|| act.event(EventKind::FlagChanged, facts(members)))
    };
    FLAGS.iter().filter_map(change).collect()
}

/// The part of a record that is neither column, nor flag, nor what else admins have set.
pub(super) struct Identity {
    pub(super) ip: IpAddr,
    pub(super) server_id: String,
    pub(super) status: Status,
    pub(super) last_heartbeat: Timestamp,
    pub(super) first_heartbeat: Timestamp,
    pub(super) up_since: Option<Timestamp>,
    pub(super) observed_ip: Option<IpAddr>,
    pub(super) ip_confirmed: bool,
}

impl Identity {
    /// A record in which all else has its default, for the backend to read it into.
    pub(super) fn into_server(self) -> Server {
        Server {
            server_id: self.server_id,
            ip: self.ip,
            status: self.status,
            last_heartbeat: self.last_heartbeat,
            first_heartbeat: self.first_heartbeat,
            up_since: self.up_since,
            observed_ip: self.observed_ip,
            ip_confirmed: self.ip_confirmed,
            hostname: String::new(),
            country_code: String::new(),
            country: String::new(),
            region: None,
            city: String::new(),
            load: Load::default(),
            services: Vec::new(),
            metrics: BTreeMap::new(),
            agent_version: None,
            agent_tags: Tags::new(),
            tags: Tags::new(),
            state: HostState::default(),
            settings: Settings::default(),
            flags: Flags::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// For a new field the compiler asks for a default in [`Identity::into_server`], and
    /// this test for a line in a table.
    #[test]
    fn every_field_of_a_record_is_in_a_table_or_in_the_identity() {
        let identity = Identity {
            ip: IpAddr::from([192, 0, 2, 1]),
            server_id: String::new(),
            status: Status::Down,
            last_heartbeat: Timestamp::UNIX_EPOCH,
            first_heartbeat: Timestamp::UNIX_EPOCH,
            up_since: None,
            observed_ip: None,
            ip_confirmed: false,
        };
        let named = [
            "ip",
            "server_id",
            "status",
            "last_heartbeat",
            "first_heartbeat",
            "up_since",
            "observed_ip",
            "ip_confirmed",
            "tags",
            "state",
            "settings",
        ];
        let columns = COLUMNS.iter().map(|column| column.bson[0]);
        let flags = FLAGS.iter().map(|flag| flag.name);
        let in_tables: BTreeSet<&str> =
            named.into_iter().chain(columns).chain(flags).collect();
        let record = serde_json::to_value(identity.into_server()).unwrap();
        let in_record: BTreeSet<&str> = record
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(in_tables, in_record);
    }
}
