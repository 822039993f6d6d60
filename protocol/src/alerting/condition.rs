//! What a rule looks at.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limit::{self, Limit};
use super::span;
use crate::field::{self, Errors, Object};
use crate::json::Json;
use crate::limits::{MAX_NAME_CHARS, MAX_TEXT_CHARS};

/// The most labels of a metric that a rule names.
const MAX_LABELS: usize = 8;
/// The most hosts that a rule asks for.
const MAX_HOSTS: f64 = 1_000_000.0;

/// What a rule looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "when", rename_all = "snake_case")]
pub enum Condition {
    /// The host is down.
    Down,
    /// The host has not been heard for a time, be it down or not.
    Late {
        /// So long.
        #[serde(with = "span")]
        after: Duration,
    },
    /// A service of the host does not run.
    Service {
        /// The services by name, with `*` and `?`.
        service: String,
    },
    /// A load is on the wrong side of a limit.
    Load {
        /// Which one.
        load: LoadKind,
        /// In percent.
        #[serde(flatten)]
        limit: Limit,
    },
    /// A metric is on the wrong side of a limit.
    Metric {
        /// The metrics by name without labels, with `*` and `?`.
        metric: String,
        /// What their labels have to be, with `*` and `?`. Other labels do not matter.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<String, String>,
        /// In the metric's unit.
        #[serde(flatten)]
        limit: Limit,
    },
    /// The host has booted.
    Reboot,
    /// Two hosts say that they are one, or have one address.
    Conflict,
    /// The host's clock is wrong.
    Clock,
    /// Many hosts of a group went down together.
    ManyDown {
        /// At least so many.
        hosts: u32,
        /// And at least this share of the group's, in percent.
        percent: f64,
        /// Within so long.
        #[serde(with = "span")]
        within: Duration,
        /// It is over when less than this share of the group is still down, in percent.
        clear_percent: f64,
    },
}

/// A load of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadKind {
    /// The processor's.
    Cpu,
    /// The memory in use.
    Ram,
    /// The network's.
    Net,
    /// The one that feeds publish.
    Load,
}

impl LoadKind {
    /// The load's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            LoadKind::Cpu => "cpu",
            LoadKind::Ram => "ram",
            LoadKind::Net => "net",
            LoadKind::Load => "load",
        }
    }
}

/// Each condition's name, and the members that belong to it.
const KINDS: [(&str, &[&str]); 9] = [
    ("down", &[]),
    ("late", &["after"]),
    ("service", &["service"]),
    ("load", &["load", "above", "below", "clear"]),
    ("metric", &["metric", "labels", "above", "below", "clear"]),
    ("reboot", &[]),
    ("conflict", &[]),
    ("clock", &[]),
    (
        "many_down",
        &["hosts", "percent", "within", "clear_percent"],
    ),
];

impl Condition {
    /// The condition's name on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Condition::Down => "down",
            Condition::Late { .. } => "late",
            Condition::Service { .. } => "service",
            Condition::Load { .. } => "load",
            Condition::Metric { .. } => "metric",
            Condition::Reboot => "reboot",
            Condition::Conflict => "conflict",
            Condition::Clock => "clock",
            Condition::ManyDown { .. } => "many_down",
        }
    }

    /// Whether it is told by what heartbeats carry.
    pub fn is_of_samples(&self) -> bool {
        matches!(
            self,
            Condition::Service { .. } | Condition::Load { .. } | Condition::Metric { .. }
        )
    }

    /// Whether it is over as soon as it is told: nothing recovers.
    pub fn is_instant(&self) -> bool {
        matches!(self, Condition::Reboot | Condition::Conflict)
    }

    /// The members that belong to the condition that `object` names; all of them if it
    /// names none.
    pub(super) fn members(object: &Object<'_>) -> Vec<&'static str> {
        let named = match object.get("when") {
            Some(Json::Text(name)) => KINDS.iter().find(|(known, _)| *known == name),
            _ => None,
        };
        match named {
            Some((_, members)) => members.to_vec(),
            None => KINDS
                .iter()
                .flat_map(|(_, all)| all.iter().copied())
                .collect(),
        }
    }

    pub(super) fn read(object: &Object<'_>, errors: &mut Errors) -> Option<Condition> {
        let name = object.required_text("when", MAX_NAME_CHARS, errors)?;
        Some(match name.as_str() {
            "down" => Condition::Down,
            "late" => Condition::Late {
                after: read_after(object, errors)?,
            },
            "service" => Condition::Service {
                service: read_glob(object, "service", errors)
                    .unwrap_or_else(|| "*".to_owned()),
            },
            "load" => return read_load(object, errors),
            "metric" => return read_metric(object, errors),
            "reboot" => Condition::Reboot,
            "conflict" => Condition::Conflict,
            "clock" => Condition::Clock,
            "many_down" => return read_many_down(object, errors),
            _ => {
                let names = KINDS.map(|(name, _)| name).join(", ");
                errors.add("when", format!("is not a condition: use one of {names}"));
                return None;
            }
        })
    }
}

fn read_after(object: &Object<'_>, errors: &mut Errors) -> Option<Duration> {
    let json = object.required("after", errors)?;
    span::read_value("after", json, 10..=7 * 86_400, errors)
}

/// A pattern of names that may be left out.
fn read_glob(object: &Object<'_>, name: &str, errors: &mut Errors) -> Option<String> {
    let glob = object.optional_text(name, MAX_TEXT_CHARS, errors)?;
    if glob.trim().is_empty() {
        errors.add(
            name,
            "must name something, with * and ? for what may differ",
        );
    }
    Some(glob)
}

fn read_load(object: &Object<'_>, errors: &mut Errors) -> Option<Condition> {
    let name = object.required_text("load", MAX_NAME_CHARS, errors);
    let load = name.and_then(|name| {
        let all = [LoadKind::Cpu, LoadKind::Ram, LoadKind::Net, LoadKind::Load];
        let load = all.into_iter().find(|load| load.as_str() == name);
        if load.is_none() {
            errors.add("load", "must be cpu, ram, net or load");
        }
        load
    });

    let limit = Limit::read(object, errors);
    for name in limit::MEMBERS {
        if let Some(Json::Number(value)) = object.get(name) {
            field::check_percentage(name, *value, errors);
        }
    }
    Some(Condition::Load {
        load: load?,
        limit: limit?,
    })
}

fn read_metric(object: &Object<'_>, errors: &mut Errors) -> Option<Condition> {
    object.required("metric", errors);
    let metric = read_glob(object, "metric", errors);
    if metric.as_ref().is_some_and(|metric| metric.contains('{')) {
        errors.add("metric", "has no labels: they go into labels");
    }

    let labels = read_labels(object, errors);
    let limit = Limit::read(object, errors);
    Some(Condition::Metric {
        metric: metric?,
        labels,
        limit: limit?,
    })
}

fn read_labels(object: &Object<'_>, errors: &mut Errors) -> BTreeMap<String, String> {
    let labels = object
        .optional("labels")
        .and_then(|json| Object::new("labels", json, errors));
    let Some(labels) = labels else {
        return BTreeMap::new();
    };
    if labels.members().count() > MAX_LABELS {
        errors.add("labels", format!("has more than {MAX_LABELS} labels"));
        return BTreeMap::new();
    }

    let mut globs = BTreeMap::new();
    for (name, value) in labels.members() {
        let glob = field::text(&labels.field(name), value, MAX_TEXT_CHARS, errors);
        globs.extend(glob.map(|glob| (name.to_owned(), glob.to_owned())));
    }
    globs
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole and in range"
)]
fn read_many_down(object: &Object<'_>, errors: &mut Errors) -> Option<Condition> {
    let mut number = |name, usual: f64, range: std::ops::RangeInclusive<f64>| {
        let Some(json) = object.optional(name) else {
            return Some(usual);
        };
        let value = field::number(name, json, errors)?;
        if !range.contains(&value) {
            let (least, most) = (range.start(), range.end());
            errors.add(name, format!("must be from {least} to {most}"));
        }
        Some(value)
    };
    let hosts = number("hosts", 5.0, 2.0..=MAX_HOSTS);
    let percent = number("percent", 30.0, 1.0..=100.0);
    let half = percent.map_or(1.0, |percent| percent / 2.0);
    let clear_percent = number("clear_percent", half, 0.0..=100.0);

    if hosts.is_some_and(|hosts| hosts.fract() != 0.0) {
        errors.add("hosts", "must be a whole number");
    }
    if clear_percent > percent {
        errors.add("clear_percent", "must not be more than percent");
    }
    Some(Condition::ManyDown {
        hosts: hosts? as u32,
        percent: percent?,
        within: span::read(object, "within", 60..=86_400, 600, errors),
        clear_percent: clear_percent?,
    })
}
