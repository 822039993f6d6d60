//! A monitored VPN host as the API shows it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::field::{self, Errors, Object};
use crate::heartbeat::{Load, Service};
use crate::json::Json;
use crate::problem::FieldError;
use crate::settings::Settings;
use crate::state::HostState;
use crate::tags::Tags;
use crate::timestamp::Timestamp;

/// What is stored of a VPN host, with the names that `GET /servers` has. What follows from
/// it is an [`Offer`](crate::Offer).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// `srv-` and eight hexadecimal digits, given at the first heartbeat.
    pub server_id: String,
    /// The host's address in canonical form; unique.
    pub ip: IpAddr,
    /// The host's name.
    pub hostname: String,
    /// ISO 3166 alpha-2, or empty.
    #[serde(rename = "countryCode")]
    pub country_code: String,
    /// The country's name, or empty.
    pub country: String,
    /// The region within the country.
    pub region: Option<String>,
    /// The city, or empty.
    pub city: String,
    /// Whether heartbeats arrive.
    pub status: Status,
    /// When the newest heartbeat arrived.
    pub last_heartbeat: Timestamp,
    /// When the first heartbeat arrived.
    pub first_heartbeat: Timestamp,
    /// When the first heartbeat arrived after the host was down, or ever. `None` if that was
    /// before this was noted.
    #[serde(default)]
    pub up_since: Option<Timestamp>,
    /// The newest heartbeat's load.
    pub load: Load,
    /// The newest heartbeat's services.
    pub services: Vec<Service>,
    /// The newest heartbeat's metrics.
    pub metrics: BTreeMap<String, f64>,
    /// The version of the agent that has sent the newest heartbeat, if it has told one.
    #[serde(default)]
    pub agent_version: Option<String>,
    /// The newest heartbeat's tags. Whoever has the host's root account chooses them, so
    /// they never grant anything.
    #[serde(default)]
    pub agent_tags: Tags,
    /// The address that the last live heartbeat's connection came from, as far as the
    /// connection told one.
    #[serde(default)]
    pub observed_ip: Option<IpAddr>,
    /// Whether heartbeats have come from the host's very address since the host has it.
    #[serde(default)]
    pub ip_confirmed: bool,
    /// The tags that admins have set. No heartbeat ever changes one.
    #[serde(default)]
    pub tags: Tags,
    /// How the host is to be used. In a record, this is what admins have set last, also
    /// when it is over.
    #[serde(default)]
    pub state: HostState,
    /// What admins know of the host that it does not tell.
    #[serde(default)]
    pub settings: Settings,
    /// What admins set; in JSON, the flags stand beside the fields above.
    #[serde(flatten)]
    pub flags: Flags,
}

/// Whether a host is heard from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Heartbeats of the host arrive.
    Active,
    /// The host has been silent for longer than the server's `sweep.down_after`.
    Down,
}

impl Status {
    /// The status's name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Down => "down",
        }
    }
}

/// What admins set on a host. No heartbeat ever changes a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "five independent switches are what the API has"
)]
pub struct Flags {
    /// Offered for gaming.
    pub gaming: bool,
    /// Offered for streaming.
    pub streaming: bool,
    /// For paying customers only.
    pub paid: bool,
    /// Shown to apps at all.
    pub enabled: bool,
    /// Never deleted, however long the host is silent.
    #[serde(rename = "static")]
    pub is_static: bool,
}

impl Default for Flags {
    fn default() -> Self {
        Flags {
            gaming: false,
            streaming: false,
            paid: false,
            enabled: true,
            is_static: false,
        }
    }
}

/// The body of `PATCH /server/{ip}/config`: the flags to set; a flag that is `None` stays
/// as before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of Flags")]
pub struct FlagsPatch {
    pub gaming: Option<bool>,
    pub streaming: Option<bool>,
    pub paid: Option<bool>,
    pub enabled: Option<bool>,
    pub is_static: Option<bool>,
}

impl FlagsPatch {
    /// The patch that `json` holds.
    ///
    /// # Errors
    /// Every member that is not a flag, and every flag that is not a boolean.
    pub fn from_json(json: &Json<'_>) -> Result<FlagsPatch, Vec<FieldError>> {
        let mut errors = Errors::default();
        let patch = FlagsPatch::read("", json, &mut errors);
        errors.into_result(patch)
    }

    /// The patch that `json` holds, which is at `path` in its body.
    pub(crate) fn read(path: &str, json: &Json<'_>, errors: &mut Errors) -> FlagsPatch {
        let mut patch = FlagsPatch::default();
        let Some(object) = Object::new(path, json, errors) else {
            return patch;
        };

        for (name, value) in object.members() {
            let field = object.field(name);
            match patch.named(name) {
                Some(flag) => *flag = field::boolean(&field, value, errors),
                None => errors.add(
                    field,
                    "is no flag: use gaming, streaming, paid, enabled or static",
                ),
            }
        }
        patch
    }

    /// The names of all flags, as [`FlagsPatch::named`] knows them.
    pub(crate) const NAMES: [&'static str; 5] =
        ["gaming", "streaming", "paid", "enabled", "static"];

    /// The flag of this name on the wire.
    pub(crate) fn named(&mut self, name: &str) -> Option<&mut Option<bool>> {
        Some(match name {
            "gaming" => &mut self.gaming,
            "streaming" => &mut self.streaming,
            "paid" => &mut self.paid,
            "enabled" => &mut self.enabled,
            "static" => &mut self.is_static,
            _ => return None,
        })
    }

    /// This patch, with `later` in place of what both name.
    #[must_use]
    pub fn then(self, later: FlagsPatch) -> FlagsPatch {
        FlagsPatch {
            gaming: later.gaming.or(self.gaming),
            streaming: later.streaming.or(self.streaming),
            paid: later.paid.or(self.paid),
            enabled: later.enabled.or(self.enabled),
            is_static: later.is_static.or(self.is_static),
        }
    }

    /// `flags` with the patch applied.
    pub fn apply(self, flags: Flags) -> Flags {
        Flags {
            gaming: self.gaming.unwrap_or(flags.gaming),
            streaming: self.streaming.unwrap_or(flags.streaming),
            paid: self.paid.unwrap_or(flags.paid),
            enabled: self.enabled.unwrap_or(flags.enabled),
            is_static: self.is_static.unwrap_or(flags.is_static),
        }
    }
}
