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
mod rows;
mod sending;
mod setup;
mod shared;
mod text;

use std::io;
use std::sync::Arc;

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
    if !alerting.settings.is_enabled {
        return Ok(());
    }
    sending::start(jobs, alerting)?;
    ping::start(jobs, alerting)
}
