//! What is likely not meant in a rule, and what a rule would say of the fleet now.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use fleetbeat_alerts::*;
use fleetbeat_protocol::{Rule, Severity, Status};
use support::*;

const INTERVAL: Duration = Duration::from_secs(120);

/// A rule with these members besides what each rule has.
fn rule_with(members: &str) -> Rule {
    let json = format!(r#"{{"name": "x", "severity": "warning", {members}}}"#);
    rule("rul-1", &json).rule
}

/// The fields of the warnings about a rule with a channel, beside these hosts.
fn warned(members: &str, hosts: &[TestHost]) -> Vec<String> {
    let rule = rule_with(&format!(r#"{members}, "channels": ["chn-a"]"#));
    let advice = advise(&rule, INTERVAL, &[channel("chn-a")], hosts);
    advice.into_iter().map(|error| error.field).collect()
}

#[test]
fn a_rule_that_is_meant_so_has_no_warning() {
    let hosts = [host(1, "DE")];
    for members in [
        r#""when": "down""#,
        r#""when": "down", "where": "status = down""#,
        r#""when": "late", "after": "4m", "where": "status = active""#,
        r#""when": "service", "for": "4m""#,
        r#""when": "service", "service": "w?""#,
        r#""when": "metric", "metric": "disk_*", "above": 90"#,
        r#""when": "load", "load": "cpu", "above": 90, "where": "country = FR""#,
        r#""when": "down", "for": "10s""#,
        r#""when": "reboot""#,
        r#""when": "load", "load": "cpu", "above": 90, "where": "load.cpu < 95""#,
        r#""when": "load", "load": "cpu", "above": 90, "where": "load.ram < 50""#,
    ] {
        assert_eq!(warned(members, &hosts), [""; 0], "{members}");
    }
}

#[test]
fn what_is_likely_not_meant_is_named_by_its_field() {
    let hosts = [host(1, "DE"), host(2, "DE"), host(3, "FR")];
    for (members, field) in [
        (r#""when": "service", "for": "3m""#, "for"),
        (r#""when": "late", "after": "2m""#, "after"),
        (r#""when": "down", "where": "status = active""#, "where"),
        (
            r#""when": "load", "load": "cpu", "above": 9, "where": "status = down""#,
            "where",
        ),
        (
            r#""when": "many_down", "hosts": 2, "where": "not status = down""#,
            "where",
        ),
        (r#""when": "many_down", "hosts": 4"#, "hosts"),
        (
            r#""when": "many_down", "hosts": 3, "group_by": ["country"]"#,
            "hosts",
        ),
        (
            r#""when": "many_down", "hosts": 2, "where": "country = FR""#,
            "hosts",
        ),
        (
            r#""when": "down", "where": "country = DE and country = FR""#,
            "where",
        ),
        (
            r#""when": "late", "after": "4m", "where": "paid and not paid""#,
            "where",
        ),
        (
            r#""when": "load", "load": "cpu", "above": 90, "where": "load.cpu < 50""#,
            "where",
        ),
        (
            r#""when": "reboot", "escalate": {"after": "1h", "channels": ["chn-a"]}"#,
            "escalate",
        ),
        (
            r#""when": "metric", "metric": "disc_*", "above": 90"#,
            "metric",
        ),
        (
            r#""when": "metric", "metric": "disk_used_percent", "above": 90,
               "labels": {"mount": "/var"}"#,
            "metric",
        ),
        (r#""when": "service", "service": "openvpn""#, "service"),
    ] {
        assert_eq!(warned(members, &hosts), [field], "{members}");
    }
    // Without hosts nobody can say what they send.
    let unsent = r#""when": "service", "service": "openvpn""#;
    assert_eq!(warned(unsent, &[]), [""; 0]);
}

#[test]
fn channels_that_are_not_told_are_named_by_their_place() {
    let critical = ChannelPolicy {
        min_severity: Severity::Critical,
        ..channel("chn-b")
    };
    let channels = [channel("chn-a"), critical];
    let fields = |members: &str| -> Vec<String> {
        let rule = rule_with(&format!(r#""when": "down", {members}"#));
        let advice = advise::<TestHost>(&rule, INTERVAL, &channels, &[]);
        advice.into_iter().map(|error| error.field).collect()
    };
    assert_eq!(
        fields(r#""channels": ["chn-a", "chn-b", "chn-c"]"#),
        ["channels[1]", "channels[2]"]
    );
    let escalate = r#""channels": ["chn-a"],
        "escalate": {"after": "1h", "channels": ["chn-a", "chn-b"]}"#;
    assert_eq!(fields(escalate), ["escalate.channels[1]"]);
    assert_eq!(fields(r#""note": """#), ["channels"]);
}

/// Who would fire, and of what, by `members` of a rule.
fn fires(members: &str, hosts: &[TestHost], now: u64) -> (usize, Vec<(String, String)>) {
    let look = Look {
        now: at(now),
        elapsed: Duration::ZERO,
        down_after: Duration::from_secs(240),
        hearing: Hearing::Well,
        hosts,
        events: &[],
        events_through: 0,
        rules: &[],
        mutes: &[],
        channels: &[],
        acks: &[],
        retried: &[],
    };
    let run = dry_run(&rule_with(members), &look);
    let found = run.found.into_iter().map(|found| {
        let subject = match found.subject {
            Subject::Host(host) => host.hostname,
            other => format!("{other:?}"),
        };
        (subject, found.object)
    });
    (run.hosts, found.collect())
}

fn of(host: &str, object: &str) -> (String, String) {
    (host.to_owned(), object.to_owned())
}

#[test]
fn a_dry_run_finds_what_would_fire_if_its_time_were_over() {
    let mut hosts = vec![host(1, "DE"), host(2, "DE"), host(3, "FR")];
    hosts[0].0.services[0].active = false;
    hosts[1].0.load.cpu = Some(95.0);
    hosts[2].0.status = Status::Down;
    for (members, meant, found) in [
        (
            r#""when": "service", "for": "1h""#,
            3,
            vec![of("vpn-1", "wg")],
        ),
        (r#""when": "service", "service": "ov""#, 3, vec![]),
        (
            r#""when": "load", "load": "cpu", "above": 90, "clear": 10"#,
            3,
            vec![of("vpn-2", "cpu")],
        ),
        (
            r#""when": "load", "load": "cpu", "above": 90, "where": "country = FR""#,
            1,
            vec![],
        ),
        (r#""when": "down""#, 3, vec![of("vpn-3", "")]),
        (r#""when": "down", "where": "country = DE""#, 2, vec![]),
        (r#""when": "reboot""#, 3, vec![]),
    ] {
        assert_eq!(fires(members, &hosts, 60), (meant, found), "{members}");
    }
}

#[test]
fn a_dry_run_knows_who_has_been_silent_for_long() {
    let hosts = [host(1, "DE")];
    let late = r#""when": "late", "after": "5m""#;
    assert_eq!(fires(late, &hosts, 299).1, vec![]);
    assert_eq!(fires(late, &hosts, 301).1, vec![of("vpn-1", "")]);
}

#[test]
fn a_dry_run_of_a_group_finds_the_group() {
    let mut hosts: Vec<TestHost> = (1..=4).map(|number| host(number, "DE")).collect();
    for host in &mut hosts[..3] {
        host.0.status = Status::Down;
    }
    let many = r#""when": "many_down", "hosts": 3, "percent": 50, "within": "10m",
        "group_by": ["country"]"#;
    let (meant, found) = fires(many, &hosts, 300);
    assert_eq!((meant, found.len()), (4, 1), "{found:?}");
    let few = many.replace("\"hosts\": 3", "\"hosts\": 4");
    assert_eq!(fires(&few, &hosts, 300).1, vec![]);
}
