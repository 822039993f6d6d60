//! Times of the day and the week, by the clock of a zone.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::vocabulary::Vocabulary;
use crate::field::{self, Errors, Object};
use crate::json::Json;
use crate::limits::{MAX_NAME_CHARS, MAX_TEXT_CHARS};
use crate::problem::FieldError;

/// A time of the day, to the minute: `22:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClockTime {
    /// From 0 to 23.
    pub hour: u8,
    /// From 0 to 59.
    pub minute: u8,
}

impl ClockTime {
    /// The time that `text` spells: two digits, a colon, two digits.
    pub fn parse(text: &str) -> Option<ClockTime> {
        let (hour, minute) = text.split_once(':')?;
        let digits = |text: &str, most: u8| {
            let is_pair = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
            let number = text.parse().ok().filter(|number: &u8| *number <= most);
            number.filter(|_| is_pair)
        };
        Some(ClockTime {
            hour: digits(hour, 23)?,
            minute: digits(minute, 59)?,
        })
    }
}

impl fmt::Display for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

impl From<ClockTime> for String {
    fn from(time: ClockTime) -> String {
        time.to_string()
    }
}

impl TryFrom<String> for ClockTime {
    type Error = String;

    fn try_from(text: String) -> Result<ClockTime, String> {
        ClockTime::parse(&text)
            .ok_or_else(|| format!("{text:?} is not a time of the day"))
    }
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the variants are the days")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    /// The week.
    pub const ALL: [Day; 7] = [
        Day::Mon,
        Day::Tue,
        Day::Wed,
        Day::Thu,
        Day::Fri,
        Day::Sat,
        Day::Sun,
    ];

    /// The day's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Day::Mon => "mon",
            Day::Tue => "tue",
            Day::Wed => "wed",
            Day::Thu => "thu",
            Day::Fri => "fri",
            Day::Sat => "sat",
            Day::Sun => "sun",
        }
    }
}

/// Some hours on some days of each week. Hours that begin on a day and end on the next
/// one belong to the day on which they begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weekly {
    /// The days, in the order of the week.
    pub days: Vec<Day>,
    /// When it begins.
    pub from: ClockTime,
    /// When it ends: the next day, if that is not after `from`.
    pub to: ClockTime,
    /// The zone of the clock, by its IANA name.
    pub zone: String,
}

/// The hours of each day in which a channel is not told of what is not critical.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    /// When they begin.
    pub from: ClockTime,
    /// When they end: the next day, if that is not after `from`.
    pub to: ClockTime,
    /// The zone of the clock, by its IANA name.
    pub zone: String,
}

impl Weekly {
    pub(super) fn read(
        json: &Json<'_>,
        vocabulary: &dyn Vocabulary,
        errors: &mut Errors,
    ) -> Option<Weekly> {
        let object = Object::new("weekly", json, errors)?;
        object.refuse_others(&["days", "from", "to", "zone"], errors);

        let days = read_days(&object, errors);
        let from = read_time(&object, "from", errors);
        let to = read_time(&object, "to", errors);
        let zone = read_zone(&object, vocabulary, errors);
        Some(Weekly {
            days,
            from: from?,
            to: to?,
            zone: zone?,
        })
    }
}

impl Quiet {
    /// The hours that `json` describes.
    ///
    /// # Errors
    /// Every member that is missing, unknown or breaks a rule, without the place of
    /// `json` itself.
    pub fn from_json(
        json: &Json<'_>,
        vocabulary: &dyn Vocabulary,
    ) -> Result<Quiet, Vec<FieldError>> {
        let mut errors = Errors::default();
        let Some(object) = Object::new("", json, &mut errors) else {
            return Err(errors.into_vec());
        };
        object.refuse_others(&["from", "to", "zone"], &mut errors);

        let midnight = ClockTime { hour: 0, minute: 0 };
        let from = read_time(&object, "from", &mut errors);
        let to = read_time(&object, "to", &mut errors);
        if from.is_some() && from == to {
            errors.add("to", "must not be the time at which the hours begin");
        }
        let zone = read_zone(&object, vocabulary, &mut errors);
        errors.into_result(Quiet {
            from: from.unwrap_or(midnight),
            to: to.unwrap_or(midnight),
            zone: zone.unwrap_or_default(),
        })
    }
}

fn read_days(object: &Object<'_>, errors: &mut Errors) -> Vec<Day> {
    let elements = object.required_array("days", errors);
    if elements.is_empty() && matches!(object.get("days"), Some(Json::Array(_))) {
        errors.add(object.field("days"), "must name at least one day");
    }

    let mut days = Vec::new();
    for (path, element) in elements {
        let Some(name) = field::text(&path, element, MAX_NAME_CHARS, errors) else {
            continue;
        };
        match Day::ALL.into_iter().find(|day| day.as_str() == name) {
            Some(day) if days.contains(&day) => errors.add(path, "is given twice"),
            Some(day) => days.push(day),
            None => errors.add(path, "must be mon, tue, wed, thu, fri, sat or sun"),
        }
    }
    days.sort_unstable();
    days
}

fn read_time(object: &Object<'_>, name: &str, errors: &mut Errors) -> Option<ClockTime> {
    let text = object.required_text(name, MAX_NAME_CHARS, errors)?;
    let time = ClockTime::parse(&text);
    if time.is_none() {
        let message = "must be a time of the day such as 22:00";
        errors.add(object.field(name), message);
    }
    time
}

fn read_zone(
    object: &Object<'_>,
    vocabulary: &dyn Vocabulary,
    errors: &mut Errors,
) -> Option<String> {
    let zone = object.required_text("zone", MAX_TEXT_CHARS, errors)?;
    if !vocabulary.has_zone(&zone) {
        let message = "is not a time zone: use an IANA name such as Europe/Berlin";
        errors.add(object.field("zone"), message);
        return None;
    }
    Some(zone)
}
