//! Which channels a rule calls for an alert, and which of them listen.

use std::collections::HashMap;

use fleetbeat_protocol::{Rule, Severity, Timestamp};

use crate::alert::{Alert, DEAF_RULE, Told};
use crate::look::{ChannelPolicy, Look};
use crate::time::after;
use crate::window;

/// Whether a channel is one that the rule tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Named,
    /// If nobody takes the alert on, later.
    Later,
    Dropped,
}

/// A channel at this look.
pub(crate) struct Ear<'a> {
    policy: &'a ChannelPolicy,
    is_quiet: bool,
}

impl<'a> Ear<'a> {
    /// The channel's id.
    pub(crate) fn channel(&self) -> &'a str {
        &self.policy.id
    }

    /// Whether the channel is switched on.
    pub(crate) fn is_on(&self) -> bool {
        self.policy.enabled
    }

    /// Whether the channel has its quiet hours, for what is so bad.
    pub(crate) fn is_quiet(&self, severity: Severity) -> bool {
        self.is_quiet && severity < Severity::Critical
    }

    /// Whether the channel takes nothing of this severity now.
    pub(crate) fn is_deaf(&self, severity: Severity) -> bool {
        !self.is_on() || self.is_quiet(severity)
    }

    /// Whether the channel is told of what is so bad.
    pub(crate) fn wants(&self, severity: Severity) -> bool {
        severity >= self.policy.min_severity
    }
}

/// The channels and rules of one look.
pub(crate) struct Audience<'a> {
    rules: &'a HashMap<&'a str, &'a Rule>,
    channels: &'a [ChannelPolicy],
    ears: HashMap<&'a str, Ear<'a>>,
    now: Timestamp,
}

impl<'a> Audience<'a> {
    pub(crate) fn new<H>(
        look: &'a Look<'a, H>,
        rules: &'a HashMap<&'a str, &'a Rule>,
    ) -> Audience<'a> {
        let ear = |policy: &'a ChannelPolicy| {
            let quiet = policy.quiet.as_ref();
            let is_quiet = quiet.is_some_and(|quiet| window::is_quiet(quiet, look.now));
            (policy.id.as_str(), Ear { policy, is_quiet })
        };
        Audience {
            rules,
            channels: look.channels,
            ears: look.channels.iter().map(ear).collect(),
            now: look.now,
        }
    }

    /// The rule of this id.
    pub(crate) fn rule(&self, id: &str) -> Option<&'a Rule> {
        self.rules.get(id).copied()
    }

    /// The channel of this id.
    pub(crate) fn ear(&self, channel: &str) -> Option<&Ear<'a>> {
        self.ears.get(channel)
    }

    /// The channels that the alert may be told to.
    pub(crate) fn called(&self, alert: &Alert) -> Vec<&'a str> {
        if !alert.is_open() && !alert.is_instant() {
            return Vec::new();
        }
        if alert.rule == DEAF_RULE {
            return self.channels.iter().map(|channel| &*channel.id).collect();
        }
        let rule = self.rule(&alert.rule);
        let escalate = rule.and_then(|rule| rule.escalate.as_ref());
        let escalate = escalate.into_iter().flat_map(|to| &to.channels);
        let named = rule.into_iter().flat_map(|rule| &rule.channels);

        let mut called: Vec<&str> = Vec::new();
        for channel in named.chain(escalate) {
            if !called.contains(&channel.as_str()) {
                called.push(channel);
            }
        }
        called
    }

    /// Whether the alert's rule tells the channel.
    pub(crate) fn call(&self, alert: &Alert, channel: &str) -> Call {
        let names = |channels: &[String]| channels.iter().any(|id| id == channel);
        let Some(rule) = self.rule(&alert.rule) else {
            let is_built_in = alert.rule == DEAF_RULE;
            return if is_built_in {
                Call::Named
            } else {
                Call::Dropped
            };
        };
        if names(&rule.channels) {
            return Call::Named;
        }
        let escalate = rule.escalate.as_ref();
        let Some(escalate) = escalate.filter(|to| names(&to.channels)) else {
            return Call::Dropped;
        };
        let due = alert.fired_at.map(|fired| after(fired, escalate.after));
        let is_due = due.is_some_and(|due| due <= self.now);
        if is_due && alert.ack.is_none() && alert.is_open() {
            Call::Named
        } else {
            Call::Later
        }
    }

    /// The channels that know of the alert, or are about to be told of it if nothing
    /// holds it back.
    pub(crate) fn knowing(&self, alert: &Alert) -> Vec<&'a str> {
        let mut channels = if alert.is_open() {
            self.called(alert)
        } else {
            self.ears.keys().copied().collect()
        };
        channels.retain(|channel| self.knows(alert, channel));
        channels
    }

    fn knows(&self, alert: &Alert, channel: &str) -> bool {
        let Some(ear) = self.ear(channel) else {
            return false;
        };
        let (is_open, call) = (alert.is_open(), self.call(alert, channel));
        let listens = !ear.is_deaf(alert.severity) && ear.wants(alert.severity);
        let mark = alert.told.get(channel);
        match mark.map_or(&Told::Untold, |mark| &mark.told) {
            Told::Told { .. } if is_open => call != Call::Dropped,
            Told::Told { .. } => true,
            Told::Recovering { .. } | Told::Closed if !is_open => true,
            Told::Untold | Told::Waiting { .. } | Told::Closed => {
                is_open && listens && call == Call::Named
            }
            // The message was given up, or says that all is over.
            Told::Dead { .. } | Told::Short { .. } | Told::Recovering { .. } => false,
        }
    }
}
