//! Rules: what is watched, whom it is told, and how often.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::condition::Condition;
use super::severity::Severity;
use super::span;
use super::vocabulary::Vocabulary;
use crate::field::{self, Errors, Object};
use crate::json::Json;
use crate::limits::{MAX_NAME_CHARS, MAX_SELECTOR_CHARS, MAX_TAG_KEY_CHARS};
use crate::problem::FieldError;

/// The most channels that a rule names, and again for its escalation.
const MAX_CHANNELS: usize = 20;
/// The most labels by which alerts are grouped.
const MAX_GROUP_LABELS: usize = 3;
/// The longest note, in characters.
const MAX_NOTE_CHARS: usize = 1000;
const DAY_S: u64 = 86_400;
const INTERVAL: &str = "group_interval";

/// What is watched, whom it is told, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// What the rule is about, in its maker's words.
    pub name: String,
    /// Whether it is looked at.
    pub enabled: bool,
    /// How bad its alerts are.
    pub severity: Severity,
    /// What it looks at; in JSON, `when` and its members stand beside the other fields.
    #[serde(flatten)]
    pub condition: Condition,
    /// For how long it has to be so before an alert fires.
    #[serde(rename = "for", with = "span")]
    pub for_: Duration,
    /// For how long it has to be otherwise before an alert ends.
    #[serde(with = "span")]
    pub clear_for: Duration,
    /// The hosts: a selector in its canonical form.
    #[serde(rename = "where")]
    pub select: String,
    /// Alerts with the same values of these are told together.
    pub group_by: Vec<GroupLabel>,
    /// How long the first message of a group waits for further alerts.
    #[serde(with = "span")]
    pub group_wait: Duration,
    /// How long the next message of a group waits, at least, after the one before.
    #[serde(with = "span")]
    pub group_interval: Duration,
    /// After which time what still fires is told again; `None` for never.
    #[serde(with = "span::optional")]
    pub repeat: Option<Duration>,
    /// The ids of the channels that are told.
    pub channels: Vec<String>,
    /// Who else is told of what nobody takes on.
    pub escalate: Option<Escalation>,
    /// What people are to do, for example; empty for nothing.
    pub note: String,
}

/// Who else is told of an alert that nobody has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// So long after the alert has fired.
    #[serde(with = "span")]
    pub after: Duration,
    /// The ids of the channels.
    pub channels: Vec<String>,
}

/// By what alerts are grouped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum GroupLabel {
    /// The country's code.
    Country,
    /// The region within the country.
    Region,
    /// The city.
    City,
    /// The host's name.
    Hostname,
    /// The value of the tag of this key.
    Tag(String),
}

impl fmt::Display for GroupLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupLabel::Country => f.write_str("country"),
            GroupLabel::Region => f.write_str("region"),
            GroupLabel::City => f.write_str("city"),
            GroupLabel::Hostname => f.write_str("hostname"),
            GroupLabel::Tag(key) => write!(f, "tag.{key}"),
        }
    }
}

impl From<GroupLabel> for String {
    fn from(label: GroupLabel) -> String {
        label.to_string()
    }
}

impl TryFrom<String> for GroupLabel {
    type Error = String;

    fn try_from(text: String) -> Result<GroupLabel, String> {
        Ok(match text.as_str() {
            "country" => GroupLabel::Country,
            "region" => GroupLabel::Region,
            "city" => GroupLabel::City,
            "hostname" => GroupLabel::Hostname,
            other => match other.strip_prefix("tag.") {
                Some(key) if !key.is_empty() => GroupLabel::Tag(key.to_owned()),
                _ => {
                    let message = "must be country, region, city, hostname or tag.KEY";
                    return Err(message.to_owned());
                }
            },
        })
    }
}

/// The members of a rule besides those of its condition.
const MEMBERS: [&str; 14] = [
    "name",
    "enabled",
    "severity",
    "when",
    "for",
    "clear_for",
    "where",
    "group_by",
    "group_wait",
    "group_interval",
    "repeat",
    "channels",
    "escalate",
    "note",
];

impl Rule {
    /// The rule that `json` describes. Whether its channels exist is not looked at.
    ///
    /// # Errors
    /// Every member that is missing, unknown or breaks a rule.
    pub fn from_json(
        json: &Json<'_>,
        vocabulary: &dyn Vocabulary,
    ) -> Result<Rule, Vec<FieldError>> {
        let mut errors = Errors::default();
        let Some(body) = Object::new("", json, &mut errors) else {
            return Err(errors.into_vec());
        };
        let known = [&MEMBERS[..], &Condition::members(&body)].concat();
        body.refuse_others(&known, &mut errors);

        let name = read_name(&body, &mut errors);
        let severity = body
            .required("severity", &mut errors)
            .and_then(|json| Severity::read("severity", json, &mut errors));
        let condition = Condition::read(&body, &mut errors);
        let rule = Rule {
            name: name.unwrap_or_default(),
            enabled: read_enabled(&body, &mut errors),
            severity: severity.unwrap_or(Severity::Info),
            condition: condition.unwrap_or(Condition::Down),
            for_: span::read(&body, "for", 0..=7 * DAY_S, 0, &mut errors),
            clear_for: span::read(&body, "clear_for", 0..=7 * DAY_S, 0, &mut errors),
            select: read_selector(&body, vocabulary, &mut errors),
            group_by: read_labels(&body, &mut errors),
            group_wait: span::read(&body, "group_wait", 0..=3600, 30, &mut errors),
            group_interval: span::read(&body, INTERVAL, 10..=DAY_S, 300, &mut errors),
            repeat: read_repeat(&body, &mut errors),
            channels: read_ids(&body, "channels", MAX_CHANNELS, &mut errors),
            escalate: read_escalation(&body, &mut errors),
            note: read_note(&body, &mut errors),
        };
        rule.check(&mut errors);
        errors.into_result(rule)
    }

    /// What its fields say together.
    fn check(&self, errors: &mut Errors) {
        let is_event = self.condition.is_instant() || self.condition == Condition::Clock;
        for (name, span) in [("for", self.for_), ("clear_for", self.clear_for)] {
            if is_event && !span.is_zero() {
                let when = self.condition.as_str();
                errors.add(name, format!("does not go with {when}, which is an event"));
            }
        }
    }
}

fn read_name(body: &Object<'_>, errors: &mut Errors) -> Option<String> {
    let name = body.required_text("name", MAX_NAME_CHARS, errors);
    if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        errors.add("name", "must say what the rule is about");
    }
    field::check_seen("name", name.as_deref(), errors);
    name
}

fn read_repeat(body: &Object<'_>, errors: &mut Errors) -> Option<Duration> {
    let json = body.optional("repeat")?;
    span::read_value("repeat", json, 300..=30 * DAY_S, errors)
}

fn read_enabled(body: &Object<'_>, errors: &mut Errors) -> bool {
    let enabled = body.optional("enabled");
    let enabled = enabled.map(|json| field::boolean("enabled", json, errors));
    enabled.flatten().unwrap_or(true)
}

/// The selector `where` in its canonical form; all hosts if it is left out.
pub(super) fn read_selector(
    body: &Object<'_>,
    vocabulary: &dyn Vocabulary,
    errors: &mut Errors,
) -> String {
    let Some(text) = body.optional_text("where", MAX_SELECTOR_CHARS, errors) else {
        return "all".to_owned();
    };
    match vocabulary.selector(&text) {
        Ok(canonical) => canonical,
        Err(message) => {
            errors.add("where", message);
            text
        }
    }
}

fn read_labels(body: &Object<'_>, errors: &mut Errors) -> Vec<GroupLabel> {
    let elements = body.optional_array("group_by", errors);
    if elements.len() > MAX_GROUP_LABELS {
        errors.add(
            "group_by",
            format!("has more than {MAX_GROUP_LABELS} labels"),
        );
        return Vec::new();
    }

    let longest = "tag.".len() + MAX_TAG_KEY_CHARS;
    let mut labels = Vec::new();
    for (path, element) in elements {
        let Some(text) = field::text(&path, element, longest, errors) else {
            continue;
        };
        match GroupLabel::try_from(text.to_owned()) {
            Ok(label) if labels.contains(&label) => errors.add(path, "is given twice"),
            Ok(label) => labels.push(label),
            Err(message) => errors.add(path, message),
        }
    }
    labels
}

/// A list of ids, none of them twice; empty if it is left out.
pub(super) fn read_ids(
    object: &Object<'_>,
    name: &str,
    most: usize,
    errors: &mut Errors,
) -> Vec<String> {
    let elements = object.optional_array(name, errors);
    if elements.len() > most {
        errors.add(object.field(name), format!("has more than {most} elements"));
        return Vec::new();
    }

    let mut ids = Vec::new();
    for (path, element) in elements {
        let Some(id) = field::text(&path, element, MAX_NAME_CHARS, errors) else {
            continue;
        };
        let id = id.to_owned();
        if id.is_empty() {
            errors.add(path, "must be an id");
        } else if ids.contains(&id) {
            errors.add(path, "is given twice");
        } else {
            ids.push(id);
        }
    }
    ids
}

fn read_escalation(body: &Object<'_>, errors: &mut Errors) -> Option<Escalation> {
    let object = Object::new("escalate", body.optional("escalate")?, errors)?;
    object.refuse_others(&["after", "channels"], errors);

    let after = object.required("after", errors);
    let after = after.and_then(|json| {
        span::read_value("escalate.after", json, 60..=7 * DAY_S, errors)
    });
    let channels = read_ids(&object, "channels", MAX_CHANNELS, errors);
    if channels.is_empty() {
        errors.add("escalate.channels", "must name at least one channel");
    }
    Some(Escalation {
        after: after?,
        channels,
    })
}

fn read_note(body: &Object<'_>, errors: &mut Errors) -> String {
    let note = body.optional_text("note", MAX_NOTE_CHARS, errors);
    for line in note.iter().flat_map(|note| note.lines()) {
        field::check_seen("note", Some(line), errors);
    }
    note.unwrap_or_default()
}
