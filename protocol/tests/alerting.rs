//! Rules and mutes: the golden bodies, what is left out, and what breaks a rule.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use fleetbeat_protocol::*;
use serde_json::{Value, json};

/// A vocabulary with one wrong selector and one zone.
struct Words;

impl Vocabulary for Words {
    fn selector(&self, text: &str) -> Result<String, String> {
        match text {
            "wrong" => Err("at character 1: wrong".to_owned()),
            other => Ok(other.trim().to_owned()),
        }
    }

    fn has_zone(&self, name: &str) -> bool {
        name == "Europe/Berlin"
    }
}

fn golden(name: &str) -> Value {
    let path = format!("{}/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn fields(errors: Vec<FieldError>) -> Vec<String> {
    errors.into_iter().map(|error| error.field).collect()
}

fn rule(body: &Value) -> Result<Rule, Vec<String>> {
    let text = body.to_string();
    let json: Json<'_> = serde_json::from_str(&text).unwrap();
    Rule::from_json(&json, &Words).map_err(fields)
}

fn mute(body: &Value) -> Result<Mute, Vec<String>> {
    let text = body.to_string();
    let json: Json<'_> = serde_json::from_str(&text).unwrap();
    Mute::from_json(&json, now(), &Words).map_err(fields)
}

/// `body` with `changes`; a `null` removes a member.
fn with(body: &Value, changes: &Value) -> Value {
    let mut body = body.clone();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(body.as_object_mut().unwrap().remove(name)),
            value => body[name] = value.clone(),
        }
    }
    body
}

#[test]
fn golden_bodies_are_read_from_outside_and_from_the_store_and_written_alike() {
    for name in ["rule", "rule-many-down"] {
        let body = golden(name);
        let read = rule(&body).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), body, "{name}");
        assert_eq!(
            serde_json::from_value::<Rule>(body).unwrap(),
            read,
            "{name}"
        );
    }
    let body = golden("mute");
    let read = mute(&body).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), body);
    assert_eq!(serde_json::from_value::<Mute>(body).unwrap(), read);
}

#[test]
fn a_rule_of_each_condition_comes_back_from_the_store() {
    for condition in [
        json!({"when": "down"}),
        json!({"when": "late", "after": "90s"}),
        json!({"when": "service", "service": "wg*"}),
        json!({"when": "load", "load": "cpu", "above": 95}),
        json!({"when": "metric", "metric": "peers", "below": 1, "clear": 3}),
        json!({"when": "reboot"}),
        json!({"when": "conflict"}),
        json!({"when": "clock"}),
        json!({"when": "many_down"}),
    ] {
        let read = rule(&with(&json!({"name": "n", "severity": "info"}), &condition));
        let read = read.unwrap();
        assert_eq!(read.condition.as_str(), condition["when"]);
        let stored = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Rule>(&stored).unwrap(), read);
        let again: Value = serde_json::from_str(&stored).unwrap();
        assert_eq!(rule(&again).unwrap(), read);
    }
}

#[test]
fn what_is_left_out_has_its_usual_value() {
    let read = rule(&json!({"name": "n", "severity": "critical", "when": "down"}));
    let read = read.unwrap();
    assert!(read.enabled);
    assert_eq!(read.select, "all");
    let spans = [
        read.for_,
        read.clear_for,
        read.group_wait,
        read.group_interval,
    ];
    assert_eq!(spans.map(show_span), ["0s", "0s", "30s", "5m"]);
    assert_eq!((read.repeat, read.escalate), (None, None));

    let read = mute(&json!({"where": " all ", "until": "2026-01-02T00:00:00Z"})).unwrap();
    assert_eq!((read.select.as_str(), read.from), ("all", now()));
    assert_eq!((read.rules.len(), read.weekly), (0, None));
}

#[test]
fn every_broken_rule_of_a_rule_is_named() {
    let valid = json!({"name": "n", "severity": "info", "when": "down"});
    for (changes, expected) in [
        (
            json!({"name": null, "severity": null, "when": null}),
            vec!["name", "severity", "when"],
        ),
        (
            json!({"name": " ", "severity": "bad"}),
            vec!["name", "severity"],
        ),
        (json!({"when": "up"}), vec!["when"]),
        (json!({"above": 1}), vec!["above"]),
        (json!({"when": "late"}), vec!["after"]),
        (json!({"when": "late", "after": "9s"}), vec!["after"]),
        (json!({"when": "service", "service": " "}), vec!["service"]),
        (
            json!({"when": "load", "load": "disk"}),
            vec!["load", "above"],
        ),
        (
            json!({"when": "load", "load": "cpu", "above": 101}),
            vec!["above"],
        ),
        (
            json!({"when": "metric", "metric": "m{a=\"b\"}", "above": 1, "below": 0}),
            vec!["metric", "below"],
        ),
        (
            json!({"when": "metric", "metric": "m", "above": 1, "clear": 1}),
            vec!["clear"],
        ),
        (
            json!({"when": "metric", "metric": "m", "below": 1, "clear": 0.5}),
            vec!["clear"],
        ),
        (
            json!({"when": "many_down", "hosts": 1, "percent": 0}),
            vec!["hosts", "percent"],
        ),
        (json!({"when": "many_down", "hosts": 2.5}), vec!["hosts"]),
        (json!({"when": "reboot", "for": "1m"}), vec!["for"]),
        (
            json!({"for": "8d", "clear_for": -1}),
            vec!["for", "clear_for"],
        ),
        (json!({"where": "wrong"}), vec!["where"]),
        (
            json!({"group_by": ["country", "country", "planet"]}),
            vec!["group_by[1]", "group_by[2]"],
        ),
        (
            json!({"group_by": ["country", "city", "region", "hostname"]}),
            vec!["group_by"],
        ),
        (
            json!({"repeat": "4m", "group_interval": "5s"}),
            vec!["group_interval", "repeat"],
        ),
        (
            json!({"channels": ["a", "a", ""]}),
            vec!["channels[1]", "channels[2]"],
        ),
        (
            json!({"escalate": {"after": "1s"}}),
            vec!["escalate.after", "escalate.channels"],
        ),
        (json!({"note": "a\u{7}"}), vec!["note"]),
        (json!({"nmae": 1}), vec!["nmae"]),
    ] {
        assert_eq!(
            rule(&with(&valid, &changes)).unwrap_err(),
            expected,
            "{changes}"
        );
    }
    assert_eq!(rule(&json!([])).unwrap_err(), [""]);
}

#[test]
fn every_broken_rule_of_a_mute_is_named() {
    let valid = json!({"where": "all", "until": "2026-01-02T00:00:00Z"});
    let weekly = |changes: Value| {
        let weekly = json!({"days": ["mon"], "from": "22:00", "to": "06:00",
            "zone": "Europe/Berlin"});
        json!({"weekly": with(&weekly, &changes)})
    };
    for (changes, expected) in [
        (
            json!({"where": null, "until": null}),
            vec!["where", "until"],
        ),
        (json!({"where": "wrong"}), vec!["where"]),
        (json!({"until": "2026-01-01T00:00:00Z"}), vec!["until"]),
        (json!({"until": "2026-04-01T00:00:01Z"}), vec!["until"]),
        (json!({"from": "2026-01-03T00:00:00Z"}), vec!["until"]),
        (json!({"from": "2026-01-01"}), vec!["from"]),
        (
            json!({"until": "2029-01-01T00:00:00Z", "weekly": weekly(json!({}))["weekly"]}),
            vec!["until"],
        ),
        (weekly(json!({"zone": "Berlin"})), vec!["weekly.zone"]),
        (weekly(json!({"days": []})), vec!["weekly.days"]),
        (
            weekly(json!({"days": ["mon", "mon", "x"]})),
            vec!["weekly.days[1]", "weekly.days[2]"],
        ),
        (
            weekly(json!({"from": "24:00", "to": "6:00"})),
            vec!["weekly.from", "weekly.to"],
        ),
        (json!({"reason": "\u{202e}"}), vec!["reason"]),
        (json!({"rules": [1]}), vec!["rules[0]"]),
    ] {
        assert_eq!(
            mute(&with(&valid, &changes)).unwrap_err(),
            expected,
            "{changes}"
        );
    }
    let mut endless = with(&valid, &weekly(json!({})));
    endless.as_object_mut().unwrap().remove("until");
    assert_eq!(mute(&endless).unwrap_err(), ["until"]);
}

#[test]
fn quiet_hours_have_two_times_and_a_zone() {
    let quiet = |body: Value| {
        let text = body.to_string();
        Quiet::from_json(&serde_json::from_str(&text).unwrap(), &Words).map_err(fields)
    };
    let body = json!({"from": "22:00", "to": "07:30", "zone": "Europe/Berlin"});
    let read = quiet(body.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), body);
    assert_eq!(serde_json::from_value::<Quiet>(body).unwrap(), read);

    assert_eq!(quiet(json!({})).unwrap_err(), ["from", "to", "zone"]);
    let same = json!({"from": "22:00", "to": "22:00", "zone": "Mars"});
    assert_eq!(quiet(same).unwrap_err(), ["to", "zone"]);
}

#[test]
fn a_limit_is_broken_at_its_bound_and_kept_at_its_clear_value() {
    let above = Limit {
        side: Side::Above,
        bound: 90.0,
        clear: Some(85.0),
    };
    let below = Limit {
        side: Side::Below,
        bound: 1.0,
        clear: None,
    };
    let of =
        |limit: Limit, value| (limit.is_broken_by(value), limit.is_cleared_by(value));
    assert_eq!(of(above, 90.0), (true, false));
    assert_eq!(of(above, 89.9), (false, false));
    assert_eq!(of(above, 85.0), (false, true));
    assert_eq!(of(below, 1.0), (true, false));
    assert_eq!(of(below, 1.1), (false, true));
}
