//! API tokens: what programs show in place of a user's login.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::account::Role;
use crate::field::{self, Errors, Object};
use crate::json::Json;
use crate::limits::{MAX_NAME_CHARS, MAX_TEXT_CHARS};
use crate::problem::FieldError;
use crate::timestamp::Timestamp;

/// The most networks from which one API token may be used.
const MAX_NETWORKS: usize = 64;

/// Something that an API token may do, if its maker may do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// Read the hosts.
    #[serde(rename = "servers:read")]
    ServersRead,
    /// Read what hosts have reported before.
    #[serde(rename = "history:read")]
    HistoryRead,
    /// Read what has happened.
    #[serde(rename = "events:read")]
    EventsRead,
    /// Read what is wrong.
    #[serde(rename = "alerts:read")]
    AlertsRead,
    /// Set hosts' flags.
    #[serde(rename = "flags:write")]
    FlagsWrite,
    /// Silence alerts.
    #[serde(rename = "mutes:write")]
    MutesWrite,
    /// Read the hosts as targets of Prometheus.
    #[serde(rename = "sd:read")]
    SdRead,
    /// Read the server's own metrics.
    #[serde(rename = "metrics:read")]
    MetricsRead,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 8] = [
        Scope::ServersRead,
        Scope::HistoryRead,
        Scope::EventsRead,
        Scope::AlertsRead,
        Scope::FlagsWrite,
        Scope::MutesWrite,
        Scope::SdRead,
        Scope::MetricsRead,
    ];

    /// The scope's name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::ServersRead => "servers:read",
            Scope::HistoryRead => "history:read",
            Scope::EventsRead => "events:read",
            Scope::AlertsRead => "alerts:read",
            Scope::FlagsWrite => "flags:write",
            Scope::MutesWrite => "mutes:write",
            Scope::SdRead => "sd:read",
            Scope::MetricsRead => "metrics:read",
        }
    }

    /// The least role of a user who may do this.
    pub const fn least_role(self) -> Role {
        match self {
            Scope::FlagsWrite | Scope::MutesWrite => Role::Admin,
            _ => Role::Readonly,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Scope::ALL.into_iter();
        all.find(|scope| scope.as_str() == text).ok_or_else(|| {
            let all: Vec<&str> = Scope::ALL.into_iter().map(Scope::as_str).collect();
            format!("is not a scope: use {}", all.join(", "))
        })
    }
}

/// The body of `POST /tokens`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiToken {
    /// What the token is for, in its maker's words.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// How long it is valid, such as `90d`.
    pub expires_in: String,
    /// From where it may be used; empty for everywhere. Addresses and networks, as
    /// text.
    pub networks: Vec<String>,
}

impl NewApiToken {
    /// The token that `json` describes.
    ///
    /// # Errors
    /// Every field that is missing, unknown or of another type, and every scope that
    /// there is not.
    pub fn from_json(json: &Json<'_>) -> Result<NewApiToken, Vec<FieldError>> {
        let mut errors = Errors::default();
        let Some(object) = Object::new("", json, &mut errors) else {
            return Err(errors.into_vec());
        };
        let known = ["name", "scopes", "expires_in", "networks"];
        object.refuse_others(&known, &mut errors);

        let name = object.required_text("name", MAX_NAME_CHARS, &mut errors);
        if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
            errors.add("name", "must say what the token is for");
        }
        field::check_seen("name", name.as_deref(), &mut errors);
        let expires_in = object.required_text("expires_in", MAX_TEXT_CHARS, &mut errors);
        let token = NewApiToken {
            name: name.unwrap_or_default(),
            scopes: parse_scopes(&object, &mut errors),
            expires_in: expires_in.unwrap_or_default(),
            networks: parse_networks(&object, &mut errors),
        };
        errors.into_result(token)
    }
}

fn parse_scopes(object: &Object<'_>, errors: &mut Errors) -> Vec<Scope> {
    let elements = object.required_array("scopes", errors);
    if elements.is_empty() && matches!(object.get("scopes"), Some(Json::Array(_))) {
        errors.add("scopes", "must name at least one scope");
    }

    let mut scopes = Vec::new();
    for (path, element) in elements {
        let Some(name) = field::text(&path, element, MAX_TEXT_CHARS, errors) else {
            continue;
        };
        match name.parse() {
            Ok(scope) if scopes.contains(&scope) => errors.add(path, "is given twice"),
            Ok(scope) => scopes.push(scope),
            Err(message) => errors.add(path, message),
        }
    }
    scopes.sort_unstable();
    scopes
}

fn parse_networks(object: &Object<'_>, errors: &mut Errors) -> Vec<String> {
    let elements = object.optional_array("networks", errors);
    if elements.len() > MAX_NETWORKS {
        errors.add("networks", format!("has more than {MAX_NETWORKS} networks"));
        return Vec::new();
    }

    let text = |(path, element): (String, &Json<'_>)| {
        field::text(&path, element, MAX_TEXT_CHARS, errors).map(str::to_owned)
    };
    elements.into_iter().filter_map(text).collect()
}

/// An API token as `GET /tokens` shows it: without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownApiToken {
    /// The part of the token that may be seen.
    pub id: String,
    /// What the token is for.
    pub name: String,
    /// The user who has made it, and whose role is its ceiling.
    pub username: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// From where it may be used; empty for everywhere.
    pub networks: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The day on which it was used last, as that day's midnight in UTC; `null` if it
    /// never was.
    pub last_used_on: Option<Timestamp>,
}

/// The answer of `POST /tokens`: the only one that shows the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// The bearer token.
    pub token: String,
    /// What `GET /tokens` shows of it.
    #[serde(flatten)]
    pub shown: ShownApiToken,
}
