//! What may be set, what is shown of it, and what is kept.

use fleetbeat_channels::{Channel, Closed, Guard, Keys, Settings};
use fleetbeat_protocol::Json;
use serde_json::{Value, json};

use crate::sample::settings;

fn read(
    kind: &str,
    value: &Value,
    before: Option<&Settings>,
) -> Result<Settings, Vec<String>> {
    let text = value.to_string();
    let json: Json<'_> = serde_json::from_str(&text).unwrap();
    let read = Settings::from_json(kind, &json, before, &Guard::default());
    read.map_err(|errors| errors.into_iter().map(|error| error.field).collect())
}

#[test]
fn faults_are_told_with_their_fields() {
    let cases: [(&str, Value, &[&str]); 12] = [
        ("fax", json!({}), &["kind"]),
        ("telegram", json!({}), &["token", "chat_id"]),
        (
            "telegram",
            json!({"token": "a/../b", "chat_id": "x", "topic_id": 0}),
            &["topic_id", "token", "chat_id"],
        ),
        ("email", json!({"to": []}), &["to"]),
        (
            "email",
            json!({"to": ["a@b.example", "a b", "x\r\n"]}),
            &["to[2]", "to[1]"],
        ),
        ("email", json!({"to": "a@b.example"}), &["to"]),
        ("ntfy", json!({"topic": "a/b"}), &["topic"]),
        (
            "alertmanager",
            json!({"url": "http://10.0.0.1:9093"}),
            &["url"],
        ),
        (
            "webhook",
            json!({"url": "https://localhost/", "format": "fleetbeat"}),
            &["url"],
        ),
        (
            "webhook",
            json!({"url": "https://a.example", "format": "fax"}),
            &["format", "url"],
        ),
        ("webhook", json!({"format": "pagerduty"}), &["token"]),
        (
            "webhook",
            json!({"url": "https://a.example", "format": "template", "template": "{{"}),
            &["template"],
        ),
    ];
    for (kind, value, fields) in cases {
        let found = read(kind, &value, None).unwrap_err();
        assert_eq!(found, fields, "{kind}: {value}");
    }
}

#[test]
fn secrets_are_neither_shown_nor_kept_in_the_open() {
    let value = json!({"url": "https://hooks.slack.com/services/T0/B0/xyz",
                       "format": "slack"});
    let set = settings("webhook", &value);
    let shown =
        json!({"url": {"set": true, "host": "hooks.slack.com"}, "format": "slack"});
    assert_eq!(set.shown(), shown);

    let keys = Keys::derive("key", &[]);
    let stored = set.store(&keys, "chn-1").unwrap();
    assert!(!format!("{stored} {set:?} {keys:?}").contains("xyz"));
    assert_eq!(
        Settings::open(&stored, &keys, "chn-1"),
        Ok((set.clone(), true))
    );
    assert_eq!(Settings::open(&stored, &keys, "chn-2"), Err(Closed));
    let peeked = ("webhook".to_owned(), json!({"format": "slack"}));
    assert_eq!(Settings::peek(&stored), Some(peeked));
    assert!(Channel::new(&set).is_ok());
}

#[test]
fn what_is_shown_can_be_set_again() {
    let all = [
        (
            "telegram",
            json!({"token": "1:a", "chat_id": "-5", "topic_id": 3}),
        ),
        ("email", json!({"to": ["a@b.example"]})),
        ("ntfy", json!({"topic": "t", "token": "x"})),
        (
            "alertmanager",
            json!({"url": "https://am.example", "authorization": "Basic x"}),
        ),
        (
            "webhook",
            json!({"url": "https://a.example/x", "secret": "s"}),
        ),
        ("webhook", json!({"format": "pagerduty", "token": "t"})),
        (
            "webhook",
            json!({"url": "https://m.example", "format": "matrix", "token": "t",
                   "room": "!r:m.example"}),
        ),
    ];
    for (kind, value) in all {
        let set = settings(kind, &value);
        assert_eq!(
            read(kind, &set.shown(), Some(&set)).as_ref(),
            Ok(&set),
            "{value}"
        );
    }
}

#[test]
fn whoever_moves_a_channel_must_know_its_secrets() {
    let value = json!({"url": "https://am.example", "authorization": "Basic x"});
    let set = settings("alertmanager", &value);
    let moved = json!({"url": "https://evil.example", "authorization": {"set": true}});
    let faults = read("alertmanager", &moved, Some(&set)).unwrap_err();
    assert_eq!(faults, ["authorization"]);

    let value =
        json!({"url": "https://a.example/x", "secret": "s", "authorization": "y"});
    let set = settings("webhook", &value);
    let faults = read(
        "webhook",
        &json!({"url": "https://evil.example"}),
        Some(&set),
    );
    assert_eq!(faults.unwrap_err(), ["secret", "authorization"]);
    let faults = read("webhook", &json!({"format": "alertmanager"}), Some(&set));
    assert_eq!(faults.unwrap_err(), ["url", "secret", "authorization"]);
    let faults = read("telegram", &json!({"chat_id": "1"}), Some(&set));
    assert_eq!(faults.unwrap_err(), ["token"]);
}
