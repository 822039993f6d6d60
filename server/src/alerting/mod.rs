//! Alerts in the server: after each look of the watch the engine sees the fleet, what it
//! says is written, and what is written is sent.
//!
//! The engine (`alerts/`) decides everything and touches nothing; the channels
//! (`channels/`) send and decide nothing. Here the two meet the store. One process has an
//! engine: the embedded server, or the instance with the watch's lease. If anything cannot
//! be written, the engine is dropped, and the next look loads another one from the store.

mod ack_link;
mod advice;
mod defaults;
mod kept;
mod look;
mod ping;
mod post;
mod reseal;
mod rows;
mod sending;
mod setup;
mod shared;
mod text;

use std::io;
use std::sync::Arc;

use fleetbeat_daemon::clock;

pub(crate) use self::advice::{advise, read_policies};
pub(crate) use self::kept::{
    ALL_CHANNELS, Kept, KeptChannel, MAX_RULES, new_id, read_kept,
};
pub(crate) use self::look::Looker;
pub(crate) use self::post::Post;
pub(crate) use self::shared::Alerting;
use crate::jobs::Jobs;

/// Starts the senders, and the pings that say that all is well.
///
/// # Errors
/// The system gives no further thread.
pub(crate) fn start(jobs: &mut Jobs, alerting: &Arc<Alerting>) -> io::Result<()> {
    reseal::reseal(&*alerting.store, &alerting.post, clock::now());
    if !alerting.settings.is_enabled {
        return Ok(());
    }
    // So that the log and `/readyz` tell of closed channels at once.
    if let Err(error) = alerting.read_setup() {
        log::warn!("the channels of alerts cannot be read yet: {error}");
    }
    sending::start(jobs, alerting)?;
    ping::start(jobs, alerting)
}
