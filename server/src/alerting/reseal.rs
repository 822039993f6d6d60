//! Secrets of channels that the former `SECRET_KEY` has sealed are sealed anew at the
//! start, so that the former one is not needed for them any more.

use fleetbeat_channels::Settings;
use fleetbeat_protocol::Timestamp;

use super::kept::{Kept, KeptChannel, read_kept};
use super::post::Post;
use crate::store::{
    Act, AlertStore, Conflict, EventKind, Expected, Object, ObjectChange, ObjectKind,
    StoreError, facts,
};

/// Who seals anew, for events.
const SEALER: &str = "server";

/// Seals anew what the former key has sealed, and says so in the log. What cannot be
/// written now is sealed at the next start.
pub(super) fn reseal(store: &dyn AlertStore, post: &Post, now: Timestamp) {
    if !post.has_older_keys {
        return;
    }
    match reseal_all(store, post, now) {
        Ok(0) => log::info!(
            "no channel's secrets are sealed with SECRET_KEY_PREVIOUS any more"
        ),
        Ok(count) => log::info!(
            "the secrets of {count} channels, which SECRET_KEY_PREVIOUS had sealed, are \
             sealed with SECRET_KEY now"
        ),
        Err(error) => log::error!(
            "the secrets of channels are not all sealed with SECRET_KEY yet, so \
             SECRET_KEY_PREVIOUS is needed still: {error}"
        ),
    }
}

fn reseal_all(
    store: &dyn AlertStore,
    post: &Post,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let mut count = 0;
    for object in store.alert_objects(ObjectKind::Channel)? {
        let Some(kept) = seal_anew(&object, post, now) else {
            continue;
        };
        match put(store, &object, &kept, now) {
            Ok(()) => count += 1,
            // Somebody has changed the channel, and sealed it so; or another instance was
            // faster.
            Err(StoreError::Conflict(Conflict::Changed(_))) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// The channel with its secrets sealed by the key that counts; `None` where they are so
/// already, and where nobody can open them.
fn seal_anew(object: &Object, post: &Post, now: Timestamp) -> Option<Kept<KeptChannel>> {
    let kept: Kept<KeptChannel> = read_kept(object)?;
    let opened = Settings::open(&kept.what.settings, &post.keys, &object.id);
    let (settings, is_current) = opened.ok()?;
    if is_current {
        return None;
    }
    let channel = KeptChannel {
        settings: settings.store(&post.keys, &object.id).ok()?,
        ..kept.what.clone()
    };
    Some(kept.changed(channel, SEALER, now))
}

fn put(
    store: &dyn AlertStore,
    object: &Object,
    kept: &Kept<KeptChannel>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let form = &kept.what.form;
    let told = facts([
        ("channel", object.id.as_str().into()),
        ("name", form.name.as_str().into()),
        ("kind", form.kind.as_str().into()),
    ]);
    let put = store.put_alert_object(&ObjectChange {
        kind: ObjectKind::Channel,
        id: &object.id,
        body: &kept.body(),
        expected: Expected::Version(object.version),
        event: &Act::program(SEALER, now).event(EventKind::ChannelChanged, told),
    });
    put.map(drop)
}
