//! What selects the rows of a list, as a part of a statement.

use rusqlite::types::Value;

use crate::store::alert_store::Place;

/// What selects the rows of a list.
#[derive(Default)]
pub(super) struct Condition {
    parts: Vec<String>,
    pub(super) values: Vec<Value>,
}

impl Condition {
    /// Adds a part without values.
    pub(super) fn is(&mut self, part: &str) {
        self.parts.push(part.to_owned());
    }

    /// The column has one of these values; any where there are none.
    pub(super) fn is_one_of<'a>(
        &mut self,
        column: &str,
        wanted: impl IntoIterator<Item = &'a str>,
    ) {
        let wanted = wanted
            .into_iter()
            .map(|value| Value::from(value.to_owned()));
        let first = self.values.len();
        self.values.extend(wanted);
        let places = (first + 1..=self.values.len()).map(|place| format!("?{place}"));
        let places: Vec<String> = places.collect();
        if !places.is_empty() {
            self.parts
                .push(format!("{column} IN ({})", places.join(", ")));
        }
    }

    /// The row is behind this place of a list by `column`.
    pub(super) fn is_behind(&mut self, column: &str, after: Option<&Place>) {
        if let Some(after) = after {
            let first = self.values.len() + 1;
            self.values.push(after.number.into());
            self.values.push(after.id.clone().into());
            let second = first + 1;
            self.parts
                .push(format!("({column}, id) < (?{first}, ?{second})"));
        }
    }

    /// The text with `WHERE`, if there is anything to select by.
    pub(super) fn text(&self) -> String {
        if self.parts.is_empty() {
            return String::new();
        }
        format!("WHERE {}", self.parts.join(" AND "))
    }
}
