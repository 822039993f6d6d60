//! What is allowed in a rule and is most likely not meant.

use std::time::Duration;

use fleetbeat_protocol::{Condition, FieldError, Rule, Status};
use fleetbeat_selector::{Field, Host, Selector, Value};

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
    let status = match rule.condition {
        Condition::Down | Condition::ManyDown { .. } => Status::Down,
        _ => Status::Active,
    };
    let may_be_either = matches!(rule.condition, Condition::Late { .. });
    if !may_be_either && !selector.may_select(&AnyHost(status), 0) {
        let message = format!(
            "means no host that is {}, and others are not looked at",
            status.as_str()
        );
        advice.push(FieldError::new("where", message));
    }

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

/// Any host with this status.
struct AnyHost(Status);

impl Host for AnyHost {
    fn value(&self, field: &Field) -> Value<'_> {
        match field {
            Field::Status => Value::Text(self.0.as_str()),
            _ => Value::Unknown,
        }
    }
}
