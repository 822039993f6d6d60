//! Mutes: when nobody is to be told of some hosts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rule::{read_ids, read_selector};
use super::vocabulary::Vocabulary;
use super::window::Weekly;
use crate::field::{self, Errors, Object};
use crate::json::Json;
use crate::limits::MAX_TEXT_CHARS;
use crate::problem::FieldError;
use crate::timestamp::Timestamp;

/// The longest time for which a mute that is not weekly is in force: 90 days.
pub const MAX_MUTE_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// The longest time for which a weekly mute is in force: two years.
pub const MAX_WEEKLY_LIFE: Duration = Duration::from_secs(2 * 366 * 86_400);
/// The most rules that a mute names.
const MAX_RULES: usize = 200;

/// When nobody is to be told of some hosts. A mute ends in any case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// The hosts: a selector in its canonical form.
    #[serde(rename = "where")]
    pub select: String,
    /// The ids of the rules that are meant; empty for all.
    pub rules: Vec<String>,
    /// When it begins.
    pub from: Timestamp,
    /// When it ends for good.
    pub until: Timestamp,
    /// The hours in between in which it is in force; `None` for all of them.
    pub weekly: Option<Weekly>,
    /// Why, for people; empty for nothing.
    pub reason: String,
}

impl Mute {
    /// The mute that `json` describes, at `now`. One without `from` begins at `now`.
    ///
    /// # Errors
    /// Every member that is missing, unknown or breaks a rule.
    pub fn from_json(
        json: &Json<'_>,
        now: Timestamp,
        vocabulary: &dyn Vocabulary,
    ) -> Result<Mute, Vec<FieldError>> {
        let mut errors = Errors::default();
        let Some(body) = Object::new("", json, &mut errors) else {
            return Err(errors.into_vec());
        };
        let known = ["where", "rules", "from", "until", "weekly", "reason"];
        body.refuse_others(&known, &mut errors);

        body.required("where", &mut errors);
        let select = read_selector(&body, vocabulary, &mut errors);
        let rules = read_ids(&body, "rules", MAX_RULES, &mut errors);
        let from = body.optional("from");
        let from = from.map(|json| field::timestamp("from", json, &mut errors));
        let from = from.flatten().unwrap_or(now);
        let until = read_until(&body, &mut errors);
        let weekly = body.optional("weekly");
        if let Some(until) = until {
            let longest = weekly.map_or(MAX_MUTE_LIFE, |_| MAX_WEEKLY_LIFE);
            check_life(from, until, longest, now, &mut errors);
        }

        let weekly = weekly.and_then(|json| Weekly::read(json, vocabulary, &mut errors));
        let reason = body.optional_text("reason", MAX_TEXT_CHARS, &mut errors);
        field::check_seen("reason", reason.as_deref(), &mut errors);
        errors.into_result(Mute {
            select,
            rules,
            from,
            until: until.unwrap_or(now),
            weekly,
            reason: reason.unwrap_or_default(),
        })
    }
}

fn read_until(body: &Object<'_>, errors: &mut Errors) -> Option<Timestamp> {
    let Some(json) = body.optional("until") else {
        let message = match body.optional("weekly") {
            Some(_) => "is missing: a weekly mute has an end, too",
            None => "is missing: a mute has an end",
        };
        errors.add("until", message);
        return None;
    };
    field::timestamp("until", json, errors)
}

fn check_life(
    from: Timestamp,
    until: Timestamp,
    longest: Duration,
    now: Timestamp,
    errors: &mut Errors,
) {
    let latest = from.saturating_add(longest).unwrap_or(Timestamp::MAX);
    if until <= now {
        errors.add("until", "must be in the future");
    } else if until <= from {
        errors.add("until", "must be after from");
    } else if until > latest {
        let days = longest.as_secs() / 86_400;
        errors.add("until", format!("must be within {days} days after from"));
    }

    let farthest = now.saturating_add(MAX_WEEKLY_LIFE);
    if from > farthest.unwrap_or(Timestamp::MAX) {
        errors.add("from", "must be within two years");
    }
}
