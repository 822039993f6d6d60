//! What a channel tells people. A message is made once, kept as JSON with its delivery,
//! and sent with the same content at each try.

use std::net::IpAddr;

use fleetbeat_protocol::{Severity, Timestamp};
use serde::{Deserialize, Serialize};

/// A message for a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The delivery's id (`dlv-` and 16 hex digits). A receiver knows a message that
    /// comes twice by the id.
    pub id: String,
    /// What the message is for.
    pub kind: MessageKind,
    /// The highest severity among the items.
    pub severity: Severity,
    /// The groups of the items: one for [`MessageKind::Alerts`], several for
    /// [`MessageKind::Digest`] and [`MessageKind::Alive`], none for
    /// [`MessageKind::Test`].
    #[serde(default)]
    pub groups: Vec<Group>,
    /// The news, the most important first.
    #[serde(default)]
    pub items: Vec<Item>,
    /// What else is affected, a line each: "4 alerts of these hosts are held back".
    #[serde(default)]
    pub also: Vec<String>,
    /// Where a person reads on.
    #[serde(default)]
    pub links: Links,
    /// When the message was made.
    pub made_at: Timestamp,
    /// The delivery that told the firing, if this message tells how it went on.
    #[serde(default)]
    pub reply_to: Option<String>,
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// News of alerts of one group.
    Alerts,
    /// News of many groups in one message, because the channel could not be reached.
    Digest,
    /// Somebody tries the channel.
    Test,
    /// All alerts that this channel was told of and that fire still. Only for channels
    /// that forget (see [`Channel::keeps_alive`](crate::Channel::keeps_alive)). Such a
    /// message is not a delivery and is never tried again.
    Alive,
}

/// Alerts of one rule that are told together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The rule; `None` for what the server tells of itself.
    pub rule: Option<RuleRef>,
    /// What the alerts of the group have in common: `("country", "DE")`.
    #[serde(default)]
    pub labels: Vec<(String, String)>,
    /// How many alerts of the group fire once this message is told. 0: all is well.
    pub firing: usize,
    /// How many hosts the rule looks at in this group, for "42 of 60".
    #[serde(default)]
    pub hosts: Option<usize>,
}

impl Group {
    /// A text that is the same for all messages of the group, for receivers that join
    /// messages by a key.
    pub fn key(&self) -> String {
        let rule = self.rule.as_ref().map_or("fleetbeat", |rule| &rule.id);
        let mut key = rule.to_owned();
        for (label, value) in &self.labels {
            for part in ["/", label, "=", value] {
                key.push_str(part);
            }
        }
        key
    }
}

/// A rule, as messages name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRef {
    /// The rule's id (`rul-…`).
    pub id: String,
    /// The rule's name.
    pub name: String,
    /// What the rule's maker wants the reader to know, such as where the runbook is.
    #[serde(default)]
    pub note: Option<String>,
}

/// The news of one alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// The alert's id (`alr-…`).
    pub alert: String,
    /// The place of the alert's group among [`Message::groups`].
    #[serde(default)]
    pub group: usize,
    /// What has happened. With `ended`, `Firing` and `Repeat` mean "has fired and is over
    /// already", and `Settled` means "is over".
    pub news: News,
    /// How bad it is.
    pub severity: Severity,
    /// Whom the alert is about.
    pub subject: Subject,
    /// What is wrong; stands behind the subject and a colon: "is down", "service openvpn
    /// is inactive", "`disk_used_percent` of /var".
    pub what: String,
    /// The measured value, for a rule with a limit.
    #[serde(default)]
    pub value: Option<f64>,
    /// The limit that the value has passed.
    #[serde(default)]
    pub limit: Option<f64>,
    /// The unit of value and limit, written directly behind the number: `%`, or empty.
    #[serde(default)]
    pub unit: String,
    /// When it began.
    pub since: Timestamp,
    /// When it ended.
    #[serde(default)]
    pub ended: Option<Timestamp>,
    /// Why it ended, if not because all is well: "the rule was deleted".
    #[serde(default)]
    pub reason: Option<String>,
    /// Who has taken care of it.
    #[serde(default)]
    pub acked_by: Option<String>,
}

impl Item {
    /// Whether the alert fires still, after this news.
    pub fn is_firing(&self) -> bool {
        self.ended.is_none() && self.news != News::Resolved
    }
}

/// What has happened to an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// It fires.
    Firing,
    /// It is over.
    Resolved,
    /// It fires still.
    Repeat,
    /// It comes and goes; nothing is told until it is stable.
    Flapping,
    /// It no longer comes and goes.
    Settled,
}

/// Whom an alert is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A host.
    Host {
        /// Its id.
        server_id: String,
        /// Its name.
        name: String,
        /// Its address.
        ip: Option<IpAddr>,
        /// Its country.
        country: Option<String>,
        /// Its city.
        city: Option<String>,
    },
    /// The hosts with a value in common.
    Group {
        /// What they have in common: `country`.
        label: String,
        /// The value.
        value: String,
    },
    /// The server of Fleetbeat itself.
    Server,
}

/// Where a person reads on; `None` where no address of the server is configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    /// The alerts in the dashboard.
    #[serde(default)]
    pub alerts: Option<String>,
    /// A page with a button that acknowledges; left out where nothing fires.
    #[serde(default)]
    pub ack: Option<String>,
}
