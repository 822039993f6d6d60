//! A selector as a tree.

use crate::field::Field;
use crate::literal::Literal;
use crate::operator::Operator;

/// Which hosts are meant. An `And` has at least two parts and none that is an `And`; so
/// has an `Or`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expression {
    /// Every host.
    All,
    /// Hosts on which one field is as it should be.
    Term(Field, Test),
    /// All other hosts.
    Not(Box<Expression>),
    /// Hosts that each of these means.
    And(Vec<Expression>),
    /// Hosts that one of these means.
    Or(Vec<Expression>),
}

/// What a field is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Test {
    /// A switch is on, or any other field is there.
    Alone,
    /// The field compared with a value.
    Compare(Operator, Literal),
    /// The field is one of these, or none of these.
    In(Sense, Vec<Literal>),
}

/// Whether something or its opposite is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sense {
    Is,
    IsNot,
}

impl Expression {
    /// All of these; the only one itself.
    pub(crate) fn and(parts: Vec<Expression>) -> Expression {
        let flat = parts.into_iter().flat_map(|part| match part {
            Expression::And(parts) => parts,
            other => vec![other],
        });
        only(flat.collect()).unwrap_or_else(Expression::And)
    }

    /// Any of these; the only one itself.
    pub(crate) fn or(parts: Vec<Expression>) -> Expression {
        let flat = parts.into_iter().flat_map(|part| match part {
            Expression::Or(parts) => parts,
            other => vec![other],
        });
        only(flat.collect()).unwrap_or_else(Expression::Or)
    }

    /// All fields that are asked about.
    pub(crate) fn fields(&self) -> Box<dyn Iterator<Item = &Field> + '_> {
        match self {
            Expression::All => Box::new(std::iter::empty()),
            Expression::Term(field, _) => Box::new(std::iter::once(field)),
            Expression::Not(inner) => inner.fields(),
            Expression::And(parts) | Expression::Or(parts) => {
                Box::new(parts.iter().flat_map(Expression::fields))
            }
        }
    }
}

/// The only part.
///
/// # Errors
/// All parts, if there are several.
fn only(mut parts: Vec<Expression>) -> Result<Expression, Vec<Expression>> {
    match parts.pop() {
        Some(only) if parts.is_empty() => Ok(only),
        last => {
            parts.extend(last);
            Err(parts)
        }
    }
}
