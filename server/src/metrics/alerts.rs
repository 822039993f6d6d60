//! Alerts: what fires, and whether messages about it arrive.

use std::time::Duration;

use fleetbeat_channels::KINDS;
use fleetbeat_protocol::{Severity, Timestamp};
use prometheus::{Gauge, GaugeVec, IntCounterVec, Registry};

use super::instruments::{counters, gauge, gauges};
use super::readings::seconds;

/// The states of alerts that are counted.
const STATES: [&str; 2] = ["pending", "firing"];
const SEVERITIES: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];
/// What becomes of an attempt to send a message.
const RESULTS: [&str; 3] = ["sent", "failed", "dead"];
/// A channel of no kind that this version knows.
const OTHER: &str = "other";

/// What this instance does for alerts. Of several instances one does it, and the numbers of
/// the others are 0.
pub(crate) struct Alerts {
    alerts: GaugeVec,
    channels: GaugeVec,
    waiting: Gauge,
    dead: Gauge,
    deliveries: IntCounterVec,
    last_success: Gauge,
    last_duration: Gauge,
}

/// How many there are at the end of a look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AlertCounts {
    /// Alerts, each by the name of its state and its severity.
    pub(crate) alerts: Vec<(&'static str, Severity)>,
    /// Channels that have taken their last message, as far as is known.
    pub(crate) well: usize,
    /// Channels that have not.
    pub(crate) failing: usize,
    /// Channels whose secrets nobody can open.
    pub(crate) closed: usize,
    /// Messages on their way.
    pub(crate) waiting: usize,
    /// Messages that were given up, and that nobody has dismissed.
    pub(crate) dead: u64,
}

/// What has become of an attempt to send a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// The peer has taken it.
    Sent,
    /// It is tried again.
    Failed,
    /// It is given up.
    Dead,
}

impl Alerts {
    pub(super) fn new(registry: &Registry) -> Alerts {
        let alerts = Alerts {
            alerts: gauges(
                registry,
                "fleetbeat_alerts",
                "Alerts that are not over, by state and severity; 0 on instances that judge none.",
                &["state", "severity"],
            ),
            channels: gauges(
                registry,
                "fleetbeat_channels",
                "Channels by state; 0 on instances that judge no alerts.",
                &["state"],
            ),
            waiting: gauge(
                registry,
                "fleetbeat_deliveries_waiting",
                "Messages about alerts that are on their way.",
            ),
            dead: gauge(
                registry,
                "fleetbeat_deliveries_dead",
                "Messages about alerts that were given up and not dismissed.",
            ),
            deliveries: counters(
                registry,
                "fleetbeat_deliveries_total",
                "Attempts to send a message, by the kind of the channel and by what became of them.",
                &["kind", "result"],
            ),
            last_success: gauge(
                registry,
                "fleetbeat_alerts_last_success_timestamp_seconds",
                "When this instance has judged alerts last; 0 if it has not.",
            ),
            last_duration: gauge(
                registry,
                "fleetbeat_alerts_last_duration_seconds",
                "How long it took to judge alerts and to write what follows.",
            ),
        };
        for kind in KINDS {
            for result in RESULTS {
                alerts.deliveries.with_label_values(&[kind.name, result]);
            }
        }
        alerts.show(&AlertCounts::default());
        alerts
    }

    /// Alerts were judged at `now`.
    pub(crate) fn judged(&self, counts: &AlertCounts, took: Duration, now: Timestamp) {
        self.last_success.set(seconds(now));
        self.last_duration.set(took.as_secs_f64());
        self.show(counts);
    }

    /// Another instance judges alerts.
    pub(crate) fn left_to_another(&self) {
        self.last_duration.set(0.0);
        self.show(&AlertCounts::default());
    }

    /// An attempt to send a message to a channel of this kind is over.
    pub(crate) fn delivered(&self, kind: &str, delivered: Delivered) {
        let known = KINDS.iter().find(|known| known.name == kind);
        let kind = known.map_or(OTHER, |known| known.name);
        let result = match delivered {
            Delivered::Sent => "sent",
            Delivered::Failed => "failed",
            Delivered::Dead => "dead",
        };
        self.deliveries.with_label_values(&[kind, result]).inc();
    }

    fn show(&self, counts: &AlertCounts) {
        for state in STATES {
            for severity in SEVERITIES {
                let alike = counts.alerts.iter();
                let alike = alike.filter(|alert| **alert == (state, severity)).count();
                let labels = [state, severity.as_str()];
                self.alerts.with_label_values(&labels).set(alike as f64);
            }
        }
        for (state, count) in [
            ("well", counts.well),
            ("failing", counts.failing),
            ("closed", counts.closed),
        ] {
            self.channels.with_label_values(&[state]).set(count as f64);
        }
        self.waiting.set(counts.waiting as f64);
        self.dead.set(counts.dead as f64);
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    #[test]
    fn what_another_instance_judges_is_not_counted_here() {
        let registry = Registry::new();
        let alerts = Alerts::new(&registry);
        let text = || {
            TextEncoder::new()
                .encode_to_string(&registry.gather())
                .unwrap()
        };
        let firing = r#"fleetbeat_alerts{severity="critical",state="firing"}"#;
        let counts = AlertCounts {
            alerts: vec![("firing", Severity::Critical), ("pending", Severity::Info)],
            closed: 1,
            dead: 7,
            ..AlertCounts::default()
        };
        alerts.judged(&counts, Duration::from_millis(250), Timestamp::UNIX_EPOCH);
        alerts.delivered("telegram", Delivered::Sent);
        alerts.delivered("no such kind", Delivered::Dead);
        for line in [
            &format!("{firing} 1\n"),
            "fleetbeat_channels{state=\"closed\"} 1\n",
            "fleetbeat_deliveries_dead 7\n",
            "fleetbeat_deliveries_total{kind=\"telegram\",result=\"sent\"} 1\n",
            "fleetbeat_deliveries_total{kind=\"other\",result=\"dead\"} 1\n",
            "fleetbeat_alerts_last_duration_seconds 0.25\n",
        ] {
            assert!(text().contains(line), "{line} is not in {}", text());
        }

        alerts.left_to_another();
        assert!(text().contains(&format!("{firing} 0\n")), "{}", text());
    }
}
