//! The rules that a new store begins with: what most fleets want to know.

use fleetbeat_alerts::Words;
use fleetbeat_protocol::{Json, Rule, Timestamp};

use super::kept::{ALL_CHANNELS, Kept, MAX_RULES};
use crate::store::{
    Act, AlertStore, EventKind, Expected, ObjectChange, ObjectKind, StoreError, facts,
};

/// Who has made the rules.
const MAKER: &str = "server";

/// Each rule's id, and the rule without its channels. An id is the same in every store, so
/// that two instances do not make one twice.
const RULES: [(&str, &str); 5] = [
    (
        "rul-0000000000000001",
        r#"{"name": "Host down", "severity": "critical", "when": "down",
            "group_by": ["country"]}"#,
    ),
    (
        "rul-0000000000000002",
        r#"{"name": "Service not running", "severity": "critical", "when": "service",
            "service": "*", "for": "5m", "group_by": ["country"]}"#,
    ),
    (
        "rul-0000000000000003",
        r#"{"name": "Disk nearly full", "severity": "warning", "when": "metric",
            "metric": "disk_used_percent", "above": 90, "clear": 85, "for": "10m",
            "group_by": ["country"]}"#,
    ),
    (
        "rul-0000000000000004",
        r#"{"name": "Many hosts down", "severity": "critical", "when": "many_down",
            "hosts": 5, "percent": 30, "within": "10m", "group_by": ["country"]}"#,
    ),
    (
        "rul-0000000000000005",
        r#"{"name": "Two hosts say they are one", "severity": "warning",
            "when": "conflict"}"#,
    ),
];

/// Makes the rules, where there are none.
///
/// # Errors
/// The store cannot be read or written.
pub(super) fn make(store: &dyn AlertStore, now: Timestamp) -> Result<(), StoreError> {
    if !store.alert_objects(ObjectKind::Rule)?.is_empty() {
        return Ok(());
    }
    for (id, rule) in RULES {
        let rule = read(rule);
        let act = Act::program(MAKER, now);
        let told = facts([("rule", id.into()), ("name", rule.name.as_str().into())]);
        let body = Kept::new(rule, MAKER, now).body();
        store.put_alert_object(&ObjectChange {
            kind: ObjectKind::Rule,
            id,
            body: &body,
            expected: Expected::Nothing { most: MAX_RULES },
            event: &act.event(EventKind::RuleCreated, told),
        })?;
    }
    Ok(())
}

fn read(rule: &str) -> Rule {
    let json: Json<'_> = serde_json::from_str(rule).expect("a default rule is JSON");
    let mut rule =
        Rule::from_json(&json, &Words).expect("a default rule keeps the rules");
    rule.channels = vec![ALL_CHANNELS.to_owned()];
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_default_rule_is_one_and_tells_every_channel() {
        for (id, text) in RULES {
            let rule = read(text);
            assert!(rule.enabled && rule.channels == [ALL_CHANNELS], "{id}");
        }
    }
}
