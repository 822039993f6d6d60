//! What somebody has to say who takes an alert on.

use crate::field::{self, Errors, Object};
use crate::json::Json;
use crate::problem::FieldError;

/// The longest note, in characters.
const MAX_NOTE_CHARS: usize = 1000;

/// The body of `POST /alerts/{id}/ack`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckNote {
    /// The note; empty for none.
    pub note: String,
}

impl AckNote {
    /// The note in `json`.
    ///
    /// # Errors
    /// Every member that is unknown or breaks a rule.
    pub fn from_json(json: &Json<'_>) -> Result<AckNote, Vec<FieldError>> {
        let mut errors = Errors::default();
        let Some(body) = Object::new("", json, &mut errors) else {
            return Err(errors.into_vec());
        };
        body.refuse_others(&["note"], &mut errors);
        let note = body.optional_text("note", MAX_NOTE_CHARS, &mut errors);
        for line in note.iter().flat_map(|note| note.lines()) {
            field::check_seen("note", Some(line), &mut errors);
        }
        errors.into_result(AckNote {
            note: note.unwrap_or_default(),
        })
    }
}
