//! The settings that admins have made on a host, and in which order: of two records of one
//! host, the later change of each setting counts.

use std::collections::BTreeMap;

use fleetbeat_protocol::{Settings, SettingsPatch};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::event::{Act, EventKind, NewEvent, facts};

/// The settings of a host by name, also those that were removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct SetSettings(pub(super) BTreeMap<String, SetSetting>);

/// What was last done to a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SetSetting {
    /// The value as in the API; `null` for a setting that was removed.
    pub(super) value: Value,
    /// The number of the change. Later changes have higher numbers, in the whole store.
    pub(super) change: i64,
}

impl SetSettings {
    /// The settings as they are shown. One that another program has damaged is left out.
    pub(super) fn shown(&self) -> Settings {
        let values = self.values();
        if values.is_empty() {
            return Settings::default();
        }
        if let Ok(settings) = serde_json::from_value(Value::Object(values.clone())) {
            return settings;
        }
        let is_good = |name: &str, value: &Value| {
            let alone = Map::from_iter([(name.to_owned(), value.clone())]);
            serde_json::from_value::<Settings>(Value::Object(alone)).is_ok()
        };
        let good = values
            .into_iter()
            .filter(|(name, value)| is_good(name, value));
        serde_json::from_value(Value::Object(good.collect())).unwrap_or_default()
    }

    /// The values of what is set, by name.
    pub(super) fn values(&self) -> Map<String, Value> {
        let set = self
            .0
            .iter()
            .filter(|(_, setting)| !setting.value.is_null());
        set.map(|(name, setting)| (name.clone(), setting.value.clone()))
            .collect()
    }

    /// Makes the change of this number.
    pub(super) fn change(&mut self, patch: &SettingsPatch, number: i64) {
        for (name, value) in values_of(patch) {
            let setting = SetSetting {
                value,
                change: number,
            };
            self.0.insert(name.to_owned(), setting);
        }
    }

    /// Takes over each setting that was set or removed later in `other`.
    pub(super) fn merge(&mut self, other: &SetSettings) {
        for (name, theirs) in &other.0 {
            let own = self.0.get(name).map(|own| own.change);
            if own < Some(theirs.change) {
                self.0.insert(name.clone(), theirs.clone());
            }
        }
    }
}

/// The values that the patch names, `null` for those that it removes.
fn values_of(patch: &SettingsPatch) -> impl Iterator<Item = (&'static str, Value)> {
    let values = serde_json::to_value(&patch.values);
    let mut values = values.expect("settings are plain JSON");
    let names = patch.names.iter().copied();
    names.map(move |name| {
        let value = values.get_mut(name).map(Value::take);
        (name, value.unwrap_or_default())
    })
}

/// The events of a patch: one for each setting that it gives another value than `before`.
pub(super) fn setting_changes(
    before: &SetSettings,
    patch: &SettingsPatch,
    act: &Act,
) -> Vec<NewEvent> {
    let before = before.values();
    let change = |(name, to): (&str, Value)| {
        let from = before.get(name).cloned().unwrap_or_default();
        let is_changed = from != to;
        let members = [("setting", name.into()), ("from", from), ("to", to)];
        is_changed.then(|| act.event(EventKind::SettingsChanged, facts(members)))
    };
    values_of(patch).filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(max_sessions: Option<u32>, capacity: Option<f64>) -> SettingsPatch {
        SettingsPatch {
            values: Settings {
                max_sessions,
                capacity,
                ..Settings::default()
            },
            names: vec!["max_sessions", "capacity"],
        }
    }

    fn alone(admin_weight: u16) -> SettingsPatch {
        SettingsPatch {
            values: Settings {
                admin_weight: Some(admin_weight),
                ..Settings::default()
            },
            names: vec!["admin_weight"],
        }
    }

    fn set(changes: &[(SettingsPatch, i64)]) -> SetSettings {
        let mut set = SetSettings::default();
        for (patch, number) in changes {
            set.change(patch, *number);
        }
        set
    }

    #[test]
    fn the_later_change_of_each_setting_counts_whatever_the_order_of_merging() {
        let one = set(&[(patch(Some(1), Some(1.0)), 1), (alone(10), 4)]);
        let other = set(&[(patch(Some(2), None), 2), (alone(20), 3)]);
        let (mut first, mut second) = (one.clone(), other.clone());
        first.merge(&other);
        second.merge(&one);
        assert_eq!(first, second);
        let expected = Settings {
            max_sessions: Some(2),
            admin_weight: Some(10),
            ..Settings::default()
        };
        assert_eq!(first.shown(), expected);
    }

    #[test]
    fn a_setting_that_was_damaged_hides_no_other() {
        let json = r#"{"capacity": {"value": 2.5, "change": 1},
            "geo": {"value": "Munich", "change": 2},
            "later": {"value": [1], "change": 3}}"#;
        let set: SetSettings = serde_json::from_str(json).unwrap();
        let expected = Settings {
            capacity: Some(2.5),
            ..Settings::default()
        };
        assert_eq!(set.shown(), expected);
    }
}
