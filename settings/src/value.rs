//! The tree of a parsed settings file: values and places.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A value and the value's place.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
}

/// A file and where in it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) file: Arc<str>,
    pub(crate) line: Option<usize>,
}

/// The meaning of an absent key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Nobody has set the key.
    Unset,
    /// A file could not be read, and the key may be in there. The file is among the
    /// problems already: to call the key missing would tell the same problem twice.
    Unknown,
}

/// The values of a table, by key.
pub(crate) type Entries = BTreeMap<String, Value>;

/// A value's type, and the value.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Text(String),
    Integer(i128),
    Boolean(bool),
    Array(Vec<Value>),
    Table(Entries),
    /// A type of no setting, such as a date; the text names the type.
    Other(&'static str),
    /// The value's line is not TOML, and is among the problems already: no reader says
    /// anything more about the value.
    Broken,
}

impl Kind {
    /// The value as text.
    pub(crate) fn text(&self) -> String {
        match self {
            Kind::Text(text) => format!("{text:?}"),
            Kind::Integer(number) => number.to_string(),
            Kind::Boolean(is_set) => is_set.to_string(),
            Kind::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| item.kind.text()).collect();
                format!("[{}]", items.join(", "))
            }
            Kind::Table(entries) => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| format!("{key:?} = {}", value.kind.text()))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
            Kind::Other(name) => (*name).to_owned(),
            Kind::Broken => String::new(),
        }
    }

    /// The type's name, for messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Kind::Text(_) => "a string",
            Kind::Integer(_) => "a number",
            Kind::Boolean(_) => "a boolean",
            Kind::Array(_) => "an array",
            Kind::Table(_) => "a table",
            Kind::Other(name) => name,
            Kind::Broken => "broken",
        }
    }
}
