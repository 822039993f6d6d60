//! Prometheus' Alertmanager: `POST /api/v2/alerts`. It forgets an alert that is not told
//! again, so that a server that dies leaves none behind.

use std::collections::BTreeMap;
use std::time::Duration;

use fleetbeat_protocol::Timestamp;
use serde_json::{Value, json};

use crate::error::{SendError, Sent};
use crate::fields::{Fields, Need};
use crate::kind::Peer;
use crate::message::{Item, Message, MessageKind, Subject};
use crate::sender::{Request, Sender};
use crate::text::{PLAIN, Text, clean};

/// When Alertmanager forgets what it is not told again: five times the interval at which
/// it is told.
const LIFE: Duration = Duration::from_mins(5);

/// An Alertmanager.
struct Alertmanager {
    url: String,
    authorization: Option<String>,
}

pub(super) fn build(fields: &mut Fields<'_>) -> Option<Box<dyn Peer>> {
    let url = fields.url("url", None);
    let authorization = fields.secret("authorization", 500, Need::Optional);
    Some(Box::new(Alertmanager {
        url: url?.join("/api/v2/alerts"),
        authorization,
    }))
}

impl Peer for Alertmanager {
    fn send(&self, message: &Message, sender: &Sender) -> Result<Sent, SendError> {
        let alerts = alerts(message, sender.now());
        let mut request = Request::json(&self.url, Value::Array(alerts).to_string());
        if let Some(authorization) = &self.authorization {
            request = request.with("Authorization", authorization);
        }
        sender.call(&request)?.judge()
    }
}

/// All alerts of a message, in the form of Alertmanager's API.
fn alerts(message: &Message, now: Timestamp) -> Vec<Value> {
    let until = now.saturating_add(LIFE).unwrap_or(now);
    if message.kind == MessageKind::Test {
        let labels = json!({"alertname": "FleetbeatTest", "severity": "info"});
        let summary = Text::of(message).title;
        return vec![json!({
            "labels": labels,
            "annotations": {"summary": summary},
            "startsAt": message.made_at,
            "endsAt": until,
        })];
    }
    let alert = |item| alert(item, message, until);
    message.items.iter().map(alert).collect()
}

fn alert(item: &Item, message: &Message, until: Timestamp) -> Value {
    let ended = item.ended.unwrap_or(message.made_at);
    let mut alert = json!({
        "labels": labels(item, message),
        "annotations": annotations(item, message),
        "startsAt": item.since,
        "endsAt": if item.is_firing() { until } else { ended },
    });
    if let Some(url) = &message.links.alerts {
        alert["generatorURL"] = json!(url);
    }
    alert
}

/// What makes an alert the same one from its beginning to its end.
pub(super) fn labels(item: &Item, message: &Message) -> BTreeMap<String, String> {
    let group = message.groups.get(item.group);
    let rule = group.and_then(|group| group.rule.as_ref());
    let rule = rule.map_or("Fleetbeat", |rule| &rule.name);
    let mut labels = BTreeMap::from([
        ("alertname".to_owned(), clean(rule, 200)),
        ("alert".to_owned(), item.alert.clone()),
        ("severity".to_owned(), item.severity.as_str().to_owned()),
    ]);

    let mut set = |name: &str, value: &str| {
        let value = clean(value, 255);
        if !value.is_empty() {
            labels.insert(label_name(name), value);
        }
    };
    for (name, value) in group.iter().flat_map(|group| &group.labels) {
        set(name, value);
    }
    match &item.subject {
        Subject::Host {
            server_id,
            name,
            ip,
            country,
            city,
        } => {
            set("instance", name);
            set("server_id", server_id);
            set("ip", &ip.map(|ip| ip.to_string()).unwrap_or_default());
            set("country", country.as_deref().unwrap_or_default());
            set("city", city.as_deref().unwrap_or_default());
        }
        Subject::Group { label, value } => set(label, value),
        Subject::Server => set("instance", "fleetbeat-server"),
    }
    labels
}

/// What a person reads of one alert.
pub(super) fn annotations(item: &Item, message: &Message) -> BTreeMap<String, String> {
    let only = Message {
        items: vec![item.clone()],
        kind: MessageKind::Alerts,
        also: Vec::new(),
        links: crate::message::Links::default(),
        ..message.clone()
    };
    let text = Text::of(&only);
    let mut annotations = BTreeMap::from([
        ("summary".to_owned(), text.title.clone()),
        ("description".to_owned(), text.body(&PLAIN)),
    ]);

    let rule = message
        .groups
        .get(item.group)
        .and_then(|group| group.rule.as_ref());
    let note = rule.and_then(|rule| rule.note.as_deref());
    if let Some(note) = note {
        annotations.insert("note".to_owned(), clean(note, 1000));
    }
    annotations
}

/// A name as Prometheus takes it.
fn label_name(name: &str) -> String {
    let to_allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().map(to_allowed).collect();
    match name.chars().next() {
        Some(first) if first.is_ascii_digit() => format!("_{name}"),
        _ => name,
    }
}
