//! The settings of a host: what admins know of it that the host does not tell.

use std::ops::RangeInclusive;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::field::{self, Errors, Object};
use crate::json::Json;
use crate::limits::{MAX_ATTRIBUTE_CHARS, MAX_ATTRIBUTES, MAX_TEXT_CHARS};
use crate::problem::FieldError;

/// The largest whole number that a setting may be: no JSON reader takes another one for it.
const MAX_WHOLE: u64 = (1 << 53) - 1;
/// The most sessions, and the most Mbit/s.
const MAX_LIMIT: u64 = 100_000_000;
/// The largest capacity.
const MAX_CAPACITY: f64 = 10_000.0;
/// The largest weight that admins can give.
const MAX_ADMIN_WEIGHT: u64 = 1000;

/// The settings of a host. One that is `None` is not set. Most hosts have few, so the
/// large ones stand elsewhere in memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// How many clients the host can serve at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u32>,
    /// What the provider sells, in Mbit/s for each direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_mbps: Option<u32>,
    /// How much the host can do, compared with other hosts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<f64>,
    /// How many clients the host gets, in percent of what is usual: 0 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_weight: Option<u16>,
    /// What a client needs to know beside the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Vec<String>>,
    /// Where the host is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geo: Option<Box<Geo>>,
    /// What the host may cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billing: Option<Box<Billing>>,
}

/// Where a host is. What is `None` is left to the host's agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Geo {
    /// ISO 3166 alpha-2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country_code: Option<String>,
    /// The country's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The city.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// Degrees north. Latitude and longitude are there together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// Degrees east.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
}

/// What a host may cost: how its traffic is counted, and until when it is paid.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Billing {
    /// The day of the month on which a cycle begins, 1 to 31. In a shorter month it is
    /// the last day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<u8>,
    /// How much traffic a cycle has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Which traffic counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<Counted>,
    /// The last day that is paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_on: Option<Date>,
}

/// Which traffic counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Counted {
    /// What is received and what is sent, together.
    Sum,
    /// The larger of the two.
    Max,
    /// What is sent.
    Sent,
    /// What is received.
    Received,
}

/// The body of `PATCH /server/{ip}/settings`: the settings to set, each as a whole, and
/// those to remove. A setting that is not in the patch stays as before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SettingsPatch {
    /// The settings to set.
    pub values: Settings,
    /// The names of all settings in the patch. One that has no value is removed.
    pub names: Vec<&'static str>,
}

/// The names of the settings.
const NAMES: [&str; 7] = [
    "max_sessions",
    "bandwidth_mbps",
    "capacity",
    "admin_weight",
    "attributes",
    "geo",
    "billing",
];

impl SettingsPatch {
    /// The patch that `json` holds.
    ///
    /// # Errors
    /// Every member that is not a setting, and every broken rule, each with the field's
    /// path.
    pub fn from_json(json: &Json<'_>) -> Result<SettingsPatch, Vec<FieldError>> {
        let mut errors = Errors::default();
        let mut patch = SettingsPatch::default();
        if let Some(body) = Object::new("", json, &mut errors) {
            body.refuse_others(&NAMES, &mut errors);
            let is_named = |name: &&str| body.get(name).is_some();
            patch.names = NAMES.into_iter().filter(is_named).collect();
            patch.values = read(&body, &mut errors);
        }
        errors.into_result(patch)
    }
}

fn read(body: &Object<'_>, errors: &mut Errors) -> Settings {
    Settings {
        max_sessions: small(body, "max_sessions", 1..=MAX_LIMIT, errors),
        bandwidth_mbps: small(body, "bandwidth_mbps", 1..=MAX_LIMIT, errors),
        capacity: capacity(body, errors),
        admin_weight: small(body, "admin_weight", 0..=MAX_ADMIN_WEIGHT, errors),
        attributes: attributes(body, errors),
        geo: body
            .optional("geo")
            .and_then(|json| geo(json, errors))
            .map(Box::new),
        billing: body
            .optional("billing")
            .and_then(|json| billing(json, errors))
            .map(Box::new),
    }
}

/// A whole number of this range.
fn whole(
    object: &Object<'_>,
    name: &str,
    range: RangeInclusive<u64>,
    errors: &mut Errors,
) -> Option<u64> {
    let field = object.field(name);
    let number = field::number(&field, object.optional(name)?, errors)?;
    #[allow(clippy::cast_precision_loss, reason = "at most 2^53")]
    let [least, most] = [*range.start(), *range.end()].map(|bound| bound as f64);
    if number.fract() != 0.0 || !(least..=most).contains(&number) {
        let message = format!("must be a whole number from {least} to {most}");
        errors.add(field, message);
        return None;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and in range"
    )]
    Some(number as u64)
}

/// A whole number of this range, which the type can hold.
fn small<T: TryFrom<u64>>(
    object: &Object<'_>,
    name: &str,
    range: RangeInclusive<u64>,
    errors: &mut Errors,
) -> Option<T> {
    T::try_from(whole(object, name, range, errors)?).ok()
}

fn capacity(body: &Object<'_>, errors: &mut Errors) -> Option<f64> {
    let capacity = field::number("capacity", body.optional("capacity")?, errors)?;
    if capacity > 0.0 && capacity <= MAX_CAPACITY {
        return Some(capacity);
    }
    let message = format!("must be above 0 and at most {MAX_CAPACITY}");
    errors.add("capacity", message);
    None
}

fn attributes(body: &Object<'_>, errors: &mut Errors) -> Option<Vec<String>> {
    body.optional("attributes")?;
    let elements = body.optional_array("attributes", errors);
    if elements.len() > MAX_ATTRIBUTES {
        let count = elements.len();
        let message = format!("has {count} elements, more than {MAX_ATTRIBUTES}");
        errors.add("attributes", message);
        return None;
    }
    let mut attributes: Vec<String> = Vec::new();
    for (field, json) in elements {
        let text = field::text(&field, json, MAX_ATTRIBUTE_CHARS, errors);
        let Some(text) = text else {
            continue;
        };
        field::check_seen(&field, Some(text), errors);
        if text.is_empty() {
            errors.add(field, "must not be empty");
        } else if attributes.iter().any(|known| known == text) {
            errors.add(field, "is given twice");
        } else {
            attributes.push(text.to_owned());
        }
    }
    Some(attributes)
}

fn geo(json: &Json<'_>, errors: &mut Errors) -> Option<Geo> {
    let object = Object::new("geo", json, errors)?;
    let names = ["country_code", "country", "city", "latitude", "longitude"];
    object.refuse_others(&names, errors);

    let country_code = shown_text(&object, "country_code", errors);
    let is_code =
        |code: &String| code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase());
    if country_code.as_ref().is_some_and(|code| !is_code(code)) {
        errors.add(
            "geo.country_code",
            "must be two capital letters, such as DE",
        );
    }
    let latitude = degrees(&object, "latitude", 90.0, errors);
    let longitude = degrees(&object, "longitude", 180.0, errors);
    let is_there = |name: &str| object.optional(name).is_some();
    for (name, other) in [("latitude", "longitude"), ("longitude", "latitude")] {
        if is_there(name) && !is_there(other) {
            errors.add(object.field(other), format!("is missing beside {name}"));
        }
    }
    Some(Geo {
        country_code,
        country: shown_text(&object, "country", errors),
        city: shown_text(&object, "city", errors),
        latitude,
        longitude,
    })
}

/// A text that people read in a list; an empty one counts as left out.
fn shown_text(object: &Object<'_>, name: &str, errors: &mut Errors) -> Option<String> {
    let text = object.optional_text(name, MAX_TEXT_CHARS, errors);
    field::check_seen(&object.field(name), text.as_deref(), errors);
    text.filter(|text| !text.is_empty())
}

fn degrees(
    object: &Object<'_>,
    name: &str,
    most: f64,
    errors: &mut Errors,
) -> Option<f64> {
    let field = object.field(name);
    let degrees = field::number(&field, object.optional(name)?, errors)?;
    if (-most..=most).contains(&degrees) {
        return Some(degrees);
    }
    errors.add(field, format!("must be from {} to {most}", -most));
    None
}

fn billing(json: &Json<'_>, errors: &mut Errors) -> Option<Billing> {
    let object = Object::new("billing", json, errors)?;
    object.refuse_others(&["day", "quota_bytes", "count", "expires_on"], errors);
    Some(Billing {
        day: small(&object, "day", 1..=31, errors),
        quota_bytes: whole(&object, "quota_bytes", 1..=MAX_WHOLE, errors),
        count: object
            .optional("count")
            .and_then(|json| counted(json, errors)),
        expires_on: object
            .optional("expires_on")
            .and_then(|json| date(json, errors)),
    })
}

fn counted(json: &Json<'_>, errors: &mut Errors) -> Option<Counted> {
    let counted = match json {
        Json::Text(text) => match text.as_ref() {
            "sum" => Some(Counted::Sum),
            "max" => Some(Counted::Max),
            "sent" => Some(Counted::Sent),
            "received" => Some(Counted::Received),
            _ => None,
        },
        _ => None,
    };
    if counted.is_none() {
        errors.add("billing.count", "must be sum, max, sent or received");
    }
    counted
}

/// A day such as `2026-12-31`, and in no other spelling.
fn date(json: &Json<'_>, errors: &mut Errors) -> Option<Date> {
    let date = match json {
        Json::Text(text) => text.parse::<Date>().ok(),
        _ => None,
    };
    let date = date.filter(|date| {
        let is_spelt = matches!(json, Json::Text(text) if date.to_string() == **text);
        is_spelt && date.year() >= 1970
    });
    if date.is_none() {
        errors.add("billing.expires_on", "must be a day such as 2026-12-31");
    }
    date
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(json: &str) -> Result<SettingsPatch, Vec<String>> {
        let json: Json<'_> = serde_json::from_str(json).unwrap();
        let fields = |errors: Vec<FieldError>| {
            errors.into_iter().map(|error| error.field).collect()
        };
        SettingsPatch::from_json(&json).map_err(fields)
    }

    #[test]
    fn a_patch_sets_and_removes_settings() {
        let full = r#"{
            "max_sessions": 250, "bandwidth_mbps": 1000, "capacity": 2.5,
            "admin_weight": 0, "attributes": ["port=51820", "ü"],
            "geo": {"country_code": "DE", "country": "Germany", "city": "Munich",
                "latitude": 48.1, "longitude": -180},
            "billing": {"day": 31, "quota_bytes": 9007199254740991, "count": "sent",
                "expires_on": "2028-02-29"}}"#;
        let set = patch(full).unwrap();
        assert_eq!(set.names, NAMES);
        let given: serde_json::Value = serde_json::from_str(full).unwrap();
        let written = serde_json::to_value(&set.values).unwrap();
        assert_eq!(written["geo"]["longitude"], -180.0);
        for name in ["max_sessions", "attributes", "billing"] {
            assert_eq!(written[name], given[name], "{name}");
        }
        let read: Settings = serde_json::from_value(written).unwrap();
        assert_eq!(read, set.values);

        let none = r#"{"capacity": null, "geo": {"city": null, "country": ""},
            "attributes": []}"#;
        let removed = patch(none).unwrap();
        assert_eq!(removed.names, ["capacity", "attributes", "geo"]);
        let expected = Settings {
            attributes: Some(Vec::new()),
            geo: Some(Box::default()),
            ..Settings::default()
        };
        assert_eq!(removed.values, expected);
        assert_eq!(patch("{}").unwrap(), SettingsPatch::default());
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        let many = format!(r#"{{"attributes": [{}]}}"#, ["\"a\""; 17].join(","));
        let long = format!(r#"{{"attributes": ["{}"]}}"#, "x".repeat(254));
        for (text, fields) in [
            ("[]", vec![""]),
            (r#"{"max_session": 1, "geo": null}"#, vec!["max_session"]),
            (r#"{"max_sessions": 0}"#, vec!["max_sessions"]),
            (r#"{"max_sessions": 1.5}"#, vec!["max_sessions"]),
            (r#"{"max_sessions": "1"}"#, vec!["max_sessions"]),
            (r#"{"bandwidth_mbps": 100000001}"#, vec!["bandwidth_mbps"]),
            (r#"{"capacity": 0}"#, vec!["capacity"]),
            (r#"{"capacity": 10000.1}"#, vec!["capacity"]),
            (r#"{"admin_weight": 1001}"#, vec!["admin_weight"]),
            (r#"{"admin_weight": -1}"#, vec!["admin_weight"]),
            (r#"{"attributes": {}}"#, vec!["attributes"]),
            (
                r#"{"attributes": [1, "", "a", "a", "b\n"]}"#,
                vec![
                    "attributes[0]",
                    "attributes[1]",
                    "attributes[3]",
                    "attributes[4]",
                ],
            ),
            (&many, vec!["attributes"]),
            (&long, vec!["attributes[0]"]),
            (r#"{"geo": "DE"}"#, vec!["geo"]),
            (
                r#"{"geo": {"country_code": "de", "town": 1}}"#,
                vec!["geo.town", "geo.country_code"],
            ),
            (r#"{"geo": {"latitude": 1}}"#, vec!["geo.longitude"]),
            (
                r#"{"geo": {"latitude": 91, "longitude": -181}}"#,
                vec!["geo.latitude", "geo.longitude"],
            ),
            (
                r#"{"billing": {"day": 0, "quota_bytes": 0, "count": "all"}}"#,
                vec!["billing.day", "billing.quota_bytes", "billing.count"],
            ),
            (
                r#"{"billing": {"quota_bytes": 9007199254740993}}"#,
                vec!["billing.quota_bytes"],
            ),
            (
                r#"{"billing": {"expires_on": "2026-02-29"}}"#,
                vec!["billing.expires_on"],
            ),
            (
                r#"{"billing": {"expires_on": "-000001-01-01"}}"#,
                vec!["billing.expires_on"],
            ),
            (
                r#"{"billing": {"expires_on": "2026-12-31T00:00:00"}}"#,
                vec!["billing.expires_on"],
            ),
            (r#"{"billing": {"price": 5}}"#, vec!["billing.price"]),
            (r#"{"geo": {}, "geo": {}}"#, vec!["geo"]),
        ] {
            assert_eq!(patch(text).unwrap_err(), fields, "{text}");
        }
    }
}
