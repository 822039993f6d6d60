//! Channels: where messages go, and of what they are told.

use serde::{Deserialize, Serialize};

use super::severity::Severity;
use super::vocabulary::Vocabulary;
use super::window::Quiet;
use crate::field::{self, Errors, Object};
use crate::json::Json;
use crate::limits::MAX_NAME_CHARS;
use crate::problem::FieldError;

/// What a channel is told, and when; its settings are another matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelForm {
    /// What people call it.
    pub name: String,
    /// What kind of channel it is, such as `telegram`.
    pub kind: String,
    /// Whether messages are sent. Those for a channel that is switched off wait.
    pub enabled: bool,
    /// It is told of this and worse.
    pub min_severity: Severity,
    /// When it is told of what is critical alone; `None` for never.
    pub quiet: Option<Quiet>,
}

impl ChannelForm {
    /// The channel that `json` describes, and its settings, which are not looked at.
    ///
    /// # Errors
    /// Every member that is missing, unknown or breaks a rule.
    pub fn from_json<'a>(
        json: &'a Json<'a>,
        vocabulary: &dyn Vocabulary,
    ) -> Result<(ChannelForm, &'a Json<'a>), Vec<FieldError>> {
        const MEMBERS: [&str; 6] = [
            "name",
            "kind",
            "enabled",
            "min_severity",
            "quiet",
            "settings",
        ];
        let mut errors = Errors::default();
        let Some(body) = Object::new("", json, &mut errors) else {
            return Err(errors.into_vec());
        };
        body.refuse_others(&MEMBERS, &mut errors);

        let name = body.required_text("name", MAX_NAME_CHARS, &mut errors);
        if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
            errors.add("name", "must say what people call the channel");
        }
        field::check_seen("name", name.as_deref(), &mut errors);
        let kind = body.required_text("kind", MAX_NAME_CHARS, &mut errors);
        let enabled = body.optional("enabled");
        let enabled = enabled.map(|json| field::boolean("enabled", json, &mut errors));
        let min_severity = body.optional("min_severity");
        let min_severity =
            min_severity.map(|json| Severity::read("min_severity", json, &mut errors));
        let quiet = read_quiet(&body, vocabulary, &mut errors);
        let settings = body.required("settings", &mut errors);
        let form = ChannelForm {
            name: name.unwrap_or_default(),
            kind: kind.unwrap_or_default(),
            enabled: enabled.flatten().unwrap_or(true),
            min_severity: min_severity.flatten().unwrap_or(Severity::Info),
            quiet,
        };
        errors.into_result((form, settings.unwrap_or(&Json::Null)))
    }
}

fn read_quiet(
    body: &Object<'_>,
    vocabulary: &dyn Vocabulary,
    errors: &mut Errors,
) -> Option<Quiet> {
    match Quiet::from_json(body.optional("quiet")?, vocabulary) {
        Ok(quiet) => Some(quiet),
        Err(broken) => {
            for error in broken {
                let field = match error.field.as_str() {
                    "" => "quiet".to_owned(),
                    field => format!("quiet.{field}"),
                };
                errors.add(field, error.message);
            }
            None
        }
    }
}
