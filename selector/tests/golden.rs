//! The golden cases, which the dashboard's tests read, too.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::IpAddr;

use fleetbeat_selector::{Field, Host, Selector, Value};
use serde_json::Value as Json;

/// A host of `golden/hosts.json`: the values of its fields, by their names.
struct GoldenHost<'a>(&'a Json);

impl Host for GoldenHost<'_> {
    fn value(&self, field: &Field) -> Value<'_> {
        let name = match field {
            Field::Service(name) => format!("service.{name}"),
            Field::Tag(key) => format!("tag.{key}"),
            Field::Metric(name) => format!("metric.{name}"),
            plain => plain.to_string(),
        };
        match (&self.0[&name], field) {
            (Json::Null, _) => Value::Missing,
            (Json::Bool(is_on), _) => Value::Switch(*is_on),
            (Json::Number(number), _) => Value::Number(number.as_f64().unwrap()),
            (Json::String(text), Field::Ip) => {
                Value::Address(text.parse::<IpAddr>().unwrap())
            }
            (Json::String(text), Field::LastHeartbeat) => Value::Time(ms(text)),
            (Json::String(text), _) => Value::Text(text),
            (Json::Array(texts), _) => {
                let [one, other] = [0, 1].map(|place| texts[place].as_str().unwrap());
                Value::either(one, other)
            }
            (Json::Object(_), _) => panic!("{name} is an object"),
        }
    }
}

/// The milliseconds of a time of day at the end of January 2026: all that is needed here.
fn ms(text: &str) -> i64 {
    let part = |at: usize| text[at..at + 2].parse::<i64>().unwrap();
    assert!(text.starts_with("2026-01-") && text.len() == 20, "{text}");
    (((part(8) * 24 + part(11)) * 60 + part(14)) * 60 + part(17)) * 1000
}

fn read(name: &str) -> Json {
    let path = format!("{}/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn text<'a>(case: &'a Json, member: &str) -> &'a str {
    case[member].as_str().unwrap()
}

#[test]
fn each_selector_has_its_canonical_form_and_selects_its_hosts() {
    let hosts = read("hosts");
    let now = ms(text(&hosts, "now"));
    let mut faults = Vec::new();

    for case in read("valid").as_array().unwrap() {
        let written = text(case, "selector");
        let selector = match Selector::parse(written) {
            Ok(selector) => selector,
            Err(error) => {
                faults.push(format!("{written}\n  {error}"));
                continue;
            }
        };

        let canonical = text(case, "canonical");
        if selector.as_str() != canonical {
            faults.push(format!("{written}\n  is shown as {selector}"));
        }
        assert_eq!(Selector::parse(canonical).as_ref(), Ok(&selector));

        let names = hosts["hosts"].as_object().unwrap().iter();
        let selected = names.filter(|(_, host)| selector.selects(&GoldenHost(host), now));
        let mut selected: Vec<&str> = selected.map(|(name, _)| name.as_str()).collect();
        let mut wanted: Vec<&str> = case["selects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        selected.sort_unstable();
        wanted.sort_unstable();
        if selected != wanted {
            faults.push(format!("{written}\n  selects {selected:?}, not {wanted:?}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn each_text_that_is_refused_has_its_place_and_its_message() {
    let mut faults = Vec::new();
    for case in read("invalid").as_array().unwrap() {
        let written = text(case, "selector");
        let place = case["place"].as_u64().unwrap();
        let message = text(case, "message");
        let told = match Selector::parse(written) {
            Ok(selector) => format!("means {selector}"),
            Err(error) => error.to_string(),
        };
        if told != format!("at character {place}: {message}") {
            faults.push(format!("{written:?}\n  {told}\n  not {place}: {message}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
