//! What is set on many hosts at once, and what is told about it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::field::{self, Errors, Object};
use crate::json::Json;
use crate::limits::MAX_SELECTOR_CHARS;
use crate::problem::FieldError;
use crate::server::FlagsPatch;
use crate::settings::SettingsPatch;
use crate::state::StatePatch;
use crate::tags::TagsPatch;
use crate::timestamp::Timestamp;

/// The most hosts that anybody expects.
const MAX_EXPECTED: f64 = 1_000_000_000.0;
/// What [`BulkSet`] has besides flags.
const ALSO_SET: [&str; 3] = ["tags", "state", "settings"];

/// The body of `POST /servers/bulk`.
#[derive(Debug, Clone, PartialEq)]
pub struct BulkOrder {
    /// A selector of the hosts.
    pub select: String,
    /// What is to be set on each.
    pub set: BulkSet,
    /// What becomes of it.
    pub purpose: BulkPurpose,
}

/// What becomes of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkPurpose {
    /// Nothing is changed. The answer tells which hosts are meant.
    DryRun,
    /// It is carried out, if it means so many hosts.
    CarryOut {
        /// So many hosts have to be meant.
        expect: usize,
    },
}

/// What is to be set on each host: at least one thing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BulkSet {
    /// The flags to set.
    pub flags: FlagsPatch,
    /// The tags to set and to remove.
    pub tags: Option<TagsPatch>,
    /// The state, as a whole.
    pub state: Option<StatePatch>,
    /// The settings to set and to remove.
    pub settings: Option<SettingsPatch>,
}

/// The answer to an order that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkAnswer {
    /// By which the events of this order are known.
    pub bulk_id: String,
    /// The hosts on which all of it is set now, also those on which it was before.
    pub changed: usize,
    /// The hosts on which nothing could be set: most likely they are gone.
    pub failed: usize,
    /// The address of the first host that was not come to, because the database went
    /// away; `None` if all were.
    pub stopped_at: Option<IpAddr>,
}

impl BulkOrder {
    /// The order that `json` holds, at `now`.
    ///
    /// # Errors
    /// Every member that is missing, unknown or breaks a rule. Whether `select` is a
    /// selector is not looked at.
    pub fn from_json(
        json: &Json<'_>,
        now: Timestamp,
    ) -> Result<BulkOrder, Vec<FieldError>> {
        let mut errors = Errors::default();
        let Some(body) = Object::new("", json, &mut errors) else {
            return Err(errors.into_vec());
        };
        body.refuse_others(&["select", "set", "expect", "dry_run"], &mut errors);

        let select = body.required_text("select", MAX_SELECTOR_CHARS, &mut errors);
        let set = body.required("set", &mut errors);
        let set = set.map(|json| BulkSet::read(json, now, &mut errors));
        let purpose = read_purpose(&body, &mut errors);
        errors.into_result(BulkOrder {
            select: select.unwrap_or_default(),
            set: set.unwrap_or_default(),
            purpose: purpose.unwrap_or(BulkPurpose::DryRun),
        })
    }
}

fn read_purpose(body: &Object<'_>, errors: &mut Errors) -> Option<BulkPurpose> {
    let expect = body.get("expect");
    let expect = expect.map(|json| read_expect(json, errors));
    let dry_run = body.get("dry_run");
    let dry_run = dry_run.map(|json| field::boolean("dry_run", json, errors));
    match (dry_run, expect) {
        (Some(Some(true)), _) => Some(BulkPurpose::DryRun),
        (_, Some(expect)) => Some(BulkPurpose::CarryOut { expect: expect? }),
        (Some(None), None) => None,
        (_, None) => {
            let message = "is missing: how many hosts are meant, which dry_run tells";
            errors.add("expect", message);
            None
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole and in range"
)]
fn read_expect(json: &Json<'_>, errors: &mut Errors) -> Option<usize> {
    let number = field::number("expect", json, errors)?;
    if number.fract() == 0.0 && (0.0..=MAX_EXPECTED).contains(&number) {
        return Some(number as usize);
    }
    let message = format!("must be a whole number from 0 to {MAX_EXPECTED}");
    errors.add("expect", message);
    None
}

impl BulkSet {
    fn read(json: &Json<'_>, now: Timestamp, errors: &mut Errors) -> BulkSet {
        let mut set = BulkSet::default();
        let Some(object) = Object::new("set", json, errors) else {
            return set;
        };
        let known = [&FlagsPatch::NAMES[..], &ALSO_SET].concat();
        object.refuse_others(&known, errors);
        if object.members().next().is_none() {
            errors.add("set", "is empty: say what is to be set");
        }

        for (name, value) in object.members() {
            let field = object.field(name);
            match name {
                "tags" => set.tags = inner(&field, TagsPatch::from_json(value), errors),
                "state" => {
                    let state = StatePatch::from_json(value, now);
                    set.state = inner(&field, state, errors);
                }
                "settings" => {
                    let settings = SettingsPatch::from_json(value);
                    set.settings = inner(&field, settings, errors);
                }
                name => {
                    if let Some(flag) = set.flags.named(name) {
                        *flag = field::boolean(&field, value, errors);
                    }
                }
            }
        }
        set
    }
}

/// What was read at `path`, whose own errors do not know where it stands.
fn inner<T>(
    path: &str,
    read: Result<T, Vec<FieldError>>,
    errors: &mut Errors,
) -> Option<T> {
    let broken = match read {
        Ok(value) => return Some(value),
        Err(broken) => broken,
    };
    for FieldError { field, message } in broken {
        let dot = if field.is_empty() { "" } else { "." };
        errors.add(format!("{path}{dot}{field}"), message);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Mode;

    fn order(json: &str) -> Result<BulkOrder, Vec<String>> {
        let json: Json<'_> = serde_json::from_str(json).unwrap();
        let order = BulkOrder::from_json(&json, Timestamp::UNIX_EPOCH);
        order.map_err(|errors| errors.into_iter().map(|error| error.field).collect())
    }

    #[test]
    fn an_order_sets_flags_tags_state_and_settings() {
        let json = r#"{"select": "all", "expect": 1200, "dry_run": false, "set": {
            "paid": true, "static": false, "tags": {"env": "prod", "old": null},
            "state": {"mode": "drain"}, "settings": {"capacity": 2}}}"#;
        let BulkOrder {
            select,
            set,
            purpose,
        } = order(json).unwrap();
        assert_eq!(select, "all");
        assert_eq!(purpose, BulkPurpose::CarryOut { expect: 1200 });
        let flags = (set.flags.paid, set.flags.is_static, set.flags.gaming);
        assert_eq!(flags, (Some(true), Some(false), None));
        assert_eq!(set.tags.unwrap().0["env"].as_deref(), Some("prod"));
        assert_eq!(set.state.unwrap().mode, Mode::Drain);
        assert_eq!(set.settings.unwrap().values.capacity, Some(2.0));

        let dry = r#"{"select": "paid", "dry_run": true, "set": {"enabled": false}}"#;
        assert_eq!(order(dry).unwrap().purpose, BulkPurpose::DryRun);
        let both = dry.replace("true", r#"true, "expect": 3"#);
        assert_eq!(order(&both).unwrap().purpose, BulkPurpose::DryRun);
    }

    #[test]
    fn what_breaks_a_rule_is_named_with_its_path() {
        for (json, fields) in [
            ("[]", vec![""]),
            ("{}", vec!["select", "set", "expect"]),
            (
                r#"{"select": 1, "set": [], "expect": -1, "dryrun": true}"#,
                vec!["dryrun", "select", "set", "expect"],
            ),
            (
                r#"{"select": "all", "set": {}, "dry_run": false}"#,
                vec!["set", "expect"],
            ),
            (
                r#"{"select": "all", "set": {"paid": 1, "free": true, "tags": null,
                    "state": {"mode": "off"}, "settings": {"geo": {"city": 1}}},
                    "dry_run": "yes"}"#,
                vec![
                    "set.free",
                    "set.paid",
                    "set.tags",
                    "set.state.mode",
                    "set.settings.geo.city",
                    "dry_run",
                ],
            ),
            (
                r#"{"select": "all", "set": {"tags": {"A": "b"}}, "expect": 1.5}"#,
                vec!["set.tags.A", "expect"],
            ),
        ] {
            assert_eq!(order(json).unwrap_err(), fields, "{json}");
        }
    }
}
