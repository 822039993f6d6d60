//! The canonical form.

use std::fmt;

use crate::field::Field;
use crate::literal::Literal;
use crate::text::show_name;
use crate::tree::{Expression, Sense, Test};

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expression::All => f.write_str("all"),
            Expression::Term(field, test) => write!(f, "{field}{test}"),
            Expression::Not(inner) => {
                let is_joint = matches!(**inner, Expression::And(_) | Expression::Or(_));
                f.write_str(&format!("not {}", within(inner, is_joint)))
            }
            Expression::And(parts) => {
                let shown = parts
                    .iter()
                    .map(|part| within(part, matches!(part, Expression::Or(_))));
                f.write_str(&shown.collect::<Vec<_>>().join(" and "))
            }
            Expression::Or(parts) => {
                let shown = parts.iter().map(ToString::to_string);
                f.write_str(&shown.collect::<Vec<_>>().join(" or "))
            }
        }
    }
}

/// A part of something larger, in parentheses if it needs some.
fn within(part: &Expression, needs_parentheses: bool) -> String {
    if needs_parentheses {
        format!("({part})")
    } else {
        part.to_string()
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, name) = self.names();
        f.write_str(start)?;
        name.map_or(Ok(()), |name| f.write_str(&show_name(name)))
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test::Alone => Ok(()),
            Test::Compare(operator, value) => write!(f, " {} {value}", operator.as_str()),
            Test::In(sense, values) => {
                let word = match sense {
                    Sense::Is => "in",
                    Sense::IsNot => "not in",
                };
                let shown: Vec<_> = values.iter().map(Literal::to_string).collect();
                write!(f, " {word} ({})", shown.join(", "))
            }
        }
    }
}
