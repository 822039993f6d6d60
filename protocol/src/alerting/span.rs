//! Lengths of time as texts: `30s`, `10m`, `4h`, `7d`.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

use crate::field::{Errors, Object, parse_life};
use crate::json::Json;

/// The units, the longest one first.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

/// A length of whole seconds in the longest unit that it is a multiple of: `90s`, `2m`.
pub fn show_span(span: Duration) -> String {
    let seconds = span.as_secs();
    let fits =
        |(_, length): &(&str, u64)| seconds >= *length && seconds.is_multiple_of(*length);
    let (unit, length) = UNITS.into_iter().find(fits).unwrap_or(("s", 1));
    format!("{}{unit}", seconds / length)
}

/// The length `name` of `object`, which must be within `range`; `usual` if it is left
/// out.
pub(super) fn read(
    object: &Object<'_>,
    name: &str,
    range: RangeInclusive<u64>,
    usual: u64,
    errors: &mut Errors,
) -> Duration {
    let usual = Duration::from_secs(usual);
    let span = object
        .optional(name)
        .map(|json| read_value(&object.field(name), json, range, errors));
    span.map_or(usual, Option::unwrap_or_default)
}

/// A length of so many seconds, as a text or as a number of seconds.
pub(super) fn read_value(
    field: &str,
    json: &Json<'_>,
    range: RangeInclusive<u64>,
    errors: &mut Errors,
) -> Option<Duration> {
    let span = match json {
        Json::Number(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
        Json::Text(text) => parse_life(text),
        _ => None,
    };
    let span = span.filter(|span| span.subsec_nanos() == 0);
    if let Some(span) = span.filter(|span| range.contains(&span.as_secs())) {
        return Some(span);
    }
    let [least, most] =
        [*range.start(), *range.end()].map(|bound| show_span(Duration::from_secs(bound)));
    errors.add(
        field,
        format!("must be a length of time such as \"10m\", from {least} to {most}"),
    );
    None
}

/// For serde: a length as its text.
pub(super) fn serialize<S: Serializer>(
    span: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show_span(*span))
}

/// For serde: a length of its text.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || serde::de::Error::custom(format!("{text:?} is not a length of time"));
    parse_life(&text).ok_or_else(wrong)
}

/// For serde: a length that may be missing.
pub(super) mod optional {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{parse_life, show_span};

    /// See the parent module.
    pub(in super::super) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        span.map(show_span).serialize(serializer)
    }

    /// See the parent module.
    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let wrong =
            || serde::de::Error::custom(format!("{text:?} is not a length of time"));
        parse_life(&text).map(Some).ok_or_else(wrong)
    }
}
