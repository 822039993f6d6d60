//! A selector as the other crates see it.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::error::SelectorError;
use crate::evaluate::{Host, holds};
use crate::field::{Field, Fields};
use crate::parser;
use crate::tree::Expression;

/// The longest selector, as it is written and in its canonical form.
pub const MAX_BYTES: usize = 1024;

/// Which hosts are meant.
///
/// Two selectors are equal if their canonical forms are. The canonical form has one blank
/// between words, no parentheses and no quotes that are not needed, and numbers and ages
/// in their shortest form; it parses to an equal selector. Two texts that mean the same
/// in other words (`not not gaming`, `gaming`) are not equal.
#[derive(Debug, Clone)]
pub struct Selector {
    expression: Expression,
    canonical: String,
}

impl Selector {
    /// The selector that `text` spells.
    ///
    /// # Errors
    /// The first fault of the text, with its place.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        Selector::read(text, Fields::All)
    }

    /// The same for a selector that grants something, which asks about no field in which
    /// hosts have a say: see [`Selector::is_granting`].
    ///
    /// # Errors
    /// The first fault of the text, with its place. A field that cannot be used is one.
    pub fn parse_granting(text: &str) -> Result<Selector, SelectorError> {
        Selector::read(text, Fields::Granting)
    }

    fn read(text: &str, fields: Fields) -> Result<Selector, SelectorError> {
        check_length(text)?;
        let expression = parser::parse(text, fields)?;

        // Canonical blanks may make a text longer. One that is stored has to be read again.
        let canonical = expression.to_string();
        if canonical.len() > MAX_BYTES {
            let bytes = canonical.len();
            let message = format!(
                "has {bytes} bytes in its canonical form; at most {MAX_BYTES} are taken"
            );
            return Err(SelectorError::new(1, message));
        }
        Ok(Selector {
            expression,
            canonical,
        })
    }

    pub(crate) fn expression(&self) -> &Expression {
        &self.expression
    }

    /// The canonical form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.canonical
    }

    /// Whether the host is meant. `now_ms` is the time of the question, in milliseconds
    /// since 1970: the age of a heartbeat depends on it.
    pub fn selects(&self, host: &impl Host, now_ms: i64) -> bool {
        holds(&self.expression, host, now_ms) == Some(true)
    }

    /// Whether a host may be meant of which some values are [`Value::Unknown`].
    ///
    /// [`Value::Unknown`]: crate::Value::Unknown
    pub fn may_select(&self, host: &impl Host, now_ms: i64) -> bool {
        holds(&self.expression, host, now_ms) != Some(false)
    }

    /// Whether the answer depends on the time of the question, and not on the host alone.
    #[must_use]
    pub fn depends_on_time(&self) -> bool {
        let mut fields = self.expression.fields();
        fields.any(|field| *field == Field::LastHeartbeat)
    }

    /// Whether no host can bring itself among those that are meant. What grants something
    /// to hosts may take only such a selector. The [`Host`] that it is asked about must
    /// then give the tags of admins alone, and none of an agent.
    #[must_use]
    pub fn is_granting(&self) -> bool {
        let mut fields = self.expression.fields();
        fields.all(Field::is_granting)
    }
}

fn check_length(text: &str) -> Result<(), SelectorError> {
    if text.len() <= MAX_BYTES {
        return Ok(());
    }
    let fits = |(start, c): &(usize, char)| start + c.len_utf8() <= MAX_BYTES;
    let place = text.char_indices().take_while(fits).count() + 1;
    let bytes = text.len();
    let message = format!("has {bytes} bytes; at most {MAX_BYTES} are taken");
    Err(SelectorError::new(place, message))
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Selector) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Selector {}

impl Hash for Selector {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical.hash(state);
    }
}
