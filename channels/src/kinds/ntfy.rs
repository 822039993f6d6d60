//! ntfy: its JSON, with a priority, tags and a button that acknowledges.

use fleetbeat_protocol::Severity;
use serde_json::json;

use crate::error::{SendError, Sent};
use crate::fields::{Fields, Need};
use crate::kind::Peer;
use crate::message::{Item, Message, MessageKind};
use crate::sender::{Request, Sender};
use crate::text::{PLAIN, Style, Text};

/// ntfy makes an attachment of what is longer than 4096 bytes.
const TEXT: Style = Style {
    max: 3900,
    measure: str::len,
    ..PLAIN
};
/// Longest title, in bytes.
const MAX_TITLE: usize = 250;

/// A topic of ntfy.
struct Ntfy {
    url: String,
    topic: String,
    token: Option<String>,
}

pub(super) fn build(fields: &mut Fields<'_>) -> Option<Box<dyn Peer>> {
    let url = fields.url("url", Some("https://ntfy.sh"));
    let topic = fields.text("topic", 64, Need::Required);
    let token = fields.secret("token", 200, Need::Optional);

    let is_topic = |topic: &String| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        topic.bytes().all(is_allowed)
    };
    if topic.as_ref().is_some_and(|topic| !is_topic(topic)) {
        fields.fault("topic", "must have only letters, digits, _ and -");
    }
    Some(Box::new(Ntfy {
        url: url?.join("/"),
        topic: topic?,
        token,
    }))
}

impl Peer for Ntfy {
    fn send(&self, message: &Message, sender: &Sender) -> Result<Sent, SendError> {
        let text = Text::of(message);
        let (priority, tag) = urgency(message);
        let mut body = json!({
            "topic": self.topic,
            "title": text.title_within(MAX_TITLE, str::len),
            "message": text.body(&TEXT),
            "priority": priority,
            "tags": [tag],
        });
        if let Some(url) = &message.links.alerts {
            body["click"] = json!(url);
        }
        if let Some(url) = &message.links.ack {
            let action = json!({"action": "view", "label": "Acknowledge", "url": url});
            body["actions"] = json!([action]);
        }

        let mut request = Request::json(&self.url, body.to_string());
        if let Some(token) = &self.token {
            request = request.with("Authorization", format!("Bearer {token}"));
        }
        sender.call(&request)?.judge()
    }
}

/// The priority, and the word that ntfy shows as a picture.
fn urgency(message: &Message) -> (u8, &'static str) {
    let is_firing = message.items.iter().any(Item::is_firing);
    match message.severity {
        _ if message.kind == MessageKind::Test => (3, "test_tube"),
        _ if !is_firing => (3, "white_check_mark"),
        Severity::Critical => (5, "rotating_light"),
        Severity::Warning => (4, "warning"),
        Severity::Info => (3, "information_source"),
    }
}
