//! What is allowed in a rule and is most likely not meant.

use std::collections::HashMap;
use std::time::Duration;

use fleetbeat_protocol::{Condition, FieldError, LoadKind, Rule, Status};
use fleetbeat_selector::{Field, Selector, Value};

use crate::fleet::label_values;
use crate::look::{ChannelPolicy, FleetHost};
use crate::measure::Gauge;

/// Warnings about a rule, each with its field. `interval` is the time between two
/// heartbeats of a host.
pub fn advise<H: FleetHost>(
    rule: &Rule,
    interval: Duration,
    channels: &[ChannelPolicy],
    hosts: &[H],
) -> Vec<FieldError> {
    let mut advice = Vec::new();
    advise_on_times(rule, interval, &mut advice);
    advise_on_channels(rule, channels, &mut advice);
    advise_on_hosts(rule, hosts, &mut advice);
    advice
}

fn advise_on_times(rule: &Rule, interval: Duration, advice: &mut Vec<FieldError>) {
    let seconds = interval.as_secs();
    let is_short = !rule.for_.is_zero() && rule.for_ < interval * 2;
    if rule.condition.is_of_samples() && is_short {
        let message = format!(
            "is shorter than two heartbeats, which come every {seconds} s: one heartbeat \
             may decide"
        );
        advice.push(FieldError::new("for", message));
    }
    if let Condition::Late { after } = rule.condition
        && after < interval * 2
    {
        let message = format!(
            "is shorter than two heartbeats, which come every {seconds} s: each late one \
             fires"
        );
        advice.push(FieldError::new("after", message));
    }
}

fn advise_on_channels(
    rule: &Rule,
    channels: &[ChannelPolicy],
    advice: &mut Vec<FieldError>,
) {
    let mut look_at = |field: &str, ids: &[String]| {
        for (place, id) in ids.iter().enumerate() {
            let field = format!("{field}[{place}]");
            match channels.iter().find(|channel| channel.id == *id) {
                None => advice.push(FieldError::new(field, "is not a channel")),
                Some(channel) if channel.min_severity > rule.severity => {
                    let least = channel.min_severity.as_str();
                    let message = format!("is told of what is {least} and worse only");
                    advice.push(FieldError::new(field, message));
                }
                Some(_) => {}
            }
        }
    };
    look_at("channels", &rule.channels);
    if let Some(escalate) = &rule.escalate {
        look_at("escalate.channels", &escalate.channels);
        if rule.condition.is_instant() {
            let message = "never happens: what is told once cannot be acknowledged";
            advice.push(FieldError::new("escalate", message));
        }
    }
    if rule.channels.is_empty() {
        let message = "names no channel: the alerts are shown, and nobody is told";
        advice.push(FieldError::new("channels", message));
    }
}

fn advise_on_hosts<H: FleetHost>(rule: &Rule, hosts: &[H], advice: &mut Vec<FieldError>) {
    let Ok(selector) = Selector::parse(&rule.select) else {
        return;
    };
    if let Some(message) = impossible(&rule.condition, &selector) {
        advice.push(FieldError::new("where", message));
    }
    if let Condition::ManyDown { hosts: least, .. } = rule.condition {
        let largest = largest_group(rule, &selector, hosts);
        if largest < least as usize && !hosts.is_empty() {
            let message =
                format!("is more than any group has now: the largest has {largest}");
            advice.push(FieldError::new("hosts", message));
        }
    }
    advise_on_names(rule, hosts, advice);
}

/// Why no host can be meant of which the condition is true.
fn impossible(condition: &Condition, selector: &Selector) -> Option<String> {
    if !selector.is_possible(&|_, _| true) {
        return Some("can be true of no host".to_owned());
    }

    let status = match condition {
        Condition::Late { .. } => return None,
        Condition::Down | Condition::ManyDown { .. } => Status::Down,
        _ => Status::Active,
    };
    let has_status = |field: &Field, value: Value<'_>| {
        *field != Field::Status || value == Value::Text(status.as_str())
    };
    if !selector.is_possible(&has_status) {
        return Some(format!(
            "means no host that is {}, and others are not looked at",
            status.as_str()
        ));
    }

    let Condition::Load { load, limit } = condition else {
        return None;
    };
    let measured = match load {
        LoadKind::Cpu => Field::LoadCpu,
        LoadKind::Ram => Field::LoadRam,
        LoadKind::Net => Field::LoadNet,
        LoadKind::Load => Field::Load,
    };
    let is_broken = |field: &Field, value: Value<'_>| match value {
        _ if *field != measured => has_status(field, value),
        Value::Number(number) => limit.is_broken_by(number),
        _ => false,
    };
    let is_possible = selector.is_possible(&is_broken);
    (!is_possible).then(|| "means no host whose load is beyond the limit".to_owned())
}

/// How many hosts the largest group of the rule has.
fn largest_group<H: FleetHost>(rule: &Rule, selector: &Selector, hosts: &[H]) -> usize {
    let mut groups: HashMap<Vec<(String, String)>, usize> = HashMap::new();
    for host in hosts {
        // How old a heartbeat is now says nothing of later.
        if selector.depends_on_time() || selector.selects(host, 0) {
            let labels = label_values(host.server(), &rule.group_by);
            *groups.entry(labels).or_default() += 1;
        }
    }
    groups.into_values().max().unwrap_or_default()
}

fn advise_on_names<H: FleetHost>(rule: &Rule, hosts: &[H], advice: &mut Vec<FieldError>) {
    let name = match &rule.condition {
        Condition::Metric { .. } => "metric",
        Condition::Service { service } if service != "*" => "service",
        _ => return,
    };
    let gauge = Gauge::new(&rule.condition);
    let mut readings = Vec::new();
    let is_sent = hosts.iter().any(|host| {
        gauge.read(host, &mut readings);
        !readings.is_empty()
    });
    if !is_sent && !hosts.is_empty() {
        advice.push(FieldError::new(name, "is sent by no host now"));
    }
}
