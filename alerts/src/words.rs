//! The selectors and the zones that rules and mutes may name.

use fleetbeat_protocol::Vocabulary;
use fleetbeat_selector::Selector;
use jiff::tz::TimeZone;

/// What there is: the language of selectors, and the time zones that are in the program.
#[derive(Debug, Clone, Copy)]
pub struct Words;

impl Vocabulary for Words {
    fn selector(&self, text: &str) -> Result<String, String> {
        let selector = Selector::parse(text).map_err(|error| error.to_string())?;
        Ok(selector.to_string())
    }

    fn has_zone(&self, name: &str) -> bool {
        TimeZone::get(name).is_ok()
    }
}
