//! Readers of fields: each takes one value of a [`Json`] body and returns it typed. A
//! value that breaks a rule is an entry in [`Errors`] and `None`; the caller goes on with
//! the next field, so that one answer tells the sender every broken rule.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::agent_id::AgentId;
use crate::json::Json;
use crate::limits::MAX_TEXT_CHARS;
use crate::problem::FieldError;
use crate::timestamp::{Timestamp, parse_rfc3339};

/// The broken rules found so far.
#[derive(Default)]
pub(crate) struct Errors(Vec<FieldError>);

impl Errors {
    pub(crate) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldError::new(field, message));
    }

    pub(crate) fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    /// `value`, if no rule was broken.
    pub(crate) fn into_result<T>(self, value: T) -> Result<T, Vec<FieldError>> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(self.0)
        }
    }
}

/// A JSON object whose fields are being read.
pub(crate) struct Object<'a> {
    /// The object's own place in the body, such as `services[3]`; empty for the body.
    path: String,
    members: &'a [(Cow<'a, str>, Json<'a>)],
}

impl<'a> Object<'a> {
    /// `json` as an object; anything else, and any member given twice, is an error.
    pub(crate) fn new(
        path: &str,
        json: &'a Json<'a>,
        errors: &mut Errors,
    ) -> Option<Self> {
        let Json::Object(members) = json else {
            errors.add(path, format!("must be an object, not {}", json.kind()));
            return None;
        };
        let object = Object {
            path: path.to_owned(),
            members,
        };

        let mut seen = HashSet::with_capacity(members.len());
        let repeated = members.iter().find(|(name, _)| !seen.insert(name.as_ref()));
        if let Some((name, _)) = repeated {
            errors.add(object.field(name), "is given twice");
            return None;
        }
        Some(object)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (&'a str, &'a Json<'a>)> {
        self.members
            .iter()
            .map(|(name, value)| (name.as_ref(), value))
    }

    /// The path of the field `name` of this object.
    pub(crate) fn field(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a Json<'a>> {
        self.members()
            .find(|(member, _)| *member == name)
            .map(|(_, value)| value)
    }

    /// The field, which must be there.
    pub(crate) fn required(
        &self,
        name: &str,
        errors: &mut Errors,
    ) -> Option<&'a Json<'a>> {
        let value = self.get(name);
        if value.is_none() {
            errors.add(self.field(name), "is missing");
        }
        value
    }

    /// A text that must be there, with the rules of [`text`].
    pub(crate) fn required_text(
        &self,
        name: &str,
        max_chars: usize,
        errors: &mut Errors,
    ) -> Option<String> {
        let value = self.required(name, errors)?;
        text(&self.field(name), value, max_chars, errors).map(str::to_owned)
    }

    /// A text that may be left out, with the rules of [`text`].
    pub(crate) fn optional_text(
        &self,
        name: &str,
        max_chars: usize,
        errors: &mut Errors,
    ) -> Option<String> {
        let value = self.optional(name)?;
        text(&self.field(name), value, max_chars, errors).map(str::to_owned)
    }

    /// The elements of an array that must be there, each with its place in the body.
    pub(crate) fn required_array(
        &self,
        name: &str,
        errors: &mut Errors,
    ) -> Vec<(String, &'a Json<'a>)> {
        let value = self.required(name, errors);
        value.map_or_else(Vec::new, |value| self.elements(name, value, errors))
    }

    /// The elements of an array that may be left out, each with its place in the body.
    pub(crate) fn optional_array(
        &self,
        name: &str,
        errors: &mut Errors,
    ) -> Vec<(String, &'a Json<'a>)> {
        let value = self.optional(name);
        value.map_or_else(Vec::new, |value| self.elements(name, value, errors))
    }

    fn elements(
        &self,
        name: &str,
        value: &'a Json<'a>,
        errors: &mut Errors,
    ) -> Vec<(String, &'a Json<'a>)> {
        let path = self.field(name);
        let Json::Array(elements) = value else {
            errors.add(path, format!("must be an array, not {}", value.kind()));
            return Vec::new();
        };
        let elements = elements.iter().enumerate();
        elements
            .map(|(index, element)| (format!("{path}[{index}]"), element))
            .collect()
    }

    /// Refuses every field but these, so that a misspelt one is not taken for one that
    /// was left out.
    pub(crate) fn refuse_others(&self, known: &[&str], errors: &mut Errors) {
        let names = self.members().map(|(name, _)| name);
        for name in names.filter(|name| !known.contains(name)) {
            let message = format!("is not a field here: use {}", known.join(", "));
            errors.add(self.field(name), message);
        }
    }

    /// The field; `null` counts as left out.
    pub(crate) fn optional(&self, name: &str) -> Option<&'a Json<'a>> {
        self.get(name).filter(|value| **value != Json::Null)
    }
}

/// A string of at most `max_chars` characters without NUL, because some of the databases
/// that the server uses cannot store a NUL.
pub(crate) fn text<'a>(
    field: &str,
    json: &'a Json<'_>,
    max_chars: usize,
    errors: &mut Errors,
) -> Option<&'a str> {
    let Json::Text(text) = json else {
        errors.add(field, format!("must be a string, not {}", json.kind()));
        return None;
    };
    check_text(field, text, max_chars, errors).then_some(text)
}

/// Whether `text` keeps the rules of [`text`].
pub(crate) fn check_text(
    field: &str,
    text: &str,
    max_chars: usize,
    errors: &mut Errors,
) -> bool {
    // A text has at most as many characters as bytes: only a long text needs counting.
    if text.contains('\0') {
        errors.add(field, "must not contain a NUL character");
    } else if text.len() > max_chars && text.chars().count() > max_chars {
        errors.add(field, format!("is longer than {max_chars} characters"));
    } else {
        return true;
    }
    false
}

/// `true` or `false`.
pub(crate) fn boolean(field: &str, json: &Json<'_>, errors: &mut Errors) -> Option<bool> {
    let Json::Bool(value) = json else {
        errors.add(field, format!("must be true or false, not {}", json.kind()));
        return None;
    };
    Some(*value)
}

/// Any number that JSON can hold.
pub(crate) fn number(field: &str, json: &Json<'_>, errors: &mut Errors) -> Option<f64> {
    let Json::Number(value) = json else {
        errors.add(field, format!("must be a number, not {}", json.kind()));
        return None;
    };
    Some(*value)
}

/// A percentage, or `null` for "could not be measured".
pub(crate) fn percentage(
    field: &str,
    json: &Json<'_>,
    errors: &mut Errors,
) -> Option<f64> {
    if *json == Json::Null {
        return None;
    }
    let value = number(field, json, errors)?;
    check_percentage(field, value, errors).then_some(value)
}

/// Whether `value` is from 0 to 100.
pub(crate) fn check_percentage(field: &str, value: f64, errors: &mut Errors) -> bool {
    let is_in_range = (0.0..=100.0).contains(&value);
    if !is_in_range {
        errors.add(field, format!("must be from 0 to 100, not {value}"));
    }
    is_in_range
}

/// An instant, as an RFC 3339 string.
pub(crate) fn timestamp(
    field: &str,
    json: &Json<'_>,
    errors: &mut Errors,
) -> Option<Timestamp> {
    let text = text(field, json, MAX_TEXT_CHARS, errors)?;
    let timestamp = parse_rfc3339(text);
    if timestamp.is_none() {
        errors.add(
            field,
            "must be an RFC 3339 time such as 2026-01-31T12:00:00Z",
        );
    }
    timestamp
}

/// An agent's id.
pub(crate) fn agent_id(
    field: &str,
    json: &Json<'_>,
    errors: &mut Errors,
) -> Option<AgentId> {
    let text = text(field, json, MAX_TEXT_CHARS, errors)?;
    let id = AgentId::parse(text);
    if id.is_none() {
        errors.add(field, "must be 32 hexadecimal digits");
    }
    id
}

/// How long something lives: a number of seconds, or a text such as `90m` or `7d`.
pub(crate) fn life(
    field: &str,
    json: &Json<'_>,
    range: RangeInclusive<Duration>,
    errors: &mut Errors,
) -> Option<Duration> {
    let life = match json {
        Json::Number(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
        Json::Text(text) => parse_life(text),
        _ => None,
    };
    let life = life.filter(|life| life.subsec_nanos() == 0 && range.contains(life));
    if life.is_none() {
        let (least, most) =
            (range.start().as_secs() / 60, range.end().as_secs() / 86_400);
        errors.add(
            field,
            format!(
                "must be a whole number of seconds, or a text such as \"90m\" or \"7d\", \
                 from {least}m to {most}d"
            ),
        );
    }
    life
}

/// A whole number and a unit.
pub(crate) fn parse_life(text: &str) -> Option<Duration> {
    let (number, seconds) = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// Notes a text with characters that are not seen: people read it in a list.
pub(crate) fn check_seen(name: &str, text: Option<&str>, errors: &mut Errors) {
    if text.is_some_and(|text| text.chars().any(is_unseen)) {
        errors.add(name, "must have no characters that cannot be seen");
    }
}

/// Whether a character is not seen, or changes how those around it are seen: controls, and
/// what Unicode has for the direction of text and for joining letters.
fn is_unseen(c: char) -> bool {
    let is_format = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    c.is_control() || is_format
}
