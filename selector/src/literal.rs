//! Values in a selector, and how each kind of field may be compared.

use std::fmt;
use std::net::IpAddr;

use crate::field::{Field, Kind};
use crate::number::{parse_age, parse_number, show_age, show_number};
use crate::operator::Operator;
use crate::text::{Glob, Text, quoted};
use crate::version::Version;

/// A value in a selector.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Text(Text),
    Glob(Glob),
    Address(IpAddr),
    Number(f64),
    Switch(bool),
    /// In milliseconds.
    Age(u64),
    Version(Version),
}

impl Literal {
    /// The value that `text` spells, for a comparison of the field by the operator.
    ///
    /// # Errors
    /// Says which values there are.
    pub(crate) fn parse(
        field: &Field,
        operator: Operator,
        text: &str,
    ) -> Result<Literal, String> {
        let kind = field.kind();
        let is_order = operator.is_order();
        let is_pattern = matches!(operator, Operator::Like | Operator::NotLike);
        let shown = quoted(text);
        if text.is_empty() && kind != Kind::Tag && !is_order {
            return Err(format!("an empty text is never found: write not {field}"));
        }

        let (literal, wanted) = match kind {
            _ if is_pattern => (Some(Literal::Glob(Glob::new(text.to_owned()))), ""),
            Kind::Version if is_order => (
                Version::parse(text).map(Literal::Version),
                "a version, such as 1.2.0",
            ),
            Kind::Tag if is_order => {
                (parse_number(text).map(Literal::Number), "a number")
            }
            Kind::Text | Kind::Version | Kind::Tag => {
                (Some(Literal::Text(Text::new(text.to_owned()))), "")
            }
            Kind::Address => (
                text.parse::<IpAddr>()
                    .ok()
                    .map(|ip| Literal::Address(ip.to_canonical())),
                "an address: for a pattern, use ~",
            ),
            Kind::Status => (parse_status(text), "a status: use active or down"),
            Kind::Number => (parse_number(text).map(Literal::Number), "a number"),
            Kind::Switch => (
                text.parse().ok().map(Literal::Switch),
                "a switch's value: use true or false",
            ),
            Kind::Age => (
                parse_age(text).map(Literal::Age),
                "an age, such as 90s, 5m, 12h or 30d",
            ),
        };
        literal.ok_or_else(|| format!("{shown} is not {wanted}"))
    }
}

fn parse_status(text: &str) -> Option<Literal> {
    let mut statuses = ["active", "down"].into_iter();
    let status = statuses.find(|status| text.eq_ignore_ascii_case(status))?;
    Some(Literal::Text(Text::new(status.to_owned())))
}

/// Whether the field may be compared so.
///
/// # Errors
/// Says how it may be.
pub(crate) fn check_operator(field: &Field, operator: Operator) -> Result<(), String> {
    let fits = match field.kind() {
        Kind::Text | Kind::Address | Kind::Status => !operator.is_order(),
        Kind::Number => operator.is_order() || operator.is_equality(),
        Kind::Switch => operator.is_equality(),
        Kind::Age => operator.is_order(),
        Kind::Version | Kind::Tag => true,
    };
    fits.then_some(()).ok_or_else(|| describe(field))
}

/// Whether the field may be compared with a list.
///
/// # Errors
/// Says how it may be.
pub(crate) fn check_list(field: &Field) -> Result<(), String> {
    let fits = !matches!(field.kind(), Kind::Switch | Kind::Age);
    fits.then_some(()).ok_or_else(|| describe(field))
}

/// How the field may be compared.
fn describe(field: &Field) -> String {
    match field.kind() {
        Kind::Switch => format!("{field} is on or off: write {field} or not {field}"),
        Kind::Age => format!("{field} is compared by its age: use <, <=, > or >="),
        Kind::Number => format!("{field} is a number: use =, !=, <, <=, >, >= or in"),
        _ => format!("{field} is a text: use =, !=, ~, !~ or in"),
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Text(text) => text.fmt(f),
            Literal::Glob(glob) => glob.fmt(f),
            Literal::Address(ip) => ip.fmt(f),
            Literal::Number(number) => f.write_str(&show_number(*number)),
            Literal::Switch(is_on) => is_on.fmt(f),
            Literal::Age(age_ms) => f.write_str(&show_age(*age_ms)),
            Literal::Version(version) => version.fmt(f),
        }
    }
}
