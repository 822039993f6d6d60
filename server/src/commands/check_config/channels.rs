//! Channels whose secrets nobody can open: after a restore elsewhere, for example, or with
//! another `SECRET_KEY`.

use crate::alerting::{KeptChannel, Post, read_kept};
use crate::bootstrap;
use crate::commands::show;
use crate::config::Config;
use crate::store;

/// What to tell of each channel that is closed. Nothing where the database, or the key,
/// cannot be read by this user: whoever starts the server is told by its log.
pub(super) fn find_closed(config: &Config) -> Vec<String> {
    let (Ok(keys), Some(channels)) = (
        bootstrap::read_secret_keys(config),
        store::peek_channels(&config.storage),
    ) else {
        return Vec::new();
    };
    let Ok(post) = Post::new(&config.alerts, &keys) else {
        return Vec::new();
    };

    let closed = channels.into_iter().filter_map(|object| {
        let channel: KeptChannel = read_kept(&object)?;
        let reason = post.open(&object.id, &channel).err()?;
        let (name, id) = (show::text(&channel.form.name), &object.id);
        Some(format!(
            "the channel {name} ({id}) sends nothing: {reason}. Type them anew, by PUT \
             /channels/{id} or in the dashboard, or give the server the key that has \
             sealed them, as SECRET_KEY_PREVIOUS"
        ))
    });
    closed.collect()
}
