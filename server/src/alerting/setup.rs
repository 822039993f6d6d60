//! What people have set up for alerts, as the engine goes by it: rules, mutes, channels
//! and acknowledgements.

use std::sync::Arc;

use fleetbeat_alerts::{Acknowledgement, ChannelPolicy, StoredMute, StoredRule};
use fleetbeat_channels::{Channel, Keys, Settings};
use fleetbeat_protocol::{ChannelForm, Mute, Rule};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::recurring::log_if_due;
use crate::store::{AlertStore, Object, ObjectKind, StoreError};

/// In a rule, the word for every channel there is.
pub(crate) const ALL_CHANNELS: &str = "all";

/// A channel as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptChannel {
    /// Its name and when it is told.
    #[serde(flatten)]
    pub(crate) form: ChannelForm,
    /// Its settings, with secrets that are sealed.
    pub(crate) settings: String,
}

/// A channel, ready to be used.
#[derive(Debug)]
pub(super) struct ReadyChannel {
    pub(super) id: String,
    pub(super) version: i64,
    pub(super) kept: KeptChannel,
    /// What sends; `None` if nobody can open the secrets any more.
    pub(super) sends: Option<Channel>,
}

/// What people have set up.
#[derive(Debug, Default)]
pub(super) struct Setup {
    pub(super) rules: Vec<StoredRule>,
    pub(super) mutes: Vec<StoredMute>,
    pub(super) policies: Vec<ChannelPolicy>,
    pub(super) channels: Vec<Arc<ReadyChannel>>,
    pub(super) acks: Vec<(String, Acknowledgement)>,
}

impl Setup {
    /// Reads everything. What has not changed since `before` is taken from there.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn read(
        store: &dyn AlertStore,
        keys: &Keys,
        before: &Setup,
    ) -> Result<Setup, StoreError> {
        let channels = store.alert_objects(ObjectKind::Channel)?.into_iter();
        let channels = channels.filter_map(|object| before.channel(object, keys));
        let channels: Vec<Arc<ReadyChannel>> = channels.collect();
        let ids: Vec<String> =
            channels.iter().map(|channel| channel.id.clone()).collect();

        let rules = store.alert_objects(ObjectKind::Rule)?.into_iter();
        let rules = rules.filter_map(|object| {
            Some(StoredRule {
                rule: name_channels(parsed(&object)?, &ids),
                id: object.id,
                version: object.version,
            })
        });
        let mutes = store.alert_objects(ObjectKind::Mute)?.into_iter();
        let mutes = mutes.filter_map(|object| {
            let mute: Mute = parsed(&object)?;
            Some(StoredMute {
                id: object.id,
                mute,
            })
        });
        let acks = store.alert_objects(ObjectKind::Ack)?.into_iter();
        let acks = acks.filter_map(|object| Some((object.id.clone(), parsed(&object)?)));
        Ok(Setup {
            rules: rules.collect(),
            mutes: mutes.collect(),
            policies: channels.iter().map(|channel| policy(channel)).collect(),
            acks: acks.collect(),
            channels,
        })
    }

    /// The channel of the object, from here if it is as before.
    fn channel(&self, object: Object, keys: &Keys) -> Option<Arc<ReadyChannel>> {
        let known = self.find(&object.id);
        if let Some(known) = known.filter(|known| known.version == object.version) {
            return Some(known.clone());
        }
        let kept: KeptChannel = parsed(&object)?;
        let sends = open(&kept.settings, keys, &object.id);
        if let Err(reason) = &sends {
            let (name, id) = (&kept.form.name, &object.id);
            log::error!("channel {name:?} ({id}) sends nothing: {reason}");
        }
        Some(Arc::new(ReadyChannel {
            sends: sends.ok(),
            id: object.id,
            version: object.version,
            kept,
        }))
    }

    /// The channel with this id.
    pub(super) fn find(&self, id: &str) -> Option<&Arc<ReadyChannel>> {
        self.channels.iter().find(|channel| channel.id == id)
    }

    /// The names of the channels that nobody can open.
    pub(super) fn closed(&self) -> Vec<String> {
        let closed = self.channels.iter().filter(|one| one.sends.is_none());
        closed
            .map(|channel| channel.kept.form.name.clone())
            .collect()
    }
}

/// The rule, with the ids of all channels where it says so.
pub(crate) fn name_channels(mut rule: Rule, all: &[String]) -> Rule {
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

/// What sends by the settings.
///
/// # Errors
/// Says why nothing can.
fn open(settings: &str, keys: &Keys, id: &str) -> Result<Channel, String> {
    let (settings, _) =
        Settings::open(settings, keys, id).map_err(|closed| closed.to_string())?;
    Channel::new(&settings).map_err(|broken| {
        let fields: Vec<String> = broken.into_iter().map(|error| error.field).collect();
        format!(
            "this version does not understand its settings: {}",
            fields.join(", ")
        )
    })
}

fn policy(channel: &ReadyChannel) -> ChannelPolicy {
    let form = &channel.kept.form;
    ChannelPolicy {
        id: channel.id.clone(),
        name: form.name.clone(),
        enabled: form.enabled,
        min_severity: form.min_severity,
        quiet: form.quiet.clone(),
    }
}

/// What the object is; `None`, and a line in the log, for one that cannot be read.
fn parsed<T: DeserializeOwned>(object: &Object) -> Option<T> {
    let parsed = serde_json::from_str(&object.body);
    let tell = |error: &serde_json::Error| {
        let line = || format!("{} in the database cannot be read: {error}", object.id);
        log_if_due(log::Level::Warn, "damaged rules", &object.id, line);
    };
    parsed.inspect_err(tell).ok()
}
