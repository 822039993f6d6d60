//! What people have set up for alerts, as the engine goes by it: rules, mutes, channels
//! and acknowledgements.

use std::sync::Arc;

use fleetbeat_alerts::{Acknowledgement, ChannelPolicy, StoredMute, StoredRule};
use fleetbeat_channels::Channel;
use fleetbeat_protocol::Mute;

use super::advice::{name_channels, policy};
use super::kept::{KeptChannel, read_kept};
use super::post::Post;
use crate::store::{AlertStore, Object, ObjectKind, StoreError};

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
        post: &Post,
        before: &Setup,
    ) -> Result<Setup, StoreError> {
        let channels = store.alert_objects(ObjectKind::Channel)?.into_iter();
        let channels = channels.filter_map(|object| before.channel(object, post));
        let channels: Vec<Arc<ReadyChannel>> = channels.collect();
        let ids: Vec<String> =
            channels.iter().map(|channel| channel.id.clone()).collect();

        let rules = store.alert_objects(ObjectKind::Rule)?.into_iter();
        let rules = rules.filter_map(|object| {
            Some(StoredRule {
                rule: name_channels(read_kept(&object)?, &ids),
                id: object.id,
                version: object.version,
            })
        });
        let mutes = store.alert_objects(ObjectKind::Mute)?.into_iter();
        let mutes = mutes.filter_map(|object| {
            let mute: Mute = read_kept(&object)?;
            Some(StoredMute {
                id: object.id,
                mute,
            })
        });
        let acks = store.alert_objects(ObjectKind::Ack)?.into_iter();
        let acks =
            acks.filter_map(|object| Some((object.id.clone(), read_kept(&object)?)));
        Ok(Setup {
            rules: rules.collect(),
            mutes: mutes.collect(),
            policies: channels
                .iter()
                .map(|channel| policy(&channel.id, &channel.kept.form))
                .collect(),
            acks: acks.collect(),
            channels,
        })
    }

    /// The channel of the object, from here if it is as before.
    fn channel(&self, object: Object, post: &Post) -> Option<Arc<ReadyChannel>> {
        let known = self.find(&object.id);
        if let Some(known) = known.filter(|known| known.version == object.version) {
            return Some(known.clone());
        }
        let kept: KeptChannel = read_kept(&object)?;
        let sends = post.open(&object.id, &kept);
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
