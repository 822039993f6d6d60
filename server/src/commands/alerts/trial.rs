//! `alerts test-channel`: a message by which somebody tries a channel.

use fleetbeat_channels::ErrorClass;
use fleetbeat_daemon::clock;

use super::error::AlertsError;
use super::names::Channels;
use crate::alerting::{Post, new_id};
use crate::commands::show;
use crate::store::AlertStore;

/// Sends a message to the channel of this name or id, and says what came of it, and never
/// what the peer has answered.
///
/// # Errors
/// There is no such channel, or the message was not sent.
pub(in crate::commands) fn test_channel(
    store: &(impl AlertStore + ?Sized),
    post: &Post,
    word: &str,
) -> Result<(), AlertsError> {
    let channels = Channels::read(store)?;
    let found = channels.find(word);
    let channel = found.map_err(|reason| AlertsError::UnknownChannel {
        word: word.to_owned(),
        reason,
    })?;
    let not_sent = |class: ErrorClass, reason: String| AlertsError::NotSent {
        name: channel.name().to_owned(),
        id: channel.id.clone(),
        class: class.name(),
        reason,
    };

    let opened = post.open(&channel.id, &channel.kept);
    let opened = opened.map_err(|reason| not_sent(ErrorClass::Settings, reason))?;
    let message = post.test_message(new_id("dlv")?, clock::now());
    let sent = opened.send(&message, &post.sender);
    let sent = sent.map_err(|error| not_sent(error.class, error.to_string()))?;

    let name = show::text(channel.name());
    println!("channel {name} ({}) has taken the message", channel.id);
    for remark in sent.remarks {
        println!("remark: {remark}");
    }
    Ok(())
}
