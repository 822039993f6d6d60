//! Messages, channels and a sender for the tests.

use fleetbeat_channels::{
    Channel, Group, Guard, Item, Links, Message, MessageKind, News, RuleRef, Sender,
    SenderOptions, Settings, Smtp, Subject,
};
use fleetbeat_protocol::{Json, Severity};
use serde_json::{Value, json};

/// When all messages were made.
pub(crate) const MADE_AT: &str = "2026-11-27T03:06:00Z";

/// A guard that lets the tests' own peers through.
pub(crate) fn guard() -> Guard {
    Guard::new(vec!["127.0.0.0/8".parse().unwrap()])
}

/// A sender that reaches the tests' own peers.
pub(crate) fn sender(authorities: Option<String>, smtp: Option<Smtp>) -> Sender {
    let options = SenderOptions {
        guard: guard(),
        authorities: authorities.map(String::into_bytes),
        smtp,
    };
    Sender::new(options).unwrap()
}

/// The settings of a channel, as somebody sets them.
pub(crate) fn settings(kind: &str, settings: &Value) -> Settings {
    let text = settings.to_string();
    let json: Json<'_> = serde_json::from_str(&text).unwrap();
    Settings::from_json(kind, &json, None, &guard()).unwrap()
}

/// A channel with these settings.
pub(crate) fn channel(kind: &str, values: &Value) -> Channel {
    Channel::new(&settings(kind, values)).unwrap()
}

/// A channel of each kind and format, with its name for golden files, at the peer `url`.
pub(crate) fn channels(url: &str) -> Vec<(&'static str, Channel)> {
    let kinds = kinds(url).into_iter();
    let formats = formats(url).into_iter();
    let formats = formats.map(|(name, values)| (name, "webhook", values));
    let build = |(name, kind, values): (_, _, Value)| (name, channel(kind, &values));
    kinds.chain(formats).map(build).collect()
}

fn kinds(url: &str) -> Vec<(&'static str, &'static str, Value)> {
    let telegram = json!({"url": url, "token": "123:abc", "chat_id": "-100200",
                          "topic_id": 7});
    vec![
        ("telegram", "telegram", telegram),
        (
            "ntfy",
            "ntfy",
            json!({"url": url, "topic": "vpn", "token": "tk_x"}),
        ),
        ("alertmanager", "alertmanager", json!({"url": url})),
    ]
}

/// The formats of webhooks.
fn formats(url: &str) -> Vec<(&'static str, Value)> {
    let mut formats = vec![
        ("fleetbeat", json!({"secret": "hush"})),
        (
            "webhook-alertmanager",
            json!({"format": "alertmanager", "authorization": "Bearer x"}),
        ),
        (
            "template",
            json!({"format": "template",
                   "template": "{\"t\": {{ title|tojson }}, \"n\": {{ items|length }}}"}),
        ),
        ("matrix", json!({"room": "!a:b.example", "token": "t"})),
        ("pagerduty", json!({"token": "key"})),
        ("gotify", json!({"token": "t"})),
        ("slack", json!({})),
        ("discord", json!({})),
        ("teams", json!({})),
    ];
    for (name, values) in &mut formats {
        values["url"] = json!(url);
        if values.get("format").is_none() {
            values["format"] = json!(name);
        }
    }
    formats
}

/// An alert of a host that is down.
pub(crate) fn down(number: usize) -> Item {
    Item {
        alert: format!("alr-{number:016x}"),
        group: 0,
        news: News::Firing,
        severity: Severity::Critical,
        subject: Subject::Host {
            server_id: format!("srv-{number}"),
            name: format!("vpn-de-{number:02}"),
            ip: Some("203.0.113.7".parse().unwrap()),
            country: Some("DE".to_owned()),
            city: Some("Frankfurt".to_owned()),
        },
        what: "down".to_owned(),
        value: None,
        limit: None,
        unit: String::new(),
        since: "2026-11-27T03:02:00Z".parse().unwrap(),
        ended: None,
        reason: None,
        acked_by: None,
    }
}

/// An alert of a full disk, of yesterday.
pub(crate) fn disk() -> Item {
    Item {
        severity: Severity::Warning,
        what: "disk_used_percent of /var".to_owned(),
        value: Some(93.42),
        limit: Some(90.0),
        unit: "%".to_owned(),
        since: "2026-11-26T22:59:10Z".parse().unwrap(),
        acked_by: Some("anna".to_owned()),
        news: News::Repeat,
        ..down(9)
    }
}

/// The same alert, over.
pub(crate) fn over(item: Item) -> Item {
    Item {
        news: News::Resolved,
        ended: Some("2026-11-27T03:05:30Z".parse().unwrap()),
        ..item
    }
}

/// A message of a rule's alerts.
pub(crate) fn message(items: Vec<Item>) -> Message {
    let severity = items.iter().map(|item| item.severity).max();
    let firing = items.iter().filter(|item| item.is_firing()).count();
    Message {
        id: "dlv-00000000000000a1".to_owned(),
        kind: MessageKind::Alerts,
        severity: severity.unwrap_or(Severity::Info),
        groups: vec![Group {
            rule: Some(RuleRef {
                id: "rul-0000000000000001".to_owned(),
                name: "Host down".to_owned(),
                note: Some("Runbook: wiki/vpn, call the hoster first".to_owned()),
            }),
            labels: vec![("country".to_owned(), "DE".to_owned())],
            firing,
            hosts: Some(60),
        }],
        items,
        also: vec!["3 more alerts of these hosts are held back".to_owned()],
        links: Links {
            alerts: Some("https://fleet.example/#/alerts".to_owned()),
            ack: Some("https://fleet.example/a/abc_def".to_owned()),
        },
        made_at: MADE_AT.parse().unwrap(),
        reply_to: None,
    }
}

/// What somebody gets who tries a channel.
pub(crate) fn test() -> Message {
    Message {
        kind: MessageKind::Test,
        severity: Severity::Info,
        groups: Vec::new(),
        also: Vec::new(),
        ..message(Vec::new())
    }
}

/// News of two rules in one message.
pub(crate) fn digest() -> Message {
    let mut message = message(vec![down(1), over(down(2)), over(disk())]);
    message.kind = MessageKind::Digest;
    message.items[2].group = 1;
    message.groups.push(Group {
        rule: Some(RuleRef {
            id: "rul-0000000000000002".to_owned(),
            name: "Disk nearly full".to_owned(),
            note: None,
        }),
        labels: Vec::new(),
        firing: 0,
        hosts: None,
    });
    message
}
