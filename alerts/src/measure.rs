//! What a condition says of one host.

use std::collections::BTreeMap;

use fleetbeat_protocol::{Condition, Limit, LoadKind, Server, Status, Timestamp};
use fleetbeat_selector::{Field, Value};
use wildmatch::WildMatch;

use crate::look::FleetHost;
use crate::time::between;

/// What a condition says of an object of a subject.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reading {
    /// A service, a metric or a load; empty where the subject has no parts.
    pub(crate) object: String,
    pub(crate) verdict: Verdict,
    pub(crate) value: Option<f64>,
}

/// Whether it is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is.
    Broken,
    /// The limit is kept, and not well enough for an end.
    Between,
    /// It is not.
    Kept,
}

impl Verdict {
    fn of(limit: &Limit, value: f64) -> Verdict {
        if limit.is_broken_by(value) {
            Verdict::Broken
        } else if limit.is_cleared_by(value) {
            Verdict::Kept
        } else {
            Verdict::Between
        }
    }

    fn broken_if(is_broken: bool) -> Verdict {
        if is_broken {
            Verdict::Broken
        } else {
            Verdict::Kept
        }
    }
}

/// A condition, ready to be asked of many hosts.
pub(crate) struct Gauge {
    condition: Condition,
    /// The names of services or metrics.
    names: Option<WildMatch>,
    labels: Vec<(String, WildMatch)>,
}

impl Gauge {
    pub(crate) fn new(condition: &Condition) -> Gauge {
        let no_labels = BTreeMap::new();
        let (names, labels) = match condition {
            Condition::Service { service } => (Some(service), &no_labels),
            Condition::Metric { metric, labels, .. } => (Some(metric), labels),
            _ => (None, &no_labels),
        };
        let labels = labels.iter();
        Gauge {
            condition: condition.clone(),
            names: names.map(|names| WildMatch::new(names)),
            labels: labels
                .map(|(name, value)| (name.clone(), WildMatch::new(value)))
                .collect(),
        }
    }

    /// The limit that a message names.
    pub(crate) fn limit(&self) -> Option<f64> {
        match &self.condition {
            Condition::Load { limit, .. } | Condition::Metric { limit, .. } => {
                Some(limit.bound)
            }
            #[allow(clippy::cast_precision_loss, reason = "a week at most")]
            Condition::Late { after } => Some(after.as_secs() as f64),
            Condition::ManyDown { percent, .. } => Some(*percent),
            _ => None,
        }
    }

    /// What the host's newest heartbeat says. Empty for what it does not tell.
    pub(crate) fn read<H: FleetHost>(&self, host: &H, readings: &mut Vec<Reading>) {
        readings.clear();
        match &self.condition {
            Condition::Service { .. } => self.read_services(host.server(), readings),
            Condition::Metric { limit, .. } => {
                self.read_metrics(host.server(), limit, readings);
            }
            Condition::Load { load, limit } => {
                readings.extend(load_of(host, *load).map(|value| Reading {
                    object: load.as_str().to_owned(),
                    verdict: Verdict::of(limit, value),
                    value: Some(value),
                }));
            }
            _ => {}
        }
    }

    fn read_services(&self, server: &Server, readings: &mut Vec<Reading>) {
        let services = server.services.iter();
        let meant = services.filter(|service| self.means_service(&service.name));
        readings.extend(meant.map(|service| Reading {
            object: service.name.clone(),
            verdict: Verdict::broken_if(!service.active),
            value: None,
        }));
    }

    fn read_metrics(&self, server: &Server, limit: &Limit, readings: &mut Vec<Reading>) {
        let meant = server.metrics.iter().filter(|(name, _)| self.means(name));
        readings.extend(meant.map(|(name, value)| Reading {
            object: name.clone(),
            verdict: Verdict::of(limit, *value),
            value: Some(*value),
        }));
    }

    /// Whether the condition looks at this object of a host.
    pub(crate) fn looks_at(&self, object: &str) -> bool {
        match &self.condition {
            Condition::Service { .. } => self.means_service(object),
            Condition::Metric { .. } => self.means(object),
            Condition::Load { load, .. } => object == load.as_str(),
            _ => object.is_empty(),
        }
    }

    fn means_service(&self, name: &str) -> bool {
        self.names.as_ref().is_some_and(|names| names.matches(name))
    }

    /// Whether the metric of this full name, `disk_used_percent{mount="/"}`, is meant.
    fn means(&self, full_name: &str) -> bool {
        let (name, labels) = match full_name.split_once('{') {
            Some((name, labels)) => (name, labels.trim_end_matches('}')),
            None => (full_name, ""),
        };
        let has = |label: &(String, WildMatch)| {
            let mut labels = read_labels(labels);
            let (wanted, glob) = label;
            labels.any(|(name, value)| name == wanted && glob.matches(&value))
        };
        let names = self.names.as_ref();
        names.is_some_and(|names| names.matches(name)) && self.labels.iter().all(has)
    }

    /// What the host's silence says, for `down` and `late`; `None` for other conditions.
    /// `heard` is when it was heard last, as far as the clock can be believed.
    pub(crate) fn silence(
        &self,
        server: &Server,
        heard: Timestamp,
        now: Timestamp,
    ) -> Option<Reading> {
        let age = between(heard, now);
        let is_broken = match &self.condition {
            Condition::Down => server.status == Status::Down,
            Condition::Late { after } => age >= *after,
            _ => return None,
        };
        Some(Reading {
            object: String::new(),
            verdict: Verdict::broken_if(is_broken),
            value: Some(age.as_secs_f64().floor()),
        })
    }
}

/// The labels of a metric, `a="x",b="y"`, with what is escaped in their values.
fn read_labels(mut text: &str) -> impl Iterator<Item = (&str, String)> {
    std::iter::from_fn(move || {
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (_, '\\') => value.extend(chars.next().map(|(_, escaped)| escaped)),
                (at, '"') => break at,
                (_, plain) => value.push(plain),
            }
        };
        text = rest[end + 1..].trim_start_matches(',');
        Some((name, value))
    })
}

fn load_of<H: FleetHost>(host: &H, load: LoadKind) -> Option<f64> {
    let server = host.server();
    match load {
        LoadKind::Cpu => server.load.cpu,
        LoadKind::Ram => server.load.ram,
        LoadKind::Net => server.load.net,
        LoadKind::Load => match host.value(&Field::Load) {
            Value::Number(load) => Some(load),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_meant_by_name_and_labels() {
        let gauge = |metric: &str, labels: &[(&str, &str)]| {
            let labels = labels.iter();
            Gauge::new(&Condition::Metric {
                metric: metric.to_owned(),
                labels: labels
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                limit: Limit {
                    side: fleetbeat_protocol::Side::Above,
                    bound: 1.0,
                    clear: None,
                },
            })
        };
        let disk = r#"disk_used_percent{dev="a\"b",mount="/var/log"}"#;
        for (metric, labels, expected) in [
            ("disk_used_percent", &[][..], true),
            ("disk_*", &[("mount", "/var/*")], true),
            ("disk_*", &[("mount", "/var/*"), ("dev", "a\"b")], true),
            ("disk_*", &[("mount", "/")], false),
            ("disk_*", &[("other", "*")], false),
            ("disk", &[], false),
            ("*mount*", &[], false),
        ] {
            assert_eq!(
                gauge(metric, labels).means(disk),
                expected,
                "{metric} {labels:?}"
            );
        }
        assert!(gauge("load1", &[]).means("load1"));
        assert!(!gauge("load1", &[("a", "*")]).means("load1{a=\"unclosed"));
    }
}
