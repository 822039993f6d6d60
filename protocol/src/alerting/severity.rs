//! How bad an alert is.

use serde::{Deserialize, Serialize};

use crate::field::Errors;
use crate::json::Json;

/// How bad an alert is. The order is that of badness.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// To be looked at in working hours.
    Warning,
    /// To be looked at now.
    Critical,
}

impl Severity {
    /// The severity's name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }

    /// The severity of this name.
    pub fn parse(name: &str) -> Option<Severity> {
        let mut all = [Severity::Info, Severity::Warning, Severity::Critical].into_iter();
        all.find(|severity| severity.as_str() == name)
    }

    pub(super) fn read(
        field: &str,
        json: &Json<'_>,
        errors: &mut Errors,
    ) -> Option<Severity> {
        let severity = match json {
            Json::Text(name) => Severity::parse(name),
            _ => None,
        };
        if severity.is_none() {
            errors.add(field, "must be info, warning or critical");
        }
        severity
    }
}
