//! A channel: settings that were accepted, and what sends by them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use fleetbeat_protocol::{FieldError, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::{SendError, Sent};
use crate::fields::{Fields, Values};
use crate::guard::Guard;
use crate::kind::{Kind, Peer};
use crate::kinds::{self, KINDS};
use crate::message::{Item, Message};
use crate::sealed::{Closed, Keys};
use crate::sender::Sender;
use crate::url::Url;

/// The settings of a channel, as they are kept.
#[derive(Clone)]
pub struct Settings {
    kind: &'static Kind,
    values: Values,
}

/// Settings in the store: what anybody may see, and the rest, sealed.
#[derive(Serialize, Deserialize)]
struct Stored {
    kind: String,
    settings: Map<String, Value>,
    sealed: String,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({}, {})", self.kind.name, self.shown())
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Settings) -> bool {
        self.kind.name == other.kind.name && self.values == other.values
    }
}

impl Settings {
    /// The settings of a channel of `kind`, as somebody wants to set them. `before` is
    /// what they replace: secrets that are not given stay, unless messages go elsewhere.
    ///
    /// # Errors
    /// Each fault with its field; `kind` for an unknown kind.
    pub fn from_json(
        kind: &str,
        json: &Json<'_>,
        before: Option<&Settings>,
        guard: &Guard,
    ) -> Result<Settings, Vec<FieldError>> {
        let Some(kind) = kinds::find(kind) else {
            let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
            let message = format!("must be one of {}", names.join(", "));
            return Err(vec![FieldError::new("kind", message)]);
        };
        let before = before.filter(|before| before.kind.name == kind.name);
        let before = before.map(|before| &before.values);

        let mut fields = Fields::new(json, before, Some(guard))?;
        (kind.build)(&mut fields);
        let values = fields.finish()?;
        Ok(Settings { kind, values })
    }

    /// The name of the kind.
    pub fn kind(&self) -> &'static str {
        self.kind.name
    }

    /// What the API shows: of a secret only that it is set, of a secret URL also its host.
    pub fn shown(&self) -> Value {
        let mut shown = self.values.public.clone();
        for (name, secret) in &self.values.secrets {
            let host = Url::parse(secret).ok().map(|url| url.host);
            let value = match host {
                Some(host) => json!({"set": true, "host": host}),
                None => json!({"set": true}),
            };
            shown.insert(name.clone(), value);
        }
        Value::Object(shown)
    }

    /// The text for the store; secrets are sealed for the channel `id`.
    ///
    /// # Errors
    /// There is no key, or the system gives no randomness.
    pub fn store(&self, keys: &Keys, id: &str) -> Result<String, Closed> {
        let secrets = json!(self.values.secrets).to_string();
        let stored = Stored {
            kind: self.kind.name.to_owned(),
            settings: self.values.public.clone(),
            sealed: keys.seal(id, secrets.as_bytes())?,
        };
        Ok(json!(stored).to_string())
    }

    /// The settings of a text of [`store`](Settings::store), and whether the current key
    /// has sealed it: if not, the text is to be stored anew.
    ///
    /// # Errors
    /// No key opens the secrets.
    pub fn open(text: &str, keys: &Keys, id: &str) -> Result<(Settings, bool), Closed> {
        let stored: Stored = serde_json::from_str(text).map_err(|_| Closed)?;
        let kind = kinds::find(&stored.kind).ok_or(Closed)?;
        let (secrets, is_current) = keys.open(id, &stored.sealed)?;
        let values = Values {
            public: stored.settings,
            secrets: serde_json::from_slice(&secrets).map_err(|_| Closed)?,
        };
        Ok((Settings { kind, values }, is_current))
    }

    /// What anybody may see of a stored text, also if no key opens it.
    pub fn peek(text: &str) -> Option<(String, Value)> {
        let stored: Stored = serde_json::from_str(text).ok()?;
        Some((stored.kind, Value::Object(stored.settings)))
    }
}

/// A channel that is ready to send.
pub struct Channel {
    kind: &'static Kind,
    peer: Box<dyn Peer>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({})", self.kind.name)
    }
}

impl Channel {
    /// # Errors
    /// The settings were accepted by another version of the program, and this one needs
    /// others.
    pub fn new(settings: &Settings) -> Result<Channel, Vec<FieldError>> {
        let Values { public, secrets } = &settings.values;
        let public = public.iter().map(|(name, value)| (name, to_json(value)));
        let secrets = secrets
            .iter()
            .map(|(name, secret)| (name, Json::Text(Cow::Borrowed(secret))));
        let members = public.chain(secrets);
        let members = members.map(|(name, value)| (Cow::Borrowed(name.as_str()), value));
        let json = Json::Object(members.collect());

        let mut fields = Fields::new(&json, None, None)?;
        let peer = (settings.kind.build)(&mut fields);
        fields.finish()?;
        let peer = peer.ok_or_else(Vec::new)?;
        Ok(Channel {
            kind: settings.kind,
            peer,
        })
    }

    /// Sends a message; takes 15 s at most, with mail 30 s, and PagerDuty 60 s.
    ///
    /// # Errors
    /// The peer has not taken the message.
    pub fn send(&self, message: &Message, sender: &Sender) -> Result<Sent, SendError> {
        // There is nothing to take care of once all is over.
        let is_firing = message.items.iter().any(Item::is_firing);
        if is_firing || message.links.ack.is_none() {
            return self.peer.send(message, sender);
        }
        let mut message = message.clone();
        message.links.ack = None;
        self.peer.send(&message, sender)
    }

    /// The least time between two messages that the peer takes well.
    pub fn gap(&self) -> Duration {
        self.kind.gap
    }

    /// For a peer that forgets: how often it wants to be told all that fires, with a
    /// message of [`MessageKind::Alive`](crate::MessageKind::Alive).
    pub fn keeps_alive(&self) -> Option<Duration> {
        self.kind.keeps_alive
    }
}

/// A stored value as it was sent.
fn to_json(value: &Value) -> Json<'_> {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Number(number) => Json::Number(number.as_f64().unwrap_or_default()),
        Value::String(text) => Json::Text(Cow::Borrowed(text)),
        Value::Array(elements) => Json::Array(elements.iter().map(to_json).collect()),
        Value::Object(members) => {
            let members = members.iter();
            let member =
                |(name, value)| (Cow::Borrowed(String::as_str(name)), to_json(value));
            Json::Object(members.map(member).collect())
        }
    }
}
