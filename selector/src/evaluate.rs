//! Whether a host is meant.

use std::cmp::Ordering;
use std::net::IpAddr;

use crate::field::Field;
use crate::literal::Literal;
use crate::number::parse_number;
use crate::operator::Operator;
use crate::tree::{Expression, Sense, Test};

/// A host whose fields can be asked for.
pub trait Host {
    /// The field's value: of the type that belongs to the field, or missing.
    fn value(&self, field: &Field) -> Value<'_>;
}

/// What a host has in a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Nothing.
    Missing,
    /// Something, and nobody knows what. A selector that depends on it has no answer.
    Unknown,
    /// A text. An empty one is there: see [`Value::text`].
    Text(&'a str),
    /// Two texts, either of which will do.
    Either(&'a str, &'a str),
    /// A number.
    Number(f64),
    /// A switch, on or off.
    Switch(bool),
    /// An address in canonical form.
    Address(IpAddr),
    /// A moment, in milliseconds since 1970.
    Time(i64),
}

impl<'a> Value<'a> {
    /// A text of a record in which an empty text says that there is none.
    #[must_use]
    pub fn text(text: &'a str) -> Value<'a> {
        if text.is_empty() {
            Value::Missing
        } else {
            Value::Text(text)
        }
    }

    /// Two such texts.
    #[must_use]
    pub fn either(one: &'a str, other: &'a str) -> Value<'a> {
        match (one, other) {
            ("", text) | (text, "") => Value::text(text),
            _ => Value::Either(one, other),
        }
    }
}

/// Whether the host is meant; `None` if that depends on what nobody knows.
pub(crate) fn holds(
    expression: &Expression,
    host: &impl Host,
    now_ms: i64,
) -> Option<bool> {
    match expression {
        Expression::All => Some(true),
        Expression::Term(field, test) => match host.value(field) {
            Value::Unknown => None,
            value => Some(passes(value, test, now_ms)),
        },
        Expression::Not(inner) => holds(inner, host, now_ms).map(|holds| !holds),
        Expression::And(parts) => join(parts, host, now_ms, false),
        Expression::Or(parts) => join(parts, host, now_ms, true),
    }
}

/// `decisive` if one part is so, its opposite if no part is.
fn join(
    parts: &[Expression],
    host: &impl Host,
    now_ms: i64,
    decisive: bool,
) -> Option<bool> {
    let mut joined = Some(!decisive);
    for part in parts {
        match holds(part, host, now_ms) {
            Some(holds) if holds == decisive => return Some(decisive),
            Some(_) => {}
            None => joined = None,
        }
    }
    joined
}

/// Whether the value is what is asked for. What is missing is equal to nothing, so it is
/// unequal to everything.
fn passes(value: Value<'_>, test: &Test, now_ms: i64) -> bool {
    match test {
        Test::Alone => match value {
            Value::Missing | Value::Unknown => false,
            Value::Switch(is_on) => is_on,
            _ => true,
        },
        Test::Compare(operator, literal) => {
            let order = || compare(value, literal, now_ms);
            match operator {
                Operator::Equal => equals(value, literal),
                Operator::NotEqual => !equals(value, literal),
                Operator::Like => is_like(value, literal),
                Operator::NotLike => !is_like(value, literal),
                Operator::Less => order().is_some_and(Ordering::is_lt),
                Operator::LessOrEqual => order().is_some_and(Ordering::is_le),
                Operator::Greater => order().is_some_and(Ordering::is_gt),
                Operator::GreaterOrEqual => order().is_some_and(Ordering::is_ge),
            }
        }
        Test::In(sense, literals) => {
            let is_in = literals.iter().any(|literal| equals(value, literal));
            is_in == (*sense == Sense::Is)
        }
    }
}

fn equals(value: Value<'_>, literal: &Literal) -> bool {
    match (value, literal) {
        (Value::Text(text), Literal::Text(wanted)) => wanted.equals(text),
        (Value::Either(one, other), Literal::Text(wanted)) => {
            wanted.equals(one) || wanted.equals(other)
        }
        (Value::Number(number), Literal::Number(wanted)) => number == *wanted,
        (Value::Switch(is_on), Literal::Switch(wanted)) => is_on == *wanted,
        (Value::Address(ip), Literal::Address(wanted)) => ip == *wanted,
        _ => false,
    }
}

fn is_like(value: Value<'_>, literal: &Literal) -> bool {
    let Literal::Glob(glob) = literal else {
        return false;
    };
    match value {
        Value::Text(text) => glob.covers(text),
        Value::Either(one, other) => glob.covers(one) || glob.covers(other),
        Value::Address(ip) => glob.covers(&ip.to_string()),
        _ => false,
    }
}

/// How the value stands to the literal; `None` where neither is more than the other.
fn compare(value: Value<'_>, literal: &Literal, now_ms: i64) -> Option<Ordering> {
    match (value, literal) {
        (Value::Number(number), Literal::Number(bound)) => number.partial_cmp(bound),
        (Value::Text(text), Literal::Number(bound)) => {
            parse_number(text)?.partial_cmp(bound)
        }
        (Value::Text(text), Literal::Version(bound)) => bound.compare(text),
        (Value::Time(time_ms), Literal::Age(bound)) => {
            // What is in the future counts as now.
            let age_ms = now_ms.saturating_sub(time_ms).max(0).unsigned_abs();
            Some(age_ms.cmp(bound))
        }
        _ => None,
    }
}
