//! The state of a host: whether admins let it work, drain it, or have it under
//! maintenance.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::field::{self, Errors, Object};
use crate::json::Json;
use crate::limits::MAX_TEXT_CHARS;
use crate::problem::FieldError;
use crate::timestamp::Timestamp;

/// The longest time for which a state may be set: 30 days.
pub const MAX_STATE_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How a host is to be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// As ever.
    #[default]
    Normal,
    /// Clients that are there stay, and no further ones are to come.
    Drain,
    /// The host may be down: people work on it.
    Maintenance,
}

impl Mode {
    /// The mode's name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Normal => "normal",
            Mode::Drain => "drain",
            Mode::Maintenance => "maintenance",
        }
    }

    /// The mode of this name.
    pub fn parse(name: &str) -> Option<Mode> {
        let mut all = [Mode::Normal, Mode::Drain, Mode::Maintenance].into_iter();
        all.find(|mode| mode.as_str() == name)
    }
}

/// The state of a host.
///
/// A record has the state that was set last, also when it is over. What is in effect
/// follows from the time: see [`HostState::at`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostState {
    /// How the host is to be used.
    pub mode: Mode,
    /// When the state ends by itself; `None` if it does not.
    pub until: Option<Timestamp>,
    /// What people are told about it.
    pub reason: Option<String>,
    /// Since when the mode is this one, as far as anybody has set it.
    pub since: Option<Timestamp>,
}

impl HostState {
    /// The state in effect at `now`: one that is over is the normal state, since its end.
    #[must_use]
    pub fn at(&self, now: Timestamp) -> HostState {
        match self.end() {
            Some(until) if until <= now => HostState {
                since: Some(until),
                ..HostState::default()
            },
            _ => self.clone(),
        }
    }

    /// When the state ends by itself and is normal again; `None` if it does not.
    pub fn end(&self) -> Option<Timestamp> {
        self.until.filter(|_| self.mode != Mode::Normal)
    }
}

/// The body of `PATCH /server/{ip}/state`: the state to set, as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePatch {
    /// How the host is to be used.
    pub mode: Mode,
    /// When the state ends by itself, to the millisecond. `Mode::Maintenance` has it in
    /// any case, `Mode::Normal` never.
    pub until: Option<Timestamp>,
    /// What people are told about it.
    pub reason: Option<String>,
}

impl StatePatch {
    /// The patch that `json` holds, at `now`.
    ///
    /// # Errors
    /// Every broken rule, and every member that a state does not have.
    pub fn from_json(
        json: &Json<'_>,
        now: Timestamp,
    ) -> Result<StatePatch, Vec<FieldError>> {
        let mut errors = Errors::default();
        let Some(body) = Object::new("", json, &mut errors) else {
            return Err(errors.into_vec());
        };

        let mode = body
            .required("mode", &mut errors)
            .and_then(|json| parse_mode(json, &mut errors));
        let until = body.optional("until").and_then(|json| {
            let until = field::timestamp("until", json, &mut errors)?;
            check_until(until, now, &mut errors)
        });
        let reason = body.optional_text("reason", MAX_TEXT_CHARS, &mut errors);
        field::check_seen("reason", reason.as_deref(), &mut errors);
        body.refuse_others(&["mode", "until", "reason"], &mut errors);

        let has_until = body.optional("until").is_some();
        match mode {
            Some(Mode::Maintenance) if !has_until => {
                errors.add("until", "is missing: maintenance ends by itself");
            }
            Some(Mode::Normal) if has_until => {
                errors.add("until", "does not go with mode normal, which does not end");
            }
            _ => {}
        }
        errors.into_result(StatePatch {
            mode: mode.unwrap_or_default(),
            until,
            reason: reason.filter(|reason| !reason.trim().is_empty()),
        })
    }
}

fn parse_mode(json: &Json<'_>, errors: &mut Errors) -> Option<Mode> {
    let mode = match json {
        Json::Text(name) => Mode::parse(name),
        _ => None,
    };
    if mode.is_none() {
        errors.add("mode", "must be normal, drain or maintenance");
    }
    mode
}

/// The end of a state, in whole milliseconds, as every database holds it.
fn check_until(
    until: Timestamp,
    now: Timestamp,
    errors: &mut Errors,
) -> Option<Timestamp> {
    let latest = now.saturating_add(MAX_STATE_LIFE).unwrap_or(Timestamp::MAX);
    let until = Timestamp::from_millisecond(until.as_millisecond()).unwrap_or(until);
    if until <= now {
        errors.add("until", "must be in the future");
        return None;
    }
    if until > latest {
        let days = MAX_STATE_LIFE.as_secs() / 86_400;
        errors.add("until", format!("must be within {days} days"));
        return None;
    }
    Some(until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn patch(json: &str) -> Result<StatePatch, Vec<String>> {
        let json: Json<'_> = serde_json::from_str(json).unwrap();
        let fields = |errors: Vec<FieldError>| {
            errors.into_iter().map(|error| error.field).collect()
        };
        StatePatch::from_json(&json, time("2026-01-01T00:00:00Z")).map_err(fields)
    }

    #[test]
    fn a_patch_is_a_whole_state() {
        let expected = StatePatch {
            mode: Mode::Maintenance,
            until: Some(time("2026-01-01T01:00:00.123Z")),
            reason: Some("disk".to_owned()),
        };
        let text = r#"{"mode": "maintenance", "until": "2026-01-01T02:00:00.1239+01:00",
            "reason": "disk"}"#;
        assert_eq!(patch(text).unwrap(), expected);

        for (text, mode) in [
            (r#"{"mode": "drain"}"#, Mode::Drain),
            (
                r#"{"mode": "normal", "until": null, "reason": null}"#,
                Mode::Normal,
            ),
            (r#"{"mode": "normal", "reason": ""}"#, Mode::Normal),
            (r#"{"mode": "drain", "reason": "   "}"#, Mode::Drain),
        ] {
            let expected = StatePatch {
                mode,
                until: None,
                reason: None,
            };
            assert_eq!(patch(text).unwrap(), expected, "{text}");
        }
        for until in ["2026-01-01T00:00:00.001Z", "2026-01-31T00:00:00Z"] {
            for mode in ["maintenance", "drain"] {
                let text = format!(r#"{{"mode": "{mode}", "until": "{until}"}}"#);
                assert_eq!(patch(&text).unwrap().until, Some(time(until)), "{text}");
            }
        }
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        let long = format!(r#"{{"mode": "drain", "reason": "{}"}}"#, "x".repeat(254));
        for (text, fields) in [
            ("[]", vec![""]),
            ("{}", vec!["mode"]),
            (r#"{"mode": null}"#, vec!["mode"]),
            (r#"{"mode": "Drain"}"#, vec!["mode"]),
            (r#"{"mode": 1, "until": 1}"#, vec!["mode", "until"]),
            (r#"{"mode": "maintenance"}"#, vec!["until"]),
            (r#"{"mode": "maintenance", "until": null}"#, vec!["until"]),
            (
                r#"{"mode": "maintenance", "until": "2026-01-01T00:00:00Z"}"#,
                vec!["until"],
            ),
            (
                r#"{"mode": "maintenance", "until": "2026-01-31T00:00:00.001Z"}"#,
                vec!["until"],
            ),
            (
                r#"{"mode": "normal", "until": "2026-01-02T00:00:00Z"}"#,
                vec!["until"],
            ),
            (r#"{"mode": "drain", "until": "tomorrow"}"#, vec!["until"]),
            (r#"{"mode": "drain", "reason": 1}"#, vec!["reason"]),
            (r#"{"mode": "drain", "reason": "a\nb"}"#, vec!["reason"]),
            (&long, vec!["reason"]),
            (r#"{"mode": "drain", "since": null}"#, vec!["since"]),
            (r#"{"mode": "drain", "mode": "drain"}"#, vec!["mode"]),
        ] {
            assert_eq!(patch(text).unwrap_err(), fields, "{text}");
        }
    }

    #[test]
    fn a_state_that_is_over_is_the_normal_one() {
        let until = time("2026-01-01T00:00:00Z");
        let state = HostState {
            mode: Mode::Maintenance,
            until: Some(until),
            reason: Some("disk".to_owned()),
            since: None,
        };
        let just_before = until - jiff::SignedDuration::from_millis(1);
        assert_eq!(state.at(just_before), state);
        let over = HostState {
            since: Some(until),
            ..HostState::default()
        };
        assert_eq!(state.at(until), over);
        let drain = HostState {
            mode: Mode::Drain,
            ..HostState::default()
        };
        assert_eq!(drain.at(Timestamp::MAX), drain);
    }
}
