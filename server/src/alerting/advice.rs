//! What of a rule is likely not meant so, in the words of the server.

use std::time::Duration;

use fleetbeat_alerts::ChannelPolicy;
use fleetbeat_protocol::{ChannelForm, FieldError, Rule};

use super::kept::{ALL_CHANNELS, KeptChannel, read_kept};
use crate::fleet::selection::Record;
use crate::store::{AlertStore, ObjectKind, StoreError};

/// The time between two heartbeats of an agent that nobody has configured otherwise.
const INTERVAL: Duration = Duration::from_secs(120);

/// Warnings about a rule, each with its field. Without `hosts`, nothing is said of what
/// hosts send.
pub(crate) fn advise(
    rule: &Rule,
    channels: &[ChannelPolicy],
    hosts: &[Record<'_>],
) -> Vec<FieldError> {
    // "all" names nobody in particular, so nobody in particular is the wrong one.
    let is_told = |channel: &&ChannelPolicy| channel.min_severity <= rule.severity;
    let told = channels.iter().filter(is_told);
    let told: Vec<String> = told.map(|channel| channel.id.clone()).collect();
    let rule = name_channels(rule.clone(), &told);
    fleetbeat_alerts::advise(&rule, INTERVAL, channels, hosts)
}

/// The channels as rules go by them.
///
/// # Errors
/// The store cannot be read.
pub(crate) fn read_policies(
    store: &dyn AlertStore,
) -> Result<Vec<ChannelPolicy>, StoreError> {
    let channels = store.alert_objects(ObjectKind::Channel)?.into_iter();
    let policies = channels.filter_map(|object| {
        let kept: KeptChannel = read_kept(&object)?;
        Some(policy(&object.id, &kept.form))
    });
    Ok(policies.collect())
}

/// A channel as rules go by it.
pub(super) fn policy(id: &str, form: &ChannelForm) -> ChannelPolicy {
    ChannelPolicy {
        id: id.to_owned(),
        name: form.name.clone(),
        enabled: form.enabled,
        min_severity: form.min_severity,
        quiet: form.quiet.clone(),
    }
}

/// The rule, with the ids of `all` channels where it says so.
pub(super) fn name_channels(mut rule: Rule, all: &[String]) -> Rule {
    let escalation = rule
        .escalate
        .as_mut()
        .map(|escalate| &mut escalate.channels);
    for named in escalation.into_iter().chain([&mut rule.channels]) {
        if named.iter().any(|id| id == ALL_CHANNELS) {
            *named = all.to_vec();
        }
    }
    rule
}
