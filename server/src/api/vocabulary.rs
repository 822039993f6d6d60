//! What rules and mutes name: selectors and time zones.

use fleetbeat_protocol::Vocabulary;
use fleetbeat_selector::Selector;
use jiff::tz::TimeZone;

/// The selectors that this server evaluates, and the zones that it knows.
pub(super) struct Words;

impl Vocabulary for Words {
    fn selector(&self, text: &str) -> Result<String, String> {
        let selector = Selector::parse(text).map_err(|error| error.to_string())?;
        Ok(selector.as_str().to_owned())
    }

    fn has_zone(&self, name: &str) -> bool {
        TimeZone::get(name).is_ok()
    }
}
