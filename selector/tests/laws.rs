//! What is true of every selector.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use fleetbeat_selector::{Field, Host, MAX_BYTES, Selector, Value};
use proptest::prelude::*;

/// Texts of which selectors are made, and with which they go wrong.
const PARTS: &[&str] = &[
    "all",
    "gaming",
    "paid",
    "service.wg",
    "service.\"a b\"",
    "tag.x",
    "country",
    "ip",
    "load.cpu",
    "last_heartbeat",
    "agent_version",
    "and",
    "or",
    "not",
    "in",
    "(",
    ")",
    ",",
    "=",
    "!=",
    "~",
    "!~",
    "<",
    "<=",
    ">",
    ">=",
    "DE",
    "\"in\"",
    "vpn-*",
    "1e3",
    "-0",
    "0.50",
    "90s",
    "1.2",
    "::1",
    "\"\\\"\\\\\"",
    "\"*\"",
    "österreich",
    "日本",
    "true",
    "AND",
    "\"",
    "\\",
    "\u{a0}",
    "'",
    "",
];

/// A condition that is right.
fn condition() -> impl Strategy<Value = String> {
    let number = any::<f64>().prop_filter("finite", |number| number.is_finite());
    prop_oneof![
        Just("all".to_owned()),
        Just("not gaming".to_owned()),
        "[^\u{0}]{1,8}".prop_map(|text| format!("hostname = {}", quoted(&text))),
        "[a-c*?\"\\\\ ]{1,8}".prop_map(|text| format!("city~{}", quoted(&text))),
        "[^\u{0}]{1,8}".prop_map(|name| format!("service.{}", quoted(&name))),
        number.prop_map(|number| format!("clients < {number:e}")),
        any::<u128>().prop_map(|bits| format!("ip = {}", std::net::Ipv6Addr::from(bits))),
        any::<u32>().prop_map(|age| format!("last_heartbeat > {age}ms")),
    ]
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// Conditions that are joined in any way.
fn selector() -> impl Strategy<Value = String> {
    condition().prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| format!("not({inner})")),
            (inner.clone(), inner.clone())
                .prop_map(|(one, other)| format!("({one})and({other})")),
            (inner.clone(), inner).prop_map(|(one, other)| format!("({one}) or {other}")),
        ]
    })
}

proptest! {
    #[test]
    fn a_canonical_form_is_its_own(text in selector()) {
        let selector = Selector::parse(&text);
        prop_assume!(text.len() <= MAX_BYTES / 2);
        let selector = selector.unwrap();
        let again = Selector::parse(selector.as_str()).unwrap();
        prop_assert_eq!(again.as_str(), selector.as_str());
        // The trees are equal, too, and not their texts alone.
        prop_assert_eq!(format!("{again:?}"), format!("{selector:?}"));
    }

    #[test]
    fn any_text_is_taken_or_refused_at_a_place_within(
        parts in prop::collection::vec(prop::sample::select(PARTS), 0..12),
        blank in prop::sample::select(&[" ", "", "\n"][..]),
    ) {
        let text = parts.join(blank);
        match Selector::parse(&text) {
            Ok(selector) => {
                let again = Selector::parse(selector.as_str()).unwrap();
                prop_assert_eq!(format!("{again:?}"), format!("{selector:?}"));
            }
            Err(error) => {
                prop_assert!((1..=text.chars().count() + 1).contains(&error.place));
                prop_assert!(!error.message.is_empty());
            }
        }
    }
}

#[test]
fn a_selector_that_grants_asks_for_nothing_that_a_host_says_of_itself() {
    for (text, expected) in [
        ("all", true),
        ("ip ~ 10.* or server_id = srv-00000001", true),
        ("enabled and not (paid or tag.customer = acme)", true),
        ("enabled and country = DE", false),
        ("not (tag.x or hostname ~ vpn-*)", false),
        ("service.wg", false),
        ("draining", false),
    ] {
        assert_eq!(
            Selector::parse(text).unwrap().is_granting(),
            expected,
            "{text}"
        );
        assert_eq!(Selector::parse_granting(text).is_ok(), expected, "{text}");
    }
}

#[test]
fn a_field_that_does_not_grant_is_named_with_its_place() {
    for (text, told) in [
        (
            "tag.a and (country = de)",
            "at character 12: country cannot be used here",
        ),
        (
            "not service.\"a b\"",
            "at character 5: service.\"a b\" cannot be used here",
        ),
    ] {
        let error = Selector::parse_granting(text).unwrap_err().to_string();
        assert!(error.starts_with(told), "{text}: {error}");
        assert!(error.ends_with("paid or tag.KEY"), "{text}: {error}");
    }
    let fault = Selector::parse_granting("wg").unwrap_err();
    assert_eq!(fault, Selector::parse("wg").unwrap_err());
}

/// A host of a large fleet.
struct Numbered(u32, String);

impl Host for Numbered {
    fn value(&self, field: &Field) -> Value<'_> {
        match field {
            Field::Country => Value::either("DE", "Germany"),
            Field::Hostname => Value::Text(&self.1),
            Field::LoadCpu => Value::Number(f64::from(self.0 % 100)),
            _ => Value::Missing,
        }
    }
}

/// 3 ms is what is wanted of a release build on an idle machine.
#[test]
fn three_conditions_over_ten_thousand_hosts_take_milliseconds() {
    let hosts: Vec<_> = (0..10_000)
        .map(|n| Numbered(n, format!("vpn-de-{n:05}.example.com")))
        .collect();
    let text = "country = germany and hostname ~ vpn-*.EXAMPLE.com and load.cpu < 80";
    let selector = Selector::parse(text).unwrap();

    let times = (0..20).map(|_| {
        let started = Instant::now();
        let selected = hosts
            .iter()
            .filter(|host| selector.selects(*host, 0))
            .count();
        assert_eq!(selected, 8_000);
        started.elapsed()
    });
    let best = times.min().unwrap();
    println!("{best:?}");
    assert!(best < Duration::from_millis(30), "{best:?}");
}
