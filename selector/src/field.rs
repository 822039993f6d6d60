//! The fields that a selector may ask about.

use crate::text::show_name;

/// A field of a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    /// The host's address.
    Ip,
    /// The name that the server has given the host.
    ServerId,
    /// The name that the host gives itself.
    Hostname,
    /// The country's code or its name: either will do.
    Country,
    /// The region within the country.
    Region,
    /// The city.
    City,
    /// `active` or `down`.
    Status,
    /// The version of the agent.
    AgentVersion,
    /// The flag of this name, as the next ones.
    Enabled,
    /// See [`Field::Enabled`].
    Static,
    /// See [`Field::Enabled`].
    Gaming,
    /// See [`Field::Enabled`].
    Streaming,
    /// See [`Field::Enabled`].
    Paid,
    /// Whether the host is being drained.
    Draining,
    /// Whether the host is under maintenance.
    Maintenance,
    /// The load that feeds publish, in percent.
    Load,
    /// The processor's load, in percent.
    LoadCpu,
    /// The memory in use, in percent.
    LoadRam,
    /// The load of the network, in percent.
    LoadNet,
    /// The number of VPN clients.
    Clients,
    /// The age of the newest heartbeat.
    LastHeartbeat,
    /// Whether the service of this name is active.
    Service(String),
    /// The value of the tag of this key; empty for a tag without a value.
    Tag(String),
    /// The metric of this name.
    Metric(String),
}

/// The fields that a text may ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fields {
    /// Every field.
    All,
    /// Those that are [granting](Field::is_granting).
    Granting,
}

impl Fields {
    /// Whether the text may ask about `field`.
    ///
    /// # Errors
    /// What to ask about in its place.
    pub(crate) fn check(self, field: &Field) -> Result<(), String> {
        if self == Fields::All || field.is_granting() {
            return Ok(());
        }
        let (name, further) = field.names();
        Err(format!(
            "{name}{} cannot be used here, because hosts have a say in it: use ip, \
             server_id, enabled, static, gaming, streaming, paid or tag.KEY",
            further.map(show_name).unwrap_or_default()
        ))
    }
}

/// What the values of a field are, which decides how the field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Address,
    Status,
    Version,
    Switch,
    Number,
    Age,
    /// A text that may be compared as a number, too.
    Tag,
}

/// The fields whose names hold no further name, as they are written.
const FIELDS: [(&str, Field); 21] = [
    ("ip", Field::Ip),
    ("server_id", Field::ServerId),
    ("hostname", Field::Hostname),
    ("country", Field::Country),
    ("region", Field::Region),
    ("city", Field::City),
    ("status", Field::Status),
    ("agent_version", Field::AgentVersion),
    ("enabled", Field::Enabled),
    ("static", Field::Static),
    ("gaming", Field::Gaming),
    ("streaming", Field::Streaming),
    ("paid", Field::Paid),
    ("draining", Field::Draining),
    ("maintenance", Field::Maintenance),
    ("load", Field::Load),
    ("load.cpu", Field::LoadCpu),
    ("load.ram", Field::LoadRam),
    ("load.net", Field::LoadNet),
    ("clients", Field::Clients),
    ("last_heartbeat", Field::LastHeartbeat),
];

/// Makes the field that holds this further name.
pub(crate) type MakeField = fn(String) -> Field;

/// The fields that hold a further name: what comes before that name, and the field.
const NAMED: [(&str, MakeField); 3] = [
    ("service.", Field::Service),
    ("tag.", Field::Tag),
    ("metric.", Field::Metric),
];

/// What people write in place of a field's name.
const MEANT: [(&str, &str); 12] = [
    ("address", "ip"),
    ("host", "hostname"),
    ("name", "hostname"),
    ("country_code", "country"),
    ("countrycode", "country"),
    ("version", "agent_version"),
    ("drain", "draining"),
    ("cpu", "load.cpu"),
    ("ram", "load.ram"),
    ("net", "load.net"),
    ("last_seen", "last_heartbeat"),
    ("heartbeat", "last_heartbeat"),
];

impl Field {
    /// The field of this name that holds no further name.
    pub(crate) fn find(name: &str) -> Option<Field> {
        let known = FIELDS.iter().find(|(known, _)| *known == name);
        known.map(|(_, field)| field.clone())
    }

    /// How to make a field of the further name, and what of `word` is that name.
    pub(crate) fn find_named(word: &str) -> Option<(MakeField, &str)> {
        NAMED
            .into_iter()
            .find_map(|(start, make)| Some((make, word.strip_prefix(start)?)))
    }

    /// The field's name, and the further name that it holds.
    pub(crate) fn names(&self) -> (&'static str, Option<&str>) {
        match self {
            Field::Service(name) => ("service.", Some(name)),
            Field::Tag(key) => ("tag.", Some(key)),
            Field::Metric(name) => ("metric.", Some(name)),
            plain => {
                let known = FIELDS.iter().find(|(_, known)| known == plain);
                (known.map_or("", |(name, _)| name), None)
            }
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Field::Ip => Kind::Address,
            Field::ServerId
            | Field::Hostname
            | Field::Country
            | Field::Region
            | Field::City => Kind::Text,
            Field::Status => Kind::Status,
            Field::AgentVersion => Kind::Version,
            Field::Enabled
            | Field::Static
            | Field::Gaming
            | Field::Streaming
            | Field::Paid
            | Field::Draining
            | Field::Maintenance
            | Field::Service(_) => Kind::Switch,
            Field::Load
            | Field::LoadCpu
            | Field::LoadRam
            | Field::LoadNet
            | Field::Clients
            | Field::Metric(_) => Kind::Number,
            Field::LastHeartbeat => Kind::Age,
            Field::Tag(_) => Kind::Tag,
        }
    }

    /// Whether the field is no host's own word. `draining` is, in part: a host may drain
    /// itself.
    #[must_use]
    pub fn is_granting(&self) -> bool {
        matches!(
            self,
            Field::Ip
                | Field::ServerId
                | Field::Enabled
                | Field::Static
                | Field::Gaming
                | Field::Streaming
                | Field::Paid
                | Field::Tag(_)
        )
    }
}

/// The field that somebody probably means who writes `word`.
pub(crate) fn meant(word: &str) -> Option<String> {
    let word = word.to_ascii_lowercase();
    for (start, _) in NAMED {
        // `services.wg` for `service.wg`.
        let plural = format!("{}s.", start.trim_end_matches('.'));
        for wrong in [plural.as_str(), start] {
            if let Some(name) = word.strip_prefix(wrong) {
                return Some(format!("{start}{name}"));
            }
        }
    }

    let same = FIELDS.iter().find(|(known, _)| *known == word);
    let other = MEANT.iter().find(|(wrong, _)| *wrong == word);
    let found = same.map(|(known, _)| *known);
    found
        .or(other.map(|(_, right)| *right))
        .map(ToOwned::to_owned)
}

/// All names, for messages.
pub(crate) fn list() -> String {
    let plain = FIELDS.iter().map(|(name, _)| (*name).to_owned());
    let named = [("service.", "NAME"), ("tag.", "KEY"), ("metric.", "NAME")];
    let named = named.map(|(start, name)| format!("{start}{name}"));
    plain.chain(named).collect::<Vec<_>>().join(", ")
}
