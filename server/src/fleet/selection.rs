//! `select=` of a request: a selector, and the hosts that it means at that time.

use std::sync::Arc;

use fleetbeat_protocol::{Mode, Status, Timestamp};
use fleetbeat_selector::{Field, Host, Selector, Value};

use super::load;
use super::shown::Shown;

/// How much more memory a selector takes than the bytes of its canonical form, at most:
/// the shortest value, `1, `, takes 48 bytes as a part of a tree, and a condition more.
const BYTES_PER_CHAR: usize = 24;

/// A selector, at the time of a request. It is a part of a view's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Selection {
    selector: Arc<Selector>,
    /// The second of the request, since 1970. 0 for a selector that does not depend on the
    /// time: its views serve as long as the fleet stays as it is.
    second: i64,
}

impl Selection {
    /// The hosts that `text` means at `now`.
    ///
    /// # Errors
    /// What is wrong with the text, and where.
    pub(crate) fn parse(text: &str, now: Timestamp) -> Result<Selection, String> {
        let selector = Selector::parse(text).map_err(|error| error.to_string())?;
        Ok(Selection::new(selector, now))
    }

    /// The hosts that the selector means at `now`.
    pub(crate) fn new(selector: Selector, now: Timestamp) -> Selection {
        let second = if selector.depends_on_time() {
            now.as_second()
        } else {
            0
        };
        Selection {
            selector: Arc::new(selector),
            second,
        }
    }

    /// The selector in its canonical form.
    pub(crate) fn as_str(&self) -> &str {
        self.selector.as_str()
    }

    /// Whether the server is meant.
    pub(crate) fn wants(&self, server: &Shown) -> bool {
        self.selector.selects(&Record(server), self.now_ms())
    }

    /// Whether a server may be meant that is active and enabled.
    pub(crate) fn may_want_offered(&self) -> bool {
        self.selector.may_select(&Offered, self.now_ms())
    }

    /// How much memory the selector takes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.selector.as_str().len() * BYTES_PER_CHAR
    }

    fn now_ms(&self) -> i64 {
        self.second * 1000
    }
}

/// A host as selectors see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a>(&'a Shown);

impl<'a> Record<'a> {
    /// The host as it is shown.
    pub(crate) fn new(shown: &'a Shown) -> Record<'a> {
        Record(shown)
    }

    /// The host.
    pub(crate) fn shown(&self) -> &'a Shown {
        self.0
    }
}

impl Host for Record<'_> {
    fn value(&self, field: &Field) -> Value<'_> {
        let Record(server) = self;
        let number = |number: Option<f64>| number.map_or(Value::Missing, Value::Number);
        match field {
            Field::Ip => Value::Address(server.ip),
            Field::ServerId => Value::text(&server.server_id),
            Field::Hostname => Value::text(&server.hostname),
            Field::Country => Value::either(&server.country_code, &server.country),
            Field::Region => Value::text(server.region.as_deref().unwrap_or_default()),
            Field::City => Value::text(&server.city),
            Field::Status => Value::Text(server.status.as_str()),
            Field::Enabled => Value::Switch(server.flags.enabled),
            Field::Static => Value::Switch(server.flags.is_static),
            Field::Gaming => Value::Switch(server.flags.gaming),
            Field::Streaming => Value::Switch(server.flags.streaming),
            Field::Paid => Value::Switch(server.flags.paid),
            Field::Draining => Value::Switch(server.state.mode == Mode::Drain),
            Field::Maintenance => Value::Switch(server.state.mode == Mode::Maintenance),
            Field::LoadCpu => number(server.load.cpu),
            Field::LoadRam => number(server.load.ram),
            Field::LoadNet => number(server.load.net),
            Field::LastHeartbeat => Value::Time(server.last_heartbeat.as_millisecond()),
            Field::Service(name) => {
                let mut services = server.services.iter();
                let service = services.find(|service| service.name == *name);
                service.map_or(Value::Missing, |service| Value::Switch(service.active))
            }
            Field::Metric(name) => number(server.metrics.get(name).copied()),
            Field::Tag(key) => {
                let tag = server.tags.get(key).or_else(|| server.agent_tags.get(key));
                tag.map_or(Value::Missing, |value| Value::Text(value))
            }
            Field::AgentVersion => {
                Value::text(server.agent_version.as_deref().unwrap_or_default())
            }
            Field::Load => number(server.offer().load_percent.map(f64::from)),
            Field::Clients => number(load::clients(server)),
        }
    }
}

/// Any server that is active and enabled.
struct Offered;

impl Host for Offered {
    fn value(&self, field: &Field) -> Value<'_> {
        match field {
            Field::Status => Value::Text(Status::Active.as_str()),
            Field::Enabled => Value::Switch(true),
            _ => Value::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use fleetbeat_protocol::Server;
    use serde_json::Value as Json;

    use super::*;

    #[test]
    fn a_record_has_in_each_field_what_the_dashboard_sees_there() {
        let golden = include_str!("../../../selector/golden/wire.json");
        let golden: Json = serde_json::from_str(golden).unwrap();
        let server: Server = serde_json::from_value(golden["server"].clone()).unwrap();
        let now: Timestamp = golden["now"].as_str().unwrap().parse().unwrap();
        let server = Shown::new(Arc::new(server), now, None);

        for case in golden["cases"].as_array().unwrap() {
            let text = case["selector"].as_str().unwrap();
            let selection = Selection::parse(text, now).unwrap();
            assert_eq!(
                Json::from(selection.wants(&server)),
                case["selected"],
                "{text}"
            );
        }
    }

    #[test]
    fn a_selection_that_asks_for_an_age_is_of_its_second_and_others_are_of_all_times() {
        let at = |text: &str, second: i64| {
            let now = Timestamp::from_second(second).unwrap();
            Selection::parse(text, now).unwrap()
        };
        assert_eq!(at("gaming and  paid", 1), at("(gaming) and paid", 2));
        assert_ne!(at("gaming", 1), at("paid", 1));
        let age = "gaming or not last_heartbeat < 5m";
        assert_eq!(at(age, 1), at(age, 1));
        assert_ne!(at(age, 1), at(age, 2));
    }

    #[test]
    fn a_selection_of_none_but_hosts_that_are_not_offered_is_known_as_such() {
        for (text, expected) in [
            ("all", true),
            ("status = active and gaming", true),
            ("status = down or gaming", true),
            ("not (enabled and gaming)", true),
            ("status = down", false),
            ("status ~ d*", false),
            ("not enabled", false),
            ("gaming and not status in (active)", false),
            ("not (enabled or gaming)", false),
            ("status != active or not enabled", false),
        ] {
            let selection = Selection::parse(text, Timestamp::UNIX_EPOCH).unwrap();
            assert_eq!(selection.may_want_offered(), expected, "{text}");
        }
    }
}
