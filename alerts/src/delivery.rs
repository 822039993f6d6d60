//! Deliveries: messages on their way to a channel.

use fleetbeat_protocol::{Severity, Timestamp};
use serde::{Deserialize, Serialize};

use crate::alert::{Alert, DeliveryRef, EndReason};
use crate::news::News;

/// A message on its way to one channel. What it says of each alert is decided when it is
/// tried for the first time: the items say which alerts it is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// `dlv-` and 16 hexadecimal digits.
    pub id: String,
    /// Its place in the order of all deliveries.
    pub number: i64,
    /// The channel's id.
    pub channel: String,
    /// What it is about.
    pub kind: DeliveryKind,
    /// When it was queued.
    pub created_at: Timestamp,
    /// The alerts, each with what is to be told of it.
    pub items: Vec<DeliveryItem>,
    /// The ids of the deliveries whose items it has taken over.
    #[serde(default)]
    pub folds: Vec<String>,
}

/// What a delivery is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryKind {
    /// Alerts of one rule and group.
    Alerts {
        /// The rule's id.
        rule: String,
        /// The values of the rule's `group_by`.
        group: Vec<(String, String)>,
    },
    /// Alerts of many messages that could not be sent one by one.
    Digest,
    /// Another channel cannot be reached.
    ChannelFails {
        /// The other channel's id.
        channel: String,
        /// Since when.
        since: Timestamp,
    },
}

/// An alert in a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryItem {
    /// The alert's id.
    pub alert: String,
    /// What is told of it.
    pub news: News,
    /// In a digest: the delivery that it was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<String>,
}

impl Delivery {
    /// The items, each with the delivery for which it was queued first: marks name that
    /// one.
    pub(crate) fn origins(&self) -> impl Iterator<Item = (&DeliveryItem, &str)> {
        let items = self.items.iter();
        items.map(|item| (item, item.taken_from.as_deref().unwrap_or(&self.id)))
    }

    /// What alerts name it by.
    pub(crate) fn reference(&self) -> DeliveryRef {
        DeliveryRef {
            id: self.id.clone(),
            number: self.number,
        }
    }
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// It waits to be tried, for the first time or again.
    Waiting,
    /// It is being tried.
    Sending,
    /// The channel has it.
    Sent,
    /// It could not be sent.
    Dead,
    /// Somebody has put a dead one away.
    Dismissed,
    /// Another delivery has its items, or there was nothing left to tell.
    Folded,
}

impl DeliveryState {
    /// The state's name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Waiting => "waiting",
            DeliveryState::Sending => "sending",
            DeliveryState::Sent => "sent",
            DeliveryState::Dead => "dead",
            DeliveryState::Dismissed => "dismissed",
            DeliveryState::Folded => "folded",
        }
    }
}

/// What is to be told, for whoever writes the message's text.
#[derive(Debug)]
pub struct Draft<'a> {
    /// The delivery.
    pub delivery: &'a Delivery,
    /// The worst of its alerts.
    pub severity: Severity,
    /// The alerts as they are now. Empty for [`DeliveryKind::ChannelFails`].
    pub items: Vec<DraftItem<'a>>,
    /// How many alerts of the rule and group fire now.
    pub firing: usize,
    /// If all is about one host: what else fires there.
    pub also: Vec<&'a Alert>,
}

/// An alert in a draft.
#[derive(Debug)]
pub struct DraftItem<'a> {
    /// The alert as it is now.
    pub alert: &'a Alert,
    /// What is told of it.
    pub news: News,
    /// For what is over: why, where nothing recovered.
    pub reason: Option<EndReason>,
    /// The delivery that told the channel of the firing, if another one did.
    pub firing: Option<DeliveryRef>,
}

/// A delivery that is to be tried now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The delivery's id.
    pub id: String,
    /// The channel's id.
    pub channel: String,
    /// How often it has been tried before.
    pub tries: u32,
    /// What is to be sent: the same at each try.
    pub message: String,
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The channel has it.
    Sent,
    /// It may go another time.
    Failed {
        /// The class of the error.
        error: String,
        /// How long the channel asks to wait.
        retry_after: Option<std::time::Duration>,
    },
    /// It will never go.
    Refused {
        /// The class of the error.
        error: String,
    },
}

/// What becomes of a delivery after a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The channel has it.
    Sent,
    /// It is tried again.
    Again {
        /// Not before.
        at: Timestamp,
        /// The class of the error.
        error: String,
    },
    /// It is not tried again.
    Dead {
        /// The class of the error.
        error: String,
    },
}
