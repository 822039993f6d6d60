//! A message as JSON for programs: in our own form, and in that of Alertmanager's
//! webhooks (version 4).

use serde_json::{Map, Value, json};

use crate::kinds::alertmanager::{annotations, labels};
use crate::message::{Group, Item, Message, MessageKind, Subject};
use crate::text::{PLAIN, Style, Text, clean};

/// Longest list of items, in bytes of JSON.
const MAX_BYTES: usize = 200 * 1024;
/// The text for people in a document for programs.
const TEXT: Style = Style {
    max: 20_000,
    ..PLAIN
};
/// Alertmanager's way of saying that an alert has not ended.
const NOT_ENDED: &str = "0001-01-01T00:00:00Z";

/// The message in our own form; templates get the same.
pub(super) fn fleetbeat(message: &Message) -> Value {
    let text = Text::of(message);
    let (items, missing) = within_limit(message.items.iter().map(item));
    json!({
        "version": 1,
        "id": message.id,
        "kind": message.kind,
        "status": status(message),
        "severity": message.severity,
        "title": text.title,
        "text": text.body(&TEXT),
        "groups": message.groups.iter().map(group).collect::<Vec<_>>(),
        "items": items,
        "items_left_out": missing,
        "also": message.also,
        "links": message.links,
        "made_at": message.made_at,
        "reply_to": message.reply_to,
    })
}

/// The message as Alertmanager would tell a webhook.
pub(super) fn alertmanager(message: &Message) -> Value {
    let first = message.groups.first();
    let group_labels: Map<String, Value> = first
        .filter(|_| message.groups.len() == 1)
        .map(|group| group.labels.clone())
        .unwrap_or_default()
        .into_iter()
        .map(|(label, value)| (label, json!(value)))
        .collect();
    let external_url = message.links.alerts.clone().unwrap_or_default();
    let alert = |item: &Item| {
        json!({
            "status": if item.is_firing() { "firing" } else { "resolved" },
            "labels": labels(item, message),
            "annotations": annotations(item, message),
            "startsAt": item.since,
            "endsAt": match item.ended {
                Some(ended) if !item.is_firing() => json!(ended),
                _ => json!(NOT_ENDED),
            },
            "generatorURL": external_url,
            "fingerprint": item.alert.trim_start_matches("alr-"),
        })
    };
    let (alerts, missing) = within_limit(message.items.iter().map(alert));
    let text = Text::of(message);
    json!({
        "version": "4",
        "groupKey": first.map_or(message.id.clone(), Group::key),
        "truncatedAlerts": missing,
        "status": if status(message) == "resolved" { "resolved" } else { "firing" },
        "receiver": "fleetbeat",
        "groupLabels": group_labels,
        "commonLabels": group_labels,
        "commonAnnotations": {"summary": text.title},
        "externalURL": external_url,
        "alerts": alerts,
    })
}

fn status(message: &Message) -> &'static str {
    match message.kind {
        MessageKind::Test => "test",
        _ if message.items.iter().any(Item::is_firing) => "firing",
        _ => "resolved",
    }
}

fn group(group: &Group) -> Value {
    let mut value = json!(group);
    value["key"] = json!(group.key());
    value
}

/// An item whose texts are cleaned: a template may put them anywhere.
fn item(item: &Item) -> Value {
    let mut item = item.clone();
    item.what = clean(&item.what, 255);
    item.reason = item.reason.map(|reason| clean(&reason, 255));
    if let Subject::Host {
        name,
        country,
        city,
        ..
    } = &mut item.subject
    {
        *name = clean(name, 255);
        for place in [country, city] {
            *place = place.take().map(|place| clean(&place, 255));
        }
    }
    let status = if item.is_firing() {
        "firing"
    } else {
        "resolved"
    };
    let mut value = json!(item);
    value["status"] = json!(status);
    value
}

/// The values that fit, and how many do not.
fn within_limit(values: impl ExactSizeIterator<Item = Value>) -> (Vec<Value>, usize) {
    let count = values.len();
    let mut length = 0;
    let fits = |value: &Value| {
        length += value.to_string().len();
        length <= MAX_BYTES
    };
    let values: Vec<_> = values.take_while(fits).collect();
    let missing = count - values.len();
    (values, missing)
}
