//! Reads fields out of a [`Json`] object and collects every broken rule on the way.

use std::collections::HashSet;

use crate::{FieldError, Json, Timestamp};

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
    pub(crate) fn none<T>(self, value: T) -> Result<T, Vec<FieldError>> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(self.0)
        }
    }
}

/// A JSON object whose fields are being read; `path` is its own place in the body.
pub(crate) struct Object<'a> {
    path: String,
    members: &'a [(std::borrow::Cow<'a, str>, Json<'a>)],
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
        if let Some((name, _)) =
            members.iter().find(|(name, _)| !seen.insert(name.as_ref()))
        {
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

    /// The field; `null` counts as left out.
    pub(crate) fn optional(&self, name: &str) -> Option<&'a Json<'a>> {
        self.get(name).filter(|value| **value != Json::Null)
    }
}

/// A string of at most `max_chars` characters without NUL: no database we use can store
/// one.
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
    if text.contains('\0') {
        errors.add(field, "must not contain a NUL character");
        return None;
    }
    // Bytes bound characters from above: only a long text needs counting.
    if text.len() > max_chars && text.chars().count() > max_chars {
        errors.add(field, format!("is longer than {max_chars} characters"));
        return None;
    }
    Some(text)
}

pub(crate) fn boolean(field: &str, json: &Json<'_>, errors: &mut Errors) -> Option<bool> {
    let Json::Bool(value) = json else {
        errors.add(field, format!("must be true or false, not {}", json.kind()));
        return None;
    };
    Some(*value)
}

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
    if !(0.0..=100.0).contains(&value) {
        errors.add(field, format!("must be from 0 to 100, not {value}"));
        return None;
    }
    Some(value)
}

pub(crate) fn timestamp(
    field: &str,
    json: &Json<'_>,
    errors: &mut Errors,
) -> Option<Timestamp> {
    let text = text(field, json, crate::MAX_TEXT_CHARS, errors)?;
    let timestamp = parse_rfc3339(text);
    if timestamp.is_none() {
        errors.add(
            field,
            "must be an RFC 3339 time such as 2026-01-31T12:00:00Z",
        );
    }
    timestamp
}

/// RFC 3339 §5.6. jiff alone would take more, such as weeks and time zone names, and no
/// more than nine digits of a second.
fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let (date_and_time, rest) = text.split_at_checked("2026-01-31T12:00:00".len())?;
    let shape = |text: &str, pattern: &str| {
        let fits = |(byte, pattern): (u8, u8)| {
            if pattern == b'0' {
                byte.is_ascii_digit()
            } else {
                byte == pattern
            }
        };
        text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(fits)
    };
    let digits = rest
        .strip_prefix('.')
        .map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let (fraction, offset) = rest.split_at(digits.map_or(0, |digits| digits + 1));
    let is_offset = offset.eq_ignore_ascii_case("z")
        || shape(offset, "+00:00")
        || shape(offset, "-00:00");
    if !shape(&date_and_time.to_ascii_uppercase(), "0000-00-00T00:00:00")
        || digits == Some(0)
        || !is_offset
    {
        return None;
    }
    let fraction = &fraction[..fraction.len().min(".123456789".len())];
    format!("{date_and_time}{fraction}{offset}").parse().ok()
}
